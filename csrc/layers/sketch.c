/*
 * sketch.c: makes the sketch of the head.
 *
 * The bf16 head is more than half of what a decode step of the 2B reads, and nearly all of it to find out that a token is not the
 * likeliest. In 8 bits with one scale a row the head is half as large and its logits are off by less than half of their standard deviation,
 * provably so: with two norms each row has a bound. In the upper six of these bits it is three eighths as large, with a bound four times as
 * wide. The rows whose upper bound reaches the best token's logit are a few hundred of a hundred thousand by six bits and a few by
 * eight; only those are computed from the bf16 weights, and so the result is the bf16 head's. (In 5 bits every fifth row's bound would
 * reach it, where logits are as normally distributed as random ones.)
 */
#include "layers/sketch.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "base/pages.h"
#include "wrinklefree.h"

/* Rows in one unit of work. */
#define SLICE 256U

/* Lanes of the sums of squares: gcc makes vectors of them. */
#define LANES 16U

/* A sum of squares of positive terms in LANES lanes is off by less than 2^-24 a term in a lane, a ten-thousandth for the widest model;
 * its root by half of that. Norms are rounded up by this, so that they bound the true ones. */
#define ROUNDED_UP 1.0001f

struct sketch_job {
    wf_sketch *sketch;
    const wf_model *model;
    const wf_kernels *kernels;
    bool is_fine; /* the part that is made */
    const atomic_bool *stopping;
};

/* At least the norm whose square's parts are in the lanes. */
static float norm_of(const float lanes[LANES]) {
    double sum = 0;
    for (uint32_t lane = 0; lane < LANES; lane++)
        sum += (double)lanes[lane];
    return (float)sqrt(sum) * ROUNDED_UP;
}

/* At least these norms. */
struct norms {
    float original, sketched, difference;
};

/* The norms of values[count], of what `scale` times integers[count] has for them, and of the difference. The integers are 16 bits wide or
 * 8, a constant at each call; `count` is a multiple of LANES. */
static inline __attribute__((always_inline)) struct norms measure(const float *values, const void *integers, bool is_wide,
                                                                  float scale, uint32_t count) {
    float originals[LANES] = {0}, sketched[LANES] = {0}, differences[LANES] = {0};
    for (uint32_t i = 0; i < count; i += LANES)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            const int16_t integer = is_wide ? ((const int16_t *)integers)[i + lane] : ((const int8_t *)integers)[i + lane];
            const float value = values[i + lane], rounded = scale * (float)integer, difference = value - rounded;
            originals[lane] += value * value;
            sketched[lane] += rounded * rounded;
            differences[lane] += difference * difference;
        }
    struct norms norms = {norm_of(originals), norm_of(sketched), norm_of(differences)};
    /* The product of scale and integer is rounded, which the difference does not show. */
    norms.difference += 0x1p-23f * norms.sketched;
    return norms;
}

/* The upper six bits of a row's bytes, each 128 more than its weight. */
static void pack_coarse(const int8_t *weights, uint32_t blocks, uint8_t *coarse) {
    for (uint32_t block = 0; block < blocks; block++) {
        const int8_t *from = weights + block * WF_BLOCK_WEIGHTS;
        uint8_t *upper = coarse + block * WF_COARSE_BYTES;
        for (uint32_t i = 0; i < WF_FINE_BYTES; i++) {
            const uint8_t first = (uint8_t)(from[i] + 128), second = (uint8_t)(from[32 + i] + 128);
            const uint8_t third = (uint8_t)(from[64 + i] + 128), fourth = (uint8_t)(from[96 + i] + 128);
            upper[i] = (uint8_t)(first >> 2 | (fourth & 0x0c) << 4);
            upper[32 + i] = (uint8_t)(second >> 2 | (fourth & 0x30) << 2);
            upper[64 + i] = (uint8_t)(third >> 2 | (fourth & 0xc0));
        }
    }
}

/* The other two bits. */
static void pack_fine(const int8_t *weights, uint32_t blocks, uint8_t *fine) {
    for (uint32_t block = 0; block < blocks; block++) {
        const int8_t *from = weights + block * WF_BLOCK_WEIGHTS;
        uint8_t *lower = fine + block * WF_FINE_BYTES;
        for (uint32_t i = 0; i < WF_FINE_BYTES; i++)
            lower[i] = (uint8_t)((from[i] & 3) | (from[32 + i] & 3) << 2 | (from[64 + i] & 3) << 4 | (from[96 + i] & 3) << 6);
    }
}

