/*
 * sketch_neon.c: products with the head's sketch, with NEON.
 *
 * Bytes of weights are taken apart into even and odd ones of 16 bits, as wf_wide_index has arranged the activations; smlal
 * multiplies four of them at a time into 32-bit lanes. Unpacking a row serves four tokens.
 */
#include "kernels/arm/neon.h"

/* Half of each quarter of a block's weights: six bits, or eight. */
ALWAYS_INLINE void unpack_sketch(const uint8_t *coarse, const uint8_t *fine, bool is_fine, uint8x16_t quarters[4]) {
    const uint8x16_t first = vld1q_u8(coarse), second = vld1q_u8(coarse + 32), third = vld1q_u8(coarse + 64);
    const uint8x16_t six = vdupq_n_u8(63), two = vdupq_n_u8(3);
    quarters[0] = vandq_u8(first, six);
    quarters[1] = vandq_u8(second, six);
    quarters[2] = vandq_u8(third, six);
    quarters[3] =
        vorrq_u8(vshrq_n_u8(first, 6), vorrq_u8(vshlq_n_u8(vshrq_n_u8(second, 6), 2), vshlq_n_u8(vshrq_n_u8(third, 6), 4)));
    if (!is_fine)
        return;
    const uint8x16_t lower = vld1q_u8(fine);
    quarters[0] = vorrq_u8(vshlq_n_u8(quarters[0], 2), vandq_u8(lower, two));
    quarters[1] = vorrq_u8(vshlq_n_u8(quarters[1], 2), vandq_u8(vshrq_n_u8(lower, 2), two));
    quarters[2] = vorrq_u8(vshlq_n_u8(quarters[2], 2), vandq_u8(vshrq_n_u8(lower, 4), two));
    quarters[3] = vorrq_u8(vshlq_n_u8(quarters[3], 2), vshrq_n_u8(lower, 6));
}

/* One row by `count` tokens (constants at each call, as `is_fine` is; at most 4): unpacking the row once serves all of them. */
ALWAYS_INLINE void sketch_row(const wf_sketch_rows *rows, uint32_t row_count, uint32_t row, bool is_fine,
                              const wf_wide_activations *x, uint32_t token, uint32_t count, float *out, size_t out_stride) {
    (void)row_count;
    int32x4_t sums[4][2];
    for (uint32_t t = 0; t < count; t++)
        sums[t][0] = sums[t][1] = vdupq_n_s32(0);
    for (uint32_t half = 0; half < 2 * rows->blocks; half++) {
        const size_t block = (size_t)row * rows->blocks + half / 2, offset = half % 2 * 16;
        const int16_t *values = x->values + token * x->stride + half / 2 * WF_BLOCK_WEIGHTS + half % 2 * 8;
        uint8x16_t quarters[4];
        unpack_sketch(rows->coarse + block * WF_COARSE_BYTES + offset, is_fine ? rows->fine + block * WF_FINE_BYTES + offset : NULL,
                      is_fine, quarters);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const uint16x8_t pairs = vreinterpretq_u16_u8(quarters[quarter]);
            const int16x8_t even = vreinterpretq_s16_u16(vandq_u16(pairs, vdupq_n_u16(0xff)));
            const int16x8_t odd = vreinterpretq_s16_u16(vshrq_n_u16(pairs, 8));
            for (uint32_t t = 0; t < count; t++) {
                const int16_t *at = values + t * x->stride + quarter / 2 * 64 + quarter % 2 * 16;
                const int16x8_t first = vld1q_s16(at), second = vld1q_s16(at + 32);
                sums[t][0] = vmlal_s16(sums[t][0], vget_low_s16(even), vget_low_s16(first));
                sums[t][1] = vmlal_high_s16(sums[t][1], even, first);
                sums[t][0] = vmlal_s16(sums[t][0], vget_low_s16(odd), vget_low_s16(second));
                sums[t][1] = vmlal_high_s16(sums[t][1], odd, second);
            }
        }
    }
    for (uint32_t t = 0; t < count; t++) {
        /* Unsigned, because it may go around. */
        const uint32x4_t all = vaddq_u32(vreinterpretq_u32_s32(sums[t][0]), vreinterpretq_u32_s32(sums[t][1]));
        out[(token + t) * out_stride + row] = wf_sketched_product(rows, row, x, token + t, vaddvq_u32(all));
    }
}

#include "kernels/sketched.h"

void wf_sketch_neon(wf_kernels *kernels) { kernels->sketch_matmul = sketch_matmul; }
