/*
 * avx2.h: kernels for x86-64 processors with AVX2, FMA and F16C (2013 and later), written once and compiled twice: for all of them
 * (avx2.c), and for those with AVX-VNNI (avx2_vnni.c). The file that includes this defines WF_TIER, the table's name, and WF_TIER_NAME;
 * the compiler's __AVXVNNI__ says which instructions there are.
 *
 * Ternary products. A load of 32 bytes brings 128 codes; a shift and a mask give 32 of them as unsigned bytes. vpdpbusd multiplies them
 * by 32 signed activations and adds fours into 32-bit lanes. Without it vpmaddubsw multiplies and adds neighbours: |pair| ≤ 2 · 2 · 128 = 512
 * in 16 bits. A block adds at most four of those to an accumulator, so it may take 15 blocks before it is widened (15 · 4 · 512 < 2^15).
 *   - One token (decode) is bound by memory: one row after the other, so that the weights are one linear stream. (Four rows at a time
 *     would load the activations once for the four, but as four streams they reached half the bandwidth.)
 *   - Several tokens (prefill, batches) are bound by the products: two rows by four tokens keep eight accumulators in registers, and
 *     unpacking two rows serves four tokens. Four tokens' activations stay in the first-level cache while the caller's rows, a
 *     quarter of their size, stream from the second.
 * Rows of the bf16 head are bound by memory too: widening is a zero-extension and a shift.
 */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels.h"

#define CACHE_LINE 64

/* A tile asks for rows so many further on: as two streams side by side, rows are not foreseen well by the
 * processor. The first tokens bring them into the cache for the others. A row that comes alone was picked out
 * of many: what lies behind it is not wanted. */
#define PREFETCH_ROWS 8

/* One row after the other is what the processor foresees, but only to the end of a page, and not far enough for what is computed with it:
 * asking the second-level cache for bytes so far ahead brought a quarter more on Zen 3. */
#define PREFETCH_BYTES 8192

/* The head's sketch has more bytes for less work: the first-level cache is asked for what comes next, which took a fifth off on Zen 3. Asking
 * for bytes far ahead made no difference. */
#define NEAR_BYTES 1280

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

/* A mask whose first `count` (at most 8) lanes are on, for maskload and maskstore. */
static inline __m256i lanes_below(uint32_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static void rms_norm(const float *x, const float *weight, uint32_t count, float epsilon, float *out) {
    __m256 lanes[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    uint32_t e = 0;
    for (; e + WF_LANES <= count; e += WF_LANES)
        for (uint32_t part = 0; part < 4; part++) {
            const __m256 value = _mm256_loadu_ps(x + e + 8 * part);
            lanes[part] = _mm256_fmadd_ps(value, value, lanes[part]);
        }
    for (uint32_t part = 0; e < count; e += 8, part++) {
        const __m256 value = _mm256_maskload_ps(x + e, lanes_below(count - e));
        lanes[part] = _mm256_fmadd_ps(value, value, lanes[part]);
    }
    const float mean = sum_of_lanes(lanes) / (float)count;
    const float inverse = 1.0f / sqrtf(mean + epsilon);
    const __m256 factor = _mm256_set1_ps(inverse);
    for (e = 0; e + 8 <= count; e += 8)
        _mm256_storeu_ps(out + e, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + e), factor), _mm256_loadu_ps(weight + e)));
    for (; e < count; e++)
        out[e] = x[e] * inverse * weight[e];
}

static inline float largest_of_eight(__m256 lanes) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* max(floor, |x[0]|, …, |x[count − 1]|) */
static inline float largest_magnitude(const float *x, uint32_t count, float floor) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_set1_ps(floor);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256 value = _mm256_maskload_ps(x + e, lanes_below(count - e < 8 ? count - e : 8));
        most = _mm256_max_ps(_mm256_and_ps(value, magnitude), most);
    }
    return largest_of_eight(most);
}

