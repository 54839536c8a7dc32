/*
 * sketch_avx2.h: products with the head's sketch, with AVX2, written once and compiled twice: for every processor with AVX2
 * (sketch_avx2.c), and for those with AVX-VNNI (sketch_avx2_vnni.c). The compiler's __AVXVNNI__ says which instructions there are.
 *
 * Bytes of weights are taken apart into even and odd ones of 16 bits, as wf_wide_index has arranged the activations; vpdpwssd, or
 * vpmaddwd and an addition, multiplies 16 of them and adds pairs into 32-bit lanes. One token is bound by memory, several by
 * unpacking and products: unpacking a row serves four.
 */
#ifndef WF_SKETCH_AVX2_H
#define WF_SKETCH_AVX2_H

#include "kernels/x86/avx2.h"

/* The head's sketch has more bytes for less work: the first-level cache is asked for what comes next, which took a fifth off on
 * Zen 3. Asking for bytes far ahead made no difference. */
#define NEAR_BYTES 1280

/* Adds the products of 16 pairs of 16-bit numbers to a sum, in lanes of 32 bits; and how many sums of a token can't be fewer,
 * because one addition would wait for the one before. (On Zen 3 one addition is ready for the next, and eight sums instead of
 * four took a tenth more.) */
#if defined(__AVXVNNI__)
#define WIDE_SUMS 2
static inline __m256i add_wide_products(__m256i sum, __m256i a, __m256i b) { return _mm256_dpwssd_avx_epi32(sum, a, b); }
#else
#define WIDE_SUMS 1
static inline __m256i add_wide_products(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
#endif

/* A block's weights, a quarter each: six bits, or eight. */
ALWAYS_INLINE void unpack_sketch(const uint8_t *coarse, const uint8_t *fine, bool is_fine, __m256i quarters[4]) {
    const __m256i six = _mm256_set1_epi8(63), two = _mm256_set1_epi8(3);
    __m256i parts[3];
    for (uint32_t part = 0; part < 3; part++) {
        parts[part] = _mm256_loadu_si256((const __m256i *)coarse + part);
        quarters[part] = _mm256_and_si256(parts[part], six);
    }
    const __m256i first = _mm256_and_si256(_mm256_srli_epi16(parts[0], 6), two);
    const __m256i second = _mm256_and_si256(_mm256_srli_epi16(parts[1], 4), _mm256_set1_epi8(3 << 2));
    const __m256i third = _mm256_and_si256(_mm256_srli_epi16(parts[2], 2), _mm256_set1_epi8(3 << 4));
    quarters[3] = _mm256_or_si256(_mm256_or_si256(first, second), third);
    if (!is_fine)
        return;
    const __m256i lower = _mm256_loadu_si256((const __m256i *)fine);
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
        const __m256i bits = _mm256_and_si256(_mm256_srli_epi16(lower, (int)(2 * quarter)), two);
        quarters[quarter] = _mm256_or_si256(_mm256_slli_epi16(quarters[quarter], 2), bits);
    }
}

/* One row by `count` tokens (constants at each call, as `is_fine` is; at most 4): unpacking the row once serves all of them.
 * What is NEAR_BYTES ahead is asked for in the first-level cache, what is further in the second. */
ALWAYS_INLINE void sketch_row(const wf_sketch_rows *rows, uint32_t row_count, uint32_t row, bool is_fine,
                              const wf_wide_activations *x, uint32_t token, uint32_t count, float *out, size_t out_stride) {
    /* Few tokens are done with a row sooner than memory has the next; of many, the last bring in the next slice's rows. */
    const size_t ahead = count < 4 ? NEAR_BYTES : x->tokens - token < 8 ? (size_t)row_count * rows->blocks * WF_COARSE_BYTES : 0;
    const uint8_t *coarse = rows->coarse + (size_t)row * rows->blocks * WF_COARSE_BYTES;
    const uint8_t *fine = is_fine ? rows->fine + (size_t)row * rows->blocks * WF_FINE_BYTES : NULL;
    const int16_t *values = x->values + token * x->stride;
    __m256i sums[4][WIDE_SUMS];
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t part = 0; part < WIDE_SUMS; part++)
            sums[t][part] = _mm256_setzero_si256();
    for (uint32_t block = 0; block < rows->blocks; block++, coarse += WF_COARSE_BYTES, values += WF_BLOCK_WEIGHTS) {
        /* Every line once: 96 bytes are one and a half. */
        for (uint32_t line = 0; line < 1 + block % 2 && ahead > 0; line++) {
            const char *wanted = (const char *)(coarse + ahead + line * CACHE_LINE);
            if (ahead == NEAR_BYTES)
                _mm_prefetch(wanted, _MM_HINT_T0);
            else
                _mm_prefetch(wanted, _MM_HINT_T1);
        }
        __m256i quarters[4];
        unpack_sketch(coarse, is_fine ? fine + block * WF_FINE_BYTES : NULL, is_fine, quarters);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const __m256i low = _mm256_and_si256(quarters[quarter], _mm256_set1_epi16(0xff));
            const __m256i high = _mm256_srli_epi16(quarters[quarter], 8);
            for (uint32_t t = 0; t < count; t++) {
                const __m256i *at = (const __m256i *)(values + t * x->stride + quarter / 2 * 64 + quarter % 2 * 16);
                sums[t][0] = add_wide_products(sums[t][0], low, _mm256_load_si256(at));
                PIN(sums[t][0]);
                sums[t][WIDE_SUMS - 1] = add_wide_products(sums[t][WIDE_SUMS - 1], high, _mm256_load_si256(at + 2));
                PIN(sums[t][WIDE_SUMS - 1]);
            }
        }
    }
    for (uint32_t t = 0; t < count; t++) {
        const __m256i all = WIDE_SUMS == 1 ? sums[t][0] : _mm256_add_epi32(sums[t][0], sums[t][WIDE_SUMS - 1]);
        const uint32_t sum = (uint32_t)sum_of_integers(all);
        out[(token + t) * out_stride + row] = wf_sketched_product(rows, row, x, token + t, sum);
    }
}

#include "kernels/sketched.h"

#endif
