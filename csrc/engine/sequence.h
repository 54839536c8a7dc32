/*
 * sequence.h: one request inside the engine: its tokens, how they are chosen, and how far it is.
 */
#ifndef WF_SEQUENCE_H
#define WF_SEQUENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/repetition.h"
#include "engine/sampler.h"
#include "engine/token_lists.h"
#include "grammar/automaton.h"
#include "model/model.h"
#include "wrinklefree.h"

/* The arrays of a request, as wf_engine_submit is given them. */
typedef struct wf_request {
    const uint32_t *tokens; /* [count] */
    uint32_t count;
    const wf_sampling *sampling;
    const uint32_t *stop_ids; /* [stop_count] */
    uint32_t stop_count;
    const uint32_t *bias_ids; /* [bias_count] */
    const float *bias_values; /* [bias_count] */
    uint32_t bias_count;
    const uint32_t *lists; /* [lists_size] */
    uint32_t lists_size;
} wf_request;

typedef struct wf_sequence {
    struct wf_sequence *next;       /* in the waiting list; the first field, so that a link to the next one leads to this one */
    struct wf_sequence *next_known; /* in its chain of known requests */
    uint32_t id;
    atomic_bool cancelled; /* set by any thread */
    bool started;          /* has run before: what comes back from a pause reports no second beginning */
    double submitted_ms;
    wf_sampling sampling;

    uint32_t *tokens; /* [limit] prompt, then answer */
    uint32_t prompt_count;
    uint32_t count;    /* tokens known */
    uint32_t computed; /* tokens whose keys and values are in the cache */
    uint32_t planned;  /* tokens to compute in the coming step */
    uint32_t limit;    /* prompt_count + the longest answer, at most the context */
    uint32_t cached;   /* prompt tokens that were found in the prefix cache */
    uint32_t reported; /* prompt tokens that progress was reported for */
    uint32_t scored;   /* prompt tokens whose log-probabilities are reported */

    uint32_t *table; /* [limit / WF_KV_BLOCK rounded up] KV blocks, block_count of them */
    uint32_t block_count;
    uint32_t entered; /* of those, how many are in the prefix index or equal to one that is */
    uint64_t parent;  /* serial of the last of those */

    uint32_t awaited;       /* the running request that is just computing this one's prompt, when last looked for, or 0 */
    uint32_t awaited_until; /* tokens that it has to have computed for this one to start */

    float *embedding; /* [hidden] of its text so far, where the model gives embeddings, and as much scratch behind it; else NULL */
    bool embedding_is_whole;
    uint32_t hidden;
    enum wf_pooling pooling;

    uint32_t *stop_ids; /* [stop_count] the request's own, then the model's unless ignored; any of them ends the answer */
    uint32_t stop_count;
    uint32_t *bias_ids; /* [bias_count] */
    float *bias_values; /* [bias_count] */
    uint32_t bias_count;

    uint32_t undecided;    /* tokens in a row that bounds of the unlikely ones' weight did not decide */
    uint32_t bounded_from; /* tokens from which on bounds are tried again */

    uint32_t vocabulary;
    uint32_t mask_token; /* that its answer must not have, or WF_NO_TOKEN */
    wf_token_lists lists;
    wf_repetition repetition;

    wf_matcher matcher; /* where the answer is in its grammar, if it has one */
    uint32_t ended;     /* WF_REASON_… when the grammar or the lists ended the answer, else 0 */

    /* Only when a penalty needs them: */
    uint8_t *seen_bits;    /* [vocabulary / 8] */
    uint32_t *seen_ids;    /* [limit] distinct ids of prompt and answer as far as penalties look back, seen_count of them */
    uint32_t *seen_counts; /* [limit] occurrences in the answer */
    uint32_t *seen_totals; /* [limit] and in the prompt; only where penalties don't look at all of it */
    uint32_t seen_count;
} wf_sequence;

/* 0, or -1 with `error` when a request can't be served by an engine with this context. */
int wf_check_request(const wf_config *config, uint32_t context, const wf_request *request, char *error, uint32_t error_size);

/* A sequence for a checked request; NULL when memory is lacking. */
wf_sequence *wf_sequence_create(const wf_config *config, uint32_t context, const wf_request *request);

/* NULL is allowed. */
void wf_sequence_destroy(wf_sequence *sequence);

/* Whether a sequence lacks nothing but the one token that its next one follows from. Who lets a sequence have several new tokens a step
 * says here how many those are. */
static inline bool wf_sequence_is_decoding(const wf_sequence *sequence) { return sequence->count - sequence->computed == 1; }

/* Whether the final hidden state of the token at `position` of its prompt is part of its embedding. */
bool wf_sequence_pools(const wf_sequence *sequence, uint32_t position);

/* Takes it in. Those of a prompt come in order. */
void wf_sequence_pool(wf_sequence *sequence, uint32_t position, const float *state);

/* Appends a chosen token. */
void wf_sequence_append(wf_sequence *sequence, uint32_t token);

/* Whether a sequence has a grammar, or lists or a model that keep tokens out. */
static inline bool wf_sequence_is_restricted(const wf_sequence *sequence) {
    return sequence->matcher.automaton != NULL || sequence->mask_token != WF_NO_TOKEN || wf_token_lists_restrict(&sequence->lists);
}

/* The tokens that a restricted sequence may have next: allowed[wf_mask_words(vocabulary)]. False when there is none, because the answer is
 * complete or can't be completed: `ended` says which. */
bool wf_sequence_allow(wf_sequence *sequence, uint64_t *allowed);

/* WF_REASON_… when the last token or the grammar ended the answer, else 0. */
uint32_t wf_sequence_ending(wf_sequence *sequence);

/* What the sampler needs to choose the next token; `allowed` as wf_sequence_allow filled it, or NULL for a sequence that is not restricted; `residual`
 * as the head left it; `longest` is scratch for wf_find_repetitions. */
wf_sampler_input wf_sequence_sampler_input(wf_sequence *sequence, const uint64_t *allowed, wf_residual_mass residual,
                                           uint32_t *longest);

/* A monotonic clock, in milliseconds. */
double wf_now_ms(void);

#endif
