/*
 * attention_avx512.c: attention with AVX-512.
 *
 * A block's 32 scores are two vectors, so the softmax needs no loop over positions. Eight queries go through a block together: a
 * key or value is loaded and widened once for all of them, and sixteen sums in flight hide the latency of an addition. One token
 * has as many queries as there are heads for a KV head; with few of them it is bound by memory, in prompts by multiply-adds.
 */
#include <math.h>

#include "kernels/x86/avx512.h"

/* The most queries that go through a block together. */
#define TOGETHER 8U

/* One query's running softmax over the blocks. */
typedef struct running {
    float largest, total, rescale;
    float weights[WF_KV_BLOCK]; /* exp(score − largest) of this block's positions, times the value's scale where there is one */
} running;

/* Sixteen keys or values as they are stored; `kind` is a constant at each call. */
ALWAYS_INLINE __m512 load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return _mm512_loadu_ps((const float *)elements + index);
    if (kind == WF_KV_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)elements + index)));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)((const int8_t *)elements + index))));
}

/* The softmax of `count` queries after a block with these scores. `value_scales` may be NULL. */
ALWAYS_INLINE void update_softmaxes(running *states, uint32_t count, const __m512 *first, const __m512 *second,
                                    const float *value_scales, uint32_t from, uint32_t visible, bool is_first) {
    const uint32_t seen = (uint32_t)(((UINT64_C(1) << visible) - 1) & ~((UINT64_C(1) << from) - 1));
    const __mmask16 low = (__mmask16)seen, high = (__mmask16)(seen >> 16);
    const __m512 hidden = _mm512_set1_ps(-INFINITY);
    _Alignas(64) float rescales[16] = {0};
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++) {
        __m512 maximum = _mm512_set1_ps(states[i].largest);
        maximum = _mm512_max_ps(_mm512_mask_blend_ps(low, hidden, first[i]), maximum);
        maximum = _mm512_max_ps(_mm512_mask_blend_ps(high, hidden, second[i]), maximum);
        const float largest = _mm512_reduce_max_ps(maximum);
        rescales[i] = states[i].largest - largest;
        states[i].largest = largest;
    }
    /* One exponential for all of them. */
    _mm512_store_ps(rescales, exponential(_mm512_load_ps(rescales)));
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++) {
        const __m512 offset = _mm512_set1_ps(states[i].largest);
        const __m512 one = _mm512_maskz_mov_ps(low, exponential(_mm512_sub_ps(first[i], offset)));
        const __m512 other = _mm512_maskz_mov_ps(high, exponential(_mm512_sub_ps(second[i], offset)));
        if (value_scales == NULL) {
            _mm512_storeu_ps(states[i].weights, one);
            _mm512_storeu_ps(states[i].weights + 16, other);
        } else {
            _mm512_storeu_ps(states[i].weights, _mm512_mul_ps(one, _mm512_loadu_ps(value_scales)));
            _mm512_storeu_ps(states[i].weights + 16, _mm512_mul_ps(other, _mm512_loadu_ps(value_scales + 16)));
        }
        states[i].rescale = is_first ? 0.0f : rescales[i];
        states[i].total = fmaf(states[i].total, states[i].rescale, sum_of_sixteen(_mm512_add_ps(one, other)));
    }
}

/* With each 32 elements that are read, the same of the next block is asked for: mostly there is one pass over a block. */
ALWAYS_INLINE uint32_t lines_at_once(enum wf_kv_kind kind) { return kind == WF_KV_F32 ? 2 : 1; }

/* Adds one block's weighted values to `count` queries' sums[count][value_stride], `width` vectors from element d on. */
ALWAYS_INLINE void add_values(const running *states, uint32_t count, const void *values, wf_lines_ahead *ahead,
                              enum wf_kv_kind kind, uint32_t value_stride, uint32_t visible, uint32_t d, uint32_t width,
                              float *sums) {
    __m512 sum[TOGETHER][2];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            sum[i][part] =
                _mm512_mul_ps(_mm512_load_ps(sums + i * value_stride + d + 16 * part), _mm512_set1_ps(states[i].rescale));
    for (uint32_t t = 0; t < visible; t++) {
        wf_ask_for_lines(ahead, lines_at_once(kind));
        __m512 value[2];
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            value[part] = load_elements(values, kind, (size_t)t * value_stride + d + 16 * part);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < count; i++) {
            const __m512 weight = _mm512_set1_ps(states[i].weights[t]);
#pragma GCC unroll 2
            for (uint32_t part = 0; part < width; part++) {
                sum[i][part] = _mm512_fmadd_ps(weight, value[part], sum[i][part]);
                PIN(sum[i][part]);
            }
        }
    }
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            _mm512_store_ps(sums + i * value_stride + d + 16 * part, sum[i][part]);
}

