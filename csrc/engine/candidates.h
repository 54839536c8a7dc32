/*
 * candidates.h: tokens that may be chosen, by rank: the largest logit first, of equals the lowest id.
 */
#ifndef WF_CANDIDATES_H
#define WF_CANDIDATES_H

#include <stdint.h>

/* A token that may be chosen. */
typedef struct wf_candidate {
    float logit;  /* after penalties, before temperature */
    float weight; /* exp((logit − largest) / temperature): its probability but for a common factor */
    uint32_t token;
} wf_candidate;

/* Sorts them by rank. */
void wf_sort_candidates(wf_candidate *candidates, uint32_t count);

/* Moves the `keep` candidates that rank highest to the front, in no order (`keep` is 1 to count). */
void wf_select_top(wf_candidate *candidates, uint32_t count, uint32_t keep);

/* Moves the fewest that rank highest and have more than `wanted` of weight together to the front, the lowest of them last, the others in no
 * order. Returns their number; 0 when all have not more. */
uint32_t wf_select_weight(wf_candidate *candidates, uint32_t count, double wanted);

/* Moves candidates of at least so much weight and logit to the front, in their order; the others are lost. Returns their number. */
uint32_t wf_keep_from(wf_candidate *candidates, uint32_t count, double weight, float logit);

/* The weight of those that have at least `least`. */
double wf_weight_of(const wf_candidate *candidates, int64_t count, float least);

/* How many of the sorted candidates have together at least `wanted` of weight; 0 when all of them have less. */
uint32_t wf_nucleus(const wf_candidate *candidates, uint32_t count, double wanted);

#endif
