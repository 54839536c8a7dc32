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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
};

/* At least the norm whose square's parts are in the lanes. */
static float norm_of(const float lanes[LANES]) {
    double sum = 0;
    for (uint32_t lane = 0; lane < LANES; lane++)
        sum += (double)lanes[lane];
    return (float)sqrt(sum) * ROUNDED_UP;
}

/* values[count] as they are, and as scale * integers[count] has them: at least the norms of the difference, of the latter and of the
 * former. `count` is a multiple of LANES. */
static void measure(const float *values, const int8_t *integers, float scale, uint32_t count, float *error, float *sketched,
                    float *original) {
    float errors[LANES] = {0}, norms[LANES] = {0}, originals[LANES] = {0};
    for (uint32_t i = 0; i < count; i += LANES)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            const float value = values[i + lane], rounded = scale * (float)integers[i + lane], difference = value - rounded;
            errors[lane] += difference * difference;
            norms[lane] += rounded * rounded;
            originals[lane] += value * value;
        }
    *sketched = norm_of(norms);
    *original = norm_of(originals);
    /* The product of scale and integer is rounded, which the difference does not show. */
    *error = norm_of(errors) + 0x1p-23f * *sketched;
}

static void sketch_slice(void *context, uint32_t unit) {
    const struct sketch_job *job = context;
    wf_sketch *sketch = job->sketch;
    const uint32_t hidden = job->model->config.hidden, vocabulary = job->model->config.vocabulary;
    const uint32_t padded = (hidden + LANES - 1) / LANES * LANES;
    float *values = aligned_alloc(64, (padded * sizeof *values + 63) / 64 * 64);
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
        float original;
        job->kernels->quantize(values, hidden, (uint32_t)sketch->row_bytes, integers, &sketch->scales[row], &sum);
        measure(values, integers, sketch->scales[row], padded, &sketch->errors[row], &sketch->norms[row], &original);
    }
    free(values);
}

int wf_sketch_create(wf_sketch *sketch, const wf_model *model, const wf_kernels *kernels, wf_pool *pool, char *error,
                     uint32_t error_size) {
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
    struct sketch_job job = {.sketch = sketch, .model = model, .kernels = kernels};
    wf_pool_run(pool, sketch_slice, &job, (vocabulary + SLICE - 1) / SLICE);
    return 0;
}

void wf_sketch_destroy(wf_sketch *sketch) {
    if (sketch->rows != NULL)
        munmap(sketch->rows, sketch->mapped);
    free(sketch->scales);
    free(sketch->errors);
    free(sketch->norms);
    *sketch = (wf_sketch){0};
}

void wf_sketch_state(const wf_kernels *kernels, const float *state, uint32_t hidden, size_t row_bytes,
                     wf_sketched_state *sketched) {
    kernels->quantize(state, hidden, (uint32_t)row_bytes, sketched->values, &sketched->inverse_scale, &sketched->sum);
    float error = 0, rounded = 0, norm = 0;
    const uint32_t whole = hidden / LANES * LANES;
    measure(state, sketched->values, sketched->inverse_scale, whole, &error, &rounded, &norm);
    double errors = (double)error * (double)error, norms = (double)norm * (double)norm;
    for (uint32_t i = whole; i < hidden; i++) {
        const double difference = (double)state[i] - (double)sketched->inverse_scale * sketched->values[i];
        errors += difference * difference;
        norms += (double)state[i] * (double)state[i];
    }
    sketched->error = (float)sqrt(errors) * ROUNDED_UP;
    sketched->norm = (float)sqrt(norms) * ROUNDED_UP;
}
