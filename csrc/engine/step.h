/*
 * step.h: one step: a batch, the predictions that it is made for, and what becomes of their logits.
 */
#ifndef WF_STEP_H
#define WF_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "engine/logprobs.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "layers/forward.h"

/* The next token at one row of a batch: chosen, or the prompt's own and scored. A sequence may have any number of them in a step. */
typedef struct wf_prediction {
    wf_sequence *sequence;
    uint32_t row;                 /* in the batch */
    uint32_t token;               /* chosen; of a prompt its own next token */
    bool has_no_token;            /* the sequence's grammar ends it here: nothing was chosen */
    wf_residual_mass residual;    /* of its logits */
    float logprob;                /* of that token */
    uint32_t rank;                /* of that token, when it is a prompt's */
    wf_distribution distribution; /* when the request asked for log-probabilities */
} wf_prediction;

/* Rows of a batch whose states make up an embedding. */
typedef struct wf_pooled {
    wf_sequence *sequence;
    uint32_t row, count; /* in the batch */
} wf_pooled;

/* What a step computes, and what it works with. */
typedef struct wf_step {
    const wf_kernels *kernels;
    wf_pool *pool;
    wf_forward *forward;
    uint32_t vocabulary;
    uint32_t max_logits;

    wf_row *rows; /* [max_rows], row_count of them, prompt_row_count of these of prompts */
    uint32_t row_count, prompt_row_count;
    wf_prediction *answers; /* [max_logits] tokens to be chosen, answer_count of them */
    uint32_t answer_count;
    wf_prediction *scores; /* [max_rows] prompt tokens to be scored, score_count of them */
    uint32_t score_count;
    wf_pooled *pooled; /* [max_logits] texts whose embeddings are computed, pooled_count of them */
    uint32_t pooled_count;
    wf_sampler_scratch *scratch; /* [max_logits] */
} wf_step;

/* Memory for steps of up to `max_rows` rows, of which up to `max_logits` have their logits at once. The forward pass, kernels and pool
 * are the caller's to fill in. Returns 0, or -1 without memory; wf_step_destroy is due in any case. */
int wf_step_create(wf_step *step, uint32_t vocabulary, uint32_t max_rows, uint32_t max_logits);

/* What was never made, and is all zero, is allowed. */
void wf_step_destroy(wf_step *step);

/* Empties the plan. */
void wf_step_clear(wf_step *step);

/* Computes what is planned: each answer gets its token, each score its log-probability. */
void wf_step_compute(wf_step *step);

#endif
