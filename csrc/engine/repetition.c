/*
 * repetition.c: how long the matches are, in linear time, and what they cost.
 */
#include "engine/repetition.h"

#include <stdlib.h>

/* Beyond this a penalty makes no difference, and sums of it and a logit stay finite. */
#define PENALTY_MAX 1e30

bool wf_penalises_repetitions(const wf_sampling *sampling) { return sampling->dry_multiplier > 0.0f && sampling->dry_base >= 1.0f; }

int wf_repetition_create(wf_repetition *repetition, uint32_t limit) {
    *repetition = (wf_repetition){0};
    repetition->matched = calloc(limit, sizeof *repetition->matched);
    repetition->ids = calloc(limit, sizeof *repetition->ids);
    repetition->penalties = calloc(limit, sizeof *repetition->penalties);
    return repetition->matched && repetition->ids && repetition->penalties ? 0 : -1;
}

void wf_repetition_destroy(wf_repetition *repetition) {
    free(repetition->matched);
    free(repetition->ids);
    free(repetition->penalties);
    *repetition = (wf_repetition){0};
}

/* matched[k], for k from 1 to count - 1: how many tokens before the last k are the same as the last ones, counted backwards. It is the Z
 * function of the text that is read backwards: what a match that was found covers is not compared again. */
static void match_backwards(const uint32_t *tokens, uint32_t count, uint32_t *matched) {
    const uint32_t *end = tokens + count - 1;
    uint32_t from = 0, to = 0; /* the match that reaches furthest is that at `from`, up to before `to` */
    for (uint32_t k = 1; k < count; k++) {
        uint32_t length = 0;
        if (k < to)
            length = matched[k - from] < to - k ? matched[k - from] : to - k;
        while (k + length < count && *(end - length) == *(end - k - length))
            length++;
        matched[k] = length;
        if (k + length > to) {
            from = k;
            to = k + length;
        }
    }
}

/* multiplier · base^exponent, the same on every machine. */
static float penalty_of(double multiplier, double base, uint32_t exponent) {
    double penalty = multiplier;
    for (; exponent > 0 && base > 1.0 && penalty < PENALTY_MAX; exponent--)
        penalty *= base;
    return (float)(penalty < PENALTY_MAX ? penalty : PENALTY_MAX);
}

void wf_find_repetitions(wf_repetition *repetition, const uint32_t *tokens, uint32_t count, const wf_sampling *sampling,
                         const wf_token_lists *lists, uint32_t *longest) {
    const uint32_t allowed = sampling->dry_allowed_length, window = sampling->dry_window;
    for (; repetition->examined < count; repetition->examined++)
        if (wf_ends_with_breaker(lists, tokens, repetition->examined + 1))
            repetition->broken_at = repetition->examined + 1;
    const uint32_t reach = count - repetition->broken_at;
    if (window > 0 && window < count) {
        tokens += count - window;
        count = window;
    }
    repetition->count = 0;
    if (reach < allowed)
        return;
    match_backwards(tokens, count, repetition->matched);
    for (uint32_t k = 1; k < count; k++) {
        const uint32_t length = repetition->matched[k] < reach ? repetition->matched[k] : reach;
        const uint32_t next = tokens[count - k];
        if (length < allowed || wf_is_breaker(lists, next))
            continue;
        if (longest[next] == 0)
            repetition->ids[repetition->count++] = next;
        if (longest[next] <= length)
            longest[next] = length + 1;
    }
    for (uint32_t i = 0; i < repetition->count; i++) {
        uint32_t *length = &longest[repetition->ids[i]];
        repetition->penalties[i] = penalty_of((double)sampling->dry_multiplier, (double)sampling->dry_base, *length - 1 - allowed);
        *length = 0;
    }
}
