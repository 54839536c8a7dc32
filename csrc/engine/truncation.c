/*
 * truncation.c: top_n_sigma, typical_p, xtc and min_keep, which look at the whole distribution, and temperatures that come after some of
 * these. Sums run in a fixed order.
 */
#include "engine/truncation.h"

#include <math.h>

#include "layers/residual_mass.h"

void wf_keep_within_deviations(float *logits, uint32_t vocabulary, float largest, float deviations) {
    double sum = 0, squares = 0;
    uint32_t count = 0;
    for (uint32_t token = 0; token < vocabulary; token++)
        if (logits[token] > -INFINITY) {
            sum += (double)logits[token];
            count++;
        }
    const double mean = sum / count;
    for (uint32_t token = 0; token < vocabulary; token++)
        if (logits[token] > -INFINITY)
            squares += ((double)logits[token] - mean) * ((double)logits[token] - mean);
    const double lowest = (double)largest - (double)deviations * sqrt(squares / count);
    for (uint32_t token = 0; token < vocabulary; token++)
        if ((double)logits[token] < lowest)
            logits[token] = -INFINITY;
}

/* Where the temperature comes: behind so many of the steps of wf_choose_truncated. */
enum { AFTER_TYPICAL = 1, AFTER_TOP_P, AFTER_MIN_P, AFTER_XTC = WF_TEMPERATURE_LAST };

static bool is_typical(const wf_sampling *sampling) { return sampling->typical_p > 0.0f && sampling->typical_p < 1.0f; }

bool wf_truncates(const wf_sampling *sampling) {
    const bool is_late = sampling->temperature_place > 0 && sampling->temperature != 1.0f;
    return is_typical(sampling) || sampling->xtc_probability > 0.0f || sampling->min_keep > 1 || is_late;
}

bool wf_may_drop_likeliest(const wf_sampling *sampling) {
    return (is_typical(sampling) && sampling->temperature_place >= AFTER_TYPICAL) ||
           (sampling->xtc_probability > 0.0f && sampling->temperature_place >= AFTER_XTC);
}

/* At least so many stay, where there are so many. */
static uint32_t at_least(uint32_t kept, uint32_t min_keep, uint32_t count) {
    const uint32_t least = min_keep < count ? min_keep : count;
    return kept > least ? kept : least;
}

/* Keeps the candidates whose information, −ln of the probability, is nearest to its mean, the entropy, until they have more than typical_p
 * of the weight (Meister et al. 2023, "Locally typical sampling"). The logarithm of the total is a part of both, and cancels out. */
static uint32_t keep_typical(const wf_choice *choice, wf_candidate *candidates, uint32_t count) {
    const wf_sampling *sampling = choice->sampling;
    const double largest = (double)choice->largest, inverse_temperature = (double)choice->inverse_temperature;
    double total = 0, mean = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double weight = (double)candidates[i].weight;
        total += weight;
        if (weight > 0)
            mean += weight * (largest - (double)candidates[i].logit) * inverse_temperature;
    }
    mean /= total;
    /* Ranked by what they are selected by, for the moment. */
    for (uint32_t i = 0; i < count; i++)
        candidates[i].logit = -(float)fabs((largest - (double)candidates[i].logit) * inverse_temperature - mean);
    uint32_t kept = wf_select_weight(candidates, count, (double)sampling->typical_p * total);
    if (kept == 0)
        kept = count;
    if (kept < at_least(kept, sampling->min_keep, count)) {
        kept = at_least(kept, sampling->min_keep, count);
        wf_select_top(candidates, count, kept);
    }
    for (uint32_t i = 0; i < kept; i++)
        candidates[i].logit = choice->logits[candidates[i].token];
    return kept;
}

/* Keeps those that weigh at least `floor`, but at least min_keep. */
static uint32_t keep_weighing(wf_candidate *candidates, uint32_t count, double floor, uint32_t min_keep) {
    uint32_t heavy = 0;
    for (uint32_t i = 0; i < count; i++)
        heavy += (double)candidates[i].weight >= floor;
    const uint32_t kept = at_least(heavy, min_keep, count);
    if (kept == heavy)
        return wf_keep_from(candidates, count, floor, -INFINITY);
    wf_select_top(candidates, count, kept);
    return kept;
}

