/*
 * norm.c: RMSNorm, and 8 bits with one scale a row or one for each group of it.
 */
#include "layers/norm.h"

#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"

static size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

int wf_group_scales_create(wf_group_scales *scales, uint32_t rows, uint64_t widest, uint32_t group) {
    const size_t count = (size_t)rows * wf_padded_groups(widest, group);
    scales->sums = wf_allocate(count, sizeof *scales->sums);
    scales->scales = wf_allocate(count, sizeof *scales->scales);
    return scales->sums != NULL && scales->scales != NULL ? 0 : -1;
}

void wf_group_scales_destroy(wf_group_scales *scales) {
    free(scales->sums);
    free(scales->scales);
    *scales = (wf_group_scales){0};
}

void wf_note_group(const wf_group_scales *scales, uint32_t row, uint32_t groups, uint32_t group, int32_t sum, float scale) {
    const size_t place = (size_t)row * groups + group;
    scales->sums[place] = sum;
    scales->scales[place] = scale;
}

int wf_quantised_create(wf_quantised *inputs, const wf_kernels *kernels, float epsilon, uint32_t group, uint32_t rows,
                        uint32_t widest) {
    const size_t stride = round_up(widest, WF_BLOCK_WEIGHTS), tiles = round_up(rows, WF_ARRANGED_TOKENS) / WF_ARRANGED_TOKENS;
    *inputs = (wf_quantised){.kernels = kernels, .epsilon = epsilon, .group = group, .stride = (uint32_t)stride};
    if (inputs->group != 0 && wf_group_scales_create(&inputs->groups, rows, stride, inputs->group) != 0)
        return -1;
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
    wf_group_scales_destroy(&inputs->groups);
    free(inputs->values);
    free(inputs->inverse_scales);
    free(inputs->sums);
    free(inputs->factors);
    free(inputs->arranged);
    free(inputs->complete);
    free(inputs->normed);
    *inputs = (wf_quantised){0};
}

/* How the kernels want activations, or NULL. */
typedef void arrange_function(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded,
                              int8_t *arranged);

static arrange_function *arrange_of(const wf_quantised *inputs) {
    return inputs->group == 0 ? inputs->kernels->arrange : inputs->kernels->arrange_groups;
}

void wf_arrange_tile(wf_quantised *inputs, uint32_t first, uint32_t rows, uint32_t batch, uint32_t inputs_count) {
    const uint32_t padded = (uint32_t)round_up(inputs_count, WF_BLOCK_WEIGHTS);
    if (arrange_of(inputs) != NULL)
        arrange_of(inputs)(inputs->values + (size_t)first * inputs->stride, inputs->stride, batch, rows, padded,
                           inputs->arranged + first * wf_arranged_bytes(padded));
}

/* Whoever completes a tile of activations arranges it, if the kernels want that, so it takes no phase of its own. */
void wf_arrange_complete_tile(wf_quantised *inputs, uint32_t row, uint32_t inputs_count) {
    if (arrange_of(inputs) == NULL)
        return;
    const uint32_t tile = row / WF_ARRANGED_TOKENS, first = tile * WF_ARRANGED_TOKENS, left = inputs->count - first;
    const uint32_t rows = left < WF_ARRANGED_TOKENS ? left : WF_ARRANGED_TOKENS;
    if (atomic_fetch_add_explicit(&inputs->complete[tile], 1, memory_order_acq_rel) + 1 < rows)
        return;
    atomic_store_explicit(&inputs->complete[tile], 0, memory_order_relaxed); /* for the next phase */
    wf_arrange_tile(inputs, first, rows, inputs->count, inputs_count);
}