static void quantize(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum) {
    const float largest = largest_magnitude(x, count, 1e-5f);
    const float scale = 127.0f / largest;
    const __m256 factor = _mm256_set1_ps(scale);
    __m256i total = _mm256_setzero_si256();
    uint32_t e = 0;
    for (; e + 16 <= count; e += 16) {
        /* vcvtps2dq rounds half to even; the saturating packs are the clamp. */
        const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + e), factor));
        const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + e + 8), factor));
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(values + e), bytes);
        total = _mm256_add_epi32(total, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    }
    int32_t rest = 0;
    for (; e < count; e++) {
        values[e] = (int8_t)_mm_cvtss_si32(_mm_set_ss(x[e] * scale));
        rest += values[e];
    }
    memset(values + count, 0, padded - count);
    *inverse_scale = largest / 127.0f;
    *sum = sum_of_integers(total) + rest;
}

/* Keeps an accumulator in its register at this point: left alone, gcc regroups the additions of a whole block, and the sums that this
 * needs at once spill to the stack. Where the compiler has no such registers, the instructions are emulated, and there is nothing to keep. */
#if defined(__AVX2__)
#define PIN(accumulator) __asm__("" : "+x"(accumulator))
#else
#define PIN(accumulator) ((void)(accumulator))
#endif

#if defined(__AVXVNNI__)

/* Blocks of which a lane of sums can take the products. */
#define BLOCKS_BEFORE_WIDENING ((size_t)SIZE_MAX)

/* Adds the products of unsigned and signed bytes to a sum, in lanes of 32 bits. */
static inline __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    return _mm256_dpbusd_avx_epi32(sum, codes, values);
}

static inline __m256i widen(__m256i sums) { return sums; }

#else

#define BLOCKS_BEFORE_WIDENING ((size_t)14)

/* The same in lanes of 16 bits. */
static inline __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, values));
}

static inline __m256i widen(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

#endif

/* Adds the products of one block. Every other quarter of the codes stays where it is in its byte and counts four times: a mask is all
 * that it needs, and its sums take 15 blocks all the same (15 · 4 · 512 < 2^15). */
static inline __attribute__((always_inline)) void add_block(const uint8_t *row, const int8_t *values, __m256i sums[4]) {
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

/* One row by one token; bytes `ahead` are asked for. Four sums, because one would wait for itself; two blocks at a time, a cache line. */
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
static inline __attribute__((always_inline)) void batch_tile(const uint8_t *rows, size_t row_bytes, uint32_t row_count,
                                                             const wf_activations *x, uint32_t token, uint32_t count, float *out,
                                                             size_t out_stride) {
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

static inline __attribute__((always_inline)) void batch_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count,
                                                             const wf_activations *x, uint32_t token, uint32_t count, float *out,
                                                             size_t out_stride) {
    uint32_t row = 0;
    for (; row + 2 <= row_count; row += 2)
        batch_tile(rows + row * row_bytes, row_bytes, 2, x, token, count, out + row, out_stride);
    if (row < row_count)
        batch_tile(rows + row * row_bytes, row_bytes, 1, x, token, count, out + row, out_stride);
}

static inline __attribute__((always_inline)) void decode_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count,
                                                              const wf_activations *x, uint32_t token, float *out,
                                                              size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++)
        out[token * out_stride + row] = decode_row(rows + row * row_bytes, row_bytes, row_count > 1 ? PREFETCH_BYTES : 0,
                                                   x->values + token * x->stride, x->sums[token], x->factors[token]);
}

#include "ternary.h"

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

static inline __m256 load_bf16(const uint16_t *weights) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)weights)), 16));
}

