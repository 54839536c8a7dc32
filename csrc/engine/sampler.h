/*
 * sampler.h: from logits to the next token.
 */
#ifndef WF_SAMPLER_H
#define WF_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/candidates.h"
#include "kernels/kernels.h"
#include "layers/residual_mass.h"
#include "wrinklefree.h"

/* Scratch for one call at a time. */
typedef struct wf_sampler_scratch {
    float *weights;           /* [vocabulary] */
    float *original;          /* [vocabulary] logits as the model gave them */
    wf_candidate *candidates; /* [vocabulary] */
    uint64_t *allowed;        /* [vocabulary / 64 rounded up] what a grammar and lists of tokens allow */
    uint32_t *longest;        /* [vocabulary] all zero between calls: of wf_find_repetitions */
} wf_sampler_scratch;

/* What one request brings to the choice of a token, beside its wf_sampling. */
typedef struct wf_sampler_input {
    const wf_sampling *sampling;
    const uint32_t *bias_ids; /* [bias_count], below the vocabulary */
    const float *bias_values; /* [bias_count] */
    uint32_t bias_count;
    const uint32_t *seen_ids;    /* [seen_count] distinct ids of prompt and answer */
    const uint32_t *seen_counts; /* [seen_count] how often each stands in the answer, as far as penalties look back */
    uint32_t seen_count;
    const uint32_t *repeat_ids;    /* [repeat_count] that would go on with a repetition */
    const float *repeat_penalties; /* [repeat_count] subtracted for it */
    uint32_t repeat_count;
    const uint32_t *banned_ids; /* [banned_count] can't be chosen now */
    uint32_t banned_count;
    const uint64_t *allowed;   /* bit t: token t may be chosen; at least one may. NULL: all */
    wf_residual_mass residual; /* what is known of tokens whose logit is −∞ because it was not computed; no top_k then */
    uint32_t position;         /* of the token to be chosen: keys the draw */
} wf_sampler_input;

/* The residual mass is not known well enough to say which token it is. */
#define WF_UNDECIDED UINT32_MAX

/* Chooses a token from logits[vocabulary], which it changes. What it chooses is what it would with all logits known, or WF_UNDECIDED. */
uint32_t wf_sample(const wf_kernels *kernels, float *logits, uint32_t vocabulary, const wf_sampler_input *input,
                   wf_sampler_scratch *scratch);

/* Whether the likeliest token is chosen, whatever else there is. */
bool wf_is_greedy(const wf_sampling *sampling);

/* Whether it takes the logits of all tokens to choose one, however few are likely. */
bool wf_needs_all_logits(const wf_sampling *sampling);

/* 0, or -1 with `error` when a number is out of the range that wrinklefree.h states. */
int wf_check_sampling(const wf_sampling *sampling, char *error, uint32_t error_size);

#endif
