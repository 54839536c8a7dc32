/*
 * sketch.h: a low-precision copy of the head that finds the few tokens which can still be the likeliest.
 */
#ifndef WF_SKETCH_H
#define WF_SKETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "model/model.h"

/* What bounds how far a row of the sketch is from the head's: w = head[row] and what v stands for it. */
typedef struct wf_sketch_norms {
    float *errors; /* [vocabulary] at least |w − v| */
    float *norms;  /* [vocabulary] at least |v| */
} wf_sketch_norms;

/* The head in 8 bits, of which the upper six lie apart: they are enough to find the likeliest tokens, and all eight to say what the others
 * weigh. A row's weights are its scale times what wf_sketched_product says that
 * the bits stand for. */
typedef struct wf_sketch {
    uint8_t *coarse, *fine; /* see wf_sketch_rows; 64-byte aligned */
    float *scales;          /* [vocabulary] */
    uint32_t blocks;        /* of WF_BLOCK_WEIGHTS weights, in a row; weights past the hidden size count as zero in 8 bits */
    wf_sketch_norms of_coarse, of_fine;
    float rounding; /* what the rounding of a logit's sums can amount to, in units of |w| |x| */
    size_t mapped;  /* bytes of both parts */
} wf_sketch;

/* Bytes of the sketch of a model's head. */
uint64_t wf_sketch_bytes(const wf_config *config);

/* Memory for the sketch of a model's head, whose products are of WF_INPUT_F32: the bounds take in how those round. Returns 0, or -1 with
 * `error`. */
int wf_sketch_create(wf_sketch *sketch, const wf_model *model, char *error, uint32_t error_size);

/* Makes one part of it of the head: the upper six bits of the weights, or the other two. What isn't made takes no memory. It ends early, and
 * leaves the part of no use, when `stopping` becomes true. */
void wf_sketch_fill(wf_sketch *sketch, const wf_model *model, const wf_kernels *kernels, bool is_fine, wf_pool *pool,
                    const atomic_bool *stopping);

/* A sketch that was never made is allowed, when it is all zero. */
void wf_sketch_destroy(wf_sketch *sketch);

/* Rows of the sketch from the first one on, in 8 bits or the upper six. */
static inline wf_sketch_rows wf_sketch_rows_from(const wf_sketch *sketch, uint32_t first, bool is_fine) {
    const size_t blocks = (size_t)first * sketch->blocks;
    return (wf_sketch_rows){
        .coarse = sketch->coarse + blocks * WF_COARSE_BYTES,
        .fine = is_fine ? sketch->fine + blocks * WF_FINE_BYTES : NULL,
        .scales = sketch->scales + first,
        .blocks = sketch->blocks,
    };
}

/* Bytes of a row, its three floats included. */
static inline size_t wf_sketch_row_bytes(const wf_sketch *sketch, bool is_fine) {
    return (size_t)sketch->blocks * (WF_COARSE_BYTES + (is_fine ? WF_FINE_BYTES : 0)) + 3 * sizeof(float);
}

/* A hidden state as the sketch sees it, in as many bits as its product with a row leaves room for. */
typedef struct wf_sketched_state {
    int16_t *values;     /* [blocks * WF_BLOCK_WEIGHTS], as a wf_wide_activations' */
    int32_t sum;         /* of the values */
    float inverse_scale; /* state ≈ inverse_scale * values */
    float error;         /* at least |state − inverse_scale * values| */
    float norm;          /* at least |state| */
} wf_sketched_state;

/* Fills what wf_sketched_state says from state[hidden], its values' memory given. */
void wf_sketch_state(const float *state, uint32_t hidden, uint32_t blocks, wf_sketched_state *sketched);

/* At least how far the sketch's logit of a row is from what the head's kernel computes: Cauchy and Schwarz for
 * w·x − v·y = (w − v)·x + v·(x − y), and the rounding of both sums. */
static inline float wf_sketch_bound(const wf_sketch *sketch, bool is_fine, const wf_sketched_state *state, uint32_t row) {
    const wf_sketch_norms *norms = is_fine ? &sketch->of_fine : &sketch->of_coarse;
    const float error = norms->errors[row], norm = norms->norms[row];
    return error * state->norm + norm * state->error + sketch->rounding * (norm + error) * state->norm;
}

#endif
