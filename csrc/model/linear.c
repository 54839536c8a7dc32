/*
 * linear.c: the kinds of matrices that this library multiplies by.
 */
#include "model/linear.h"

#include <string.h>

#include "base/half.h"
#include "wrinklefree.h"

static void multiply_ternary(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows, const wf_inputs *x,
                             float *out, size_t out_stride) {
    kernels->ternary_matmul(linear->rows + (size_t)first * linear->row_bytes, linear->row_bytes, rows, x->int8, out, out_stride);
}

static void multiply_ternary_rows(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows,
                                  const wf_inputs *x, float *out, size_t out_stride) {
    multiply_ternary(linear, kernels, first, rows, x, out, out_stride);
    const float *scales = linear->row_scales + first;
    for (uint32_t token = 0; token < x->tokens; token++)
        for (uint32_t row = 0; row < rows; row++)
            out[token * out_stride + row] *= scales[row];
}

wf_grouped_rows wf_linear_grouped_rows(const wf_linear *linear, uint32_t first) {
    return (wf_grouped_rows){
        .panels = linear->rows + (size_t)first * linear->row_bytes,
        .code_bytes = (size_t)wf_packed_row_bytes(linear->inputs),
        .group = linear->group,
        .groups = wf_padded_groups(linear->inputs, linear->group),
    };
}

static void multiply_groups(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows, const wf_inputs *x,
                            float *out, size_t out_stride) {
    const wf_grouped_rows weights = wf_linear_grouped_rows(linear, first);
    kernels->ternary_groups_matmul(&weights, rows, x->groups, out, out_stride);
    for (uint32_t token = 0; linear->scale != 1.0f && token < x->tokens; token++)
        for (uint32_t row = 0; row < rows; row++)
            out[token * out_stride + row] *= linear->scale;
}

static void read_grouped_row(const wf_linear *linear, uint32_t row, float *out) {
    const uint32_t in_panel = row % WF_PANEL_ROWS;
    const wf_grouped_rows weights = wf_linear_grouped_rows(linear, row - in_panel);
    for (uint32_t i = 0; i < linear->inputs; i++) {
        const uint16_t scale = wf_panel_scales(&weights, weights.panels, i / linear->group)[in_panel];
        const int32_t weight = wf_panel_code(&weights, in_panel, i) - 1;
        out[i] = (float)weight * wf_float_of_half(scale) * linear->scale;
    }
}

static const uint16_t *bf16_row(const wf_linear *linear, uint32_t row) {
    return (const uint16_t *)(const void *)(linear->rows + (size_t)row * linear->row_bytes);
}

static void multiply_bf16(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows, const wf_inputs *x,
                          float *out, size_t out_stride) {
    kernels->bf16_matmul(bf16_row(linear, first), rows, linear->inputs, x->f32, x->f32_stride, x->tokens, out, out_stride);
}

static void read_bf16_row(const wf_linear *linear, uint32_t row, float *out) {
    const uint16_t *weights = bf16_row(linear, row);
    for (uint32_t i = 0; i < linear->inputs; i++) {
        const uint32_t bits = (uint32_t)weights[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static const struct {
    enum wf_layout layout;
    enum wf_scale_kind scale_kind;
    enum wf_input_kind input_kind;
    wf_linear_multiply *multiply;
    wf_linear_read_row *read_row;
} kinds[] = {
    {WF_LAYOUT_TERNARY, WF_SCALE_MATRIX, WF_INPUT_INT8, multiply_ternary, NULL},
    {WF_LAYOUT_TERNARY, WF_SCALE_ROW, WF_INPUT_INT8, multiply_ternary_rows, NULL},
    {WF_LAYOUT_GROUPED, WF_SCALE_GROUP, WF_INPUT_GROUPS, multiply_groups, read_grouped_row},
    {WF_LAYOUT_BF16, WF_SCALE_NONE, WF_INPUT_F32, multiply_bf16, read_bf16_row},
};

int wf_linear_bind(wf_linear *linear) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].layout == linear->layout && kinds[i].scale_kind == linear->scale_kind &&
            kinds[i].input_kind == linear->input_kind) {
            linear->multiply = kinds[i].multiply;
            linear->read_row = kinds[i].read_row;
            return 0;
        }
    return -1;
}

uint64_t wf_linear_row_bytes(enum wf_layout layout, uint64_t inputs, uint32_t group) {
    switch (layout) {
    case WF_LAYOUT_TERNARY:
        return wf_packed_row_bytes(inputs);
    case WF_LAYOUT_GROUPED:
        return wf_grouped_row_bytes(inputs, group);
    case WF_LAYOUT_BF16:
        return inputs * sizeof(uint16_t);
    }
    return 0;
}

uint32_t wf_linear_rows_together(const wf_linear *linear) { return linear->layout == WF_LAYOUT_GROUPED ? WF_PANEL_ROWS : 1; }

uint64_t wf_linear_rows(enum wf_layout layout, uint64_t outputs) {
    return layout == WF_LAYOUT_GROUPED ? (outputs + WF_PANEL_ROWS - 1) / WF_PANEL_ROWS * WF_PANEL_ROWS : outputs;
}

void wf_linear_factors(const wf_linear *linear, const float *inverse_scales, uint32_t tokens, float *factors) {
    for (uint32_t token = 0; token < tokens; token++)
        factors[token] = linear->scale * inverse_scales[token];
}