/* The upper six bits of one row, its scale and its norms. `middles` is scratch. */
static void sketch_coarse(wf_sketch *sketch, uint32_t row, const float *values, uint32_t padded, const int8_t *integers,
                          float scale, int16_t *middles) {
    pack_coarse(integers, sketch->blocks, sketch->coarse + (size_t)row * sketch->blocks * WF_COARSE_BYTES);
    for (uint32_t i = 0; i < padded; i++)
        middles[i] = (int16_t)(((integers[i] + 128) >> 2) * 8 - 253);
    const struct norms norms = measure(values, middles, true, scale / 2, padded);
    sketch->scales[row] = scale;
    sketch->of_coarse.errors[row] = norms.difference;
    sketch->of_coarse.norms[row] = norms.sketched;
}

/* The other two bits, and the norms of all eight. */
static void sketch_fine(wf_sketch *sketch, uint32_t row, const float *values, uint32_t padded, const int8_t *integers,
                        float scale) {
    pack_fine(integers, sketch->blocks, sketch->fine + (size_t)row * sketch->blocks * WF_FINE_BYTES);
    const struct norms norms = measure(values, integers, false, scale, padded);
    sketch->of_fine.errors[row] = norms.difference;
    sketch->of_fine.norms[row] = norms.sketched;
}

static void sketch_slice(void *context, uint32_t unit) {
    const struct sketch_job *job = context;
    if (atomic_load_explicit(job->stopping, memory_order_relaxed))
        return;
    wf_sketch *sketch = job->sketch;
    const wf_linear *head = &job->model->head;
    const uint32_t hidden = job->model->config.hidden, vocabulary = job->model->config.vocabulary;
    const uint32_t padded = (hidden + LANES - 1) / LANES * LANES, width = sketch->blocks * WF_BLOCK_WEIGHTS;
    float *values = wf_allocate(padded, sizeof *values);
    int8_t *integers = wf_allocate(width, sizeof *integers);
    int16_t *middles = wf_allocate(padded, sizeof *middles); /* twice what six bits stand for */
    const bool has_memory = values != NULL && integers != NULL && middles != NULL;
    for (uint32_t row = unit * SLICE; row < (unit + 1) * SLICE && row < vocabulary; row++) {
        if (!has_memory) {
            /* The row counts as anything with an error that keeps it among the candidates. */
            (job->is_fine ? sketch->of_fine : sketch->of_coarse).errors[row] = INFINITY;
            continue;
        }
        memset(values + hidden, 0, (padded - hidden) * sizeof *values);
        head->read_row(head, row, values);
        int32_t sum;
        float scale;
        job->kernels->quantize(values, hidden, width, integers, &scale, &sum);
        if (job->is_fine)
            sketch_fine(sketch, row, values, padded, integers, scale);
        else
            sketch_coarse(sketch, row, values, padded, integers, scale, middles);
    }
    free(values);
    free(integers);
    free(middles);
    const uint32_t first = unit * SLICE, rows = vocabulary - first < SLICE ? vocabulary - first : SLICE;
    wf_mapping_release(&job->model->mapping, head->rows + (size_t)first * head->row_bytes, (uint64_t)rows * head->row_bytes);
}

/* Floats of a row: its scale, and two norms of each part. */
#define FLOATS 5

/* Blocks in a row. */
static uint32_t blocks_of(uint32_t hidden) { return (hidden + WF_BLOCK_WEIGHTS - 1) / WF_BLOCK_WEIGHTS; }

uint64_t wf_screened_row_bytes(uint32_t hidden) {
    const wf_sketch sketch = {.blocks = blocks_of(hidden)};
    return wf_sketch_row_bytes(&sketch, false);
}

uint64_t wf_sketch_bytes(const wf_config *config) {
    const uint64_t row = (uint64_t)blocks_of(config->hidden) * (WF_COARSE_BYTES + WF_FINE_BYTES) + FLOATS * sizeof(float);
    return config->vocabulary * row;
}