/* One row by `count` tokens (a constant at each call; at most 2). */
static inline __attribute__((always_inline)) void bf16_row(const uint16_t *row, uint32_t inputs, const float *x, size_t x_stride,
                                                           uint32_t count, float *out, size_t out_stride) {
    __m256 lanes[2][4];
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t part = 0; part < 4; part++)
            lanes[t][part] = _mm256_setzero_ps();
    uint32_t e = 0;
    for (; e + WF_LANES <= inputs; e += WF_LANES)
        for (uint32_t part = 0; part < 4; part++) {
            const __m256 weights = load_bf16(row + e + 8 * part);
            for (uint32_t t = 0; t < count; t++)
                lanes[t][part] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x + t * x_stride + e + 8 * part), lanes[t][part]);
        }
    for (uint32_t t = 0; t < count; t++) {
        if (e < inputs) {
            float tail[WF_LANES];
            for (uint32_t part = 0; part < 4; part++)
                _mm256_storeu_ps(tail + 8 * part, lanes[t][part]);
            for (uint32_t rest = e; rest < inputs; rest++) {
                const uint32_t bits = (uint32_t)row[rest] << 16;
                float weight;
                memcpy(&weight, &bits, sizeof weight);
                tail[rest - e] = fmaf(weight, x[t * x_stride + rest], tail[rest - e]);
            }
            for (uint32_t part = 0; part < 4; part++)
                lanes[t][part] = _mm256_loadu_ps(tail + 8 * part);
        }
        out[t * out_stride] = sum_of_lanes(lanes[t]);
    }
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++) {
        const uint16_t *weights = rows + (size_t)row * count;
        uint32_t token = 0;
        for (; token + 2 <= tokens; token += 2)
            bf16_row(weights, count, x + token * x_stride, x_stride, 2, out + token * out_stride + row, out_stride);
        if (token < tokens)
            bf16_row(weights, count, x + token * x_stride, x_stride, 1, out + token * out_stride + row, out_stride);
    }
}

/* Adds the products of 16 pairs of 16-bit numbers to a sum, in lanes of 32 bits; and how many sums of a token can't be fewer, because one
 * addition would wait for the one before. (On Zen 3 one addition is ready for the next, and eight sums instead of four took a tenth more.) */
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
static inline __attribute__((always_inline)) void unpack_sketch(const uint8_t *coarse, const uint8_t *fine, bool is_fine,
                                                                __m256i quarters[4]) {
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

/* One row by `count` tokens (constants at each call, as `is_fine` is; at most 4): unpacking the row once serves all of them. What is
 * NEAR_BYTES ahead is asked for in the first-level cache, what is further in the second. */
static inline __attribute__((always_inline)) void sketch_row(const wf_sketch_rows *rows, uint32_t row_count, uint32_t row,
                                                             bool is_fine, const wf_wide_activations *x, uint32_t token,
                                                             uint32_t count, float *out, size_t out_stride) {
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

#include "sketched.h"

static void exponentials(const float *x, uint32_t count, float offset, float scale, float *out) {
    const __m256 offsets = _mm256_set1_ps(offset), scales = _mm256_set1_ps(scale);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 value = _mm256_maskload_ps(x + e, mask);
        _mm256_maskstore_ps(out + e, mask, exponential(_mm256_mul_ps(_mm256_sub_ps(value, offsets), scales)));
    }
}

static void gate_relu_squared(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 positive = _mm256_max_ps(_mm256_maskload_ps(gate + e, mask), _mm256_setzero_ps());
        const __m256 square = _mm256_mul_ps(positive, positive);
        _mm256_maskstore_ps(gate + e, mask, _mm256_mul_ps(square, _mm256_maskload_ps(up + e, mask)));
    }
}

static void gate_silu(float *gate, const float *up, uint32_t count) {
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 value = _mm256_maskload_ps(gate + e, mask);
        const __m256 divisor = _mm256_add_ps(one, exponential(_mm256_xor_ps(value, sign)));
        _mm256_maskstore_ps(gate + e, mask, _mm256_mul_ps(_mm256_div_ps(value, divisor), _mm256_maskload_ps(up + e, mask)));
    }
}

/* Eight keys or values as they are stored; `kind` is a constant at each call. */
static inline __attribute__((always_inline)) __m256 load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return _mm256_loadu_ps((const float *)elements + index);
    if (kind == WF_KV_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)elements + index)));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)((const int8_t *)elements + index))));
}

