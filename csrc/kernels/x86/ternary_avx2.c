/*
 * ternary_avx2.c: ternary products for every x86-64 processor with AVX2: those of ternary_avx2.h, and of columns.
 *
 * Columns are bound by memory: each is a stream of its own, so those of the next step are asked for. The sums of a step stay in 16
 * bits: WF_COLUMNS_TOGETHER · 2 · 128 < 2^15.
 */
#include "kernels/x86/ternary_avx2.h"

/* Adds eight 16-bit sums to eight of 32 bits. */
static inline void add_eight(int32_t *sums, __m128i addends) {
    const __m256i old = _mm256_loadu_si256((const __m256i *)sums);
    _mm256_storeu_si256((__m256i *)sums, _mm256_add_epi32(old, _mm256_cvtepi16_epi32(addends)));
}

static void ternary_columns(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums) {
    for (uint32_t first = 0; first < count; first += WF_COLUMNS_TOGETHER) {
        wf_columns_step step;
        wf_begin_columns_step(&step, columns, column_bytes, indices, values, count, first);
        __m256i factors[WF_COLUMNS_TOGETHER / 2];
        for (uint32_t pair = 0; pair < WF_COLUMNS_TOGETHER / 2; pair++)
            factors[pair] = _mm256_set1_epi16((int16_t)((uint8_t)step.values[2 * pair] | step.values[2 * pair + 1] * 256));
        for (size_t byte = 0; byte < column_bytes; byte += WF_BLOCK_BYTES) {
            const __m256i mask = _mm256_set1_epi8(3);
            __m256i low[4], high[4];
            for (uint32_t quarter = 0; quarter < 4; quarter++)
                low[quarter] = high[quarter] = _mm256_setzero_si256();
            for (uint32_t pair = 0; pair < WF_COLUMNS_TOGETHER / 2; pair++) {
                const __m256i one = _mm256_load_si256((const __m256i *)(step.columns[2 * pair] + byte));
                const __m256i other = _mm256_load_si256((const __m256i *)(step.columns[2 * pair + 1] + byte));
                if (byte % CACHE_LINE == 0) {
                    _mm_prefetch((const char *)(step.later[2 * pair] + byte), _MM_HINT_T0);
                    _mm_prefetch((const char *)(step.later[2 * pair + 1] + byte), _MM_HINT_T0);
                }
                /* Side by side, so that vpmaddubsw adds the two columns' products. */
                const __m256i lows = _mm256_unpacklo_epi8(one, other), highs = _mm256_unpackhi_epi8(one, other);
                for (uint32_t quarter = 0; quarter < 4; quarter++) {
                    const __m256i a = _mm256_and_si256(_mm256_srli_epi16(lows, (int)(2 * quarter)), mask);
                    const __m256i b = _mm256_and_si256(_mm256_srli_epi16(highs, (int)(2 * quarter)), mask);
                    low[quarter] = _mm256_add_epi16(low[quarter], _mm256_maddubs_epi16(a, factors[pair]));
                    high[quarter] = _mm256_add_epi16(high[quarter], _mm256_maddubs_epi16(b, factors[pair]));
                }
            }
            for (uint32_t quarter = 0; quarter < 4; quarter++) {
                int32_t *out = sums + 4 * byte + WF_BLOCK_BYTES * quarter;
                add_eight(out, _mm256_castsi256_si128(low[quarter]));
                add_eight(out + 8, _mm256_castsi256_si128(high[quarter]));
                add_eight(out + 16, _mm256_extracti128_si256(low[quarter], 1));
                add_eight(out + 24, _mm256_extracti128_si256(high[quarter], 1));
            }
        }
    }
}

void wf_ternary_avx2(wf_kernels *kernels) {
    kernels->ternary_matmul = ternary_matmul;
    kernels->ternary_columns = ternary_columns;
    kernels->multiply_add_peak = multiply_add_peak;
}
