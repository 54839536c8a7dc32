/*
 * dense_avx2.c: products with bf16 weights, the head's, with AVX2.
 *
 * Widening a weight is a zero-extension and a shift. Rows are bound by memory; two tokens share what a row's load brings.
 */
#include <math.h>

#include "kernels/x86/avx2.h"

static inline __m256 load_bf16(const uint16_t *weights) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)weights)), 16));
}

/* One row by `count` tokens (a constant at each call; at most 2). */
ALWAYS_INLINE void bf16_row(const uint16_t *row, uint32_t inputs, const float *x, size_t x_stride, uint32_t count, float *out,
                            size_t out_stride) {
    __m256 lanes[2][4];
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t part = 0; part < 4; part++)
            lanes[t][part] = _mm256_setzero_ps();
    uint32_t e = 0;
    for (; e + WF_LANES <= inputs; e += WF_LANES)
        for (uint32_t part = 0; part < 4; part++) {
            const __m256 weights = load_bf16(row + e + 8 * part);
            for (uint32_t t = 0; t < count; t++)
                lanes[t][part] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x + t * x_stride + e + 8 * part), lanes[t][part]);
        }
    for (uint32_t t = 0; t < count; t++) {
        if (e < inputs) {
            float tail[WF_LANES];
            for (uint32_t part = 0; part < 4; part++)
                _mm256_storeu_ps(tail + 8 * part, lanes[t][part]);
            for (uint32_t rest = e; rest < inputs; rest++) {
                const uint32_t bits = (uint32_t)row[rest] << 16;
                float weight;
                memcpy(&weight, &bits, sizeof weight);
                tail[rest - e] = fmaf(weight, x[t * x_stride + rest], tail[rest - e]);
            }
            for (uint32_t part = 0; part < 4; part++)
                lanes[t][part] = _mm256_loadu_ps(tail + 8 * part);
        }
        out[t * out_stride] = sum_of_lanes(lanes[t]);
    }
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++) {
        const uint16_t *weights = rows + (size_t)row * count;
        uint32_t token = 0;
        for (; token + 2 <= tokens; token += 2)
            bf16_row(weights, count, x + token * x_stride, x_stride, 2, out + token * out_stride + row, out_stride);
        if (token < tokens)
            bf16_row(weights, count, x + token * x_stride, x_stride, 1, out + token * out_stride + row, out_stride);
    }
}

void wf_dense_avx2(wf_kernels *kernels) { kernels->bf16_matmul = bf16_matmul; }