/* Scores of one block's positions for `count` query heads (a constant at each call, as `kind` is; at most 2), times the scale. */
static inline __attribute__((always_inline)) void block_scores(const wf_attention *input, const float *query, uint32_t count,
                                                               enum wf_kv_kind kind, uint32_t start, wf_lines_ahead *ahead,
                                                               __m256 scores[2][4]) {
    const void *keys = wf_in_block(input, input->keys, start);
    __m256 sums[2][4];
    for (uint32_t head = 0; head < count; head++)
        for (uint32_t part = 0; part < 4; part++)
            sums[head][part] = _mm256_setzero_ps();
    for (uint32_t d = 0; d < input->head_dim; d++) {
        wf_ask_for_line(ahead);
        __m256 factors[2];
        for (uint32_t head = 0; head < count; head++)
            factors[head] = _mm256_broadcast_ss(query + (size_t)head * input->head_dim + d);
        for (uint32_t part = 0; part < 4; part++) {
            const __m256 key = load_elements(keys, kind, (size_t)d * WF_KV_BLOCK + 8 * part);
            for (uint32_t head = 0; head < count; head++) {
                sums[head][part] = _mm256_fmadd_ps(factors[head], key, sums[head][part]);
                PIN(sums[head][part]);
            }
        }
    }
    for (uint32_t part = 0; part < 4; part++) {
        __m256 scale = _mm256_set1_ps(input->scale);
        if (kind == WF_KV_Q8) {
            const float *key_scales = wf_in_block(input, input->key_scales, start);
            scale = _mm256_mul_ps(_mm256_loadu_ps(key_scales + 8 * part), scale);
        }
        for (uint32_t head = 0; head < count; head++)
            scores[head][part] = _mm256_mul_ps(sums[head][part], scale);
    }
}

/* One query head's running softmax over the blocks. */
typedef struct running {
    float largest, total, rescale;
    float weights[WF_KV_BLOCK]; /* exp(score − largest) of this block's positions, times the value's scale where there is one */
} running;

/* `value_scales` may be NULL. */
static inline void update_softmax(running *state, const __m256 scores[4], const float *value_scales, uint32_t visible, int first) {
    __m256 masked[4], maximum = _mm256_set1_ps(state->largest);
    for (uint32_t part = 0; part < 4; part++) {
        const uint32_t left = visible > 8 * part ? visible - 8 * part : 0;
        const __m256 mask = _mm256_castsi256_ps(lanes_below(left < 8 ? left : 8));
        masked[part] = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), scores[part], mask);
        maximum = _mm256_max_ps(masked[part], maximum);
    }
    const float largest = largest_of_eight(maximum);
    const __m256 offset = _mm256_set1_ps(largest);
    state->rescale = first ? 0.0f : _mm256_cvtss_f32(exponential(_mm256_set1_ps(state->largest - largest)));
    for (uint32_t part = 0; part < 4; part++) {
        const uint32_t left = visible > 8 * part ? visible - 8 * part : 0;
        const __m256 mask = _mm256_castsi256_ps(lanes_below(left < 8 ? left : 8));
        masked[part] = _mm256_and_ps(exponential(_mm256_sub_ps(scores[part], offset)), mask);
        const __m256 scaled =
            value_scales == NULL ? masked[part] : _mm256_mul_ps(masked[part], _mm256_loadu_ps(value_scales + 8 * part));
        _mm256_storeu_ps(state->weights + 8 * part, scaled);
    }
    state->total = fmaf(state->total, state->rescale, sum_of_lanes(masked));
    state->largest = largest;
}

