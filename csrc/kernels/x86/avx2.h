/*
 * avx2.h: what the files of AVX2 share: accumulators that stay in registers, sums of lanes in the order that kernels.h states,
 * masks for what is left of a row, and the exponential. The tier is for processors with AVX2, FMA and F16C: 2013 and later.
 */
#ifndef WF_AVX2_H
#define WF_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/exponential.h"
#include "kernels/tiers.h"

#define CACHE_LINE 64

/* Keeps an accumulator in its register at this point: left alone, gcc regroups the additions of a whole block, and the sums that
 * this needs at once spill to the stack. Where the compiler has no such registers, the instructions are emulated, and there is
 * nothing to keep. */
#if defined(__AVX2__)
#define PIN(accumulator) __asm__("" : "+x"(accumulator))
#else
#define PIN(accumulator) ((void)(accumulator))
#endif

/* Adds 8 lanes in halves: the last three steps of every row sum. */
static inline float sum_of_eight(__m256 lanes) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

/* Adds WF_LANES lanes in halves. */
static inline float sum_of_lanes(const __m256 lanes[4]) {
    return sum_of_eight(_mm256_add_ps(_mm256_add_ps(lanes[0], lanes[2]), _mm256_add_ps(lanes[1], lanes[3])));
}

static inline int32_t sum_of_integers(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

static inline float largest_of_eight(__m256 lanes) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* A mask whose first `count` (at most 8) lanes are on, for maskload and maskstore. */
static inline __m256i lanes_below(uint32_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* scalar.c's exponential, eight at a time. */
static inline __m256 exponential(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(WF_EXP_LOW), x);
    x = _mm256_min_ps(_mm256_set1_ps(WF_EXP_HIGH), x);
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(WF_EXP_LOG2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-WF_EXP_LN2_HIGH), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-WF_EXP_LN2_LOW), r);
    __m256 p = _mm256_set1_ps(WF_EXP_P0);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(WF_EXP_P1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(WF_EXP_P2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(WF_EXP_P3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(WF_EXP_P4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(WF_EXP_P5));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

#endif
