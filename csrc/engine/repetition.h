/*
 * repetition.h: DRY: tokens that would go on with a repetition of what stands in the text already.
 */
#ifndef WF_REPETITION_H
#define WF_REPETITION_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/token_lists.h"
#include "wrinklefree.h"

/* What is found, and room to find it. All zero for a request that doesn't ask for it. */
typedef struct wf_repetition {
    uint32_t *matched;  /* [limit] scratch */
    uint32_t examined;  /* tokens of the text that were looked at for breakers */
    uint32_t broken_at; /* tokens up to and with the last breaker among these */
    uint32_t *ids;      /* [count] distinct tokens */
    float *penalties;   /* [count] of each */
    uint32_t count;
} wf_repetition;

/* Whether a request asks for it. */
bool wf_penalises_repetitions(const wf_sampling *sampling);

/* Room for texts of up to `limit` tokens. Returns 0, or -1 without memory; wf_repetition_destroy is due in any case. */
int wf_repetition_create(wf_repetition *repetition, uint32_t limit);

void wf_repetition_destroy(wf_repetition *repetition);

/* Finds the tokens that follow, somewhere in tokens[count], on what these end with, if that is dry_allowed_length tokens or more. A match
 * reaches no further back than to the last breaker of the text, and tokens that are breakers are left out. The penalty is
 * dry_multiplier · dry_base^(length − dry_allowed_length), by the longest match of a token.
 *
 * From one call to the next the text only grows.
 *
 * @param longest [vocabulary], all zero; so it is left. */
void wf_find_repetitions(wf_repetition *repetition, const uint32_t *tokens, uint32_t count, const wf_sampling *sampling,
                         const wf_token_lists *lists, uint32_t *longest);

#endif
