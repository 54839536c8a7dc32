/*
 * pace.c: how many prompt tokens a step computes; pace.h says why.
 */
#include "engine/pace.h"

/* How long a step may take: with prompts alone, and while others wait for the next token of their answers. */
#define ALONE_MS 250.0
#define ANSWERING_MS 100.0

/* What a step computes at least, however long that takes. With fewer tokens the reading of the weights counts for more. */
#define ALONE_MIN 64U
#define ANSWERING_MIN 16U

/* Of a number that was asked for, the part while others are being answered. */
#define FIXED_PARTS 4U

/* A step is at most so many times as large as any that was measured: what a small one shows is not far from the truth. */
#define GROWTH 2U

/* The share of the newest step in the average. */
#define NEWEST 0.25

uint32_t wf_pace_tokens(const wf_pace *pace, bool others_are_answered) {
    if (pace->fixed > 0) {
        const uint32_t part = pace->fixed / FIXED_PARTS > 0 ? pace->fixed / FIXED_PARTS : 1;
        return others_are_answered ? part : pace->fixed;
    }
    const uint32_t least = others_are_answered ? ANSWERING_MIN : ALONE_MIN;
    const uint32_t grown = GROWTH * pace->largest;
    uint32_t most = WF_PACED_TOKENS_MAX;
    most = most < grown ? most : grown;
    const double fitting = pace->tokens_per_ms * (others_are_answered ? ANSWERING_MS : ALONE_MS);
    const uint32_t tokens = fitting < most ? (uint32_t)fitting : most;
    return tokens > least ? tokens : least;
}

void wf_pace_note(wf_pace *pace, uint32_t prompt_tokens, double step_ms) {
    if (prompt_tokens < ANSWERING_MIN || step_ms <= 0)
        return;
    const double rate = prompt_tokens / step_ms;
    pace->tokens_per_ms = pace->tokens_per_ms == 0 ? rate : (1 - NEWEST) * pace->tokens_per_ms + NEWEST * rate;
    pace->largest = pace->largest > prompt_tokens ? pace->largest : prompt_tokens;
}
