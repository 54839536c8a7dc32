/*
 * neon.h: what the files of NEON share: sums of lanes in the order that kernels.h states, loads and stores of what is left of a
 * row, and the exponential. Every arm64 processor has it.
 */
#ifndef WF_NEON_H
#define WF_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/exponential.h"
#include "kernels/tiers.h"

/* Vectors of four floats in WF_LANES lanes. */
#define VECTORS (WF_LANES / 4)

/* Adds four lanes in halves. */
static inline float sum_of_four(float32x4_t lanes) {
    const float32x2_t two = vadd_f32(vget_low_f32(lanes), vget_high_f32(lanes));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* Adds WF_LANES lanes in halves. */
static inline float sum_of_lanes(const float32x4_t lanes[VECTORS]) {
    float32x4_t sums[VECTORS];
    memcpy(sums, lanes, sizeof sums);
    for (uint32_t half = VECTORS / 2; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            sums[j] = vaddq_f32(sums[j], sums[j + half]);
    return sum_of_four(sums[0]);
}

/* The first `count` (at most 4) of four floats; zeros for the others. Reads no further. */
static inline float32x4_t load_some(const float *x, uint32_t count) {
    float four[4] = {0};
    memcpy(four, x, (count < 4 ? count : 4) * sizeof *x);
    return vld1q_f32(four);
}

static inline void store_some(float *out, float32x4_t value, uint32_t count) {
    float four[4];
    vst1q_f32(four, value);
    memcpy(out, four, (count < 4 ? count : 4) * sizeof *out);
}

/* The codes of a quarter of a block: two bits of each byte. */
ALWAYS_INLINE int8x16_t quarter_of(uint8x16_t codes, uint32_t quarter) {
    const uint8x16_t shifted = vshlq_u8(codes, vdupq_n_s8((int8_t)(-2 * (int)quarter)));
    return vreinterpretq_s8_u8(vandq_u8(shifted, vdupq_n_u8(3)));
}

/* scalar.c's exponential, four at a time. */
static inline float32x4_t exponential(float32x4_t x) {
    x = vmaxq_f32(vdupq_n_f32(WF_EXP_LOW), x);
    x = vminq_f32(vdupq_n_f32(WF_EXP_HIGH), x);
    const float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(WF_EXP_LOG2E)));
    float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-WF_EXP_LN2_HIGH));
    r = vfmaq_f32(r, n, vdupq_n_f32(-WF_EXP_LN2_LOW));
    float32x4_t p = vdupq_n_f32(WF_EXP_P0);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P1), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P2), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P3), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P4), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P5), p, r);
    p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(p, vreinterpretq_f32_s32(power));
}

#endif
