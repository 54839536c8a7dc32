/*
 * sequence.c: checks a request, copies it, and keeps count of what was generated.
 */
#include "engine/sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "kernels/kernels.h"

double wf_now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

int wf_check_request(const wf_config *config, uint32_t context, const wf_request *request, char *error, uint32_t error_size) {
    const uint32_t vocabulary = config->vocabulary;
    const uint32_t limit = request->sampling->max_tokens == 0 ? context : context - 1;
    if (request->count < 1 || request->count > limit)
        return wf_fail(error, error_size, "the prompt has %u tokens; 1 to %u fit into the context", request->count, limit);
    if (config->pooling != WF_POOLING_NONE && request->sampling->max_tokens > 0)
        return wf_fail(error, error_size, "the model gives embeddings, no tokens: max_tokens has to be 0");
    if (request->stop_count > vocabulary || request->bias_count > vocabulary)
        return wf_fail(error, error_size, "more stop ids or biases than the vocabulary has tokens, %u", vocabulary);
    for (uint32_t i = 0; i < request->count; i++)
        if (request->tokens[i] >= vocabulary)
            return wf_fail(error, error_size, "token %u of the prompt is %u; the vocabulary has %u", i, request->tokens[i],
                           vocabulary);
    for (uint32_t i = 0; i < request->stop_count; i++)
        if (request->stop_ids[i] >= vocabulary)
            return wf_fail(error, error_size, "stop id %u is out of the vocabulary of %u", request->stop_ids[i], vocabulary);
    for (uint32_t i = 0; i < request->bias_count; i++)
        if (request->bias_ids[i] >= vocabulary || !isfinite(request->bias_values[i]))
            return wf_fail(error, error_size, "the bias of token %u is not finite or out of the vocabulary of %u",
                           request->bias_ids[i], vocabulary);
    if (wf_check_token_lists(request->lists, request->lists_size, vocabulary, error, error_size) != 0)
        return -1;
    return wf_check_sampling(request->sampling, error, error_size);
}

/* A copy of `count` elements with room for `room`; NULL only when memory is lacking. */
static void *copy_of(const void *source, size_t count, size_t size, size_t room) {
    void *copy = calloc(room > 0 ? room : 1, size);
    if (copy != NULL && count > 0)
        memcpy(copy, source, count * size);
    return copy;
}

/* The place of a token that was seen. */
static uint32_t seen_place(const wf_sequence *sequence, uint32_t token) {
    uint32_t place = 0;
    while (sequence->seen_ids[place] != token)
        place++;
    return place;
}

/* Counts a token of the prompt (0 occurrences) or of the answer (1). */
static void note_seen(wf_sequence *sequence, uint32_t token, uint32_t occurrences) {
    if (sequence->seen_bits == NULL)
        return;
    uint32_t place = sequence->seen_count;
    if (sequence->seen_bits[token / 8] >> token % 8 & 1) {
        if (occurrences == 0 && sequence->seen_totals == NULL)
            return;
        place = seen_place(sequence, token);
    } else {
        sequence->seen_bits[token / 8] |= (uint8_t)(1u << token % 8);
        sequence->seen_ids[place] = token;
        sequence->seen_counts[place] = 0;
        if (sequence->seen_totals != NULL)
            sequence->seen_totals[place] = 0;
        sequence->seen_count++;
    }
    sequence->seen_counts[place] += occurrences;
    if (sequence->seen_totals != NULL)
        sequence->seen_totals[place]++;
}

/* Takes the token back at which penalties no longer look, once the last one was counted. */
static void forget_seen(wf_sequence *sequence) {
    const uint32_t window = sequence->sampling.penalty_window;
    if (sequence->seen_totals == NULL || sequence->count <= window)
        return;
    const uint32_t position = sequence->count - window - 1, token = sequence->tokens[position];
    const uint32_t place = seen_place(sequence, token), last = sequence->seen_count - 1;
    sequence->seen_counts[place] -= position >= sequence->prompt_count;
    if (--sequence->seen_totals[place] > 0)
        return;
    sequence->seen_bits[token / 8] &= (uint8_t) ~(1u << token % 8);
    sequence->seen_ids[place] = sequence->seen_ids[last];
    sequence->seen_counts[place] = sequence->seen_counts[last];
    sequence->seen_totals[place] = sequence->seen_totals[last];
    sequence->seen_count--;
}

