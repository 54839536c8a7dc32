/*
 * ternary_avx2.h: ternary products with AVX2, written once and compiled twice: for every processor with AVX2 (ternary_avx2.c), and
 * for those with AVX-VNNI (ternary_avx2_vnni.c). The compiler's __AVXVNNI__ says which instructions there are.
 *
 * A load of 32 bytes brings 128 codes; a shift and a mask give 32 of them as unsigned bytes. vpdpbusd multiplies them by 32 signed
 * activations and adds fours into 32-bit lanes. Without it vpmaddubsw multiplies and adds neighbours: |pair| ≤ 2 · 2 · 128 = 512 in
 * 16 bits. A block adds four of those to a lane, or one that counts four times, at most 2,048: 15 blocks would go into 16 bits,
 * as 15 · 2,048 < 2^15. It is widened after 14, so that decoding goes through pairs of blocks.
 *   - One token (decode) is bound by memory: one row after the other, so that the weights are one linear stream. (Four rows at a
 *     time would load the activations once for the four, but as four streams they reached half the bandwidth.)
 *   - Several tokens (prefill, batches) are bound by the products: two rows by four tokens keep eight accumulators in registers,
 *     and unpacking two rows serves four tokens. Four tokens' activations stay in the first-level cache while the caller's rows, a
 *     quarter of their size, stream from the second.
 */
#ifndef WF_TERNARY_AVX2_H
#define WF_TERNARY_AVX2_H

#include "kernels/x86/avx2.h"

/* A tile asks for rows so many further on: as two streams side by side, rows are not foreseen well by the
 * processor. The first tokens bring them into the cache for the others. A row that comes alone was picked out
 * of many: what lies behind it is not wanted. */
#define PREFETCH_ROWS 8

/* One row after the other is what the processor foresees, but only to the end of a page, and not far enough for what is computed
 * with it: asking the second-level cache for bytes so far ahead brought a quarter more on Zen 3. */
#define PREFETCH_BYTES 8192

#if defined(__AVXVNNI__)

/* Blocks of which a lane of sums can take the products: as many as there are. */
#define BLOCKS_BEFORE_WIDENING ((size_t)SIZE_MAX)

/* Adds the products of unsigned and signed bytes to a sum, in lanes of 32 bits. */
static inline __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    return _mm256_dpbusd_avx_epi32(sum, codes, values);
}

static inline __m256i widen(__m256i sums) { return sums; }

#else

/* An even number, and no more than 15: see above. */
#define BLOCKS_BEFORE_WIDENING ((size_t)14)

/* The same in lanes of 16 bits. */
static inline __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, values));
}

static inline __m256i widen(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

#endif

/* Adds the products of one block. Every other quarter of the codes stays where it is in its byte and counts four times: a mask
 * is all that it needs. */
ALWAYS_INLINE void add_block(const uint8_t *row, const int8_t *values, __m256i sums[4]) {
    const __m256i once = _mm256_set1_epi8(3), fourfold = _mm256_set1_epi8(3 << 2);
    const __m256i *x = (const __m256i *)values;
    const __m256i codes = _mm256_load_si256((const __m256i *)row), upper = _mm256_srli_epi16(codes, 4);
    sums[0] = add_products(sums[0], _mm256_and_si256(codes, once), _mm256_load_si256(x));
    sums[1] = add_products(sums[1], _mm256_and_si256(codes, fourfold), _mm256_load_si256(x + 1));
    sums[2] = add_products(sums[2], _mm256_and_si256(upper, once), _mm256_load_si256(x + 2));
    sums[3] = add_products(sums[3], _mm256_and_si256(upper, fourfold), _mm256_load_si256(x + 3));
    for (uint32_t quarter = 0; quarter < 4; quarter++)
        PIN(sums[quarter]);
}

/* One row by one token; bytes `ahead` are asked for. Four sums, because one would wait for itself; two blocks at a time, a cache
 * line. */
static inline float decode_row(const uint8_t *row, size_t row_bytes, size_t ahead, const int8_t *values, int32_t sum,
                               float factor) {
    __m256i wide = _mm256_setzero_si256();
    const size_t blocks = row_bytes / WF_BLOCK_BYTES;
    for (size_t block = 0; block < blocks;) {
        const size_t end = blocks - block > BLOCKS_BEFORE_WIDENING ? block + BLOCKS_BEFORE_WIDENING : blocks;
        __m256i sums[4];
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            sums[quarter] = _mm256_setzero_si256();
        for (; block + 2 <= end; block += 2) {
            const uint8_t *line = row + block * WF_BLOCK_BYTES;
            _mm_prefetch((const char *)(line + ahead), _MM_HINT_T1);
            add_block(line, values + block * WF_BLOCK_WEIGHTS, sums);
            add_block(line + WF_BLOCK_BYTES, values + (block + 1) * WF_BLOCK_WEIGHTS, sums);
        }
        if (block < end) {
            add_block(row + block * WF_BLOCK_BYTES, values + block * WF_BLOCK_WEIGHTS, sums);
            block++;
        }
        const __m256i fourfold = _mm256_add_epi32(widen(sums[1]), widen(sums[3]));
        wide = _mm256_add_epi32(wide, _mm256_add_epi32(widen(sums[0]), widen(sums[2])));
        wide = _mm256_add_epi32(wide, _mm256_srai_epi32(fourfold, 2));
    }
    return (float)(sum_of_integers(wide) - sum) * factor;
}

/* `row_count` rows by `count` tokens (both constants at each call; at most 2 by 4). */
ALWAYS_INLINE void batch_tile(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                              uint32_t count, float *out, size_t out_stride) {
    const __m256i mask = _mm256_set1_epi8(3);
    const int8_t *values = x->values + token * x->stride;
    __m256i wide[2][4];
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t t = 0; t < count; t++)
            wide[row][t] = _mm256_setzero_si256();

    const size_t blocks = row_bytes / WF_BLOCK_BYTES;
    for (size_t block = 0; block < blocks;) {
        const size_t end = blocks - block > BLOCKS_BEFORE_WIDENING ? block + BLOCKS_BEFORE_WIDENING : blocks;
        __m256i narrow[2][4];
        for (uint32_t row = 0; row < row_count; row++)
            for (uint32_t t = 0; t < count; t++)
                narrow[row][t] = _mm256_setzero_si256();
        for (; block < end; block++) {
            __m256i codes[2];
            for (uint32_t row = 0; row < row_count; row++) {
                codes[row] = _mm256_load_si256((const __m256i *)(rows + row * row_bytes + block * WF_BLOCK_BYTES));
                if (token == 0 && row_count > 1)
                    _mm_prefetch((const char *)(rows + (row + PREFETCH_ROWS) * row_bytes + block * WF_BLOCK_BYTES), _MM_HINT_T0);
            }
            for (uint32_t quarter = 0; quarter < 4; quarter++) {
                __m256i weights[2];
                for (uint32_t row = 0; row < row_count; row++)
                    weights[row] = _mm256_and_si256(_mm256_srli_epi16(codes[row], (int)(2 * quarter)), mask);
                for (uint32_t t = 0; t < count; t++) {
                    const __m256i value = _mm256_load_si256(
                        (const __m256i *)(values + t * x->stride + block * WF_BLOCK_WEIGHTS + quarter * WF_BLOCK_BYTES));
                    for (uint32_t row = 0; row < row_count; row++) {
                        narrow[row][t] = add_products(narrow[row][t], weights[row], value);
                        PIN(narrow[row][t]);
                    }
                }
            }
        }
        for (uint32_t row = 0; row < row_count; row++)
            for (uint32_t t = 0; t < count; t++)
                wide[row][t] = _mm256_add_epi32(wide[row][t], widen(narrow[row][t]));
    }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t row = 0; row < row_count; row++)
            out[(token + t) * out_stride + row] =
                (float)(sum_of_integers(wide[row][t]) - x->sums[token + t]) * x->factors[token + t];
}

