/*
 * token_lists.h: lists of tokens that a request brings: those that its answer may have, words that it may not have, and what breaks
 * repetitions.
 */
#ifndef WF_TOKEN_LISTS_H
#define WF_TOKEN_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wrinklefree.h"

/* All zero where there are none. */
typedef struct wf_token_lists {
    uint32_t *lists; /* [size] as wf_engine_submit is given them */
    uint32_t size;
    bool has_bad_words;
    uint64_t *allowed;  /* the tokens of all WF_LIST_ALLOWED, as a set; NULL: there is none */
    uint64_t *breakers; /* those of all WF_LIST_BREAKERS; NULL: there is none */
    uint64_t *endings;  /* the last tokens of all WF_LIST_BREAKER; NULL: there is none */
} wf_token_lists;

/* 0, or -1 with `error` when lists are not in their form or hold what is no token. */
int wf_check_token_lists(const uint32_t *lists, uint32_t size, uint32_t vocabulary, char *error, uint32_t error_size);

/* A copy of checked lists. Returns 0, or -1 without memory; wf_token_lists_destroy is due in any case. */
int wf_token_lists_copy(wf_token_lists *copy, const uint32_t *lists, uint32_t size, uint32_t vocabulary);

void wf_token_lists_destroy(wf_token_lists *lists);

/* Whether they keep tokens out of an answer. */
static inline bool wf_token_lists_restrict(const wf_token_lists *lists) { return lists->allowed != NULL || lists->has_bad_words; }

/* Takes what may not follow answer[count] out of allowed[wf_mask_words(vocabulary)]. Returns whether a token is left. */
bool wf_token_lists_apply(const wf_token_lists *lists, const uint32_t *answer, uint32_t count, uint32_t vocabulary,
                          uint64_t *allowed);

/* Whether a token breaks repetitions by itself. */
static inline bool wf_is_breaker(const wf_token_lists *lists, uint32_t token) {
    return lists->breakers != NULL && (lists->breakers[token / 64] >> token % 64 & 1) != 0;
}

/* Whether tokens[count], at least one, end with a breaker, of one token or several. */
bool wf_ends_with_breaker(const wf_token_lists *lists, const uint32_t *tokens, uint32_t count);

#endif
