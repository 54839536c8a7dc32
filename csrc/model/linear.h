/*
 * linear.h: what a matrix of weights is: its shape, how its weights lie in memory, what scales them and what it takes for inputs.
 *
 * A linear layer, the embedding and the head are all described like this. The description decides which function multiplies by the
 * matrix and which reads a row of it; wf_linear_bind chooses both, once, when a model is opened. So a further kind of weights is a
 * value of these enumerations, a kernel and an entry in linear.c's table, and nothing that computes asks which kind it has.
 */
#ifndef WF_LINEAR_H
#define WF_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* How the weights of a row lie in memory. */
enum wf_layout {
    WF_LAYOUT_TERNARY, /* two bits each, in blocks of WF_BLOCK_WEIGHTS; wf_pack_rows in wrinklefree.h says in which order */
    WF_LAYOUT_GROUPED, /* the same with the scales of groups, in panels of rows; grouped_input.h says how */
    WF_LAYOUT_BF16,    /* bfloat16, one after the other */
};

/* What weights are multiplied by. */
enum wf_scale_kind {
    WF_SCALE_NONE,   /* nothing: they are what they stand for */
    WF_SCALE_MATRIX, /* one factor for the whole matrix, wf_linear.scale */
    WF_SCALE_ROW,    /* one for each row, wf_linear.row_scales, times wf_linear.scale */
    WF_SCALE_GROUP,  /* one for each wf_linear.group inputs of a row, times wf_linear.scale */
};

/* What a product takes for inputs. */
enum wf_input_kind {
    WF_INPUT_F32,    /* floats */
    WF_INPUT_INT8,   /* BitLinear's activations: 8-bit integers with one scale a token */
    WF_INPUT_GROUPS, /* 8-bit integers with a scale for each group of inputs */
};

/* The inputs of a product for one or several tokens. A product looks at those of its input kind only. */
typedef struct wf_inputs {
    const wf_activations *int8;           /* WF_INPUT_INT8; their factors are those of wf_linear_factors */
    const wf_grouped_activations *groups; /* WF_INPUT_GROUPS */
    const float *f32;                     /* WF_INPUT_F32: [tokens][f32_stride] */
    size_t f32_stride;
    uint32_t tokens;
} wf_inputs;

typedef struct wf_linear wf_linear;

/* out[token][row] = row · x[token] for `rows` rows of the matrix from `first` on, a multiple of wf_linear_rows_together. `out` is that of the
 * first of them; a token's are `out_stride` elements from the next one's. */
typedef void wf_linear_multiply(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows,
                                const wf_inputs *x, float *out, size_t out_stride);

/* out[inputs] = one row's weights. */
typedef void wf_linear_read_row(const wf_linear *linear, uint32_t row, float *out);

/* The rows' values are not checked at opening. Weights past `inputs` are zero only if the converter was right: kernels keep the activations
 * there at zero. A code of 3, which no converter writes, must be just another value to a kernel, never an index. */
struct wf_linear {
    const uint8_t *rows; /* [wf_linear_rows][row_bytes], 64-byte aligned */
    enum wf_layout layout;
    enum wf_scale_kind scale_kind;
    enum wf_input_kind input_kind;
    float scale;             /* finite and above 0; 1 for WF_SCALE_NONE */
    const float *row_scales; /* [outputs ↑16], finite; WF_SCALE_ROW only */
    uint32_t group;          /* inputs that share a scale; WF_SCALE_GROUP only */
    const float *input_norm; /* [inputs ↑16] a norm of its own that its inputs go through; NULL: none */
    uint32_t inputs;         /* weights in a row */
    uint32_t outputs;        /* rows */
    uint32_t row_bytes;      /* wf_linear_row_bytes(layout, inputs, group) */
    wf_linear_multiply *multiply;
    wf_linear_read_row *read_row; /* NULL: no kind that embeds tokens */
};

/* Bytes of a row of `inputs` weights; `group` matters to WF_LAYOUT_GROUPED. */
uint64_t wf_linear_row_bytes(enum wf_layout layout, uint64_t inputs, uint32_t group);

/* Rows in memory of a matrix of `outputs` rows: whole panels of WF_LAYOUT_GROUPED. */
uint64_t wf_linear_rows(enum wf_layout layout, uint64_t outputs);

/* Rows of which slices of a matrix are to be a multiple, apart from what suits a tier. */
uint32_t wf_linear_rows_together(const wf_linear *linear);

/* A matrix of groups as the kernels take it, from row `first` on, a panel's first one. */
wf_grouped_rows wf_linear_grouped_rows(const wf_linear *linear, uint32_t first);

/* Chooses the functions of a matrix that is described otherwise. Returns 0, or -1 when there are none for its kind. */
int wf_linear_bind(wf_linear *linear);

/* Fills factors[tokens] with what turns the integer sums of a product into its values: the matrix's scale times inverse_scales[tokens], 1 / s
 * of each token's activations. */
void wf_linear_factors(const wf_linear *linear, const float *inverse_scales, uint32_t tokens, float *factors);

#endif