wf_sequence *wf_sequence_create(const wf_config *config, uint32_t context, const wf_request *request) {
    const wf_sampling *sampling = request->sampling;
    const uint32_t count = request->count, room = context - count;
    wf_sequence *sequence = calloc(1, sizeof *sequence);
    if (sequence == NULL)
        return NULL;
    sequence->sampling = *sampling;
    sequence->submitted_ms = wf_now_ms();
    sequence->prompt_count = sequence->count = count;
    sequence->limit = count + (sampling->max_tokens < room ? sampling->max_tokens : room);
    sequence->stop_count = request->stop_count;
    sequence->bias_count = request->bias_count;
    sequence->tokens = copy_of(request->tokens, count, sizeof(uint32_t), sequence->limit);
    sequence->table = calloc(sequence->limit / WF_KV_BLOCK + 1, sizeof *sequence->table);
    sequence->stop_ids =
        copy_of(request->stop_ids, request->stop_count, sizeof(uint32_t), (size_t)request->stop_count + config->eos_count);
    sequence->bias_ids = copy_of(request->bias_ids, request->bias_count, sizeof(uint32_t), request->bias_count);
    sequence->bias_values = copy_of(request->bias_values, request->bias_count, sizeof(float), request->bias_count);
    sequence->vocabulary = config->vocabulary;
    sequence->mask_token = config->mask_token_id;
    bool complete = wf_token_lists_copy(&sequence->lists, request->lists, request->lists_size, config->vocabulary) == 0 &&
                    sequence->tokens && sequence->table && sequence->stop_ids && sequence->bias_ids && sequence->bias_values;
    if (complete && config->pooling != WF_POOLING_NONE) {
        sequence->pooling = config->pooling;
        sequence->hidden = config->hidden;
        sequence->embedding = calloc(2 * (size_t)config->hidden, sizeof *sequence->embedding);
        complete = sequence->embedding != NULL;
    }
    if (complete && wf_penalises_repetitions(sampling))
        complete = wf_repetition_create(&sequence->repetition, sequence->limit) == 0;
    if (complete && !sampling->ignore_eos)
        for (uint32_t i = 0; i < config->eos_count; i++)
            sequence->stop_ids[sequence->stop_count++] = config->eos_token_ids[i];

    if (complete && (sampling->repetition_penalty != 1 || sampling->frequency_penalty != 0 || sampling->presence_penalty != 0)) {
        sequence->seen_bits = calloc((size_t)config->vocabulary / 8 + 1, 1);
        sequence->seen_ids = calloc(sequence->limit, sizeof *sequence->seen_ids);
        sequence->seen_counts = calloc(sequence->limit, sizeof *sequence->seen_counts);
        const bool has_window = sampling->penalty_window > 0 && sampling->penalty_window < sequence->limit;
        if (has_window)
            sequence->seen_totals = calloc(sequence->limit, sizeof *sequence->seen_totals);
        complete = sequence->seen_bits && sequence->seen_ids && sequence->seen_counts && (sequence->seen_totals || !has_window);
        const uint32_t first = has_window && count > sampling->penalty_window ? count - sampling->penalty_window : 0;
        for (uint32_t i = first; complete && i < count; i++)
            note_seen(sequence, request->tokens[i], 0);
    }
    if (complete)
        return sequence;
    wf_sequence_destroy(sequence);
    return NULL;
}

void wf_sequence_destroy(wf_sequence *sequence) {
    if (sequence == NULL)
        return;
    free(sequence->tokens);
    free(sequence->embedding);
    free(sequence->table);
    free(sequence->stop_ids);
    free(sequence->bias_ids);
    free(sequence->bias_values);
    free(sequence->seen_bits);
    free(sequence->seen_ids);
    free(sequence->seen_counts);
    free(sequence->seen_totals);
    wf_token_lists_destroy(&sequence->lists);
    wf_repetition_destroy(&sequence->repetition);
    wf_automaton_release(sequence->matcher.automaton);
    free(sequence);
}

bool wf_sequence_pools(const wf_sequence *sequence, uint32_t position) {
    if (sequence->pooling == WF_POOLING_MEAN)
        return true;
    return position == (sequence->pooling == WF_POOLING_CLS ? 0 : sequence->prompt_count - 1);
}

void wf_sequence_pool(wf_sequence *sequence, uint32_t position, const float *state) {
    const size_t bytes = sequence->hidden * sizeof *state;
    if (sequence->pooling != WF_POOLING_MEAN) {
        memcpy(sequence->embedding, state, bytes);
        return;
    }
    /* What was put aside begins anew. */
    if (position == 0)
        memset(sequence->embedding, 0, bytes);
    for (uint32_t i = 0; i < sequence->hidden; i++)
        sequence->embedding[i] += state[i] / (float)sequence->prompt_count;
}

void wf_sequence_append(wf_sequence *sequence, uint32_t token) {
    sequence->tokens[sequence->count++] = token;
    note_seen(sequence, token, 1);
    forget_seen(sequence);
}

static bool is_too_early_to_stop(const wf_sequence *sequence) {
    return sequence->count - sequence->prompt_count < sequence->sampling.min_tokens;
}

