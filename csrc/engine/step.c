/*
 * step.c: computes a step: the transformer, then the logits that are needed, then the choice of a token for each answer.
 */
#include "engine/step.h"

#include <stdlib.h>
#include <string.h>

/* In a batch of more answers, bounds of what unlikely tokens weigh would too often not decide one of them, and then all logits of all are
 * computed. */
#define BOUNDED_ANSWERS 8

/* After `n` undecided tokens in a row a sequence does without bounds for 2^n, n being at most this. */
#define UNDECIDED_MAX 6U

int wf_step_create(wf_step *step, uint32_t vocabulary, uint32_t max_rows, uint32_t max_logits) {
    *step = (wf_step){.vocabulary = vocabulary, .max_logits = max_logits};
    step->rows = calloc(max_rows, sizeof *step->rows);
    step->answers = calloc(max_logits, sizeof *step->answers);
    step->scores = calloc(max_rows, sizeof *step->scores);
    step->pooled = calloc(max_logits, sizeof *step->pooled);
    step->scratch = calloc(max_logits, sizeof *step->scratch);
    if (!step->rows || !step->answers || !step->scores || !step->pooled || !step->scratch)
        return -1;
    for (uint32_t i = 0; i < max_logits; i++) {
        wf_sampler_scratch *scratch = &step->scratch[i];
        scratch->weights = calloc(vocabulary, sizeof *scratch->weights);
        scratch->original = calloc(vocabulary, sizeof *scratch->original);
        scratch->candidates = calloc(vocabulary, sizeof *scratch->candidates);
        scratch->allowed = calloc(wf_mask_words(vocabulary), sizeof *scratch->allowed);
        scratch->longest = calloc(vocabulary, sizeof *scratch->longest);
        if (!scratch->weights || !scratch->original || !scratch->candidates || !scratch->allowed || !scratch->longest)
            return -1;
    }
    return 0;
}

void wf_step_destroy(wf_step *step) {
    for (uint32_t i = 0; step->scratch != NULL && i < step->max_logits; i++) {
        free(step->scratch[i].weights);
        free(step->scratch[i].original);
        free(step->scratch[i].candidates);
        free(step->scratch[i].allowed);
        free(step->scratch[i].longest);
    }
    free(step->rows);
    free(step->answers);
    free(step->scores);
    free(step->pooled);
    free(step->scratch);
    *step = (wf_step){0};
}

void wf_step_clear(wf_step *step) {
    step->row_count = step->prompt_row_count = step->answer_count = step->score_count = step->pooled_count = 0;
}

/* ---- The choice of tokens ---- */

struct logits_job {
    wf_step *step;
    wf_prediction *predictions;
    float *logits; /* [predictions][vocabulary] */
};

/* Finds out what the grammar and the lists of one answer's sequence allow. */
static void allow(void *context, uint32_t index) {
    const wf_step *step = context;
    wf_prediction *prediction = &step->answers[index];
    if (wf_sequence_is_restricted(prediction->sequence))
        prediction->has_no_token = !wf_sequence_allow(prediction->sequence, step->scratch[index].allowed);
}

/* The tokens that answer number `index` may be; NULL: any. */
static const uint64_t *allowed_to(const wf_step *step, const wf_prediction *prediction, uint32_t index) {
    return wf_sequence_is_restricted(prediction->sequence) ? step->scratch[index].allowed : NULL;
}

/* Notes whether bounds decided a token. */
static void note_decision(wf_sequence *sequence, bool is_decided) {
    sequence->undecided = is_decided ? 0 : sequence->undecided < UNDECIDED_MAX ? sequence->undecided + 1 : UNDECIDED_MAX;
    if (!is_decided)
        sequence->bounded_from = sequence->count + (1U << sequence->undecided);
}

/* Whether the likeliest tokens are those of the model's own logits, and nothing else is asked of these. */
static bool is_plain(const wf_sequence *sequence) {
    const wf_sampling *sampling = &sequence->sampling;
    return !sampling->logprobs && sequence->bias_count == 0 && sequence->seen_bits == NULL &&
           sequence->repetition.matched == NULL && !wf_needs_all_logits(sampling) &&
           sequence->count - sequence->prompt_count >= sampling->min_tokens;
}

/* Chooses the token of one answer. */
static void choose(void *context, uint32_t index) {
    const struct logits_job *job = context;
    wf_step *step = job->step;
    wf_prediction *prediction = &job->predictions[index];
    if (prediction->has_no_token)
        return;
    const wf_sampling *sampling = &prediction->sequence->sampling;
    const uint32_t vocabulary = step->vocabulary;
    float *logits = job->logits + (size_t)index * vocabulary;
    wf_sampler_scratch *scratch = &step->scratch[index];
    if (sampling->logprobs) {
        wf_describe(step->kernels, logits, vocabulary, sampling->top_logprobs, scratch->weights, &prediction->distribution);
        memcpy(scratch->original, logits, vocabulary * sizeof *logits);
    }
    const wf_sampler_input input = wf_sequence_sampler_input(prediction->sequence, allowed_to(step, prediction, index),
                                                             prediction->residual, scratch->longest);
    prediction->token = wf_sample(step->kernels, logits, vocabulary, &input, scratch);
    if (prediction->residual.upper_bound > 0.0)
        note_decision(prediction->sequence, prediction->token != WF_UNDECIDED);
    if (sampling->logprobs)
        prediction->logprob = scratch->original[prediction->token] - prediction->distribution.offset;
}

