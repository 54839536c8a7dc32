/*
 * sampler_test.c: the choice of a token against a naive reference in double precision.
 *
 * The reference gives each token's probability by the words of wrinklefree.h and nothing else: it sorts the whole
 * vocabulary and knows no shortcut. Where one of its comparisons is too close for single precision to agree, the case
 * says nothing and another is made. Draws are tested by what they must never give and by a chi-square of what they
 * give; seeds are fixed, so a run is the same everywhere. Every kernel tier must choose the same tokens.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "engine/sampler.h"
#include "kernels/dispatch.h"

#define VOCABULARY_MAX 2048U
#define LIST_MAX 64U
#define ERROR_BYTES 256U

static struct check_random source = {.state = 0x2545f4914f6cdd1du};

static uint32_t below(uint32_t limit) { return (uint32_t)check_below(&source, limit); }

static bool one_in(uint32_t count) { return below(count) == 0; }

/* From -1 to 1. */
static double random_number(void) { return (double)check_below(&source, 1U << 30) / (double)(1U << 29) - 1.0; }

/* ---- A case and its reference ---- */

struct sample {
    float logits[VOCABULARY_MAX];
    uint32_t vocabulary;
    wf_sampling sampling;
    uint32_t bias_ids[LIST_MAX];
    float bias_values[LIST_MAX];
    uint32_t bias_count;
    uint32_t seen_ids[LIST_MAX];
    uint32_t seen_counts[LIST_MAX];
    uint32_t seen_count;
    uint32_t banned_ids[LIST_MAX];
    uint32_t banned_count;
    float repeat_penalty; /* of token 0 */

    double probability[VOCABULARY_MAX]; /* 0: can't be chosen */
    double logit[VOCABULARY_MAX];       /* after bias and penalties */
    uint32_t best;
    bool doubtful; /* a comparison was too close */
};

static const wf_sampling neutral = {.temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .max_tokens = 1};

/* Relative differences below this are within the errors of single precision. */
#define CLOSE 1e-5

static bool is_close(double a, double b) {
    return a != b && isfinite(a) && isfinite(b) && fabs(a - b) <= CLOSE * fmax(1.0, fmax(fabs(a), fabs(b)));
}

static const double *ranked_by;