ALWAYS_INLINE void batch_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                              uint32_t count, float *out, size_t out_stride) {
    uint32_t row = 0;
    for (; row + 2 <= row_count; row += 2)
        batch_tile(rows + row * row_bytes, row_bytes, 2, x, token, count, out + row, out_stride);
    if (row < row_count)
        batch_tile(rows + row * row_bytes, row_bytes, 1, x, token, count, out + row, out_stride);
}

ALWAYS_INLINE void decode_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                               float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++)
        out[token * out_stride + row] = decode_row(rows + row * row_bytes, row_bytes, row_count > 1 ? PREFETCH_BYTES : 0,
                                                   x->values + token * x->stride, x->sums[token], x->factors[token]);
}

#include "kernels/ternary.h"

/* One step of an accumulator in multiply_add_peak. */
#define MULTIPLY_ADD(sum, weight, value)                                                                                           \
    do {                                                                                                                           \
        sum = add_products(sum, weight, value);                                                                                    \
        PIN(sum);                                                                                                                  \
    } while (0)

static uint64_t multiply_add_peak(uint64_t rounds) {
    /* The shape of batch_tile without its loads: two weights by four activations, eight independent chains of
     * additions. */
    __m256i weight0 = _mm256_set1_epi8(1), weight1 = _mm256_set1_epi8(2);
    const __m256i value0 = _mm256_set1_epi8(3), value1 = _mm256_set1_epi8(-3);
    const __m256i value2 = _mm256_set1_epi8(5), value3 = _mm256_set1_epi8(-5);
    __m256i sum0 = weight0, sum1 = weight0, sum2 = weight0, sum3 = weight0;
    __m256i sum4 = weight0, sum5 = weight0, sum6 = weight0, sum7 = weight0;
    for (uint64_t round = 0; round < rounds; round++) {
        PIN(weight0); /* as far as the compiler knows, others in every round */
        PIN(weight1);
        MULTIPLY_ADD(sum0, weight0, value0);
        MULTIPLY_ADD(sum1, weight1, value0);
        MULTIPLY_ADD(sum2, weight0, value1);
        MULTIPLY_ADD(sum3, weight1, value1);
        MULTIPLY_ADD(sum4, weight0, value2);
        MULTIPLY_ADD(sum5, weight1, value2);
        MULTIPLY_ADD(sum6, weight0, value3);
        MULTIPLY_ADD(sum7, weight1, value3);
    }
    const __m256i low = _mm256_add_epi32(_mm256_add_epi32(sum0, sum1), _mm256_add_epi32(sum2, sum3));
    const __m256i high = _mm256_add_epi32(_mm256_add_epi32(sum4, sum5), _mm256_add_epi32(sum6, sum7));
    __asm__ volatile("" : : "r"(sum_of_integers(_mm256_add_epi32(low, high)))); /* the sums are used */
    return rounds * 8 * 32;
}

#endif
