/*
 * attention_avx512.c: attention with AVX-512.
 *
 * A block's 32 scores are two vectors, so the softmax needs no loop over positions. Four heads go through a block together: a key
 * or value is loaded and widened once for the four. With few query heads for a KV head it is bound by memory; with more, by loads
 * and multiply-adds.
 */
#include <math.h>

#include "kernels/x86/avx512.h"

/* One query head's running softmax over the blocks. */
typedef struct running {
    float largest, total, rescale;
    float weights[WF_KV_BLOCK]; /* exp(score − largest) of this block's positions, times the value's scale where there is one */
} running;

/* `value_scales` may be NULL. */
static inline void update_softmax(running *state, __m512 first, __m512 second, const float *value_scales, uint32_t visible,
                                  int is_first) {
    const __mmask16 low = lanes_below(visible), high = visible > 16 ? lanes_below(visible - 16) : 0;
    const __m512 hidden = _mm512_set1_ps(-INFINITY);
    __m512 maximum = _mm512_set1_ps(state->largest);
    maximum = _mm512_max_ps(_mm512_mask_blend_ps(low, hidden, first), maximum);
    maximum = _mm512_max_ps(_mm512_mask_blend_ps(high, hidden, second), maximum);
    const float largest = _mm512_reduce_max_ps(maximum);
    const __m512 offset = _mm512_set1_ps(largest);
    state->rescale = is_first ? 0.0f : _mm512_cvtss_f32(exponential(_mm512_set1_ps(state->largest - largest)));
    first = _mm512_maskz_mov_ps(low, exponential(_mm512_sub_ps(first, offset)));
    second = _mm512_maskz_mov_ps(high, exponential(_mm512_sub_ps(second, offset)));
    if (value_scales == NULL) {
        _mm512_storeu_ps(state->weights, first);
        _mm512_storeu_ps(state->weights + 16, second);
    } else {
        _mm512_storeu_ps(state->weights, _mm512_mul_ps(first, _mm512_loadu_ps(value_scales)));
        _mm512_storeu_ps(state->weights + 16, _mm512_mul_ps(second, _mm512_loadu_ps(value_scales + 16)));
    }
    state->total = fmaf(state->total, state->rescale, sum_of_sixteen(_mm512_add_ps(first, second)));
    state->largest = largest;
}

/* Sixteen keys or values as they are stored; `kind` is a constant at each call. */
ALWAYS_INLINE __m512 load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return _mm512_loadu_ps((const float *)elements + index);
    if (kind == WF_KV_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)elements + index)));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)((const int8_t *)elements + index))));
}

/* Adds one block's weighted values to `count` heads' sums[head][value_stride], `width` vectors from element d on: with two,
 * there are enough sums in flight to hide the latency of an addition. */
ALWAYS_INLINE void add_values(const running *states, uint32_t count, const void *values, wf_lines_ahead *ahead,
                              enum wf_kv_kind kind, uint32_t value_stride, uint32_t visible, uint32_t d, uint32_t width,
                              float *sums) {
    __m512 sum[4][2];
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            sum[head][part] =
                _mm512_mul_ps(_mm512_load_ps(sums + head * value_stride + d + 16 * part), _mm512_set1_ps(states[head].rescale));
    for (uint32_t t = 0; t < visible; t++) {
        wf_ask_for_line(ahead);
        __m512 weights[4];
#pragma GCC unroll 4
        for (uint32_t head = 0; head < count; head++)
            weights[head] = _mm512_set1_ps(states[head].weights[t]);
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++) {
            const __m512 value = load_elements(values, kind, (size_t)t * value_stride + d + 16 * part);
#pragma GCC unroll 4
            for (uint32_t head = 0; head < count; head++) {
                sum[head][part] = _mm512_fmadd_ps(weights[head], value, sum[head][part]);
                PIN(sum[head][part]);
            }
        }
    }
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            _mm512_store_ps(sums + head * value_stride + d + 16 * part, sum[head][part]);
}

/* Adds one block to `count` query heads of one token. */
ALWAYS_INLINE void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t count, uint32_t start,
                                uint32_t positions, wf_lines_ahead *ahead, running *states, float *sums) {
    const void *keys = wf_in_block(input, input->keys, start), *values = wf_in_block(input, input->values, start);
    const float *value_scales = kind == WF_KV_Q8 ? wf_in_block(input, input->value_scales, start) : NULL;
    const uint32_t visible = positions - start < WF_KV_BLOCK ? positions - start : WF_KV_BLOCK;

    __m512 first[4], second[4];
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
        first[head] = second[head] = _mm512_setzero_ps();
    for (uint32_t d = 0; d < input->head_dim; d++) {
        wf_ask_for_line(ahead);
        const __m512 low = load_elements(keys, kind, d * WF_KV_BLOCK), high = load_elements(keys, kind, d * WF_KV_BLOCK + 16);
#pragma GCC unroll 4
        for (uint32_t head = 0; head < count; head++) {
            const __m512 factor = _mm512_set1_ps(query[(size_t)head * input->head_dim + d]);
            first[head] = _mm512_fmadd_ps(factor, low, first[head]);
            PIN(first[head]);
            second[head] = _mm512_fmadd_ps(factor, high, second[head]);
            PIN(second[head]);
        }
    }
    __m512 low_scale = _mm512_set1_ps(input->scale), high_scale = low_scale;
    if (kind == WF_KV_Q8) {
        const float *key_scales = wf_in_block(input, input->key_scales, start);
        low_scale = _mm512_mul_ps(_mm512_loadu_ps(key_scales), low_scale);
        high_scale = _mm512_mul_ps(_mm512_loadu_ps(key_scales + 16), high_scale);
    }
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
        update_softmax(&states[head], _mm512_mul_ps(first[head], low_scale), _mm512_mul_ps(second[head], high_scale), value_scales,
                       visible, start == input->start);

    uint32_t d = 0;
    for (; d + 32 <= input->value_stride; d += 32)
        add_values(states, count, values, ahead, kind, input->value_stride, visible, d, 2, sums);
    if (d < input->value_stride)
        add_values(states, count, values, ahead, kind, input->value_stride, visible, d, 1, sums);
}

/* Four heads at a time, so that one load serves them. */
ALWAYS_INLINE void attend_group(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t count, uint32_t start,
                                uint32_t positions, wf_lines_ahead *ahead, running *states, float *sums) {
    uint32_t head = 0;
    for (; head + 4 <= count; head += 4)
        attend_block(input, kind, query + (size_t)head * input->head_dim, 4, start, positions, ahead, states + head,
                     sums + (size_t)head * input->value_stride);
    for (; head < count; head++)
        attend_block(input, kind, query + (size_t)head * input->head_dim, 1, start, positions, ahead, states + head,
                     sums + (size_t)head * input->value_stride);
}

#include "kernels/attend.h"

void wf_attention_avx512(wf_kernels *kernels) { kernels->attend = attend; }
