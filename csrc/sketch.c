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

/* Norms are computed in double precision and rounded up by this, so that they bound the true ones. */
#define ROUNDED_UP 1.000001

struct sketch_job {
    wf_sketch *sketch;
    const wf_model *model;
};

static float widen(uint16_t weight) {
    const uint32_t bits = (uint32_t)weight << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void sketch_row(wf_sketch *sketch, const uint16_t *weights, uint32_t hidden, uint32_t row) {
    float largest = 0;
    for (uint32_t i = 0; i < hidden; i++)
        largest = fmaxf(largest, fabsf(widen(weights[i])));
    const float scale = largest > 0 ? largest / 127.0f : 1.0f, inverse = 1.0f / scale;
    int8_t *out = sketch->rows + row * sketch->row_bytes;
    double error = 0, norm = 0;
    for (uint32_t i = 0; i < hidden; i++) {
        const float weight = widen(weights[i]);
        float rounded = rintf(weight * inverse);
        rounded = rounded > -127.0f ? rounded : -127.0f;
        rounded = rounded < 127.0f ? rounded : 127.0f;
        out[i] = (int8_t)rounded;
        const double value = (double)scale * (double)rounded, difference = (double)weight - value;
        error += difference * difference;
        norm += value * value;
    }
    sketch->scales[row] = scale;
    sketch->errors[row] = (float)(sqrt(error) * ROUNDED_UP);
    sketch->norms[row] = (float)(sqrt(norm) * ROUNDED_UP);
}

static void sketch_slice(void *context, uint32_t unit) {
    const struct sketch_job *job = context;
    const uint32_t hidden = job->model->config.hidden, vocabulary = job->model->config.vocabulary;
    for (uint32_t row = unit * SLICE; row < (unit + 1) * SLICE && row < vocabulary; row++)
        sketch_row(job->sketch, job->model->head + (size_t)row * hidden, hidden, row);
}

int wf_sketch_create(wf_sketch *sketch, const wf_model *model, wf_pool *pool, char *error, uint32_t error_size) {
    const uint32_t vocabulary = model->config.vocabulary;
    *sketch = (wf_sketch){.row_bytes = ((size_t)model->config.hidden + 63) / 64 * 64};
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
    struct sketch_job job = {sketch, model};
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
    double error = 0, norm = 0;
    for (uint32_t i = 0; i < hidden; i++) {
        const double difference = (double)state[i] - (double)sketched->inverse_scale * sketched->values[i];
        error += difference * difference;
        norm += (double)state[i] * (double)state[i];
    }
    sketched->error = (float)(sqrt(error) * ROUNDED_UP);
    sketched->norm = (float)(sqrt(norm) * ROUNDED_UP);
}
