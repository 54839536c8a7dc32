/*
 * column_major.h: products that read only what an activation of zero does not make needless.
 *
 * After relu² most inputs of the down projection are zero. Its weights lie row by row, where every row meets every input; a second copy
 * that lies column by column lets a product leave out the columns of the zeros.
 */
#ifndef WF_COLUMN_MAJOR_H
#define WF_COLUMN_MAJOR_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "model/model.h"

/* The down projections of all layers, column by column. */
typedef struct wf_column_major {
    uint8_t *bytes;      /* [layers][inputs ↑128][column_bytes] packed codes as in a row, 64-byte aligned; NULL: there is none */
    size_t column_bytes; /* of one column: the outputs rounded up to a block, in packed codes */
    size_t layer_bytes;
    size_t mapped;     /* bytes in all */
    uint32_t outputs;  /* weights in a column */
    uint32_t parts;    /* of one product */
    int32_t *partials; /* [tokens_max][parts][column_bytes * 4] */
} wf_column_major;

/* The activations of one token without the zeros. */
typedef struct wf_nonzeros {
    uint32_t *indices; /* [count], ascending */
    int8_t *values;    /* [count] */
    uint32_t count;
} wf_nonzeros;

/* Bytes of the copy of a model's down projections. */
uint64_t wf_column_major_bytes(const wf_config *config);

/* Memory for the copy of down projections of WF_LAYOUT_TERNARY, and for products of up to `tokens_max` tokens by so many threads. Returns 0,
 * or -1 with `error`. */
int wf_column_major_create(wf_column_major *columns, const wf_model *model, uint32_t threads, uint32_t tokens_max, char *error,
                           uint32_t error_size);

/* Makes the copy. It ends early, and leaves the copy of no use, when `stopping` becomes true. */
void wf_column_major_fill(wf_column_major *columns, const wf_model *model, wf_pool *pool, const atomic_bool *stopping);

/* One that was never made is allowed, when it is all zero. */
void wf_column_major_destroy(wf_column_major *columns);

/* Lists what is not zero among values[count], which are followed by zeros up to a multiple of WF_BLOCK_WEIGHTS; `nonzeros` has room for
 * all of them. */
void wf_list_nonzeros(const int8_t *values, uint32_t count, wf_nonzeros *nonzeros);

/* The inputs of a product for some tokens, without the zeros. */
typedef struct wf_sparse_inputs {
    const wf_nonzeros *nonzeros; /* [tokens] */
    const int32_t *sums;         /* [tokens] as those of wf_activations */
    const float *factors;        /* [tokens] likewise */
    uint32_t tokens;
} wf_sparse_inputs;

/* residual[token][output] += the product of a layer's down projection with each token's inputs, as ternary_matmul computes it. */
void wf_column_major_multiply(wf_column_major *columns, uint32_t layer, const wf_kernels *kernels, wf_pool *pool,
                              const wf_sparse_inputs *x, float *residual);

#endif
