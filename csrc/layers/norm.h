/*
 * norm.h: what the inputs of a product go through before it: a norm, and the rounding to 8 bits.
 */
#ifndef WF_NORM_H
#define WF_NORM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* The most products that share their inputs. */
#define WF_PRODUCTS_MAX 3U

/* The inputs of the next products, for all rows of a batch: BitLinear's activations. */
typedef struct wf_quantised {
    const wf_kernels *kernels;
    float epsilon;   /* of the norms */
    uint32_t count;  /* rows of the batch that runs */
    uint32_t stride; /* bytes of one row's values: the widest inputs rounded up to a block */

    int8_t *values;        /* [rows][stride], 64-byte aligned */
    float *inverse_scales; /* [rows] 1 / s */
    int32_t *sums;         /* [rows] of the values */
    float *factors;        /* [WF_PRODUCTS_MAX][rows] as wf_linear_factors fills them, for each product */
    int8_t *arranged;      /* [rows rounded up to a tile][wf_arranged_bytes(stride)] the values as the kernels arrange them */
    atomic_uint_least32_t *complete; /* [tiles] rows of a tile whose values are complete in this phase */
    float *normed;                   /* [rows][widest] scratch of one phase */
} wf_quantised;

/* Memory for batches of up to `rows` rows and inputs of up to `widest` elements. Returns 0, or -1 without memory; wf_quantised_destroy is due
 * in any case. */
int wf_quantised_create(wf_quantised *inputs, const wf_kernels *kernels, float epsilon, uint32_t rows, uint32_t widest);

/* What was never made, and is all zero, is allowed. */
void wf_quantised_destroy(wf_quantised *inputs);

/* Makes a row's inputs of x[count]: norm(x) in 8 bits, with the mean of x and as many zeros as make it `mean_of` elements. Without a norm
 * (NULL) x itself. */
void wf_norm_and_quantise(wf_quantised *inputs, uint32_t row, const float *x, const float *norm, uint32_t count, uint32_t mean_of);

/* All rows' inputs as a kernel takes them, for the product with these factors. */
static inline wf_activations wf_quantised_activations(const wf_quantised *inputs, const float *factors) {
    return (wf_activations){inputs->values, inputs->stride, inputs->arranged, inputs->sums, factors, inputs->count};
}

#endif
