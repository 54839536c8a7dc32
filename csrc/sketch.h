/*
 * sketch.h: a low-precision copy of the head that finds the few tokens which can still be the likeliest.
 */
#ifndef WF_SKETCH_H
#define WF_SKETCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model.h"
#include "threads.h"

/* The head in 8 bits. Row r stands for w = head[r] as v = scales[r] * rows[r]; what that leaves out is bounded. */
typedef struct wf_sketch {
    int8_t *rows;     /* [vocabulary][row_bytes], within -127 … 127, zero past the hidden size; 64-byte aligned */
    size_t row_bytes; /* the hidden size rounded up to 64 */
    float *scales;    /* [vocabulary] */
    float *errors;    /* [vocabulary] at least |w − v| */
    float *norms;     /* [vocabulary] at least |v| */
    float rounding;   /* what the rounding of a logit's sums can amount to, in units of |w| |x| */
    size_t mapped;    /* bytes of rows */
} wf_sketch;

/* Memory for the sketch of a model's head. Returns 0, or -1 with `error`. */
int wf_sketch_create(wf_sketch *sketch, const wf_model *model, char *error, uint32_t error_size);

/* Makes it of the head. It ends early, and leaves the sketch of no use, when `stopping` becomes true. */
void wf_sketch_fill(wf_sketch *sketch, const wf_model *model, const wf_kernels *kernels, wf_pool *pool,
                    const atomic_bool *stopping);

/* A sketch that was never made is allowed, when it is all zero. */
void wf_sketch_destroy(wf_sketch *sketch);

/* A hidden state as the sketch sees it, in as many bits as its product with a row leaves room for. */
typedef struct wf_sketched_state {
    int16_t *values;     /* [row_bytes] */
    float inverse_scale; /* state ≈ inverse_scale * values */
    float error;         /* at least |state − inverse_scale * values| */
    float norm;          /* at least |state| */
} wf_sketched_state;

/* Fills what wf_sketched_state says from state[hidden], its values' memory given. */
void wf_sketch_state(const float *state, uint32_t hidden, size_t row_bytes, wf_sketched_state *sketched);

/* At least how far the sketch's logit of a row is from what the head's kernel computes: Cauchy and Schwarz for
 * w·x − v·y = (w − v)·x + v·(x − y), and the rounding of both sums. */
static inline float wf_sketch_bound(const wf_sketch *sketch, const wf_sketched_state *state, uint32_t row) {
    const float rounding = sketch->rounding * (sketch->norms[row] + sketch->errors[row]) * state->norm;
    return sketch->errors[row] * state->norm + sketch->norms[row] * state->error + rounding;
}

#endif