void wf_copy_quantised(wf_quantised *inputs, uint32_t row, const wf_quantised *from, uint32_t from_row, uint32_t inputs_count) {
    memcpy(inputs->values + (size_t)row * inputs->stride, from->values + (size_t)from_row * from->stride,
           round_up(inputs_count, WF_BLOCK_WEIGHTS));
    if (inputs->group == 0) {
        inputs->inverse_scales[row] = from->inverse_scales[from_row];
        inputs->sums[row] = from->sums[from_row];
        return;
    }
    const uint32_t groups = wf_padded_groups(inputs_count, inputs->group);
    for (uint32_t i = 0; i < groups; i++) {
        const size_t place = (size_t)from_row * groups + i;
        wf_note_group(&inputs->groups, row, groups, i, from->groups.sums[place], from->groups.scales[place]);
    }
}

/* A row in 8 bits with a scale for each group of activations, each of which holds one or several groups of weights. */
static void quantise_groups(wf_quantised *inputs, uint32_t row, const float *x, uint32_t count, uint32_t padded) {
    const uint32_t group = inputs->group, groups = wf_padded_groups(count, group);
    const uint32_t together = wf_activations_together(group);
    int8_t *values = inputs->values + (size_t)row * inputs->stride;
    for (uint32_t first = 0; first < padded; first += together) {
        const uint32_t left = first < count ? count - first : 0, present = left < together ? left : together;
        float scale = 0.0f;
        int32_t sum = 0;
        if (present > 0)
            inputs->kernels->quantize(x + first, present, together, values + first, &scale, &sum);
        else
            memset(values + first, 0, together);
        for (uint32_t at = first; at < first + together; at += group) {
            if (group < together) {
                sum = 0;
                for (uint32_t i = at; i < at + group; i++)
                    sum += values[i];
            }
            wf_note_group(&inputs->groups, row, groups, at / group, sum, scale);
        }
    }
    for (uint32_t i = padded / group; i < groups; i++)
        wf_note_group(&inputs->groups, row, groups, i, 0, 0.0f);
}

void wf_quantise(wf_quantised *inputs, uint32_t row, const wf_normed *source) {
    const float *x = source->x;
    const uint32_t count = source->count;
    float *normed = inputs->normed + (size_t)row * count;
    if (source->norm != NULL) {
        inputs->kernels->rms_norm(x, source->norm, count, source->mean_of, inputs->epsilon, normed);
        x = normed;
    }
    if (source->own_norm != NULL) {
        inputs->kernels->rms_norm(x, source->own_norm, count, count, inputs->epsilon, normed);
        x = normed;
    }
    const uint32_t padded = (uint32_t)round_up(count, WF_BLOCK_WEIGHTS);
    if (inputs->group == 0)
        inputs->kernels->quantize(x, count, padded, inputs->values + (size_t)row * inputs->stride, &inputs->inverse_scales[row],
                                  &inputs->sums[row]);
    else
        quantise_groups(inputs, row, x, count, padded);
}

void wf_norm_and_quantise(wf_quantised *inputs, uint32_t row, const wf_normed *source) {
    wf_quantise(inputs, row, source);
    wf_arrange_complete_tile(inputs, row, source->count);
}

wf_inputs wf_quantised_inputs(const wf_quantised *inputs, uint32_t first, uint32_t count, uint32_t inputs_count,
                              const float *factors, wf_quantised_view *view) {
    const uint32_t padded = (uint32_t)round_up(inputs_count, WF_BLOCK_WEIGHTS);
    const int8_t *values = inputs->values + (size_t)first * inputs->stride;
    const int8_t *arranged = inputs->arranged + first * wf_arranged_bytes(padded);
    if (inputs->group == 0) {
        view->int8 = (wf_activations){values, inputs->stride, arranged, inputs->sums + first, factors, count};
        return (wf_inputs){.int8 = &view->int8, .tokens = count};
    }
    const size_t place = (size_t)first * wf_padded_groups(inputs_count, inputs->group);
    view->groups = (wf_grouped_activations){
        .values = values,
        .stride = inputs->stride,
        .arranged = arranged,
        .sums = inputs->groups.sums + place,
        .scales = inputs->groups.scales + place,
        .tokens = count,
    };
    return (wf_inputs){.groups = &view->groups, .tokens = count};
}
