/*
 * attention_neon.c: attention with NEON.
 *
 * A block's 32 scores are eight vectors, which stay in registers while the keys stream past. One head comes after the other: each
 * loads and widens the keys and values again, which is what limits it.
 */
#include <math.h>

#include "kernels/arm/neon.h"

/* Four keys or values as they are stored; `kind` is a constant at each call. */
ALWAYS_INLINE float32x4_t load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return vld1q_f32((const float *)elements + index);
    if (kind == WF_KV_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)elements + index)));
    int32_t four;
    memcpy(&four, (const int8_t *)elements + index, sizeof four);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}

/* One query head's running softmax over the blocks. */
typedef struct running {
    float largest, total;
} running;

/* Adds one block to one query. */
ALWAYS_INLINE void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t start, uint32_t from,
                                uint32_t visible, running *state, float *sums) {
    const void *keys = wf_in_block(input, input->keys, start), *values = wf_in_block(input, input->values, start);
    const float *key_scales = wf_in_block(input, input->key_scales, start);
    const float *value_scales = wf_in_block(input, input->value_scales, start);

    float32x4_t scores[VECTORS];
    for (uint32_t part = 0; part < VECTORS; part++)
        scores[part] = vdupq_n_f32(0);
    for (uint32_t d = 0; d < input->head_dim; d++)
        for (uint32_t part = 0; part < VECTORS; part++)
            scores[part] = vfmaq_n_f32(scores[part], load_elements(keys, kind, d * WF_KV_BLOCK + 4 * part), query[d]);

    float weights[WF_KV_BLOCK], largest = state->largest;
    for (uint32_t part = 0; part < VECTORS; part++)
        vst1q_f32(weights + 4 * part, scores[part]);
    for (uint32_t t = from; t < visible; t++) {
        weights[t] *= kind == WF_KV_Q8 ? key_scales[t] * input->scale : input->scale;
        largest = weights[t] > largest ? weights[t] : largest;
    }
    const float rescale = start == input->start ? 0.0f : vgetq_lane_f32(exponential(vdupq_n_f32(state->largest - largest)), 0);
    for (uint32_t part = 0; part < VECTORS; part++) {
        const float32x4_t weight = exponential(vsubq_f32(vld1q_f32(weights + 4 * part), vdupq_n_f32(largest)));
        vst1q_f32(weights + 4 * part, weight);
    }
    for (uint32_t t = 0; t < WF_KV_BLOCK; t++)
        weights[t] = t < from || t >= visible ? 0.0f : weights[t];
    for (uint32_t part = 0; part < VECTORS; part++)
        scores[part] = vld1q_f32(weights + 4 * part);
    state->total = fmaf(state->total, rescale, sum_of_lanes(scores));
    state->largest = largest;
    for (uint32_t t = 0; t < visible && kind == WF_KV_Q8; t++)
        weights[t] *= value_scales[t];

    for (uint32_t d = 0; d < input->value_stride; d += 16) {
        float32x4_t sum[4];
        for (uint32_t part = 0; part < 4; part++)
            sum[part] = vmulq_n_f32(vld1q_f32(sums + d + 4 * part), rescale);
        for (uint32_t t = 0; t < visible; t++)
            for (uint32_t part = 0; part < 4; part++)
                sum[part] =
                    vfmaq_n_f32(sum[part], load_elements(values, kind, (size_t)t * input->value_stride + d + 4 * part), weights[t]);
        for (uint32_t part = 0; part < 4; part++)
            vst1q_f32(sums + d + 4 * part, sum[part]);
    }
}

ALWAYS_INLINE void attend_queries(const wf_attention *input, enum wf_kv_kind kind, const float *const *queries, uint32_t count,
                                  uint32_t start, uint32_t from, uint32_t visible, wf_lines_ahead *ahead, running *states,
                                  float *sums) {
    (void)ahead; /* not measured yet on such a processor */
    for (uint32_t i = 0; i < count; i++)
        attend_block(input, kind, queries[i], start, from, visible, states + i, sums + (size_t)i * input->value_stride);
}

#include "kernels/attend.h"

static uint64_t float_multiply_add_peak(uint64_t rounds) {
    /* Sixteen independent chains; the empty asm makes each value another one, as far as the compiler knows. */
    float32x4_t factor = vdupq_n_f32(0.5f), sums[16];
    for (uint32_t i = 0; i < 16; i++)
        sums[i] = vdupq_n_f32(0);
    for (uint64_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < 16; i++) {
            sums[i] = vfmaq_f32(sums[i], factor, factor);
            __asm__("" : "+w"(sums[i]));
        }
    for (uint32_t i = 0; i < 16; i++)
        __asm__ volatile("" : : "w"(sums[i]));
    return rounds * 16 * 4;
}

void wf_attention_neon(wf_kernels *kernels) {
    kernels->attend = attend;
    kernels->float_multiply_add_peak = float_multiply_add_peak;
}
