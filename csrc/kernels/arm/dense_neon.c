/*
 * dense_neon.c: products with bf16 weights, the head's, with NEON.
 *
 * Widening a weight is a shift that lengthens. One token is bound by memory; each further one reads the rows again, from a cache.
 */
#include "kernels/arm/neon.h"

static inline float32x4_t load_bf16(const uint16_t *weights, uint32_t count) {
    uint16_t four[4] = {0};
    if (count < 4)
        memcpy(four, weights, count * sizeof *weights);
    const uint16x4_t halves = count < 4 ? vld1_u16(four) : vld1_u16(weights);
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t token = 0; token < tokens; token++) {
            const uint16_t *weights = rows + (size_t)row * count;
            const float *values = x + token * x_stride;
            float32x4_t lanes[VECTORS];
            for (uint32_t part = 0; part < VECTORS; part++)
                lanes[part] = vdupq_n_f32(0);
            uint32_t e = 0;
            for (; e + WF_LANES <= count; e += WF_LANES)
                for (uint32_t part = 0; part < VECTORS; part++)
                    lanes[part] = vfmaq_f32(lanes[part], load_bf16(weights + e + 4 * part, 4), vld1q_f32(values + e + 4 * part));
            for (uint32_t part = 0; e < count; e += 4, part++)
                lanes[part] = vfmaq_f32(lanes[part], load_bf16(weights + e, count - e), load_some(values + e, count - e));
            out[token * out_stride + row] = sum_of_lanes(lanes);
        }
}

void wf_dense_neon(wf_kernels *kernels) { kernels->bf16_matmul = bf16_matmul; }
