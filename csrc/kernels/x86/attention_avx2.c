/*
 * attention_avx2.c: attention with AVX2.
 *
 * A block's 32 scores are four vectors. Two queries go through a block together, which takes eight accumulators: a key or value is
 * loaded and widened once for both. With few query heads for a KV head it is bound by memory; with more, by loads and
 * multiply-adds.
 */
#include <math.h>

#include "kernels/x86/avx2.h"

/* Eight keys or values as they are stored; `kind` is a constant at each call. */
ALWAYS_INLINE __m256 load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return _mm256_loadu_ps((const float *)elements + index);
    if (kind == WF_KV_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)elements + index)));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)((const int8_t *)elements + index))));
}

/* Scores of one block's positions for `count` queries (a constant at each call, as `kind` is; at most 2), times the scale. */
ALWAYS_INLINE void block_scores(const wf_attention *input, const float *const *queries, uint32_t count, enum wf_kv_kind kind,
                                uint32_t start, wf_lines_ahead *ahead, __m256 scores[2][4]) {
    const void *keys = wf_in_block(input, input->keys, start);
    __m256 sums[2][4];
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t part = 0; part < 4; part++)
            sums[i][part] = _mm256_setzero_ps();
    for (uint32_t d = 0; d < input->head_dim; d++) {
        wf_ask_for_lines(ahead, 1);
        __m256 factors[2];
        for (uint32_t i = 0; i < count; i++)
            factors[i] = _mm256_broadcast_ss(queries[i] + d);
        for (uint32_t part = 0; part < 4; part++) {
            const __m256 key = load_elements(keys, kind, (size_t)d * WF_KV_BLOCK + 8 * part);
            for (uint32_t i = 0; i < count; i++) {
                sums[i][part] = _mm256_fmadd_ps(factors[i], key, sums[i][part]);
                PIN(sums[i][part]);
            }
        }
    }
    for (uint32_t part = 0; part < 4; part++) {
        __m256 scale = _mm256_set1_ps(input->scale);
        if (kind == WF_KV_Q8) {
            const float *key_scales = wf_in_block(input, input->key_scales, start);
            scale = _mm256_mul_ps(_mm256_loadu_ps(key_scales + 8 * part), scale);
        }
        for (uint32_t i = 0; i < count; i++)
            scores[i][part] = _mm256_mul_ps(sums[i][part], scale);
    }
}

/* One query's running softmax over the blocks. */
typedef struct running {
    float largest, total, rescale;
    float weights[WF_KV_BLOCK]; /* exp(score − largest) of this block's positions, times the value's scale where there is one */
} running;

/* The lanes of a part of a block whose positions are from `from` up to `visible`. */
static inline __m256 lanes_seen(uint32_t from, uint32_t visible, uint32_t part) {
    const __m256i places = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int32_t)(8 * part)));
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)visible), places);
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)from), places), below));
}

/* `value_scales` may be NULL. */
static inline void update_softmax(running *state, const __m256 scores[4], const float *value_scales, uint32_t from,
                                  uint32_t visible, int first) {
    __m256 masked[4], maximum = _mm256_set1_ps(state->largest);
    for (uint32_t part = 0; part < 4; part++) {
        const __m256 mask = lanes_seen(from, visible, part);
        masked[part] = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), scores[part], mask);
        maximum = _mm256_max_ps(masked[part], maximum);
    }
    const float largest = largest_of_eight(maximum);
    const __m256 offset = _mm256_set1_ps(largest);
    state->rescale = first ? 0.0f : _mm256_cvtss_f32(exponential(_mm256_set1_ps(state->largest - largest)));
    for (uint32_t part = 0; part < 4; part++) {
        const __m256 mask = lanes_seen(from, visible, part);
        masked[part] = _mm256_and_ps(exponential(_mm256_sub_ps(scores[part], offset)), mask);
        const __m256 scaled =
            value_scales == NULL ? masked[part] : _mm256_mul_ps(masked[part], _mm256_loadu_ps(value_scales + 8 * part));
        _mm256_storeu_ps(state->weights + 8 * part, scaled);
    }
    state->total = fmaf(state->total, state->rescale, sum_of_lanes(masked));
    state->largest = largest;
}

