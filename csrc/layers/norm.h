/*
 * norm.h: what the inputs of a product go through before it: a norm, and the rounding to 8 bits.
 */
#ifndef WF_NORM_H
#define WF_NORM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model/linear.h"

/* The most products that share their inputs. */
#define WF_PRODUCTS_MAX 3U

/* The sums and scales of groups, as wf_grouped_activations has them. */
typedef struct wf_group_scales {
    int32_t *sums; /* [rows][groups] */
    float *scales; /* [rows][groups] */
} wf_group_scales;

/* Memory for rows of up to `widest` inputs. Returns 0, or -1 without; wf_group_scales_destroy is due in any case. */
int wf_group_scales_create(wf_group_scales *scales, uint32_t rows, uint64_t widest, uint32_t group);

void wf_group_scales_destroy(wf_group_scales *scales);

/* Fewest inputs whose activations share a scale: with narrower groups, scales would take longer than products. */
#define WF_ACTIVATIONS_TOGETHER 64U

/* Inputs whose activations share a scale where those of `group` weights do: one or several such groups. */
static inline uint32_t wf_activations_together(uint32_t group) {
    return group > WF_ACTIVATIONS_TOGETHER ? group : WF_ACTIVATIONS_TOGETHER;
}

/* Notes a row's group of weights: the sum of its activations, and their scale. */
void wf_note_group(const wf_group_scales *scales, uint32_t row, uint32_t groups, uint32_t group, int32_t sum, float scale);

/* The inputs of the next products, for all rows of a batch: 8-bit integers with one scale a row, as BitLinear's activations are, or with
 * one for each group of inputs. */
typedef struct wf_quantised {
    const wf_kernels *kernels;
    float epsilon;   /* of the norms */
    uint32_t group;  /* inputs that share a scale of the weights; 0: all, and there is one scale a row */
    uint32_t count;  /* rows of the batch that runs */
    uint32_t stride; /* bytes of one row's values: the widest inputs rounded up to a block */

    int8_t *values;         /* [rows][stride], 64-byte aligned */
    wf_group_scales groups; /* with groups */
    /* Without: */
    float *inverse_scales; /* [rows] 1 / s */
    int32_t *sums;         /* [rows] of the values */
    float *factors;        /* [WF_PRODUCTS_MAX][rows] as wf_linear_factors fills them, for each product */
    int8_t *arranged;      /* [rows rounded up to a tile][wf_arranged_bytes(stride)] the values as the kernels arrange them */
    atomic_uint_least32_t *complete; /* [tiles] rows of a tile whose values are complete in this phase */
    float *normed;                   /* [rows][widest] scratch of one phase */
} wf_quantised;

/* Memory for batches of up to `rows` rows and inputs of up to `widest` elements, with scales by `group` or, when that is 0, by row. Returns 0, or -1 without memory; wf_quantised_destroy is due
 * in any case. */
int wf_quantised_create(wf_quantised *inputs, const wf_kernels *kernels, float epsilon, uint32_t group, uint32_t rows,
                        uint32_t widest);

/* What was never made, and is all zero, is allowed. */
void wf_quantised_destroy(wf_quantised *inputs);

/* What a row's inputs are made of. */
typedef struct wf_normed {
    const float *x;        /* [count] */
    const float *norm;     /* [count] NULL: none */
    const float *own_norm; /* [count] a second norm, which belongs to the projection; NULL: none */
    uint32_t count;
    uint32_t mean_of; /* elements that the mean of the first norm's squares is of: x and as many zeros */
} wf_normed;

/* Makes a row's inputs: x after its norms, in 8 bits. The floats are left in `normed` where there is a norm. */
void wf_norm_and_quantise(wf_quantised *inputs, uint32_t row, const wf_normed *source);

/* Arranges a tile that becomes complete with a row of so many inputs; for whoever fills in rows without wf_norm_and_quantise. */
void wf_arrange_complete_tile(wf_quantised *inputs, uint32_t row, uint32_t inputs_count);

/* Likewise for whoever goes through whole tiles: wf_norm_and_quantise without arranging, a row of another batch of the same model as it is,
 * and a tile of `rows` rows from `first` on, of a product of `batch` rows, arranged. */
void wf_quantise(wf_quantised *inputs, uint32_t row, const wf_normed *source);
void wf_copy_quantised(wf_quantised *inputs, uint32_t row, const wf_quantised *from, uint32_t from_row, uint32_t inputs_count);
void wf_arrange_tile(wf_quantised *inputs, uint32_t first, uint32_t rows, uint32_t batch, uint32_t inputs_count);

/* What wf_inputs points to. */
typedef struct wf_quantised_view {
    wf_activations int8;
    wf_grouped_activations groups;
} wf_quantised_view;

/* `count` rows' inputs from `first` on, a multiple of WF_ARRANGED_TOKENS, as products of so many inputs take them; `factors` are those of
 * wf_linear_factors for them. The view has to stay. */
wf_inputs wf_quantised_inputs(const wf_quantised *inputs, uint32_t first, uint32_t count, uint32_t inputs_count,
                              const float *factors, wf_quantised_view *view);

#endif