int wf_sketch_create(wf_sketch *sketch, const wf_model *model, char *error, uint32_t error_size) {
    const uint32_t vocabulary = model->config.vocabulary;
    const uint32_t blocks = blocks_of(model->config.hidden);
    /* A lane of the head's sum is rounded hidden / WF_LANES times, its way to the total and the sketch's logit a few times more, each time
     * by at most 2^-24 of Σ |w_i x_i| ≤ |w| |x|; doubled for good measure. */
    const float roundings = (float)(model->config.hidden / WF_LANES + 16);
    *sketch = (wf_sketch){.blocks = blocks, .rounding = roundings * 0x1p-23f};
    const size_t all_blocks = (size_t)vocabulary * blocks;
    sketch->mapped = all_blocks * (WF_COARSE_BYTES + WF_FINE_BYTES);
    sketch->coarse = wf_map_huge_pages(sketch->mapped);
    bool complete = sketch->coarse != NULL;
    float **floats[FLOATS] = {&sketch->scales, &sketch->of_coarse.errors, &sketch->of_coarse.norms, &sketch->of_fine.errors,
                              &sketch->of_fine.norms};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        *floats[i] = calloc(vocabulary, sizeof(float));
        complete = complete && *floats[i] != NULL;
    }
    if (!complete) {
        const size_t megabytes = sketch->mapped / 1000000;
        wf_sketch_destroy(sketch);
        return wf_fail(error, error_size, "no memory for a sketch of the head, %zu MB; use the exact head", megabytes);
    }
    sketch->fine = sketch->coarse + all_blocks * WF_COARSE_BYTES;
    return 0;
}

void wf_sketch_fill(wf_sketch *sketch, const wf_model *model, const wf_kernels *kernels, bool is_fine, wf_pool *pool,
                    const atomic_bool *stopping) {
    struct sketch_job job = {sketch, model, kernels, is_fine, stopping};
    wf_pool_run(pool, sketch_slice, &job, (model->config.vocabulary + SLICE - 1) / SLICE);
}

void wf_sketch_destroy(wf_sketch *sketch) {
    wf_unmap_pages(sketch->coarse, sketch->mapped);
    free(sketch->scales);
    free(sketch->of_coarse.errors);
    free(sketch->of_coarse.norms);
    free(sketch->of_fine.errors);
    free(sketch->of_fine.norms);
    *sketch = (wf_sketch){0};
}

void wf_sketch_state(const float *state, uint32_t hidden, uint32_t blocks, wf_sketched_state *sketched) {
    const uint32_t width = blocks * WF_BLOCK_WEIGHTS;
    float largest = 1e-30f;
    bool is_finite = true;
    for (uint32_t i = 0; i < hidden; i++) {
        const float magnitude = fabsf(state[i]);
        largest = magnitude > largest ? magnitude : largest;
        is_finite &= magnitude < INFINITY;
    }
    memset(sketched->values, 0, width * sizeof *sketched->values);
    sketched->sum = 0;
    if (!is_finite) {
        sketched->inverse_scale = 0;
        sketched->error = sketched->norm = INFINITY;
        return;
    }
    /* So many that a sum of 128 times as much for each of the row's weights stays within 32 bits. */
    const uint32_t room = (uint32_t)INT32_MAX / 128 / width;
    const int32_t limit = room < INT16_MAX ? (int32_t)room : INT16_MAX;
    const float scale = (float)limit / largest;
    sketched->inverse_scale = largest / (float)limit;

    /* Adding and taking away 1.5 · 2^23 rounds to an integer, in vectors of any processor. */
    for (uint32_t i = 0; i < hidden; i++)
        sketched->values[i] = (int16_t)(int32_t)(state[i] * scale + 0x1.8p23f - 0x1.8p23f);
    const uint32_t whole = hidden / LANES * LANES;
    struct norms norms = measure(state, sketched->values, true, sketched->inverse_scale, whole);
    if (whole < hidden) {
        float rest[LANES] = {0};
        memcpy(rest, state + whole, (hidden - whole) * sizeof *rest);
        const struct norms of_rest = measure(rest, sketched->values + whole, true, sketched->inverse_scale, LANES);
        norms.original = hypotf(norms.original, of_rest.original) * ROUNDED_UP;
        norms.difference = hypotf(norms.difference, of_rest.difference) * ROUNDED_UP;
    }
    sketched->error = norms.difference;
    sketched->norm = norms.original;

    for (uint32_t first = 0; first < width; first += WF_BLOCK_WEIGHTS) {
        int16_t inputs[WF_BLOCK_WEIGHTS];
        memcpy(inputs, sketched->values + first, sizeof inputs);
        for (uint32_t i = 0; i < WF_BLOCK_WEIGHTS; i++) {
            sketched->values[first + wf_wide_index(i)] = inputs[i];
            sketched->sum += inputs[i];
        }
    }
}
