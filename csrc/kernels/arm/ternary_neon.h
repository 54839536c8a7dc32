/*
 * ternary_neon.h: ternary products with NEON, written once and compiled twice: for every arm64 processor (ternary_neon.c), and for
 * those with the dot product instructions, which is nearly all since 2018 (ternary_neon_dotprod.c). The compiler's
 * __ARM_FEATURE_DOTPROD says which instructions there are.
 *
 * Two loads of 16 bytes bring 128 codes; a shift and a mask give 32 of them as bytes. sdot multiplies 16 by 16 activations and adds
 * fours into 32-bit lanes. Without it smull and smlal add products of at most 2 · 128 in 16 bits; a block brings a lane 16 of them,
 * so it may take 7 blocks before it is widened (7 · 16 · 256 < 2^15). One token is bound by memory, several by the products:
 * unpacking two rows serves four tokens.
 */
#ifndef WF_TERNARY_NEON_H
#define WF_TERNARY_NEON_H

#include "kernels/arm/neon.h"

#if defined(__ARM_FEATURE_DOTPROD)

/* A sum of products of bytes; how often it may grow is not limited. */
typedef int32x4_t byte_sum;

static inline byte_sum no_sum(void) { return vdupq_n_s32(0); }

static inline byte_sum add_products(byte_sum sum, int8x16_t a, int8x16_t b) { return vdotq_s32(sum, a, b); }

static inline int32x4_t widened(byte_sum sum) { return sum; }

#define BLOCKS_BEFORE_WIDENING SIZE_MAX

#else

typedef int16x8_t byte_sum;

static inline byte_sum no_sum(void) { return vdupq_n_s16(0); }

static inline byte_sum add_products(byte_sum sum, int8x16_t a, int8x16_t b) {
    return vmlal_s8(vmlal_s8(sum, vget_low_s8(a), vget_low_s8(b)), vget_high_s8(a), vget_high_s8(b));
}

static inline int32x4_t widened(byte_sum sum) { return vpaddlq_s16(sum); }

#define BLOCKS_BEFORE_WIDENING ((size_t)7)

#endif

/* `row_count` rows by `count` tokens (both constants at each call; at most 2 by 4). */
ALWAYS_INLINE void tile(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                        uint32_t count, float *out, size_t out_stride) {
    const int8_t *values = x->values + token * x->stride;
    int32x4_t wide[2][4];
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t t = 0; t < count; t++)
            wide[row][t] = vdupq_n_s32(0);
    const size_t blocks = row_bytes / WF_BLOCK_BYTES;
    for (size_t block = 0; block < blocks;) {
        const size_t end = blocks - block > BLOCKS_BEFORE_WIDENING ? block + BLOCKS_BEFORE_WIDENING : blocks;
        byte_sum narrow[2][4];
        for (uint32_t row = 0; row < row_count; row++)
            for (uint32_t t = 0; t < count; t++)
                narrow[row][t] = no_sum();
        for (; block < end; block++)
            for (uint32_t half = 0; half < WF_BLOCK_BYTES; half += 16) {
                uint8x16_t codes[2];
                for (uint32_t row = 0; row < row_count; row++)
                    codes[row] = vld1q_u8(rows + row * row_bytes + block * WF_BLOCK_BYTES + half);
                for (uint32_t quarter = 0; quarter < 4; quarter++) {
                    int8x16_t weights[2];
                    for (uint32_t row = 0; row < row_count; row++)
                        weights[row] = quarter_of(codes[row], quarter);
                    for (uint32_t t = 0; t < count; t++) {
                        const int8x16_t value =
                            vld1q_s8(values + t * x->stride + block * WF_BLOCK_WEIGHTS + quarter * WF_BLOCK_BYTES + half);
                        for (uint32_t row = 0; row < row_count; row++)
                            narrow[row][t] = add_products(narrow[row][t], weights[row], value);
                    }
                }
            }
        for (uint32_t row = 0; row < row_count; row++)
            for (uint32_t t = 0; t < count; t++)
                wide[row][t] = vaddq_s32(wide[row][t], widened(narrow[row][t]));
    }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t row = 0; row < row_count; row++)
            out[(token + t) * out_stride + row] = (float)(vaddvq_s32(wide[row][t]) - x->sums[token + t]) * x->factors[token + t];
}

ALWAYS_INLINE void batch_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                              uint32_t count, float *out, size_t out_stride) {
    uint32_t row = 0;
    for (; row + 2 <= row_count; row += 2)
        tile(rows + row * row_bytes, row_bytes, 2, x, token, count, out + row, out_stride);
    if (row < row_count)
        tile(rows + row * row_bytes, row_bytes, 1, x, token, count, out + row, out_stride);
}

/* Bound by memory: one row after the other, as one stream. */
ALWAYS_INLINE void decode_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                               float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++)
        tile(rows + row * row_bytes, row_bytes, 1, x, token, 1, out + row, out_stride);
}

#include "kernels/ternary.h"

static uint64_t multiply_add_peak(uint64_t rounds) {
    /* Sixteen independent chains; the empty asm makes each value another one, as far as the compiler knows. */
    int8x16_t weight = vdupq_n_s8(2), value = vdupq_n_s8(-3);
    byte_sum sums[16];
    for (uint32_t i = 0; i < 16; i++)
        sums[i] = no_sum();
    for (uint64_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < 16; i++) {
            sums[i] = add_products(sums[i], weight, value);
            __asm__("" : "+w"(sums[i]));
        }
    for (uint32_t i = 0; i < 16; i++)
        __asm__ volatile("" : : "w"(sums[i]));
    return rounds * 16 * 16;
}

#endif
