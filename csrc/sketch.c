/*
 * sketch.c: makes the sketch of the head.
 *
 * The bf16 head is more than half of what a decode step of the 2B reads, and nearly all of it to find out that a token is not the
 * likeliest. In 8 bits with one scale a row the head is half as large and its logits are off by less than half of their standard deviation,
 * provably so: with the two norms below each row has a bound. The rows whose upper bound reaches the best lower bound are a few
 * of a hundred thousand; only those are computed from the bf16 weights, and so the result is the bf16 head's. (In 4 bits, half as
 * large again, the bound is 16 % of |w| |x|, more than what sets a likely token apart: every row would have to be computed.)
 */
#include "sketch.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "aligned_memory.h"
#include "error.h"

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

static void sketch_slice(void *context, uint32_t unit) {
    const struct sketch_job *job = context;
    if (atomic_load_explicit(job->stopping, memory_order_relaxed))
        return;
    wf_sketch *sketch = job->sketch;
    const uint32_t hidden = job->model->config.hidden, vocabulary = job->model->config.vocabulary;
    const uint32_t padded = (hidden + LANES - 1) / LANES * LANES;
    float *values = wf_allocate(padded, sizeof *values);
    for (uint32_t row = unit * SLICE; row < (unit + 1) * SLICE && row < vocabulary; row++) {
        int8_t *integers = sketch->rows + row * sketch->row_bytes;
        const uint16_t *weights = job->model->head + (size_t)row * hidden;
        if (values == NULL) {
            /* Without memory the row counts as zero with an error that keeps it among the candidates. */
            memset(integers, 0, sketch->row_bytes);
            sketch->errors[row] = INFINITY;
            continue;
        }
        memset(values + hidden, 0, (padded - hidden) * sizeof *values);
        for (uint32_t i = 0; i < hidden; i++) {
            const uint32_t bits = (uint32_t)weights[i] << 16;
            memcpy(&values[i], &bits, sizeof bits);
        }
        int32_t sum;
        job->kernels->quantize(values, hidden, (uint32_t)sketch->row_bytes, integers, &sketch->scales[row], &sum);
        const struct norms norms = measure(values, integers, false, sketch->scales[row], padded);
        sketch->errors[row] = norms.difference;
        sketch->norms[row] = norms.sketched;
    }
    free(values);
}

int wf_sketch_create(wf_sketch *sketch, const wf_model *model, char *error, uint32_t error_size) {
    const uint32_t vocabulary = model->config.vocabulary;
    /* A lane of the head's sum is rounded hidden / WF_LANES times, its way to the total and the sketch's logit a few times more, each time
     * by at most 2^-24 of Σ |w_i x_i| ≤ |w| |x|; doubled for good measure. */
    const float roundings = (float)(model->config.hidden / WF_LANES + 16);
    *sketch = (wf_sketch){.row_bytes = ((size_t)model->config.hidden + 63) / 64 * 64, .rounding = roundings * 0x1p-23f};
    sketch->mapped = vocabulary * sketch->row_bytes;
    void *rows = mmap(NULL, sketch->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sketch->rows = rows == MAP_FAILED ? NULL : rows;
    sketch->scales = calloc(vocabulary, sizeof(float));
    sketch->errors = calloc(vocabulary, sizeof(float));
    sketch->norms = calloc(vocabulary, sizeof(float));
    if (sketch->rows == NULL || sketch->scales == NULL || sketch->errors == NULL || sketch->norms == NULL) {
        wf_sketch_destroy(sketch);
        return wf_fail(error, error_size, "no memory for a sketch of the head, %zu MB; use the exact head",
                       vocabulary * sketch->row_bytes / 1000000);
    }
#if defined(MADV_HUGEPAGE)
    (void)madvise(sketch->rows, sketch->mapped, MADV_HUGEPAGE); /* advice */
#endif
    return 0;
}

void wf_sketch_fill(wf_sketch *sketch, const wf_model *model, const wf_kernels *kernels, wf_pool *pool,
                    const atomic_bool *stopping) {
    struct sketch_job job = {.sketch = sketch, .model = model, .kernels = kernels, .stopping = stopping};
    wf_pool_run(pool, sketch_slice, &job, (model->config.vocabulary + SLICE - 1) / SLICE);
}

void wf_sketch_destroy(wf_sketch *sketch) {
    if (sketch->rows != NULL)
        munmap(sketch->rows, sketch->mapped);
    free(sketch->scales);
    free(sketch->errors);
    free(sketch->norms);
    *sketch = (wf_sketch){0};
}

void wf_sketch_state(const float *state, uint32_t hidden, size_t row_bytes, wf_sketched_state *sketched) {
    float largest = 1e-30f;
    bool is_finite = true;
    for (uint32_t i = 0; i < hidden; i++) {
        const float magnitude = fabsf(state[i]);
        largest = magnitude > largest ? magnitude : largest;
        is_finite &= magnitude < INFINITY;
    }
    memset(sketched->values, 0, row_bytes * sizeof *sketched->values);
    if (!is_finite) {
        sketched->inverse_scale = 0;
        sketched->error = sketched->norm = INFINITY;
        return;
    }
    /* So many that a sum of 127 times as much in each of the row's bytes stays within 32 bits. */
    const size_t room = (size_t)INT32_MAX / 127 / row_bytes;
    const int32_t most = room < INT16_MAX ? (int32_t)room : INT16_MAX;
    const float scale = (float)most / largest;
    sketched->inverse_scale = largest / (float)most;

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
}