/* Adds one block's weighted values to `count` heads' sums, `width` vectors from element d on (constants at each call). */
static inline __attribute__((always_inline)) void add_strip(const running *states, uint32_t count, const void *values,
                                                            wf_lines_ahead *ahead, enum wf_kv_kind kind, uint32_t value_stride,
                                                            uint32_t visible, uint32_t d, uint32_t width, float *sums) {
    __m256 sum[2][4];
    for (uint32_t head = 0; head < count; head++)
        for (uint32_t part = 0; part < width; part++)
            sum[head][part] =
                _mm256_mul_ps(_mm256_load_ps(sums + head * value_stride + d + 8 * part), _mm256_set1_ps(states[head].rescale));
    for (uint32_t t = 0; t < visible; t++) {
        const size_t element = (size_t)t * value_stride + d;
        wf_ask_for_line(ahead);
        __m256 weights[2];
        for (uint32_t head = 0; head < count; head++)
            weights[head] = _mm256_broadcast_ss(&states[head].weights[t]);
        for (uint32_t part = 0; part < width; part++) {
            const __m256 value = load_elements(values, kind, element + 8 * part);
            for (uint32_t head = 0; head < count; head++) {
                sum[head][part] = _mm256_fmadd_ps(weights[head], value, sum[head][part]);
                PIN(sum[head][part]);
            }
        }
    }
    for (uint32_t head = 0; head < count; head++)
        for (uint32_t part = 0; part < width; part++)
            _mm256_store_ps(sums + head * value_stride + d + 8 * part, sum[head][part]);
}

/* Adds one block's weighted values to `count` heads' sums[head][value_stride]. */
static inline __attribute__((always_inline)) void add_values(const running *states, uint32_t count, const void *values,
                                                             wf_lines_ahead *ahead, enum wf_kv_kind kind, uint32_t value_stride,
                                                             uint32_t visible, float *sums) {
    uint32_t d = 0;
    for (; d + 32 <= value_stride; d += 32)
        add_strip(states, count, values, ahead, kind, value_stride, visible, d, 4, sums);
    if (d < value_stride)
        add_strip(states, count, values, ahead, kind, value_stride, visible, d, 2, sums);
}

/* Adds one block to `count` query heads of one token. */
static inline __attribute__((always_inline)) void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *query,
                                                               uint32_t count, uint32_t start, uint32_t positions,
                                                               wf_lines_ahead *ahead, running *states, float *sums) {
    const uint32_t visible = positions - start < WF_KV_BLOCK ? positions - start : WF_KV_BLOCK;
    const float *value_scales = kind == WF_KV_Q8 ? wf_in_block(input, input->value_scales, start) : NULL;
    __m256 scores[2][4];
    block_scores(input, query, count, kind, start, ahead, scores);
    for (uint32_t head = 0; head < count; head++)
        update_softmax(&states[head], scores[head], value_scales, visible, start == input->start);
    add_values(states, count, wf_in_block(input, input->values, start), ahead, kind, input->value_stride, visible, sums);
}

/* Two heads at a time, so that one load serves both. */
static inline __attribute__((always_inline)) void attend_group(const wf_attention *input, enum wf_kv_kind kind, const float *query,
                                                               uint32_t count, uint32_t start, uint32_t positions,
                                                               wf_lines_ahead *ahead, running *states, float *sums) {
    uint32_t head = 0;
    for (; head + 2 <= count; head += 2)
        attend_block(input, kind, query + (size_t)head * input->head_dim, 2, start, positions, ahead, states + head,
                     sums + (size_t)head * input->value_stride);
    if (head < count)
        attend_block(input, kind, query + (size_t)head * input->head_dim, 1, start, positions, ahead, states + head,
                     sums + (size_t)head * input->value_stride);
}

#include "attend.h"

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

const wf_kernels WF_TIER = {
    .name = WF_TIER_NAME,
    .rows_together = 8,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .ternary_matmul = ternary_matmul,
    .ternary_columns = ternary_columns,
    .bf16_matmul = bf16_matmul,
    .sketch_matmul = sketch_matmul,
    .exponentials = exponentials,
    .gate_relu_squared = gate_relu_squared,
    .gate_silu = gate_silu,
    .attend = attend,
    .multiply_add_peak = multiply_add_peak,
};