/* Adds one block's weighted values to `count` queries' sums, `width` vectors from element d on (constants at each call). */
ALWAYS_INLINE void add_strip(const running *states, uint32_t count, const void *values, wf_lines_ahead *ahead, enum wf_kv_kind kind,
                             uint32_t value_stride, uint32_t visible, uint32_t d, uint32_t width, float *sums) {
    __m256 sum[2][4];
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t part = 0; part < width; part++)
            sum[i][part] = _mm256_mul_ps(_mm256_load_ps(sums + i * value_stride + d + 8 * part), _mm256_set1_ps(states[i].rescale));
    for (uint32_t t = 0; t < visible; t++) {
        const size_t element = (size_t)t * value_stride + d;
        wf_ask_for_lines(ahead, 1);
        __m256 weights[2];
        for (uint32_t i = 0; i < count; i++)
            weights[i] = _mm256_broadcast_ss(&states[i].weights[t]);
        for (uint32_t part = 0; part < width; part++) {
            const __m256 value = load_elements(values, kind, element + 8 * part);
            for (uint32_t i = 0; i < count; i++) {
                sum[i][part] = _mm256_fmadd_ps(weights[i], value, sum[i][part]);
                PIN(sum[i][part]);
            }
        }
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t part = 0; part < width; part++)
            _mm256_store_ps(sums + i * value_stride + d + 8 * part, sum[i][part]);
}

/* Adds one block's weighted values to `count` queries' sums[count][value_stride]. */
ALWAYS_INLINE void add_values(const running *states, uint32_t count, const void *values, wf_lines_ahead *ahead,
                              enum wf_kv_kind kind, uint32_t value_stride, uint32_t visible, float *sums) {
    uint32_t d = 0;
    for (; d + 32 <= value_stride; d += 32)
        add_strip(states, count, values, ahead, kind, value_stride, visible, d, 4, sums);
    if (d < value_stride)
        add_strip(states, count, values, ahead, kind, value_stride, visible, d, 2, sums);
}

/* Adds one block to `count` queries. */
ALWAYS_INLINE void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *const *queries, uint32_t count,
                                uint32_t start, uint32_t from, uint32_t visible, wf_lines_ahead *ahead, running *states,
                                float *sums) {
    const float *value_scales = kind == WF_KV_Q8 ? wf_in_block(input, input->value_scales, start) : NULL;
    __m256 scores[2][4];
    block_scores(input, queries, count, kind, start, ahead, scores);
    for (uint32_t i = 0; i < count; i++)
        update_softmax(&states[i], scores[i], value_scales, from, visible, start == input->start);
    add_values(states, count, wf_in_block(input, input->values, start), ahead, kind, input->value_stride, visible, sums);
}

/* Two queries at a time, so that one load serves both. */
ALWAYS_INLINE void attend_queries(const wf_attention *input, enum wf_kv_kind kind, const float *const *queries, uint32_t count,
                                  uint32_t start, uint32_t from, uint32_t visible, wf_lines_ahead *ahead, running *states,
                                  float *sums) {
    uint32_t i = 0;
    for (; i + 2 <= count; i += 2)
        attend_block(input, kind, queries + i, 2, start, from, visible, ahead, states + i, sums + (size_t)i * input->value_stride);
    if (i < count)
        attend_block(input, kind, queries + i, 1, start, from, visible, ahead, states + i, sums + (size_t)i * input->value_stride);
}

#include "kernels/attend.h"

static uint64_t float_multiply_add_peak(uint64_t rounds) {
    /* Two a cycle, four or five cycles each: so many independent chains, and some to spare. */
    enum { CHAINS = 10 };
    __m256 factor = _mm256_set1_ps(0.5f), sums[CHAINS];
#pragma GCC unroll 10
    for (uint32_t i = 0; i < CHAINS; i++)
        sums[i] = _mm256_setzero_ps();
    for (uint64_t round = 0; round < rounds; round++) {
        PIN(factor); /* as far as the compiler knows, another in every round */
#pragma GCC unroll 10
        for (uint32_t i = 0; i < CHAINS; i++) {
            sums[i] = _mm256_fmadd_ps(factor, factor, sums[i]);
            PIN(sums[i]);
        }
    }
#pragma GCC unroll 10
    for (uint32_t i = 1; i < CHAINS; i++)
        sums[0] = _mm256_add_ps(sums[0], sums[i]);
    const float used = _mm256_cvtss_f32(sums[0]);
    __asm__ volatile("" : : "r"(&used) : "memory");
    return rounds * CHAINS * 8;
}

void wf_attention_avx2(wf_kernels *kernels) {
    kernels->attend = attend;
    kernels->float_multiply_add_peak = float_multiply_add_peak;
}
