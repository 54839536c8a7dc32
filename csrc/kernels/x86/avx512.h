/*
 * avx512.h: what the files of AVX-512 share: accumulators that stay in registers, sums of lanes in the order that kernels.h states,
 * masks for what is left of a row, and the exponential. The tier is for processors with F, BW, DQ, VL and VNNI: Intel since 2019,
 * AMD since Zen 4.
 */
#ifndef WF_AVX512_H
#define WF_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/exponential.h"
#include "kernels/tiers.h"

/* A line of codes: two blocks of a row, 64 bytes, which one load brings. */
#define LINE_BYTES (2 * WF_BLOCK_BYTES)
#define LINE_WEIGHTS (2 * WF_BLOCK_WEIGHTS)

/* Rows are asked for ahead: Intel's prefetchers stop at the end of a page, and the queue of a core's own loads is too short for the
 * bandwidth. On Zen 4 asking near slows one row after the other by a third, asking far makes it half as fast again. */
#define NEAR_BYTES 4096U
#define FAR_BYTES 16384U

/* Bytes ahead. A row that comes alone was picked out of many: what lies behind it is not wanted. */
ALWAYS_INLINE size_t ahead_of(uint32_t row_count) { return row_count == 1 ? 0 : wf_asks_far_ahead ? FAR_BYTES : NEAR_BYTES; }

/* The same for tiles of rows, each of which asks for the same lines of a later tile. */
ALWAYS_INLINE size_t tiles_ahead_of(uint32_t row_count, size_t tile_bytes) {
    const size_t ahead = ahead_of(row_count);
    return ahead == 0 ? 0 : (ahead / tile_bytes + 1) * tile_bytes;
}

ALWAYS_INLINE void ask_for(const uint8_t *line, bool is_far) {
    if (is_far)
        _mm_prefetch((const char *)line, _MM_HINT_T1);
    else
        _mm_prefetch((const char *)line, _MM_HINT_T0);
}

/* As far as the compiler knows, an accumulator has another value here, so it stays in its register: left to itself, gcc moves
 * accumulators about and to the stack. Where there are no such registers, the instructions are emulated, and nothing needs to be
 * hidden. */
#if defined(__AVX512F__)
#define PIN(accumulator) __asm__("" : "+v"(accumulator))
#else
#define PIN(accumulator) ((void)(accumulator))
#endif

/* Adds 16 lanes in halves: 8, 4, 2, 1. */
static inline float sum_of_sixteen(__m512 lanes) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

/* Sums of integers may go around. _mm512_reduce_add_epi32 adds signed ones, which must not; the steps here may. */
static inline int32_t sum_of_integers(__m512i lanes) {
    const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* Four vectors' sums of lanes: lane r of the result is that of sums[r], once the four lanes of 128 bits are added. */
ALWAYS_INLINE __m512i fours_of(__m512i sum0, __m512i sum1, __m512i sum2, __m512i sum3) {
    const __m512i low = _mm512_add_epi32(_mm512_unpacklo_epi32(sum0, sum1), _mm512_unpackhi_epi32(sum0, sum1));
    const __m512i high = _mm512_add_epi32(_mm512_unpacklo_epi32(sum2, sum3), _mm512_unpackhi_epi32(sum2, sum3));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
}

ALWAYS_INLINE __m128i sum_of_quarters(__m512i fours) {
    const __m256i halves = _mm256_add_epi32(_mm512_castsi512_si256(fours), _mm512_extracti64x4_epi64(fours, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

/* A mask whose first `count` lanes are on. */
static inline __mmask16 lanes_below(uint32_t count) { return count >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << count) - 1); }

/* scalar.c's exponential, sixteen at a time. */
static inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(WF_EXP_LOW), x);
    x = _mm512_min_ps(_mm512_set1_ps(WF_EXP_HIGH), x);
    const __m512 n =
        _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(WF_EXP_LOG2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-WF_EXP_LN2_HIGH), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-WF_EXP_LN2_LOW), r);
    __m512 p = _mm512_set1_ps(WF_EXP_P0);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(WF_EXP_P1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(WF_EXP_P2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(WF_EXP_P3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(WF_EXP_P4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(WF_EXP_P5));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    const __m512i power = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(p, _mm512_castsi512_ps(power));
}

#endif
