/*
 * ternary_input.h: what the kernels of ternary products take: packed blocks of weights, quantised activations, steps of columns.
 */
#ifndef WF_TERNARY_INPUT_H
#define WF_TERNARY_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "wrinklefree.h"

/* Activations of one or several tokens, quantised for a ternary product. */
typedef struct wf_activations {
    const int8_t *values; /* [tokens][stride], zero past the inputs */
    size_t stride;        /* bytes from one token to the next: the inputs rounded up to WF_BLOCK_WEIGHTS or more */
    /* The same as wf_kernels.arrange leaves them, tile by tile; looked at where the tier has that function. */
    const int8_t *arranged;
    const int32_t *sums;  /* [tokens] sum of a token's values */
    const float *factors; /* [tokens] weight_scale / s: turns an integer sum into the product's value */
    uint32_t tokens;
} wf_activations;

/* Tokens whose activations are arranged together, and bytes that each of them takes then, for inputs rounded up to
 * WF_BLOCK_WEIGHTS. */
#define WF_ARRANGED_TOKENS 32U
static inline size_t wf_arranged_bytes(uint32_t padded) { return ((size_t)padded + 255) / 256 * 256; }

/* Columns that ternary_columns works on together, in every tier but the scalar one: their sums stay in 16 bits, in registers. */
#define WF_COLUMNS_TOGETHER 16U

/* The columns of one step of ternary_columns. Where there are fewer, the others are the step's first one, times zero. */
typedef struct wf_columns_step {
    const uint8_t *columns[WF_COLUMNS_TOGETHER];
    const uint8_t *later[WF_COLUMNS_TOGETHER]; /* those of the next step, to be asked for in time */
    int8_t values[WF_COLUMNS_TOGETHER];
} wf_columns_step;

/* The step that begins with the column at indices[first]; the others are ternary_columns' parameters. */
static inline void wf_begin_columns_step(wf_columns_step *step, const uint8_t *columns, size_t column_bytes,
                                         const uint32_t *indices, const int8_t *values, uint32_t count, uint32_t first) {
    for (uint32_t i = 0; i < WF_COLUMNS_TOGETHER; i++) {
        const uint32_t this = first + i, later = this + WF_COLUMNS_TOGETHER;
        step->columns[i] = columns + indices[this < count ? this : first] * column_bytes;
        step->later[i] = columns + indices[later < count ? later : first] * column_bytes;
        step->values[i] = this < count ? values[this] : 0;
    }
}

#endif
