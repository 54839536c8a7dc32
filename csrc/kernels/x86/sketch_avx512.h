/*
 * sketch_avx512.h: the head's sketch unpacked with AVX-512, for its products in vectors and in tiles.
 */
#ifndef WF_SKETCH_AVX512_H
#define WF_SKETCH_AVX512_H

#include "kernels/x86/avx512.h"

/* A block's weights, a half each: six bits, or eight. */
ALWAYS_INLINE void unpack_sketch(const uint8_t *coarse, const uint8_t *fine, bool is_fine, __m512i halves[2]) {
    const __m512i both = _mm512_loadu_si512(coarse);
    const __m256i first = _mm512_castsi512_si256(both), second = _mm512_extracti64x4_epi64(both, 1);
    const __m256i third = _mm256_loadu_si256((const __m256i *)(coarse + 64));
    __m256i fourth = _mm256_and_si256(_mm256_srli_epi16(first, 6), _mm256_set1_epi8(3));
    fourth = _mm256_or_si256(fourth, _mm256_and_si256(_mm256_srli_epi16(second, 4), _mm256_set1_epi8(3 << 2)));
    fourth = _mm256_or_si256(fourth, _mm256_and_si256(_mm256_srli_epi16(third, 2), _mm256_set1_epi8(3 << 4)));
    halves[0] = _mm512_and_si512(both, _mm512_set1_epi8(63));
    halves[1] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_and_si256(third, _mm256_set1_epi8(63))), fourth, 1);
    if (!is_fine)
        return;
    const __m256i lower = _mm256_loadu_si256((const __m256i *)fine);
    for (uint32_t half = 0; half < 2; half++) {
        const __m256i low = _mm256_srli_epi16(lower, 4 * half), high = _mm256_srli_epi16(lower, 4 * half + 2);
        const __m512i bits = _mm512_and_si512(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1), _mm512_set1_epi8(3));
        halves[half] = _mm512_or_si512(_mm512_slli_epi16(halves[half], 2), bits);
    }
}

#endif
