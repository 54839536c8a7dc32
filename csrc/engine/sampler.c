/*
 * sampler.c: penalties, temperature, truncation and the draw, in the orders that wrinklefree.h states.
 *
 * Equal logits are ordered by token id, sums run in a fixed order, and the random number is a function of (seed, position) alone:
 * whoever else is being served, the same request gets the same token.
 */
#include "engine/sampler.h"

#include <math.h>
#include <stdbool.h>

#include "base/error.h"
#include "engine/truncation.h"

/* A sum over a vocabulary in double precision differs by less than this part from one in another order. */
#define SUM_ERROR 1e-9

int wf_check_sampling(const wf_sampling *sampling, char *error, uint32_t error_size) {
    const struct {
        const char *name;
        float value, low, high;
    } ranges[] = {
        {"temperature", sampling->temperature, 0.0f, 100.0f},
        {"top_p", sampling->top_p, 0.0f, 1.0f},
        {"min_p", sampling->min_p, 0.0f, 1.0f},
        {"repetition_penalty", sampling->repetition_penalty, 1e-6f, 1e6f},
        {"frequency_penalty", sampling->frequency_penalty, -1e6f, 1e6f},
        {"presence_penalty", sampling->presence_penalty, -1e6f, 1e6f},
        {"top_n_sigma", sampling->top_n_sigma, 0.0f, 1e6f},
        {"typical_p", sampling->typical_p, 0.0f, 1.0f},
        {"xtc_probability", sampling->xtc_probability, 0.0f, 1.0f},
        {"xtc_threshold", sampling->xtc_threshold, 0.0f, 1.0f},
        {"dry_multiplier", sampling->dry_multiplier, 0.0f, 1e6f},
        {"dry_base", sampling->dry_base, 0.0f, 1e6f},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return wf_fail(error, error_size, "%s is %g, not within %g to %g", ranges[i].name, (double)ranges[i].value,
                           (double)ranges[i].low, (double)ranges[i].high);
    if (sampling->top_logprobs > WF_TOP_LOGPROBS_MAX)
        return wf_fail(error, error_size, "top_logprobs is %u; at most %u can be had", sampling->top_logprobs,
                       (uint32_t)WF_TOP_LOGPROBS_MAX);
    if (sampling->temperature_place > WF_TEMPERATURE_LAST)
        return wf_fail(error, error_size, "temperature_place is %u, not within 0 to %u", sampling->temperature_place,
                       (uint32_t)WF_TEMPERATURE_LAST);
    if (sampling->scope >> 63 != 0)
        return wf_fail(error, error_size, "the scope is over 63 bits");
    return 0;
}

/* SplitMix64's output function (Steele, Lea and Flood 2014): every bit of the input touches every bit of the result. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Tells the seed of the second number of a position, which xtc needs, from that of the first. */
#define COIN 0x78746320636f696eu

/* A number in [0, 1) that depends on seed and position only. */
static double uniform(uint64_t seed, uint32_t position) {
    const uint64_t bits = mix(mix(seed + 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u * ((uint64_t)position + 1));
    return (double)(bits >> 11) * 0x1p-53;
}

bool wf_is_greedy(const wf_sampling *sampling) {
    return sampling->top_k == 1 || (sampling->temperature == 0.0f && !wf_may_drop_likeliest(sampling));
}

bool wf_needs_all_logits(const wf_sampling *sampling) {
    if (wf_is_greedy(sampling))
        return false;
    return sampling->top_n_sigma > 0.0f || (sampling->top_k == 0 && wf_truncates(sampling));
}

static void apply_penalties(float *logits, const wf_sampler_input *input) {
    const wf_sampling *sampling = input->sampling;
    for (uint32_t i = 0; i < input->bias_count; i++)
        logits[input->bias_ids[i]] += input->bias_values[i];
    for (uint32_t i = 0; i < input->seen_count; i++) {
        float *logit = &logits[input->seen_ids[i]];
        if (sampling->repetition_penalty != 1.0f)
            *logit = *logit > 0.0f ? *logit / sampling->repetition_penalty : *logit * sampling->repetition_penalty;
        if (input->seen_counts[i] > 0)
            *logit -= sampling->frequency_penalty * (float)input->seen_counts[i] + sampling->presence_penalty;
    }
    for (uint32_t i = 0; i < input->repeat_count; i++)
        logits[input->repeat_ids[i]] -= input->repeat_penalties[i];
    for (uint32_t i = 0; i < input->banned_count; i++)
        logits[input->banned_ids[i]] = -INFINITY;
}

/* Takes all other tokens out of consideration. Returns the lowest of those that are allowed. */
static uint32_t apply_grammar(float *logits, uint32_t vocabulary, const uint64_t *allowed) {
    uint32_t lowest = vocabulary;
    for (uint32_t token = 0; token < vocabulary; token++) {
        if ((allowed[token / 64] >> token % 64 & 1) == 0)
            logits[token] = -INFINITY;
        else if (lowest == vocabulary)
            lowest = token;
    }
    return lowest;
}

/* The largest logit of the tokens from `first` on; of equals the lowest id. */
static uint32_t likeliest(const float *logits, uint32_t vocabulary, uint32_t first) {
    uint32_t best = first;
    for (uint32_t token = first + 1; token < vocabulary; token++)
        if (logits[token] > logits[best])
            best = token;
    return best;
}

/* The sorted candidate at which those that min_p allows have more than `wanted` of weight together; WF_UNDECIDED when all have less. */
static uint32_t token_at(const wf_candidate *candidates, uint32_t count, float min_p, double wanted) {
    for (uint32_t i = 0; i < count; i++) {
        wanted -= candidates[i].weight >= min_p ? (double)candidates[i].weight : 0.0;
        if (wanted < 0)
            return candidates[i].token;
    }
    return WF_UNDECIDED;
}

/* The same for candidates that are not sorted, all of them allowed. It changes their order. */
static uint32_t find_token_at(wf_candidate *candidates, uint32_t count, double wanted) {
    const uint32_t kept = wf_select_weight(candidates, count, wanted);
    return kept == 0 ? WF_UNDECIDED : candidates[kept - 1].token;
}

/* The candidate at a `place` between 0 and 1, by rank, of the weight of those that top_p and min_p allow. With a top_p they are sorted, else all
 * of them are allowed; `total` is what these and those that are not among them weigh. WF_UNDECIDED when the place is beyond them. */
static uint32_t draw(wf_candidate *candidates, uint32_t count, const wf_sampling *sampling, double place, double total) {
    if (sampling->top_p == 1.0f)
        return find_token_at(candidates, count, place * total);
    const uint32_t kept = wf_nucleus(candidates, count, (double)sampling->top_p * total);
    return kept == 0 ? WF_UNDECIDED
                     : token_at(candidates, kept, sampling->min_p, place * wf_weight_of(candidates, kept, sampling->min_p));
}

uint32_t wf_sample(const wf_kernels *kernels, float *logits, uint32_t vocabulary, const wf_sampler_input *input,
                   wf_sampler_scratch *scratch) {
    const wf_sampling *sampling = input->sampling;
    apply_penalties(logits, input);
    /* Whatever the logits are, no token is chosen that the grammar doesn't allow: the search begins with one that it does. */
    const uint32_t first = input->allowed == NULL ? 0 : apply_grammar(logits, vocabulary, input->allowed);
    const uint32_t best = likeliest(logits, vocabulary, first);
    /* An infinite logit, which a bias and a penalty can add up to, leaves no chance to others. */
    if (wf_is_greedy(sampling) || !(fabsf(logits[best]) < INFINITY))
        return best;

    const float largest = logits[best];
    if (sampling->top_n_sigma > 0.0f)
        wf_keep_within_deviations(logits, vocabulary, largest, sampling->top_n_sigma);
    const float inverse_temperature = wf_inverse_temperature(sampling->temperature_place == 0 ? sampling->temperature : 1.0f);
    kernels->exponentials(logits, vocabulary, largest, inverse_temperature, scratch->weights);
    wf_candidate *candidates = scratch->candidates;
    uint32_t count = 0;
    for (uint32_t token = 0; token < vocabulary; token++)
        if (logits[token] > -INFINITY)
            candidates[count++] = (wf_candidate){logits[token], scratch->weights[token], token};

    if (sampling->top_k != 0) {
        if (sampling->top_k < count) {
            wf_select_top(candidates, count, sampling->top_k);
            count = sampling->top_k;
        }
        /* Sorted even when nothing was dropped: sums go through them in this order, however many a screened head left out. */
        wf_sort_candidates(candidates, count);
    }

    const double place = uniform(sampling->seed, input->position);
    if (wf_truncates(sampling)) {
        const double coin = uniform(mix(sampling->seed ^ COIN), input->position);
        const wf_choice choice = {kernels, sampling, logits, largest, inverse_temperature, scratch->weights};
        return wf_choose_truncated(&choice, candidates, count, place, coin);
    }

    const bool has_nucleus = sampling->top_p < 1.0f, has_floor = !has_nucleus && sampling->min_p > 0.0f;
    const wf_residual_mass *residual = &input->residual;
    /* What a missing token weighs is less than this. Where only min_p excludes tokens, it must exclude all of them. */
    const double unit = residual->upper_bound > 0.0 ? exp((double)(residual->below - largest) * (double)inverse_temperature) : 0.0;
    if (has_floor && unit * (1.0 + WF_WEIGHT_ERROR) >= (double)sampling->min_p)
        return WF_UNDECIDED;
    const bool is_complete = residual->upper_bound == 0.0 || has_floor;

    const double known = wf_weight_of(candidates, count, has_floor ? sampling->min_p : 0.0f);
    /* Candidates below (1 − part) / count of the weight have together less than 1 − part of it, so what is looked for lies among the others: a
     * few, as a rule. Where tokens are missing, it must lie among those that surely rank before them. */
    const double floor = has_floor     ? (double)sampling->min_p
                         : is_complete ? (1.0 - (has_nucleus ? (double)sampling->top_p : place)) * known / count
                                       : 0.0;
    const uint32_t kept = wf_keep_from(candidates, count, floor, is_complete ? -INFINITY : residual->below);
    if (has_nucleus)
        wf_sort_candidates(candidates, kept);
    if (is_complete) {
        const uint32_t token = draw(candidates, kept, sampling, place, known);
        return token == WF_UNDECIDED ? best : token; /* only when rounding leaves the place at the very end */
    }
    /* Whether the missing ones weigh the least or the most that they can, the token must be the same. */
    const double error = SUM_ERROR * (known + unit * residual->upper_bound);
    const uint32_t token = draw(candidates, kept, sampling, place, known + unit * residual->lower_bound - error);
    return token == draw(candidates, kept, sampling, place, known + unit * residual->upper_bound + error) ? token : WF_UNDECIDED;
}