/* Scores one token of a prompt. */
static void score(void *context, uint32_t index) {
    const struct logits_job *job = context;
    wf_step *step = job->step;
    wf_prediction *prediction = &job->predictions[index];
    const uint32_t vocabulary = step->vocabulary;
    const float *logits = job->logits + (size_t)index * vocabulary;
    wf_describe(step->kernels, logits, vocabulary, prediction->sequence->sampling.top_logprobs, step->scratch[index].weights,
                &prediction->distribution);
    prediction->logprob = logits[prediction->token] - prediction->distribution.offset;
    prediction->rank = 1;
    for (uint32_t token = 0; token < vocabulary; token++)
        prediction->rank += logits[token] > logits[prediction->token];
}

/* What one answer or prompt token, the `index`-th, needs of its logits. */
typedef wf_logits_request wf_needs(const wf_step *step, wf_prediction *prediction, uint32_t index);

static wf_logits_request all_logits(const wf_step *step, wf_prediction *prediction, uint32_t index) {
    (void)step;
    (void)index;
    prediction->residual = (wf_residual_mass){0};
    return (wf_logits_request){.row = prediction->row};
}

/* What a sequence's sampling needs of the logits of its next token, for certain. Where only the likeliest tokens matter, before penalties and
 * biases as after, the others need not be known. */
static wf_logits_request logits_needed(const wf_step *step, wf_prediction *prediction, uint32_t index) {
    const wf_sequence *sequence = prediction->sequence;
    const wf_sampling *sampling = &sequence->sampling;
    wf_logits_request request = all_logits(step, prediction, index);
    if (prediction->has_no_token) {
        request.top_k = 1; /* nobody will look at them */
        return request;
    }
    request.allowed = allowed_to(step, prediction, index);
    if (!is_plain(sequence))
        return request;
    if (wf_is_greedy(sampling))
        request.top_k = 1;
    else if (sampling->top_k > 0)
        request.top_k = sampling->top_k;
    return request;
}

/* The same, where bounds of what unlikely tokens weigh may do for a draw. */
static wf_logits_request logits_worth_trying(const wf_step *step, wf_prediction *prediction, uint32_t index) {
    const wf_sequence *sequence = prediction->sequence;
    wf_logits_request request = logits_needed(step, prediction, index);
    if (request.top_k == 0 && is_plain(sequence) && sequence->count >= sequence->bounded_from) {
        request.residual = &prediction->residual;
        request.temperature = sequence->sampling.temperature;
    }
    return request;
}

/* Computes the logits of some predictions, as many at a time as there is room for, and works on them. */
static void with_logits(wf_step *step, wf_prediction *predictions, uint32_t count, wf_needs *needs, wf_work work) {
    for (uint32_t done = 0; done < count; done += step->max_logits) {
        wf_logits_request requests[WF_SEQUENCES_MAX];
        const uint32_t left = count - done, part = left < step->max_logits ? left : step->max_logits;
        for (uint32_t i = 0; i < part; i++)
            requests[i] = needs(step, &predictions[done + i], i);
        struct logits_job job = {step, predictions + done, wf_forward_logits(step->forward, requests, part)};
        wf_pool_run(step->pool, work, &job, part);
    }
}

/* Takes the states of one text's rows into its embedding, in their order. */
static void pool_rows(void *context, uint32_t index) {
    const wf_step *step = context;
    const wf_pooled *pooled = &step->pooled[index];
    float *state = pooled->sequence->embedding + pooled->sequence->hidden;
    for (uint32_t row = pooled->row; row < pooled->row + pooled->count; row++) {
        const uint32_t position = step->rows[row].position;
        if (!wf_sequence_pools(pooled->sequence, position))
            continue;
        wf_forward_state(step->forward, row, state);
        wf_sequence_pool(pooled->sequence, position, state);
    }
    const uint32_t last = step->rows[pooled->row + pooled->count - 1].position;
    pooled->sequence->embedding_is_whole = last + 1 == pooled->sequence->prompt_count;
}

void wf_step_compute(wf_step *step) {
    wf_forward_run(step->forward, step->rows, step->row_count);
    wf_pool_run(step->pool, pool_rows, step, step->pooled_count);
    with_logits(step, step->scores, step->score_count, all_logits, score);
    wf_pool_run(step->pool, allow, step, step->answer_count);
    with_logits(step, step->answers, step->answer_count,
                step->answer_count <= BOUNDED_ANSWERS ? logits_worth_trying : logits_needed, choose);
    for (uint32_t i = 0; i < step->answer_count; i++)
        if (!step->answers[i].has_no_token && step->answers[i].token == WF_UNDECIDED) {
            with_logits(step, step->answers, step->answer_count, logits_needed, choose);
            break;
        }
}
