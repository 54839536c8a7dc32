/*
 * pace_test.c: how many prompt tokens a step computes, on machines of any speed, which this one stands for.
 */
#include "check.h"
#include "engine/pace.h"

/* The number that steps settle on where each prompt token takes so long and others are, or are not, answered. */
static uint32_t settled(double ms_per_token, bool others_are_answered) {
    wf_pace pace = {0};
    for (int step = 0; step < 40; step++) {
        const uint32_t tokens = wf_pace_tokens(&pace, others_are_answered);
        wf_pace_note(&pace, tokens, tokens * ms_per_token);
    }
    return wf_pace_tokens(&pace, others_are_answered);
}

int main(void) {
    wf_pace pace = {0};
    CHECK(wf_pace_tokens(&pace, false) == 64 && wf_pace_tokens(&pace, true) == 16, "without a measured step");

    /* A slow machine keeps to the least, a fast one to the most, others to the time. */
    CHECK(settled(11.5, false) == 64 && settled(11.5, true) == 16, "slow: %u, %u", settled(11.5, false), settled(11.5, true));
    CHECK(settled(0.1, false) == WF_PACED_TOKENS_MAX && settled(0.1, true) == WF_PACED_TOKENS_MAX, "fast");
    const uint32_t alone = settled(1, false), answering = settled(1, true);
    CHECK(alone >= 249 && alone <= 250 && answering >= 99 && answering <= 100, "1 ms a token: %u, %u", alone, answering);

    /* A step is at most twice as large as the largest before it, however fast that one was. */
    wf_pace_note(&pace, 64, 0.01);
    CHECK(wf_pace_tokens(&pace, false) == 128, "after one fast step: %u", wf_pace_tokens(&pace, false));

    /* What takes longer with time, as attention does, takes smaller steps; a step of few tokens says nothing. */
    pace = (wf_pace){0};
    for (int step = 0; step < 40; step++)
        wf_pace_note(&pace, 256, step < 20 ? 128 : 512);
    const uint32_t slower = wf_pace_tokens(&pace, false);
    CHECK(slower >= 125 && slower <= 126, "half a token a millisecond: %u", slower);
    wf_pace_note(&pace, 15, 1000);
    wf_pace_note(&pace, 64, 0);
    CHECK(wf_pace_tokens(&pace, false) == slower, "steps that say nothing");

    /* What was asked for is kept to. */
    pace = (wf_pace){.fixed = 40};
    wf_pace_note(&pace, 40, 0.1);
    CHECK(wf_pace_tokens(&pace, false) == 40 && wf_pace_tokens(&pace, true) == 10, "40 asked for");
    pace.fixed = 3;
    CHECK(wf_pace_tokens(&pace, true) == 1, "at least one");
    return check_report();
}
