/*
 * groups_neon.h: ternary products with a scale for each group of inputs, with NEON, written once and compiled twice as ternary_neon.h is.
 *
 * Four loads bring one word of the 16 rows of a panel, whose quarters are multiplied by four activations that all rows share. So a group's
 * sums of 16 rows are four vectors, which are multiplied by 16 scales; nothing is added across a vector. Without the dot product
 * instructions products are added in 16 bits first, four lanes for each row: at most 32 · 2 · 128 in one.
 */
#ifndef WF_GROUPS_NEON_H
#define WF_GROUPS_NEON_H

#include "kernels/arm/neon.h"
#include "kernels/panels.h"

#define TILE_TOKENS 4

#if defined(__ARM_FEATURE_DOTPROD)

/* Vectors of four rows of which the sums are kept in registers together. */
#define FOURS_TOGETHER 4U

/* The sums of four rows. */
typedef int32x4_t row_sums;

static inline row_sums no_sums(void) { return vdupq_n_s32(0); }

static inline row_sums add_products(row_sums sums, int8x16_t codes, int8x16_t values) { return vdotq_s32(sums, codes, values); }

static inline int32x4_t widened(row_sums sums) { return sums; }

#else

#define FOURS_TOGETHER 2U

typedef int16x8x2_t row_sums;

static inline row_sums no_sums(void) { return (row_sums){{vdupq_n_s16(0), vdupq_n_s16(0)}}; }

static inline row_sums add_products(row_sums sums, int8x16_t codes, int8x16_t values) {
    sums.val[0] = vmlal_s8(sums.val[0], vget_low_s8(codes), vget_low_s8(values));
    sums.val[1] = vmlal_s8(sums.val[1], vget_high_s8(codes), vget_high_s8(values));
    return sums;
}

static inline int32x4_t widened(row_sums sums) { return vpaddq_s32(vpaddlq_s16(sums.val[0]), vpaddlq_s16(sums.val[1])); }

#endif

/* Adds the products of a part of a block, for some rows of the panel; `codes` are those of the first of them. */
ALWAYS_INLINE void add_part(const uint8_t *codes, uint32_t block, const tile_values *x, uint32_t count, block_part part,
                            row_sums sums[FOURS_TOGETHER][TILE_TOKENS]) {
    for (uint32_t word = part.first_word; word < part.word_end; word++)
        for (uint32_t quarter = part.first_quarter; quarter < part.quarter_end; quarter++) {
            int8x16_t weights[FOURS_TOGETHER];
            for (uint32_t four = 0; four < FOURS_TOGETHER; four++)
                weights[four] = quarter_of(vld1q_u8(codes + (size_t)word * WORD_BYTES + four * 16), quarter);
            for (uint32_t t = 0; t < count; t++) {
                const int8x16_t values = vreinterpretq_s8_s32(vdupq_n_s32(values_at(x, block, quarter, word, t)));
                for (uint32_t four = 0; four < FOURS_TOGETHER; four++)
                    sums[four][t] = add_products(sums[four][t], weights[four], values);
            }
        }
}

/* Rows of a panel from the vector `first` on by `count` tokens (`count` and `group` constants at each call), of which `present` are wanted. */
ALWAYS_INLINE void multiply_rows(const wf_grouped_rows *rows, const uint8_t *panel, uint32_t first, uint32_t present,
                                 const wf_grouped_activations *x, uint32_t token, const tile_values *values, uint32_t count,
                                 float *out, size_t out_stride, uint32_t group) {
    const int32_t *token_sums = x->sums + (size_t)token * rows->groups;
    const float *token_scales = x->scales + (size_t)token * rows->groups;
    const uint32_t blocks = (uint32_t)(rows->code_bytes / WF_BLOCK_BYTES);
    const uint8_t *codes = panel + (size_t)first * 16;
    float32x4_t totals[FOURS_TOGETHER][TILE_TOKENS];
    for (uint32_t four = 0; four < FOURS_TOGETHER; four++)
        for (uint32_t t = 0; t < count; t++)
            totals[four][t] = vdupq_n_f32(0.0f);
    uint32_t index = 0; /* of the group */
    for (uint32_t block = 0; block < blocks; block++, codes += BLOCK_WORDS * WORD_BYTES)
        for (uint32_t i = 0; i < parts_of(group); i++, index++) {
            row_sums sums[FOURS_TOGETHER][TILE_TOKENS];
            for (uint32_t four = 0; four < FOURS_TOGETHER; four++)
                for (uint32_t t = 0; t < count; t++)
                    sums[four][t] = no_sums();
            add_part(codes, block, values, count, part_of(group, i), sums);
            const uint16_t *halves = wf_panel_scales(rows, panel, index) + first * 4;
            for (uint32_t four = 0; four < FOURS_TOGETHER; four++) {
                const float32x4_t row_scales = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + four * 4)));
                for (uint32_t t = 0; t < count; t++) {
                    const size_t at = (size_t)t * rows->groups + index;
                    const int32x4_t sum = vsubq_s32(widened(sums[four][t]), vdupq_n_s32(token_sums[at]));
                    const float32x4_t scales = vmulq_n_f32(row_scales, token_scales[at]);
                    totals[four][t] = vfmaq_f32(totals[four][t], vcvtq_f32_s32(sum), scales);
                }
            }
        }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t four = 0; four < FOURS_TOGETHER && four * 4 < present; four++)
            store_some(out + (token + t) * out_stride + four * 4, totals[four][t], present - four * 4);
}

ALWAYS_INLINE void multiply_panels(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                                   uint32_t count, float *out, size_t out_stride, uint32_t group) {
    const tile_values values = values_of(rows, x, token, count, TILE_TOKENS);
    for (uint32_t row = 0; row < row_count; row += FOURS_TOGETHER * 4) {
        const uint8_t *panel = rows->panels + row / WF_PANEL_ROWS * wf_panel_bytes(rows);
        multiply_rows(rows, panel, row % WF_PANEL_ROWS / 4, row_count - row, x, token, &values, count, out + row, out_stride,
                      group);
    }
}

#include "kernels/grouped.h"

#endif