static int by_rank(const void *left, const void *right) {
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    if (ranked_by[a] != ranked_by[b])
        return ranked_by[a] > ranked_by[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

static double sum_of(const double *weight, const uint32_t *order, uint32_t count) {
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        sum += weight[order[i]];
    return sum;
}

static double deviation_of(const double *logit, const uint32_t *order, uint32_t count) {
    const double mean = sum_of(logit, order, count) / count;
    double squares = 0.0;
    for (uint32_t i = 0; i < count; i++)
        squares += (logit[order[i]] - mean) * (logit[order[i]] - mean);
    return sqrt(squares / count);
}

/* Keeps the typical ones of the ranked tokens order[count], at least `least`, and returns their number. */
static uint32_t refer_typical(struct sample *sample, uint32_t *order, const double *weight, uint32_t count, uint32_t least) {
    static double nearness[VOCABULARY_MAX];
    const double total = sum_of(weight, order, count);
    double entropy = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        const double p = weight[order[i]] / total;
        entropy -= p > 0.0 ? p * log(p) : 0.0;
    }
    for (uint32_t i = 0; i < count; i++)
        nearness[order[i]] = -fabs(-log(weight[order[i]] / total) - entropy);
    ranked_by = nearness;
    qsort(order, count, sizeof *order, by_rank);
    double sum = 0.0;
    uint32_t kept = 0;
    while (kept < count && (sum <= (double)sample->sampling.typical_p || kept < least)) {
        sum += weight[order[kept++]] / total;
        sample->doubtful |= fabs(sum - (double)sample->sampling.typical_p) <= CLOSE;
    }
    /* Their order is in doubt where they are near to each other at the border. */
    for (uint32_t i = 0; i < count && kept < count; i++)
        sample->doubtful |= i < kept ? fabs(nearness[order[i]] - nearness[order[kept]]) <= 2e-5
                                     : fabs(nearness[order[i]] - nearness[order[kept - 1]]) <= 2e-5;
    ranked_by = sample->logit;
    qsort(order, kept, sizeof *order, by_rank);
    return kept;
}

/* Weighs the ranked tokens order[count] by a temperature; at 0 the first one has all the weight. */
static void refer_weights(struct sample *sample, const uint32_t *order, double *weight, uint32_t count, double temperature) {
    sample->doubtful |= temperature == 0.0 && count > 1 && is_close(sample->logit[order[0]], sample->logit[order[1]]);
    for (uint32_t i = 0; i < count; i++)
        weight[order[i]] =
            temperature == 0.0 ? (double)(i == 0) : exp((sample->logit[order[i]] - sample->logit[order[0]]) / temperature);
}

static void refer(struct sample *sample) {
    const wf_sampling *sampling = &sample->sampling;
    const uint32_t vocabulary = sample->vocabulary;
    double *logit = sample->logit;
    for (uint32_t token = 0; token < vocabulary; token++) {
        logit[token] = (double)sample->logits[token];
        sample->probability[token] = 0.0;
    }
    sample->doubtful = false;
    for (uint32_t i = 0; i < sample->bias_count; i++)
        logit[sample->bias_ids[i]] += (double)sample->bias_values[i];
    for (uint32_t i = 0; i < sample->seen_count; i++) {
        double *seen = &logit[sample->seen_ids[i]];
        const double penalty = (double)sampling->repetition_penalty;
        sample->doubtful |= is_close(*seen, 0.0) && penalty != 1.0;
        *seen = *seen > 0.0 ? *seen / penalty : *seen * penalty;
        *seen -= (double)sampling->frequency_penalty * sample->seen_counts[i];
        *seen -= sample->seen_counts[i] > 0 ? (double)sampling->presence_penalty : 0.0;
    }
    for (uint32_t i = 0; i < sample->banned_count; i++)
        logit[sample->banned_ids[i]] = -INFINITY;

    uint32_t order[VOCABULARY_MAX], count = vocabulary;
    for (uint32_t token = 0; token < vocabulary; token++)
        order[token] = token;
    ranked_by = logit;
    qsort(order, vocabulary, sizeof *order, by_rank);
    sample->best = order[0];
    const double temperature = (double)sampling->temperature;
    const uint32_t place = sampling->temperature_place;
    const bool is_typical = sampling->typical_p > 0.0f && sampling->typical_p < 1.0f;
    const bool is_ranked = (place == 0 || !is_typical) && (place < 4 || sampling->xtc_probability == 0.0f);
    if ((temperature == 0.0 && is_ranked) || logit[order[0]] == -INFINITY) {
        sample->doubtful |= vocabulary > 1 && is_close(logit[order[0]], logit[order[1]]);
        sample->probability[order[0]] = 1.0;
        return;
    }
    static double weight[VOCABULARY_MAX];
    while (count > 0 && logit[order[count - 1]] == -INFINITY)
        count--;
    if (sampling->top_n_sigma > 0.0f) {
        const double lowest = logit[order[0]] - (double)sampling->top_n_sigma * deviation_of(logit, order, count);
        for (uint32_t i = 0; i < count; i++)
            sample->doubtful |= fabs(logit[order[i]] - lowest) <= CLOSE * fmax(1.0, fabs(lowest));
        while (logit[order[count - 1]] < lowest)
            count--;
    }
    if (sampling->top_k != 0 && sampling->top_k < count) {
        sample->doubtful |= is_close(logit[order[sampling->top_k - 1]], logit[order[sampling->top_k]]);
        count = sampling->top_k;
    }
    refer_weights(sample, order, weight, count, place == 0 ? temperature : 1.0);
    const uint32_t least = sampling->min_keep < count ? sampling->min_keep : count;
    if (is_typical)
        count = refer_typical(sample, order, weight, count, least);
    if (place == 1)
        refer_weights(sample, order, weight, count, temperature);
    if (sampling->top_p < 1.0f) {
        const double total = sum_of(weight, order, count), wanted = (double)sampling->top_p * total;
        double sum = weight[order[0]];
        uint32_t kept = 1;
        sample->doubtful |= fabs(sum - wanted) <= CLOSE * total;
        while (kept < count && (sum < wanted || kept < least)) {
            sum += weight[order[kept++]];
            sample->doubtful |= fabs(sum - wanted) <= CLOSE * total;
        }
        /* Which of two close tokens comes first matters only at the border. */
        sample->doubtful |= kept < count && is_close(logit[order[kept - 1]], logit[order[kept]]);
        count = kept;
    }
    if (place == 2)
        refer_weights(sample, order, weight, count, temperature);
    if (sampling->min_p > 0.0f) {
        const double floor = (double)sampling->min_p * weight[order[0]];
        uint32_t kept = 0;
        while (kept < count && (weight[order[kept]] >= floor || kept < least))
            kept++;
        for (uint32_t i = 0; i < count; i++)
            sample->doubtful |= weight[order[i]] != weight[order[0]] && fabs(weight[order[i]] - floor) <= CLOSE * floor;
        sample->doubtful |= kept < count && kept <= least && is_close(logit[order[kept - 1]], logit[order[kept]]);
        count = kept;
    }
    if (place == 3)
        refer_weights(sample, order, weight, count, temperature);
    /* xtc is applied with its probability, so there are two distributions. */
    double applied = 0.0;
    uint32_t excluded = 0;
    if (sampling->xtc_probability > 0.0f && sampling->xtc_threshold <= 0.5f) {
        const double floor = (double)sampling->xtc_threshold * sum_of(weight, order, count);
        uint32_t top = 0;
        while (top < count && weight[order[top]] >= floor)
            top++;
        for (uint32_t i = 0; i < count; i++)
            sample->doubtful |= fabs(weight[order[i]] - floor) <= CLOSE * floor;
        if (top >= 2 && count - (top - 1) >= least) {
            applied = (double)sampling->xtc_probability;
            excluded = top - 1;
            sample->doubtful |= is_close(logit[order[top - 2]], logit[order[top - 1]]);
        }
    }
    for (uint32_t from = 0; from <= excluded; from += excluded > 0 ? excluded : 1) {
        if (place == 4)
            refer_weights(sample, order + from, weight, count - from, temperature);
        const double share = from == 0 ? 1.0 - applied : applied, sum = sum_of(weight, order + from, count - from);
        for (uint32_t i = from; i < count; i++)
            sample->probability[order[i]] += share * weight[order[i]] / sum;
    }
}

/* One draw by a tier; scratch holds rubbish before. */
static uint32_t draw_by(const wf_kernels *kernels, const struct sample *sample, uint64_t seed, uint32_t position) {
    static float logits[VOCABULARY_MAX], weights[VOCABULARY_MAX];
    static wf_candidate candidates[VOCABULARY_MAX];
    memcpy(logits, sample->logits, sample->vocabulary * sizeof *logits);
    memset(weights, 0x7f, sample->vocabulary * sizeof *weights);
    memset(candidates, 0x7f, sample->vocabulary * sizeof *candidates);
    wf_sampling sampling = sample->sampling;
    sampling.seed = seed;
    const wf_sampler_input input = {
        .sampling = &sampling,
        .bias_ids = sample->bias_ids,
        .bias_values = sample->bias_values,
        .bias_count = sample->bias_count,
        .seen_ids = sample->seen_ids,
        .seen_counts = sample->seen_counts,
        .seen_count = sample->seen_count,
        .repeat_ids = &(uint32_t){0},
        .repeat_penalties = &sample->repeat_penalty,
        .repeat_count = sample->repeat_penalty > 0.0f,
        .banned_ids = sample->banned_ids,
        .banned_count = sample->banned_count,
        .position = position,
    };
    wf_sampler_scratch scratch = {.weights = weights, .candidates = candidates};
    return wf_sample(kernels, logits, sample->vocabulary, &input, &scratch);
}

/* One draw, the same by the best tier and, now and then, by all others. */
static uint32_t draw(const struct sample *sample, uint64_t seed, uint32_t position) {
    uint32_t tiers;
    const wf_kernels *const *kernels = wf_kernels_supported(&tiers);
    const uint32_t token = draw_by(kernels[0], sample, seed, position);
    CHECK(token < sample->vocabulary, "token %u of %u", token, sample->vocabulary);
    for (uint32_t tier = 1; seed % 8 == 0 && tier < tiers; tier++)
        CHECK(draw_by(kernels[tier], sample, seed, position) == token, "%s and %s choose differently", kernels[tier]->name,
              kernels[0]->name);
    return token < sample->vocabulary ? token : 0;
}

/* Draws `draws` times and holds the counts against the reference. */
static void check_draws(struct sample *sample, uint32_t draws, const char *what) {
    static uint32_t counts[VOCABULARY_MAX];
    memset(counts, 0, sizeof counts);
    const uint64_t seed = check_next(&source);
    const bool by_seed = one_in(2);
    for (uint32_t i = 0; i < draws; i++)
        counts[draw(sample, by_seed ? seed + i : seed, by_seed ? 7 : i)]++;
    double chi_square = 0.0, rest_expected = 0.0;
    uint32_t rest = 0, bins = 0;
    for (uint32_t token = 0; token < sample->vocabulary; token++) {
        CHECK(counts[token] == 0 || sample->probability[token] > 0.0, "%s: token %u of %u can't be chosen", what, token,
              sample->vocabulary);
        const double expected = sample->probability[token] * draws;
        if (expected < 8.0) {
            rest += counts[token];
            rest_expected += expected;
        } else {
            chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
            bins++;
        }
    }
    if (rest_expected >= 8.0) {
        chi_square += (rest - rest_expected) * (rest - rest_expected) / rest_expected;
        bins++;
    } else {
        CHECK(rest <= rest_expected + 6.0 * sqrt(rest_expected) + 6.0, "%s: %u unlikely tokens, %g expected", what, rest,
              rest_expected);
    }
    /* The mean of chi-square is its degrees of freedom n, its deviation sqrt(2n); the tail beyond this is below 1e-4.
     */
    const double freedom = bins > 1 ? bins - 1 : 1;
    CHECK(chi_square < freedom + 5.0 * sqrt(2.0 * freedom) + 10.0, "%s: chi-square %g for %g degrees of freedom", what, chi_square,
          freedom);
}

/* ---- Making cases ---- */

static float random_logit(uint32_t kind) {
    switch (kind) {
    case 0:
        return (float)(random_number() * 6.0);
    case 1: /* many ties, exact in any precision */
        return (float)((int)below(9) - 4) * 0.5f;
    case 2: /* few likely ones */
        return (float)(random_number() * random_number() * random_number() * 12.0);
    default: /* some that can't be chosen */
        return one_in(3) ? -INFINITY : (float)(random_number() * 4.0);
    }
}

/* Distinct ids below the vocabulary; their number. */
static uint32_t random_ids(uint32_t vocabulary, uint32_t most, uint32_t *ids) {
    uint32_t count = 0;
    for (uint32_t wanted = below(most + 1); wanted > 0; wanted--) {
        const uint32_t id = below(vocabulary);
        bool fresh = true;
        for (uint32_t i = 0; i < count; i++)
            fresh = fresh && ids[i] != id;
        if (fresh)
            ids[count++] = id;
    }
    return count;
}

static void make_sample(struct sample *sample, uint32_t vocabulary) {
    memset(sample, 0, sizeof *sample);
    sample->vocabulary = vocabulary;
    sample->sampling = neutral;
    const uint32_t kind = below(4);
    for (uint32_t token = 0; token < vocabulary; token++)
        sample->logits[token] = random_logit(kind);
    wf_sampling *sampling = &sample->sampling;
    static const float temperatures[] = {1.0f, 0.5f, 0.7f, 2.0f, 1.3f, 100.0f, 0.05f, 0.0f};
    sampling->temperature = temperatures[below(8)];
    if (one_in(2))
        sampling->top_k = 1 + below(one_in(3) ? vocabulary + 2 : 8);
    if (one_in(2)) {
        static const float likely[] = {0.0f, 1.0f, 0.999f, 0.5f};
        sampling->top_p = one_in(3) ? likely[below(4)] : (float)below(1000) * 0.001f;
    }
    if (one_in(2))
        sampling->min_p = one_in(6) ? 1.0f : (float)below(300) * 0.001f;
    if (one_in(6))
        sampling->top_n_sigma = 0.1f * (float)(1 + below(30));
    if (one_in(4))
        sampling->typical_p = one_in(4) ? 1.0f : 0.001f * (float)(1 + below(999));
    if (one_in(4)) {
        sampling->xtc_probability = one_in(3) ? 1.0f : 0.001f * (float)below(1000);
        sampling->xtc_threshold = 0.001f * (float)below(600);
    }
    if (one_in(5))
        sampling->min_keep = below(6);
    if (one_in(2))
        sampling->temperature_place = 1 + below(WF_TEMPERATURE_LAST);
    if (one_in(2)) {
        /* Powers of two keep ties tied. */
        static const float repetition[] = {2.0f, 0.5f, 1.0f, 4.0f};
        sampling->repetition_penalty = kind == 1 ? repetition[below(4)] : 0.5f + 0.01f * (float)below(150);
        sampling->frequency_penalty = (float)((int)below(9) - 4) * 0.25f;
        sampling->presence_penalty = (float)((int)below(9) - 4) * 0.25f;
    }
    sample->seen_count = random_ids(vocabulary, LIST_MAX, sample->seen_ids);
    for (uint32_t i = 0; i < sample->seen_count; i++)
        sample->seen_counts[i] = below(4);
    if (one_in(3)) {
        sample->bias_count = random_ids(vocabulary, 8, sample->bias_ids);
        for (uint32_t i = 0; i < sample->bias_count; i++)
            sample->bias_values[i] = (float)((int)below(17) - 8) * 0.5f;
    }
    if (one_in(3))
        sample->banned_count = random_ids(vocabulary, 6, sample->banned_ids);
}

/* ---- Tests ---- */

static void test_combinations(void) {
    static struct sample sample;
    uint32_t made = 0, doubtful = 0;
    while (made < 1200) {
        make_sample(&sample, made % 60 == 0 ? VOCABULARY_MAX : 1 + below(made % 2 == 0 ? 12 : 300));
        refer(&sample);
        if (sample.doubtful) {
            doubtful++;
            continue;
        }
        made++;
        const uint32_t draws = wf_is_greedy(&sample.sampling) ? 2 : 200;
        char what[256];
        const wf_sampling *sampling = &sample.sampling;
        snprintf(what, sizeof what,
                 "case %u (%u tokens, T %g, k %u, p %g, m %g, r %g, f %g, n %g, s %g, t %g, x %g %g, keep %u, place %u)", made,
                 sample.vocabulary, (double)sampling->temperature, sampling->top_k, (double)sampling->top_p,
                 (double)sampling->min_p, (double)sampling->repetition_penalty, (double)sampling->frequency_penalty,
                 (double)sampling->presence_penalty, (double)sampling->top_n_sigma, (double)sampling->typical_p,
                 (double)sampling->xtc_probability, (double)sampling->xtc_threshold, sampling->min_keep,
                 sampling->temperature_place);
        check_draws(&sample, draws, what);
    }
    CHECK(doubtful < made, "%u cases were too close to call", doubtful);
}

/* The order of the steps, in cases where another order gives another answer. */
static void test_order(void) {
    static struct sample sample;
    sample = (struct sample){.vocabulary = 4, .sampling = neutral, .logits = {2.0f, 1.0f, 0.0f, -1.0f}};
    sample.seen_ids[0] = 0;
    sample.seen_counts[0] = 2;
    sample.seen_count = 1;

    /* Bias before the repetition penalty: (2 - 4) * 2 = -4; the other way round it would be 2 / 2 - 4 = -3. */
    sample.bias_ids[0] = 0;
    sample.bias_values[0] = -4.0f;
    sample.bias_count = 1;
    sample.logits[3] = -3.5f;
    sample.sampling.repetition_penalty = 2.0f;
    sample.banned_ids[0] = 1;
    sample.banned_ids[1] = 2;
    sample.banned_count = 2;
    sample.sampling.temperature = 0.0f;
    CHECK(draw(&sample, 0, 0) == 3, "bias comes before the repetition penalty");

    /* Repetition before frequency and presence: 2 / 2 - 1 * 2 - 0.5 = -1.5; otherwise (2 - 2.5) * 2 = -1. */
    sample.bias_count = 0;
    sample.logits[3] = -1.25f;
    sample.sampling.frequency_penalty = 1.0f;
    sample.sampling.presence_penalty = 0.5f;
    CHECK(draw(&sample, 0, 0) == 3, "the repetition penalty comes before the others");

    /* Only in the prompt: frequency and presence do not count, repetition does. */
    sample.seen_counts[0] = 0;
    sample.logits[3] = 0.75f;
    CHECK(draw(&sample, 0, 0) == 0, "the prompt's tokens have no frequency");
    sample.logits[3] = 1.25f;
    CHECK(draw(&sample, 0, 0) == 3, "the prompt's tokens are repetitions");

    /* Temperature before top_p and min_p: at temperature 4 the second token has weight exp(-1/4) = 0.78, not 0.37. */
    sample = (struct sample){.vocabulary = 2, .sampling = neutral, .logits = {1.0f, 0.0f}};
    sample.sampling.temperature = 4.0f;
    sample.sampling.min_p = 0.5f;
    refer(&sample);
    CHECK(sample.probability[1] > 0.4, "the reference");
    check_draws(&sample, 2000, "temperature before min_p");
    sample.sampling.min_p = 0.0f;
    sample.sampling.top_p = 0.6f; /* the first has 0.56, and 0.73 at temperature 1 */
    refer(&sample);
    CHECK(sample.probability[1] > 0.4, "the reference");
    check_draws(&sample, 2000, "temperature before top_p");

    /* top_k before top_p: of two the first has 0.73 of the weight, of all four 0.64. */
    sample = (struct sample){.vocabulary = 4, .sampling = neutral, .logits = {3.0f, 2.0f, 1.0f, 0.0f}};
    sample.sampling.top_k = 2;
    sample.sampling.top_p = 0.7f;
    refer(&sample);
    CHECK(sample.probability[0] == 1.0, "the reference");
    check_draws(&sample, 500, "top_k before top_p");

    /* xtc after min_p: of two tokens over the threshold the likelier one goes, of what min_p has left none is over it but the first. */
    sample = (struct sample){.vocabulary = 3, .sampling = neutral, .logits = {1.0f, 0.0f, -1.0f}};
    sample.sampling.xtc_probability = 1.0f;
    sample.sampling.xtc_threshold = 0.2f;
    refer(&sample);
    CHECK(sample.probability[0] == 0.0 && sample.probability[1] > 0.7, "the reference");
    check_draws(&sample, 500, "xtc");
    sample.sampling.min_p = 0.5f;
    CHECK(draw(&sample, 0, 0) == 0, "xtc leaves what is alone");

    /* typical_p after top_k: of all eight equals and the one before them, one of the equals is typical; of two, the likelier one. */
    sample = (struct sample){.vocabulary = 9, .sampling = neutral, .logits = {2.0f}};
    sample.sampling.typical_p = 0.05f;
    CHECK(draw(&sample, 0, 0) == 1, "the typical token");
    sample.sampling.top_k = 2;
    CHECK(draw(&sample, 0, 0) == 0, "typical_p after top_k");

    /* The logits 2 and 0 lie one deviation from their mean; the deviation is that of the logits, not of the draw's weights, and what can't be
     * chosen is not a part of it. */
    sample = (struct sample){.vocabulary = 3, .sampling = neutral, .logits = {2.0f, 0.0f, -INFINITY}};
    sample.sampling.temperature = 50.0f;
    sample.sampling.top_n_sigma = 1.9f;
    refer(&sample);
    check_draws(&sample, 200, "within 1.9 deviations");
    CHECK(sample.probability[1] == 0.0, "the reference");
    sample.sampling.top_n_sigma = 2.1f;
    refer(&sample);
    CHECK(sample.probability[1] > 0.4, "the reference");
    check_draws(&sample, 1000, "within 2.1 deviations");

    /* What repeats is penalised after the other penalties: 2 / 2 - 0.5 = 0.5, otherwise (2 - 0.5) / 2 = 0.75. */
    sample = (struct sample){.vocabulary = 2, .sampling = neutral, .logits = {2.0f, 0.625f}};
    sample.sampling.temperature = 0.0f;
    sample.sampling.repetition_penalty = 2.0f;
    sample.seen_count = 1;
    sample.repeat_penalty = 0.5f;
    CHECK(draw(&sample, 0, 0) == 1, "repetitions after the repetition penalty");
}

/* A temperature behind what leaves tokens out, with the probabilities that llama.cpp's default order gives. */
static void test_late_temperature(void) {
    static struct sample sample;
    static const struct {
        uint32_t place;
        float temperature, typical_p, top_p, min_p, xtc_threshold; /* the threshold: above 0, xtc is applied */
        double probability[4];                                     /* of the logits 2, 1, 0, -1 */
    } cases[] = {
        /* At temperature 1 they have 0.6439, 0.2369, 0.0871 and 0.0321; at 2 0.4550, 0.2760, 0.1674 and 0.1016. */
        {0, 2.0f, 1.0f, 0.8f, 0.0f, 0.0f, {0.5065, 0.3072, 0.1863, 0.0}},
        {1, 2.0f, 1.0f, 0.8f, 0.0f, 0.0f, {0.5065, 0.3072, 0.1863, 0.0}},
        {2, 2.0f, 1.0f, 0.8f, 0.0f, 0.0f, {0.6225, 0.3775, 0.0, 0.0}},
        {4, 2.0f, 1.0f, 0.8f, 0.0f, 0.0f, {0.6225, 0.3775, 0.0, 0.0}},
        {2, 2.0f, 1.0f, 1.0f, 0.2f, 0.0f, {0.4551, 0.2760, 0.1674, 0.1015}},
        {3, 2.0f, 1.0f, 1.0f, 0.2f, 0.0f, {0.6225, 0.3775, 0.0, 0.0}},
        /* xtc looks at what has 0.2 of the weight: two tokens, or three at temperature 2 once min_p has left those. */
        {3, 2.0f, 1.0f, 1.0f, 0.1f, 0.15f, {0.0, 0.0, 1.0, 0.0}},
        {4, 2.0f, 1.0f, 1.0f, 0.1f, 0.15f, {0.0, 0.6225, 0.3775, 0.0}},
        /* The entropy is 0.9475: the information of the second, 1.4402, is nearest to it but for the first's, 0.4402. */
        {1, 2.0f, 0.7f, 1.0f, 0.0f, 0.0f, {0.6225, 0.3775, 0.0, 0.0}},
        /* Temperature 0 takes the likeliest of those that are left. */
        {4, 0.0f, 1.0f, 1.0f, 0.0f, 0.2f, {0.0, 1.0, 0.0, 0.0}},
        {3, 0.0f, 1.0f, 1.0f, 0.0f, 0.2f, {1.0, 0.0, 0.0, 0.0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sample = (struct sample){.vocabulary = 4, .sampling = neutral, .logits = {2.0f, 1.0f, 0.0f, -1.0f}};
        sample.sampling.temperature_place = cases[i].place;
        sample.sampling.temperature = cases[i].temperature;
        sample.sampling.typical_p = cases[i].typical_p;
        sample.sampling.top_p = cases[i].top_p;
        sample.sampling.min_p = cases[i].min_p;
        sample.sampling.xtc_probability = cases[i].xtc_threshold > 0.0f ? 1.0f : 0.0f;
        sample.sampling.xtc_threshold = cases[i].xtc_threshold;
        refer(&sample);
        for (uint32_t token = 0; token < 4; token++)
            CHECK(fabs(sample.probability[token] - cases[i].probability[token]) < 2e-4, "case %zu: the reference gives token %u %g",
                  i, token, sample.probability[token]);
        check_draws(&sample, 4000, "a late temperature");
    }
}

/* Whether xtc is applied does not follow from where the draw falls. */
static void test_coin(void) {
    static struct sample sample;
    /* Of 64 equals xtc leaves the last one, so what else is drawn was drawn without it. */
    sample = (struct sample){.vocabulary = 64, .sampling = neutral};
    sample.sampling.xtc_probability = 0.5f;
    sample.sampling.xtc_threshold = 0.001f;
    refer(&sample);
    check_draws(&sample, 20000, "the coin");
}

static void test_ties(void) {
    static struct sample sample;
    for (uint32_t vocabulary = 1; vocabulary <= VOCABULARY_MAX; vocabulary = vocabulary * 2 + below(3)) {
        sample = (struct sample){.vocabulary = vocabulary, .sampling = neutral};
        /* Of equals the lowest id. */
        sample.sampling.temperature = 0.0f;
        for (uint32_t token = 0; token < vocabulary; token++)
            sample.logits[token] = token >= vocabulary / 3 && token % 3 == vocabulary / 3 % 3 ? 1.5f : -2.0f;
        CHECK(draw(&sample, 0, 0) == vocabulary / 3, "greedy among equals of %u", vocabulary);
        sample.sampling.temperature = 1.0f;
        sample.sampling.top_k = 1;
        CHECK(draw(&sample, 0, 0) == vocabulary / 3, "top_k 1 among equals of %u", vocabulary);
        sample.sampling.top_k = 0;
        sample.sampling.top_p = 0.0f;
        CHECK(draw(&sample, 0, 0) == vocabulary / 3, "top_p 0 among equals of %u", vocabulary);

        /* All equal: truncation keeps the lowest ids, min_p keeps all. */
        for (uint32_t token = 0; token < vocabulary; token++)
            sample.logits[token] = -3.25f;
        sample.sampling.min_p = 1.0f;
        sample.sampling.top_p = 1.0f;
        refer(&sample);
        CHECK(sample.probability[vocabulary - 1] > 0.0, "the reference");
        check_draws(&sample, 1000, "all equal, min_p 1");
        sample.sampling.top_k = (vocabulary + 1) / 2;
        refer(&sample);
        check_draws(&sample, 1000, "all equal, top_k");
        sample.sampling.top_k = 0;
        sample.sampling.top_p = 0.3337f;
        refer(&sample);
        if (!sample.doubtful)
            check_draws(&sample, 1000, "all equal, top_p");
    }
}

static void test_extremes(void) {
    static struct sample sample;
    static const float values[] = {1e30f, -1e30f, -INFINITY, 0.0f, 3e38f, -3e38f, 1e-40f, -1e-40f};
    static const float temperatures[] = {0.0f, 1e-45f, 1e-38f, 1e-30f, 1e-10f, 1e-3f, 1.0f, 100.0f};
    for (uint32_t round = 0; round < 1200; round++) {
        make_sample(&sample, 1 + below(40));
        bool possible = false;
        for (uint32_t token = 0; token < sample.vocabulary; token++)
            sample.logits[token] = one_in(3) ? random_logit(0) : values[below(8)];
        sample.sampling.temperature = temperatures[below(8)];
        refer(&sample);
        for (uint32_t token = 0; token < sample.vocabulary; token++)
            possible = possible || sample.logit[token] > -INFINITY;
        for (uint64_t seed = 0; seed < 24; seed++) {
            const uint32_t token = draw(&sample, seed, round);
            /* In single precision sums of such numbers overflow, so only what can never be chosen is certain. */
            CHECK(!possible || sample.logit[token] > -INFINITY, "round %u: token %u can't be chosen", round, token);
            if (sample.logit[sample.best] - sample.logit[token] > 200.0 * fmax(1.0, (double)sample.sampling.temperature))
                CHECK(fabs(sample.logit[sample.best]) > 1e38, "round %u: %g chosen instead of %g", round, sample.logit[token],
                      sample.logit[sample.best]);
        }
    }
    /* The smallest temperatures are greedy. */
    for (uint32_t i = 0; i < 200; i++) {
        make_sample(&sample, 2 + below(60));
        sample.sampling.temperature = temperatures[1 + below(4)];
        sample.sampling.top_p = sample.sampling.min_p = 1.0f;
        sample.sampling.temperature_place = 0;
        refer(&sample);
        bool tied = sample.doubtful;
        for (uint32_t token = 0; token < sample.vocabulary; token++)
            tied = tied || (token != sample.best && fabs(sample.logit[token] - sample.logit[sample.best]) < 1e-4);
        for (uint64_t seed = 0; !tied && seed < 16; seed++)
            CHECK(draw(&sample, seed, i) == sample.best, "temperature %g", (double)sample.sampling.temperature);
    }
    /* Sums that overflow: an infinite logit wins, a NaN of a damaged model is no candidate. */
    sample = (struct sample){.vocabulary = 9, .sampling = neutral};
    sample.logits[2] = 3e38f;
    sample.logits[4] = 3e38f;
    sample.logits[6] = NAN;
    sample.bias_ids[0] = 4;
    sample.bias_values[0] = 3e38f;
    sample.bias_count = 1;
    for (uint64_t seed = 0; seed < 16; seed++)
        CHECK(draw(&sample, seed, 1) == 4, "an infinite logit");
    sample.logits[2] = sample.logits[4] = sample.bias_values[0] = 0.0f;
    for (uint64_t seed = 0; seed < 200; seed++)
        CHECK(draw(&sample, seed, 1) != 6, "a NaN");
    /* Nothing can be chosen: still a token. */
    sample = (struct sample){.vocabulary = 3, .sampling = neutral, .logits = {-INFINITY, -INFINITY, -INFINITY}};
    for (uint32_t i = 0; i < 16; i++)
        CHECK(draw(&sample, i, i) < 3, "all -inf");
    /* One token can be chosen. */
    sample.logits[1] = -1e30f;
    sample.sampling.temperature = 0.01f;
    for (uint32_t i = 0; i < 16; i++)
        CHECK(draw(&sample, i, i) == 1, "the only one");
}

/* Large vocabularies and many draws of the shapes that servers use. */
static void test_distribution(void) {
    static struct sample sample;
    static const struct {
        float temperature, top_p, min_p;
        uint32_t top_k;
    } shapes[] = {
        {1.0f, 1.0f, 0.0f, 0}, {0.7f, 0.95f, 0.0f, 0}, {0.8f, 0.9f, 0.0f, 40}, {1.2f, 1.0f, 0.05f, 0}, {1.5f, 0.99f, 0.02f, 100}};
    for (uint32_t round = 0; round < 10; round++) {
        const size_t shape = round % 5;
        do {
            sample = (struct sample){.vocabulary = VOCABULARY_MAX, .sampling = neutral};
            for (uint32_t token = 0; token < VOCABULARY_MAX; token++)
                sample.logits[token] = (float)(random_number() * random_number() * 9.0);
            sample.sampling.temperature = shapes[shape].temperature;
            sample.sampling.top_p = shapes[shape].top_p;
            sample.sampling.min_p = shapes[shape].min_p;
            sample.sampling.top_k = shapes[shape].top_k;
            refer(&sample);
        } while (sample.doubtful);
        check_draws(&sample, 1500, "a large vocabulary");
    }
    sample = (struct sample){.vocabulary = 5, .sampling = neutral, .logits = {0.0f, 0.5f, 1.0f, -1.0f, -3.0f}};
    refer(&sample);
    check_draws(&sample, 200000, "five tokens");
    sample.sampling.temperature = 1.6f;
    refer(&sample);
    check_draws(&sample, 200000, "five tokens, temperature 1.6");
}

/* The draw depends on seed and position, on both, and on nothing else. */
static void test_keys(void) {
    enum { SIDE = 24, VOCABULARY = 1000 };
    static struct sample sample;
    sample = (struct sample){.vocabulary = VOCABULARY, .sampling = neutral};
    static uint32_t tokens[SIDE][SIDE];
    const uint64_t seeds[] = {0, UINT64_MAX, 1ull << 63, 1ull << 32};
    for (uint32_t seed = 0; seed < SIDE; seed++)
        for (uint32_t position = 0; position < SIDE; position++)
            tokens[seed][position] = draw(&sample, seed < 4 ? seeds[seed] : seed, position);
    uint32_t same_position = 0, same_seed = 0, same_diagonal = 0;
    for (uint32_t seed = 0; seed < SIDE; seed++)
        for (uint32_t position = 0; position < SIDE; position++) {
            CHECK(draw(&sample, seed < 4 ? seeds[seed] : seed, position) == tokens[seed][position], "seed %u, position %u", seed,
                  position);
            same_seed += position > 0 && tokens[seed][position] == tokens[seed][position - 1];
            same_position += seed > 0 && tokens[seed][position] == tokens[seed - 1][position];
            same_diagonal += seed > 0 && position > 0 && tokens[seed][position] == tokens[seed - 1][position - 1];
            same_diagonal += seed > 0 && position + 1 < SIDE && tokens[seed][position] == tokens[seed - 1][position + 1];
        }
    /* 552 pairs, of which 0.55 are equal by chance. */
    CHECK(same_seed < 6 && same_position < 6 && same_diagonal < 9, "%u, %u and %u neighbours are equal", same_seed, same_position,
          same_diagonal);

    /* Pairs of neighbouring positions, and of neighbouring seeds, fill the plane evenly. */
    for (uint32_t direction = 0; direction < 2; direction++) {
        enum { CELLS = 8, PAIRS = 12800 };
        uint32_t counts[CELLS][CELLS] = {{0}};
        sample.vocabulary = CELLS;
        for (uint32_t i = 0; i < PAIRS; i++) {
            const uint32_t first = draw(&sample, direction == 0 ? 99 : i, direction == 0 ? i : 99);
            const uint32_t second = draw(&sample, direction == 0 ? 99 : i + 1, direction == 0 ? i + 1 : 99);
            counts[first][second]++;
        }
        double chi_square = 0.0;
        const double expected = (double)PAIRS / (CELLS * CELLS);
        for (uint32_t first = 0; first < CELLS; first++)
            for (uint32_t second = 0; second < CELLS; second++)
                chi_square += (counts[first][second] - expected) * (counts[first][second] - expected) / expected;
        CHECK(chi_square < 63.0 + 5.0 * sqrt(126.0), "chi-square %g of 63 degrees of freedom", chi_square);
    }
    /* The logits do not enter the random number. */
    sample = (struct sample){.vocabulary = 2, .sampling = neutral, .logits = {0.0f, 0.0f}};
    for (uint32_t i = 0; i < 64; i++) {
        const uint32_t token = draw(&sample, 5, i);
        sample.logits[0] = sample.logits[1] = (float)(int)i * 0.5f - 7.0f;
        CHECK(draw(&sample, 5, i) == token, "a shift of all logits changes the draw");
    }
}

static void test_check(void) {
    static const struct {
        const char *name;
        size_t offset;
        float good[3], bad[4];
    } fields[] = {
        {"temperature", offsetof(wf_sampling, temperature), {0.0f, 1.0f, 100.0f}, {-1e-6f, 100.01f, -INFINITY, 1e30f}},
        {"top_p", offsetof(wf_sampling, top_p), {0.0f, 0.5f, 1.0f}, {-1e-6f, 1.0001f, -INFINITY, 2.0f}},
        {"min_p", offsetof(wf_sampling, min_p), {0.0f, 0.5f, 1.0f}, {-1e-6f, 1.0001f, -INFINITY, 2.0f}},
        {"repetition_penalty", offsetof(wf_sampling, repetition_penalty), {0.01f, 1.0f, 100.0f}, {0.0f, -1.0f, -0.0f, 1e30f}},
        {"frequency_penalty", offsetof(wf_sampling, frequency_penalty), {-2.0f, 0.0f, 2.0f}, {-1e30f, 1e30f, -INFINITY, 3e38f}},
        {"presence_penalty", offsetof(wf_sampling, presence_penalty), {-2.0f, 0.0f, 2.0f}, {-1e30f, 1e30f, -INFINITY, 3e38f}},
        {"top_n_sigma", offsetof(wf_sampling, top_n_sigma), {0.0f, 1.0f, 100.0f}, {-1e-6f, -1.0f, -INFINITY, 1e30f}},
        {"typical_p", offsetof(wf_sampling, typical_p), {0.0f, 0.5f, 1.0f}, {-1e-6f, 1.0001f, -INFINITY, 2.0f}},
        {"xtc_probability", offsetof(wf_sampling, xtc_probability), {0.0f, 0.5f, 1.0f}, {-1e-6f, 1.0001f, -INFINITY, 2.0f}},
        {"xtc_threshold", offsetof(wf_sampling, xtc_threshold), {0.0f, 0.5f, 1.0f}, {-1e-6f, 1.0001f, -INFINITY, 2.0f}},
        {"dry_multiplier", offsetof(wf_sampling, dry_multiplier), {0.0f, 0.8f, 100.0f}, {-1e-6f, -1.0f, -INFINITY, 1e30f}},
        {"dry_base", offsetof(wf_sampling, dry_base), {0.0f, 1.75f, 100.0f}, {-1e-6f, -1.0f, -INFINITY, 1e30f}},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        for (size_t j = 0; j < 3 + 4 + 2; j++) {
            wf_sampling sampling = neutral;
            const float value = j < 3 ? fields[i].good[j] : j < 7 ? fields[i].bad[j - 3] : j == 7 ? NAN : INFINITY;
            memcpy((char *)&sampling + fields[i].offset, &value, sizeof value);
            char error[ERROR_BYTES];
            memset(error, 'x', sizeof error);
            const int result = wf_check_sampling(&sampling, error, sizeof error);
            if (j < 3)
                CHECK(result == 0, "%s %g is refused", fields[i].name, (double)value);
            else
                CHECK(result == -1 && check_is_line(error, sizeof error) && strstr(error, fields[i].name) != NULL, "%s %g: %.100s",
                      fields[i].name, (double)value, error);
        }
    }
    wf_sampling sampling = neutral;
    sampling.temperature_place = WF_TEMPERATURE_LAST + 1;
    CHECK(wf_check_sampling(&sampling, NULL, 0) == -1, "a place behind the last");
    sampling.temperature_place = WF_TEMPERATURE_LAST;
    CHECK(wf_check_sampling(&sampling, NULL, 0) == 0, "the last place");
    sampling.scope = UINT64_C(1) << 63;
    CHECK(wf_check_sampling(&sampling, NULL, 0) == -1, "a scope of 64 bits");
}

int main(void) {
    test_combinations();
    test_order();
    test_late_temperature();
    test_coin();
    test_ties();
    test_extremes();
    test_distribution();
    test_keys();
    test_check();
    return check_report();
}