/* Adds one block to `count` queries; a constant at each call, at most TOGETHER. */
ALWAYS_INLINE void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *const *queries, uint32_t count,
                                uint32_t start, uint32_t from, uint32_t visible, wf_lines_ahead *ahead, running *states,
                                float *sums) {
    const void *keys = wf_in_block(input, input->keys, start), *values = wf_in_block(input, input->values, start);
    const float *value_scales = kind == WF_KV_Q8 ? wf_in_block(input, input->value_scales, start) : NULL;

    __m512 first[TOGETHER], second[TOGETHER];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++)
        first[i] = second[i] = _mm512_setzero_ps();
    for (uint32_t d = 0; d < input->head_dim; d++) {
        wf_ask_for_lines(ahead, lines_at_once(kind));
        const __m512 low = load_elements(keys, kind, d * WF_KV_BLOCK), high = load_elements(keys, kind, d * WF_KV_BLOCK + 16);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < count; i++) {
            const __m512 factor = _mm512_set1_ps(queries[i][d]);
            first[i] = _mm512_fmadd_ps(factor, low, first[i]);
            PIN(first[i]);
            second[i] = _mm512_fmadd_ps(factor, high, second[i]);
            PIN(second[i]);
        }
    }
    __m512 low_scale = _mm512_set1_ps(input->scale), high_scale = low_scale;
    if (kind == WF_KV_Q8) {
        const float *key_scales = wf_in_block(input, input->key_scales, start);
        low_scale = _mm512_mul_ps(_mm512_loadu_ps(key_scales), low_scale);
        high_scale = _mm512_mul_ps(_mm512_loadu_ps(key_scales + 16), high_scale);
    }
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++) {
        first[i] = _mm512_mul_ps(first[i], low_scale);
        second[i] = _mm512_mul_ps(second[i], high_scale);
    }
    update_softmaxes(states, count, first, second, value_scales, from, visible, start == input->start);

    uint32_t d = 0;
    for (; d + 32 <= input->value_stride; d += 32)
        add_values(states, count, values, ahead, kind, input->value_stride, visible, d, 2, sums);
    if (d < input->value_stride)
        add_values(states, count, values, ahead, kind, input->value_stride, visible, d, 1, sums);
}

/* Eight queries at a time, then four, so that one load serves all of them. */
ALWAYS_INLINE void attend_queries(const wf_attention *input, enum wf_kv_kind kind, const float *const *queries, uint32_t count,
                                  uint32_t start, uint32_t from, uint32_t visible, wf_lines_ahead *ahead, running *states,
                                  float *sums) {
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8)
        attend_block(input, kind, queries + i, 8, start, from, visible, ahead, states + i, sums + (size_t)i * input->value_stride);
    for (; i + 4 <= count; i += 4)
        attend_block(input, kind, queries + i, 4, start, from, visible, ahead, states + i, sums + (size_t)i * input->value_stride);
    for (; i < count; i++)
        attend_block(input, kind, queries + i, 1, start, from, visible, ahead, states + i, sums + (size_t)i * input->value_stride);
}

#include "kernels/attend.h"

static uint64_t float_multiply_add_peak(uint64_t rounds) {
    /* Two a cycle, four or five cycles each: so many independent chains, and some to spare. */
    enum { CHAINS = 16 };
    __m512 factor = _mm512_set1_ps(0.5f), sums[CHAINS];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < CHAINS; i++)
        sums[i] = _mm512_setzero_ps();
    for (uint64_t round = 0; round < rounds; round++) {
        PIN(factor); /* as far as the compiler knows, another in every round */
#pragma GCC unroll 16
        for (uint32_t i = 0; i < CHAINS; i++) {
            sums[i] = _mm512_fmadd_ps(factor, factor, sums[i]);
            PIN(sums[i]);
        }
    }
#pragma GCC unroll 16
    for (uint32_t i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    const float used = _mm512_cvtss_f32(sums[0]);
    __asm__ volatile("" : : "r"(&used) : "memory");
    return rounds * CHAINS * 16;
}

void wf_attention_avx512(wf_kernels *kernels) {
    kernels->attend = attend;
    kernels->float_multiply_add_peak = float_multiply_add_peak;
}
