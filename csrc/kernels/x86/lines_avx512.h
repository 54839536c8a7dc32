/*
 * lines_avx512.h: lines of codes and the activations that belong to them, for the ternary products of AVX-512.
 */
#ifndef WF_LINES_AVX512_H
#define WF_LINES_AVX512_H

#include "kernels/x86/avx512.h"

/* Each line's activations as they are used, 64 for each quarter of its codes: 32 of the first block and 32 of the second. Of a
 * last single block the upper halves are zero. */
static inline void arrange_lines(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded,
                                 int8_t *arranged) {
    (void)batch;
    for (uint32_t token = 0; token < count; token++, values += stride, arranged += wf_arranged_bytes(padded))
        for (uint32_t input = 0; input < padded; input += LINE_WEIGHTS)
            for (uint32_t quarter = 0; quarter < 4; quarter++) {
                const int8_t *at = values + input + quarter * WF_BLOCK_BYTES;
                const __m256i first = _mm256_loadu_si256((const __m256i *)at);
                const __m256i second = padded - input >= LINE_WEIGHTS ? _mm256_loadu_si256((const __m256i *)(at + WF_BLOCK_WEIGHTS))
                                                                      : _mm256_setzero_si256();
                _mm512_store_si512(arranged + input + 64 * quarter, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
            }
}

/* The last line of a row with an odd number of blocks: its upper half is code 0. */
ALWAYS_INLINE __m512i last_line(const uint8_t *row) { return _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i *)row)); }

ALWAYS_INLINE __m512i quarter_of(__m512i codes, uint32_t quarter) {
    return _mm512_and_si512(_mm512_srli_epi16(codes, 2 * quarter), _mm512_set1_epi8(3));
}

#endif
