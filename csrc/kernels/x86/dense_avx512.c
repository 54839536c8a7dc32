/*
 * dense_avx512.c: products with bf16 weights, the head's, with AVX-512.
 *
 * Widening a weight is a zero-extension and a shift. Rows are bound by memory; four tokens share what a row's load brings.
 */
#include "kernels/x86/avx512.h"

static inline __m512 load_bf16(const uint16_t *weights, __mmask16 mask) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, weights)), 16));
}

/* One row by `count` tokens (a constant at each call; at most 4). */
ALWAYS_INLINE void bf16_row(const uint16_t *row, uint32_t inputs, const float *x, size_t x_stride, uint32_t count, float *out,
                            size_t out_stride) {
    __m512 low[4], high[4];
    for (uint32_t t = 0; t < count; t++)
        low[t] = high[t] = _mm512_setzero_ps();
    uint32_t e = 0;
    for (; e + WF_LANES <= inputs; e += WF_LANES) {
        const __m512 first = load_bf16(row + e, 0xffff), second = load_bf16(row + e + 16, 0xffff);
        for (uint32_t t = 0; t < count; t++) {
            low[t] = _mm512_fmadd_ps(first, _mm512_loadu_ps(x + t * x_stride + e), low[t]);
            high[t] = _mm512_fmadd_ps(second, _mm512_loadu_ps(x + t * x_stride + e + 16), high[t]);
        }
    }
    const uint32_t left = inputs - e;
    if (left > 0) {
        const __mmask16 first = lanes_below(left), second = left > 16 ? lanes_below(left - 16) : 0;
        for (uint32_t t = 0; t < count; t++) {
            const float *values = x + t * x_stride + e;
            low[t] = _mm512_fmadd_ps(load_bf16(row + e, first), _mm512_maskz_loadu_ps(first, values), low[t]);
            if (second != 0)
                high[t] = _mm512_fmadd_ps(load_bf16(row + e + 16, second), _mm512_maskz_loadu_ps(second, values + 16), high[t]);
        }
    }
    for (uint32_t t = 0; t < count; t++)
        out[t * out_stride] = sum_of_sixteen(_mm512_add_ps(low[t], high[t]));
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++) {
        const uint16_t *weights = rows + (size_t)row * count;
        uint32_t token = 0;
        for (; token + 4 <= tokens; token += 4)
            bf16_row(weights, count, x + token * x_stride, x_stride, 4, out + token * out_stride + row, out_stride);
        for (; token < tokens; token++)
            bf16_row(weights, count, x + token * x_stride, x_stride, 1, out + token * out_stride + row, out_stride);
    }
}

void wf_dense_avx512(wf_kernels *kernels) { kernels->bf16_matmul = bf16_matmul; }