/* What the grammar leaves, and whether the answer is complete. */
static bool allow_by_grammar(wf_sequence *sequence, uint64_t *allowed, bool *is_complete) {
    int32_t count = wf_matcher_allow(&sequence->matcher, sequence->tokens + sequence->prompt_count,
                                     sequence->count - sequence->prompt_count, allowed, is_complete);
    if (count < 0) {
        sequence->ended = WF_REASON_GRAMMAR;
        return false;
    }
    /* Stop tokens end the answer, so they may come where it may end, and only there, whatever bytes they have. */
    for (uint32_t i = 0; i < sequence->stop_count; i++) {
        uint64_t *word = &allowed[sequence->stop_ids[i] / 64];
        const uint64_t bit = (uint64_t)1 << sequence->stop_ids[i] % 64;
        count -= (*word & bit) != 0;
        *word &= ~bit;
    }
    if (count == 0) {
        sequence->ended = *is_complete ? WF_REASON_STOP : WF_REASON_GRAMMAR;
        return false;
    }
    for (uint32_t i = 0; *is_complete && !is_too_early_to_stop(sequence) && i < sequence->stop_count; i++)
        allowed[sequence->stop_ids[i] / 64] |= (uint64_t)1 << sequence->stop_ids[i] % 64;
    return true;
}

/* All tokens, but those that may not end the answer yet. */
static void allow_all(const wf_sequence *sequence, uint64_t *allowed) {
    memset(allowed, 0xff, wf_mask_words(sequence->vocabulary) * sizeof *allowed);
    if (sequence->vocabulary % 64 != 0)
        allowed[sequence->vocabulary / 64] = ((uint64_t)1 << sequence->vocabulary % 64) - 1;
    for (uint32_t i = 0; is_too_early_to_stop(sequence) && i < sequence->stop_count; i++)
        allowed[sequence->stop_ids[i] / 64] &= ~((uint64_t)1 << sequence->stop_ids[i] % 64);
    if (sequence->mask_token != WF_NO_TOKEN)
        allowed[sequence->mask_token / 64] &= ~((uint64_t)1 << sequence->mask_token % 64);
}

bool wf_sequence_allow(wf_sequence *sequence, uint64_t *allowed) {
    bool is_complete = false;
    if (sequence->matcher.automaton == NULL)
        allow_all(sequence, allowed);
    else if (!allow_by_grammar(sequence, allowed, &is_complete))
        return false;
    if (!wf_token_lists_restrict(&sequence->lists) ||
        wf_token_lists_apply(&sequence->lists, sequence->tokens + sequence->prompt_count, sequence->count - sequence->prompt_count,
                             sequence->vocabulary, allowed))
        return true;
    sequence->ended = is_complete ? WF_REASON_STOP : WF_REASON_GRAMMAR;
    return false;
}

uint32_t wf_sequence_ending(wf_sequence *sequence) {
    const uint32_t last = sequence->tokens[sequence->count - 1];
    if (sequence->ended != 0)
        return sequence->ended;
    if (sequence->count > sequence->prompt_count) {
        for (uint32_t i = 0; i < sequence->stop_count; i++)
            if (sequence->stop_ids[i] == last)
                return WF_REASON_STOP;
        /* What is complete and can't go on needs no end-of-text token, which would take a step. */
        if (sequence->matcher.automaton != NULL &&
            wf_matcher_is_finished(&sequence->matcher, sequence->tokens + sequence->prompt_count,
                                   sequence->count - sequence->prompt_count))
            return WF_REASON_STOP;
    }
    return sequence->count == sequence->limit ? WF_REASON_LENGTH : 0;
}

wf_sampler_input wf_sequence_sampler_input(wf_sequence *sequence, const uint64_t *allowed, wf_residual_mass residual,
                                           uint32_t *longest) {
    if (sequence->repetition.matched != NULL)
        wf_find_repetitions(&sequence->repetition, sequence->tokens, sequence->count, &sequence->sampling, &sequence->lists,
                            longest);
    return (wf_sampler_input){
        .sampling = &sequence->sampling,
        .bias_ids = sequence->bias_ids,
        .bias_values = sequence->bias_values,
        .bias_count = sequence->bias_count,
        .seen_ids = sequence->seen_ids,
        .seen_counts = sequence->seen_counts,
        .seen_count = sequence->seen_count,
        .repeat_ids = sequence->repetition.ids,
        .repeat_penalties = sequence->repetition.penalties,
        .repeat_count = sequence->repetition.count,
        .banned_ids = sequence->stop_ids,
        .banned_count = allowed == NULL && is_too_early_to_stop(sequence) ? sequence->stop_count : 0,
        .allowed = allowed,
        .residual = residual,
        .position = sequence->count,
    };
}
