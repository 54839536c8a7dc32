/*
 * norm.c: RMSNorm, and 8 bits with one scale a row.
 */
#include "layers/norm.h"

#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"

static size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

int wf_quantised_create(wf_quantised *inputs, const wf_kernels *kernels, float epsilon, uint32_t rows, uint32_t widest) {
    const size_t stride = round_up(widest, WF_BLOCK_WEIGHTS), tiles = round_up(rows, WF_ARRANGED_TOKENS) / WF_ARRANGED_TOKENS;
    *inputs = (wf_quantised){.kernels = kernels, .epsilon = epsilon, .stride = (uint32_t)stride};
    inputs->values = wf_allocate(rows * stride, sizeof *inputs->values);
    inputs->inverse_scales = wf_allocate(rows, sizeof *inputs->inverse_scales);
    inputs->sums = wf_allocate(rows, sizeof *inputs->sums);
    inputs->factors = wf_allocate((size_t)WF_PRODUCTS_MAX * rows, sizeof *inputs->factors);
    inputs->arranged = wf_allocate(tiles * WF_ARRANGED_TOKENS, wf_arranged_bytes((uint32_t)stride));
    inputs->complete = wf_allocate(tiles, sizeof *inputs->complete);
    inputs->normed = wf_allocate((size_t)rows * widest, sizeof *inputs->normed);
    if (!inputs->values || !inputs->inverse_scales || !inputs->sums || !inputs->factors || !inputs->arranged || !inputs->complete ||
        !inputs->normed)
        return -1;
    memset(inputs->complete, 0, tiles * sizeof *inputs->complete);
    return 0;
}

void wf_quantised_destroy(wf_quantised *inputs) {
    free(inputs->values);
    free(inputs->inverse_scales);
    free(inputs->sums);
    free(inputs->factors);
    free(inputs->arranged);
    free(inputs->complete);
    free(inputs->normed);
    *inputs = (wf_quantised){0};
}

/* Whoever completes a tile of activations arranges it, if the kernels want that, so it takes no phase of its own. */
static void arrange_complete_tile(wf_quantised *inputs, uint32_t row, uint32_t padded) {
    if (inputs->kernels->arrange == NULL)
        return;
    const uint32_t tile = row / WF_ARRANGED_TOKENS, first = tile * WF_ARRANGED_TOKENS, left = inputs->count - first;
    const uint32_t rows = left < WF_ARRANGED_TOKENS ? left : WF_ARRANGED_TOKENS;
    if (atomic_fetch_add_explicit(&inputs->complete[tile], 1, memory_order_acq_rel) + 1 < rows)
        return;
    atomic_store_explicit(&inputs->complete[tile], 0, memory_order_relaxed); /* for the next phase */
    inputs->kernels->arrange(inputs->values + (size_t)first * inputs->stride, inputs->stride, inputs->count, rows, padded,
                             inputs->arranged + first * wf_arranged_bytes(padded));
}

void wf_norm_and_quantise(wf_quantised *inputs, uint32_t row, const float *x, const float *norm, uint32_t count, uint32_t mean_of) {
    if (norm != NULL) {
        float *normed = inputs->normed + (size_t)row * count;
        inputs->kernels->rms_norm(x, norm, count, mean_of, inputs->epsilon, normed);
        x = normed;
    }
    const uint32_t padded = (uint32_t)round_up(count, WF_BLOCK_WEIGHTS);
    inputs->kernels->quantize(x, count, padded, inputs->values + (size_t)row * inputs->stride, &inputs->inverse_scales[row],
                              &inputs->sums[row]);
    arrange_complete_tile(inputs, row, padded);
}
