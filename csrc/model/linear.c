/*
 * linear.c: the kinds of matrices that this library multiplies by.
 */
#include "model/linear.h"

#include <string.h>

#include "wrinklefree.h"

static void multiply_ternary(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows, const wf_inputs *x,
                             float *out) {
    kernels->ternary_matmul(linear->rows + (size_t)first * linear->row_bytes, linear->row_bytes, rows, x->int8, out + first,
                            linear->outputs);
}

static const uint16_t *bf16_row(const wf_linear *linear, uint32_t row) {
    return (const uint16_t *)(const void *)(linear->rows + (size_t)row * linear->row_bytes);
}

static void multiply_bf16(const wf_linear *linear, const wf_kernels *kernels, uint32_t first, uint32_t rows, const wf_inputs *x,
                          float *out) {
    kernels->bf16_matmul(bf16_row(linear, first), rows, linear->inputs, x->f32, x->f32_stride, x->tokens, out + first,
                         linear->outputs);
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

uint64_t wf_linear_row_bytes(enum wf_layout layout, uint64_t inputs) {
    switch (layout) {
    case WF_LAYOUT_TERNARY:
        return wf_packed_row_bytes(inputs);
    case WF_LAYOUT_BF16:
        return inputs * sizeof(uint16_t);
    }
    return 0;
}

void wf_linear_factors(const wf_linear *linear, const float *inverse_scales, uint32_t tokens, float *factors) {
    for (uint32_t token = 0; token < tokens; token++)
        factors[token] = linear->scale * inverse_scales[token];
}