/* Keeps the fewest likeliest ones that have at least top_p of the weight. */
static uint32_t keep_nucleus(wf_candidate *candidates, uint32_t count, const wf_sampling *sampling) {
    const double top_p = (double)sampling->top_p, total = wf_weight_of(candidates, count, 0.0f);
    /* Those below (1 − top_p) / count of the weight have together less than 1 − top_p of it. */
    count = keep_weighing(candidates, count, (1.0 - top_p) * total / count, sampling->min_keep);
    wf_sort_candidates(candidates, count);
    const uint32_t kept = wf_nucleus(candidates, count, top_p * total);
    return at_least(kept == 0 ? count : kept, sampling->min_keep, count);
}

/* Keeps those that are at least min_p times as likely as the likeliest one. */
static uint32_t keep_likely(wf_candidate *candidates, uint32_t count, const wf_sampling *sampling) {
    float heaviest = 0.0f;
    for (uint32_t i = 0; i < count; i++)
        heaviest = candidates[i].weight > heaviest ? candidates[i].weight : heaviest;
    return keep_weighing(candidates, count, (double)sampling->min_p * (double)heaviest, sampling->min_keep);
}

/* Excludes the top choices: of those that have at least the threshold's probability, all but the least likely one, if enough are left. */
static uint32_t exclude_top(wf_candidate *candidates, uint32_t count, const wf_sampling *sampling) {
    const double floor = (double)sampling->xtc_threshold * wf_weight_of(candidates, count, 0.0f);
    uint32_t top = 0;
    for (uint32_t i = 0; i < count; i++)
        top += (double)candidates[i].weight >= floor;
    if (top < 2 || count - (top - 1) < sampling->min_keep)
        return count;
    /* The last of the top ones comes behind the others of them, which are overwritten. */
    wf_select_top(candidates, count, top);
    wf_select_top(candidates, top, top - 1);
    for (uint32_t i = top - 1; i < count; i++)
        candidates[i - (top - 1)] = candidates[i];
    return count - (top - 1);
}

/* Weighs the candidates by the temperature; of temperature 0 only the likeliest is left. */
static uint32_t apply_temperature(const wf_choice *choice, wf_candidate *candidates, uint32_t count) {
    if (choice->sampling->temperature == 0.0f) {
        wf_select_top(candidates, count, 1);
        return 1;
    }
    float largest = candidates[0].logit;
    for (uint32_t i = 0; i < count; i++) {
        choice->weights[i] = candidates[i].logit;
        largest = candidates[i].logit > largest ? candidates[i].logit : largest;
    }
    choice->kernels->exponentials(choice->weights, count, largest, wf_inverse_temperature(choice->sampling->temperature),
                                  choice->weights);
    for (uint32_t i = 0; i < count; i++)
        candidates[i].weight = choice->weights[i];
    return count;
}

uint32_t wf_choose_truncated(const wf_choice *choice, wf_candidate *candidates, uint32_t count, double place, double coin) {
    const wf_sampling *sampling = choice->sampling;
    if (is_typical(sampling))
        count = keep_typical(choice, candidates, count);
    if (sampling->temperature_place == AFTER_TYPICAL)
        count = apply_temperature(choice, candidates, count);
    if (sampling->top_p < 1.0f)
        count = keep_nucleus(candidates, count, sampling);
    if (sampling->temperature_place == AFTER_TOP_P)
        count = apply_temperature(choice, candidates, count);
    if (sampling->min_p > 0.0f)
        count = keep_likely(candidates, count, sampling);
    if (sampling->temperature_place == AFTER_MIN_P)
        count = apply_temperature(choice, candidates, count);
    if (coin < (double)sampling->xtc_probability && sampling->xtc_threshold <= 0.5f)
        count = exclude_top(candidates, count, sampling);
    if (sampling->temperature_place == AFTER_XTC)
        count = apply_temperature(choice, candidates, count);
    const uint32_t kept = wf_select_weight(candidates, count, place * wf_weight_of(candidates, count, 0.0f));
    if (kept > 0)
        return candidates[kept - 1].token;
    /* Only when rounding leaves the place at the very end, or nothing has weight. */
    wf_select_top(candidates, count, 1);
    return candidates[0].token;
}
