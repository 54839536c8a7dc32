/*
 * product.h: linear layers times all rows of a batch, spread over the pool.
 */
#ifndef WF_PRODUCT_H
#define WF_PRODUCT_H

#include <stdint.h>

#include "base/threads.h"
#include "layers/norm.h"
#include "model/linear.h"

/* Bytes of weights in one unit of work, at most: what leaves half of a second-level cache to the activations. */
#define WF_SLICE_BYTES_MAX (128U << 10)

/* One product of a phase. */
typedef struct wf_product {
    const wf_linear *linear;
    float *out;      /* [rows][linear->outputs] */
    float *residual; /* where the result is added when not NULL: [rows][linear->outputs] */

    /* As wf_products_plan fills them: */
    const float *factors; /* [rows] */
    uint32_t slice;       /* weight rows in one unit */
    uint32_t slices;
} wf_product;

/* Products that share their inputs, and run as one phase. */
typedef struct wf_products {
    const wf_quantised *inputs;
    wf_product products[WF_PRODUCTS_MAX];
    uint32_t count;
    float residual_scale; /* of what is added to a residual */
} wf_products;

/* Weight rows in one unit, where a matrix is to go into `parts` of them: about WF_SLICE_BYTES_MAX at most, and a multiple of what the
 * kernels work through together. */
uint32_t wf_slice_rows(const wf_linear *linear, const wf_kernels *kernels, uint32_t parts);

/* Divides products into slices for `threads`. Returns the slices of all of them. */
uint32_t wf_products_plan(wf_products *products, uint32_t threads);

/* Computes one slice of all products', counted through them in their order, for all rows of the batch. */
void wf_products_multiply(const wf_products *products, uint32_t unit);

/* Plans and runs products as one phase. */
void wf_products_run(wf_pool *pool, wf_products *products);

#endif
