/*
 * avx512.c: kernels for x86-64 processors with AVX-512 (F, BW, DQ, VL) and VNNI: Intel since 2019, AMD since Zen 4.
 *
 * Ternary products. A load of 64 bytes brings two blocks of 128 codes; a shift and a mask give 64 of them as unsigned bytes, and
 * vpdpbusd multiplies them by 64 signed activations and adds fours into 32-bit lanes, so nothing ever has to be widened. The
 * activations are arranged once a phase so that each load brings the 64 that belong to a quarter of the codes.
 *   - One token (decode) is bound by memory: one row after the other, so that the weights are one linear stream, asked for ahead.
 *   - Several tokens (prefill, batches) are bound by vpdpbusd: a tile of rows by tokens keeps sixteen accumulators in registers.
 * A row with an odd number of blocks ends with a half load; the upper half's weights and activations are zero then.
 */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* As far as the compiler knows, an accumulator has another value here, so it stays in its register: left to itself, gcc moves accumulators
 * about and to the stack. Where there are no such registers, the instructions are emulated, and nothing needs to be hidden. */
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

static void rms_norm(const float *x, const float *weight, uint32_t count, float epsilon, float *out) {
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    for (uint32_t e = 0; e < count; e += WF_LANES) {
        const uint32_t left = count - e;
        const __m512 first = _mm512_maskz_loadu_ps(lanes_below(left), x + e);
        low = _mm512_fmadd_ps(first, first, low);
        if (left > 16) {
            const __m512 second = _mm512_maskz_loadu_ps(lanes_below(left - 16), x + e + 16);
            high = _mm512_fmadd_ps(second, second, high);
        }
    }
    const float mean = sum_of_sixteen(_mm512_add_ps(low, high)) / (float)count;
    const __m512 factor = _mm512_set1_ps(1.0f / sqrtf(mean + epsilon));
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + e), factor);
        _mm512_mask_storeu_ps(out + e, mask, _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + e)));
    }
}

static void quantize(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum) {
    __m512 most = _mm512_set1_ps(1e-5f);
    for (uint32_t e = 0; e < count; e += 16)
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes_below(count - e), x + e)), most);
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 factor = _mm512_set1_ps(127.0f / largest);
    __m512i total = _mm512_setzero_si512();
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        /* The conversion rounds half to even; the saturating narrowing is the clamp. */
        const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + e), factor));
        const __m128i bytes = _mm512_cvtsepi32_epi8(integers);
        _mm_mask_storeu_epi8(values + e, mask, bytes);
        total = _mm512_add_epi32(total, _mm512_cvtepi8_epi32(bytes));
    }
    memset(values + count, 0, padded - count);
    *inverse_scale = largest / 127.0f;
    *sum = sum_of_integers(total);
}

/* ---- Ternary products ---- */

/* A line of codes: two blocks of a row. */
#define LINE_BYTES (2 * WF_BLOCK_BYTES)
#define LINE_WEIGHTS (2 * WF_BLOCK_WEIGHTS)

/* Rows of a tile of a batch's product, and the most tokens. Eight tokens by two rows would unpack less, but read twice as many activations,
 * and was slower beyond sixteen tokens. */
#define TILE_ROWS 4
#define TILE_TOKENS 4

/* Rows are asked for so many bytes ahead: Intel's prefetchers stop at the end of a page, and the queue of a core's own loads is too short for
 * the bandwidth. A row that comes alone was picked out of many: what lies behind it is not wanted. */
#define AHEAD_BYTES 4096U

/* Each line's activations as they are used, 64 for each quarter of its codes: 32 of the first block and 32 of the second. Of a last single block
 * the upper halves are zero. */
static void arrange(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded, int8_t *arranged) {
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

/* Adds a line's products to four sums, one for each quarter. Codes stay where they are in their bytes, so the sums count them once, four,
 * sixteen and 64 times: no shifts. */
ALWAYS_INLINE void add_line(__m512i codes, const int8_t *values, __m512i sums[4]) {
#pragma GCC unroll 4
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
        const __m512i weights = _mm512_and_si512(codes, _mm512_set1_epi8((char)(3 << 2 * quarter)));
        sums[quarter] = _mm512_dpbusd_epi32(sums[quarter], weights, _mm512_load_si512(values + 64 * quarter));
        PIN(sums[quarter]);
    }
}

/* The lanes' sums of one row by one token. Of rows up to a megabyte no lane leaves 32 bits: a line adds at most 4 · 192 · 128 to it. */
ALWAYS_INLINE __m512i row_sums(const uint8_t *row, size_t row_bytes, size_t ahead, const int8_t *values) {
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t byte = 0;
    for (; byte + LINE_BYTES <= row_bytes; byte += LINE_BYTES) {
        _mm_prefetch((const char *)(row + byte + ahead), _MM_HINT_T0);
        add_line(_mm512_loadu_si512(row + byte), values + 4 * byte, sums);
    }
    if (byte < row_bytes)
        add_line(last_line(row + byte), values + 4 * byte, sums);
    const __m512i low = _mm512_add_epi32(sums[0], _mm512_srai_epi32(sums[1], 2));
    return _mm512_add_epi32(low, _mm512_add_epi32(_mm512_srai_epi32(sums[2], 4), _mm512_srai_epi32(sums[3], 6)));
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

/* All rows by one token, as one stream; four rows' lanes are added up together. */
static void decode_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const int8_t *values, int32_t sum, float factor,
                        float *out) {
    const size_t ahead = row_count > 1 ? AHEAD_BYTES : 0;
    for (uint32_t row = 0; row < row_count; row += 4) {
        const uint32_t left = row_count - row < 4 ? row_count - row : 4;
        __m512i sums[4];
        for (uint32_t i = 0; i < 4; i++)
            sums[i] = i < left ? row_sums(rows + (row + i) * row_bytes, row_bytes, ahead, values) : _mm512_setzero_si512();
        const __m128i totals = sum_of_quarters(fours_of(sums[0], sums[1], sums[2], sums[3]));
        const __m128 products = _mm_mul_ps(_mm_cvtepi32_ps(_mm_sub_epi32(totals, _mm_set1_epi32(sum))), _mm_set1_ps(factor));
        _mm_mask_storeu_ps(out + row, (uint8_t)((1U << left) - 1), products);
    }
}

/* Sixteen vectors' sums of lanes: lane i is that of sums[i]. A step adds halves of two vectors and puts what is left of them into one,
 * which takes a quarter of the work of adding up each vector by itself. */
ALWAYS_INLINE __m512i sums_of_tile(const __m512i sums[16]) {
    __m512i fours[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++)
        fours[i] = fours_of(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
    const __m512i low =
        _mm512_add_epi32(_mm512_shuffle_i32x4(fours[0], fours[1], 0x44), _mm512_shuffle_i32x4(fours[0], fours[1], 0xee));
    const __m512i high =
        _mm512_add_epi32(_mm512_shuffle_i32x4(fours[2], fours[3], 0x44), _mm512_shuffle_i32x4(fours[2], fours[3], 0xee));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd));
}

/* One line of `row_count` rows by `count` tokens (constants at each call). sums[token][row]. */
ALWAYS_INLINE void add_tile_line(const __m512i *codes, uint32_t row_count, const int8_t *values, size_t token_bytes, uint32_t count,
                                 __m512i *sums) {
#pragma GCC unroll 4
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
        __m512i weights[TILE_ROWS];
#pragma GCC unroll 4
        for (uint32_t row = 0; row < row_count; row++)
            weights[row] = quarter_of(codes[row], quarter);
#pragma GCC unroll 8
        for (uint32_t t = 0; t < count; t++) {
            const __m512i value = _mm512_load_si512(values + t * token_bytes + 64 * quarter);
#pragma GCC unroll 4
            for (uint32_t row = 0; row < row_count; row++) {
                sums[t * row_count + row] = _mm512_dpbusd_epi32(sums[t * row_count + row], weights[row], value);
                PIN(sums[t * row_count + row]);
            }
        }
    }
}

/* `row_count` rows by `count` tokens from `token` on (constants at each call, at most 16 products). */
ALWAYS_INLINE void batch_tile(const uint8_t *rows, size_t row_bytes, uint32_t row_count, size_t ahead, const wf_activations *x,
                              uint32_t token, uint32_t count, float *out, size_t out_stride) {
    const size_t token_bytes = wf_arranged_bytes((uint32_t)row_bytes * 4);
    const int8_t *values = x->arranged + token * token_bytes;
    __m512i sums[16];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < 16; i++)
        sums[i] = _mm512_setzero_si512();
    __m512i codes[TILE_ROWS];
    size_t byte = 0;
    for (; byte + LINE_BYTES <= row_bytes; byte += LINE_BYTES) {
#pragma GCC unroll 4
        for (uint32_t row = 0; row < row_count; row++) {
            codes[row] = _mm512_loadu_si512(rows + row * row_bytes + byte);
            _mm_prefetch((const char *)(rows + row * row_bytes + byte + ahead), _MM_HINT_T0);
        }
        add_tile_line(codes, row_count, values + 4 * byte, token_bytes, count, sums);
    }
    if (byte < row_bytes) {
#pragma GCC unroll 4
        for (uint32_t row = 0; row < row_count; row++)
            codes[row] = last_line(rows + row * row_bytes + byte);
        add_tile_line(codes, row_count, values + 4 * byte, token_bytes, count, sums);
    }
    _Alignas(64) int32_t totals[16]; /* [token][row] */
    _mm512_store_si512(totals, sums_of_tile(sums));
#pragma GCC unroll 4
    for (uint32_t t = 0; t < count; t++) {
        float *products = out + (token + t) * out_stride;
        const int32_t sum_of_values = x->sums[token + t];
        const float factor = x->factors[token + t];
        if (row_count == 4) {
            const __m128i total = _mm_sub_epi32(_mm_load_si128((const __m128i *)(totals + 4 * t)), _mm_set1_epi32(sum_of_values));
            _mm_storeu_ps(products, _mm_mul_ps(_mm_cvtepi32_ps(total), _mm_set1_ps(factor)));
        } else {
            for (uint32_t row = 0; row < row_count; row++)
                products[row] = (float)(totals[t * row_count + row] - sum_of_values) * factor;
        }
    }
}

/* Tiles that are functions of their own, so that registers are given out for each by itself. */
#define BATCH_TILE(name, row_count, count)                                                                                         \
    static __attribute__((noinline)) void name(const uint8_t *rows, size_t row_bytes, size_t ahead, const wf_activations *x,       \
                                               uint32_t token, float *out, size_t out_stride) {                                    \
        batch_tile(rows, row_bytes, row_count, ahead, x, token, count, out, out_stride);                                           \
    }
BATCH_TILE(tile_of_four, TILE_ROWS, 4)
BATCH_TILE(row_of_four, 1, 4)
BATCH_TILE(tile_of_three, TILE_ROWS, 3)
BATCH_TILE(row_of_three, 1, 3)
BATCH_TILE(tile_of_two, TILE_ROWS, 2)
BATCH_TILE(row_of_two, 1, 2)

typedef void tile_function(const uint8_t *rows, size_t row_bytes, size_t ahead, const wf_activations *x, uint32_t token, float *out,
                           size_t out_stride);

/* All rows, TILE_ROWS at a time, by the tokens of a tile. */
static void batch_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, tile_function *tile, tile_function *single,
                       const wf_activations *x, uint32_t token, float *out, size_t out_stride) {
    /* The first tokens bring the rows into the cache for the others. A tile asks for the same line of a later tile. */
    const size_t tile_bytes = TILE_ROWS * row_bytes;
    const size_t ahead = token == 0 && row_count > 1 ? (AHEAD_BYTES / tile_bytes + 1) * tile_bytes : 0;
    uint32_t row = 0;
    for (; row + TILE_ROWS <= row_count; row += TILE_ROWS)
        tile(rows + row * row_bytes, row_bytes, ahead, x, token, out + row, out_stride);
    for (; row < row_count; row++)
        single(rows + row * row_bytes, row_bytes, ahead, x, token, out + row, out_stride);
}

static void ternary_matmul(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, float *out,
                           size_t out_stride) {
    const size_t token_bytes = wf_arranged_bytes((uint32_t)row_bytes * 4);
    uint32_t token = 0;
    for (; token + TILE_TOKENS <= x->tokens; token += TILE_TOKENS)
        batch_rows(rows, row_bytes, row_count, tile_of_four, row_of_four, x, token, out, out_stride);
    switch (x->tokens - token) {
    case 3:
        batch_rows(rows, row_bytes, row_count, tile_of_three, row_of_three, x, token, out, out_stride);
        break;
    case 2:
        batch_rows(rows, row_bytes, row_count, tile_of_two, row_of_two, x, token, out, out_stride);
        break;
    case 1:
        decode_rows(rows, row_bytes, row_count, x->arranged + token * token_bytes, x->sums[token], x->factors[token],
                    out + token * out_stride);
        break;
    default:
        break;
    }
}

/* Adds sixteen sums to sixteen others. */
static inline void add_sixteen(int32_t *sums, __m512i addends) {
    _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), addends));
}

static void ternary_columns(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums) {
    for (uint32_t first = 0; first < count; first += WF_COLUMNS_TOGETHER) {
        wf_columns_step step;
        wf_begin_columns_step(&step, columns, column_bytes, indices, values, count, first);
        __m512i factors[WF_COLUMNS_TOGETHER / 4];
        for (uint32_t four = 0; four < WF_COLUMNS_TOGETHER / 4; four++) {
            int32_t bytes;
            memcpy(&bytes, step.values + 4 * four, sizeof bytes);
            factors[four] = _mm512_set1_epi32(bytes);
        }
        for (size_t byte = 0; byte < column_bytes; byte += 2 * WF_BLOCK_BYTES) {
            const bool is_whole = column_bytes - byte >= 2 * WF_BLOCK_BYTES;
            const __mmask64 present = is_whole ? ~UINT64_C(0) : UINT32_MAX;
            __m512i totals[4][4]; /* by quarter and by where in 16 neighbouring bytes */
            for (uint32_t quarter = 0; quarter < 4; quarter++)
                for (uint32_t part = 0; part < 4; part++)
                    totals[quarter][part] = _mm512_setzero_si512();
            for (uint32_t four = 0; four < WF_COLUMNS_TOGETHER / 4; four++) {
                __m512i codes[4];
                for (uint32_t i = 0; i < 4; i++) {
                    codes[i] = _mm512_maskz_loadu_epi8(present, step.columns[4 * four + i] + byte);
                    _mm_prefetch((const char *)(step.later[4 * four + i] + byte), _MM_HINT_T0);
                }
                /* Four columns side by side, so that vpdpbusd adds their products. */
                const __m512i low = _mm512_unpacklo_epi8(codes[0], codes[1]), high = _mm512_unpackhi_epi8(codes[0], codes[1]);
                const __m512i low2 = _mm512_unpacklo_epi8(codes[2], codes[3]), high2 = _mm512_unpackhi_epi8(codes[2], codes[3]);
                const __m512i parts[4] = {_mm512_unpacklo_epi16(low, low2), _mm512_unpackhi_epi16(low, low2),
                                          _mm512_unpacklo_epi16(high, high2), _mm512_unpackhi_epi16(high, high2)};
                for (uint32_t quarter = 0; quarter < 4; quarter++)
                    for (uint32_t part = 0; part < 4; part++)
                        totals[quarter][part] =
                            _mm512_dpbusd_epi32(totals[quarter][part], quarter_of(parts[part], quarter), factors[four]);
            }
            for (uint32_t quarter = 0; quarter < 4; quarter++) {
                /* Lane l of part p, 128 bits, is for bytes 16 l + 4 p … + 3: a transposition puts them in order. */
                const __m512i *part = totals[quarter];
                const __m512i a = _mm512_shuffle_i32x4(part[0], part[1], 0x44), b = _mm512_shuffle_i32x4(part[0], part[1], 0xee);
                const __m512i c = _mm512_shuffle_i32x4(part[2], part[3], 0x44), d = _mm512_shuffle_i32x4(part[2], part[3], 0xee);
                int32_t *out = sums + 4 * byte + WF_BLOCK_BYTES * quarter;
                add_sixteen(out, _mm512_shuffle_i32x4(a, c, 0x88));
                add_sixteen(out + 16, _mm512_shuffle_i32x4(a, c, 0xdd));
                if (!is_whole)
                    continue;
                add_sixteen(out + WF_BLOCK_WEIGHTS, _mm512_shuffle_i32x4(b, d, 0x88));
                add_sixteen(out + WF_BLOCK_WEIGHTS + 16, _mm512_shuffle_i32x4(b, d, 0xdd));
            }
        }
    }
}

static inline __m512 load_bf16(const uint16_t *weights, __mmask16 mask) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, weights)), 16));
}

/* One row by `count` tokens (a constant at each call; at most 4). */
ALWAYS_INLINE void bf16_row(const uint16_t *row, uint32_t inputs, const float *x, size_t x_stride, uint32_t count, float *out,
                            size_t out_stride) {
    __m512 low[4], high[4];
    for (uint32_t t = 0; t < count; t++)
        low[t] = high[t] = _mm512_setzero_ps();
    uint32_t e = 0;
    for (; e + WF_LANES <= inputs; e += WF_LANES) {
        const __m512 first = load_bf16(row + e, 0xffff), second = load_bf16(row + e + 16, 0xffff);
        for (uint32_t t = 0; t < count; t++) {
            low[t] = _mm512_fmadd_ps(first, _mm512_loadu_ps(x + t * x_stride + e), low[t]);
            high[t] = _mm512_fmadd_ps(second, _mm512_loadu_ps(x + t * x_stride + e + 16), high[t]);
        }
    }
    const uint32_t left = inputs - e;
    if (left > 0) {
        const __mmask16 first = lanes_below(left), second = left > 16 ? lanes_below(left - 16) : 0;
        for (uint32_t t = 0; t < count; t++) {
            const float *values = x + t * x_stride + e;
            low[t] = _mm512_fmadd_ps(load_bf16(row + e, first), _mm512_maskz_loadu_ps(first, values), low[t]);
            if (second != 0)
                high[t] = _mm512_fmadd_ps(load_bf16(row + e + 16, second), _mm512_maskz_loadu_ps(second, values + 16), high[t]);
        }
    }
    for (uint32_t t = 0; t < count; t++)
        out[t * out_stride] = sum_of_sixteen(_mm512_add_ps(low[t], high[t]));
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++) {
        const uint16_t *weights = rows + (size_t)row * count;
        uint32_t token = 0;
        for (; token + 4 <= tokens; token += 4)
            bf16_row(weights, count, x + token * x_stride, x_stride, 4, out + token * out_stride + row, out_stride);
        for (; token < tokens; token++)
            bf16_row(weights, count, x + token * x_stride, x_stride, 1, out + token * out_stride + row, out_stride);
    }
}

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

/* One row by `count` tokens (constants at each call, as `is_fine` is; at most 4): unpacking the row once serves all of them. */
ALWAYS_INLINE void sketch_row(const wf_sketch_rows *rows, uint32_t row_count, uint32_t row, bool is_fine,
                              const wf_wide_activations *x, uint32_t token, uint32_t count, float *out, size_t out_stride) {
    /* The first tokens bring in the rows for the others. A row that comes alone was picked out of many. */
    const size_t ahead = token == 0 && row_count > 1 ? AHEAD_BYTES : 0;
    const uint8_t *coarse = rows->coarse + (size_t)row * rows->blocks * WF_COARSE_BYTES;
    const uint8_t *fine = is_fine ? rows->fine + (size_t)row * rows->blocks * WF_FINE_BYTES : NULL;
    const int16_t *values = x->values + token * x->stride;
    __m512i even[4], odd[4];
    for (uint32_t t = 0; t < count; t++)
        even[t] = odd[t] = _mm512_setzero_si512();
    for (uint32_t block = 0; block < rows->blocks; block++, coarse += WF_COARSE_BYTES, values += WF_BLOCK_WEIGHTS) {
        /* Every line once: 96 bytes are one and a half. */
        for (uint32_t line = 0; line < 1 + block % 2; line++)
            _mm_prefetch((const char *)(coarse + ahead + 64 * line), _MM_HINT_T0);
        __m512i halves[2];
        unpack_sketch(coarse, is_fine ? fine + block * WF_FINE_BYTES : NULL, is_fine, halves);
        for (uint32_t half = 0; half < 2; half++) {
            const __m512i low = _mm512_and_si512(halves[half], _mm512_set1_epi16(0xff));
            const __m512i high = _mm512_srli_epi16(halves[half], 8);
            for (uint32_t t = 0; t < count; t++) {
                const int16_t *at = values + t * x->stride + half * 64;
                even[t] = _mm512_dpwssd_epi32(even[t], low, _mm512_loadu_si512(at));
                odd[t] = _mm512_dpwssd_epi32(odd[t], high, _mm512_loadu_si512(at + 32));
            }
        }
    }
    for (uint32_t t = 0; t < count; t++) {
        const uint32_t sum = (uint32_t)sum_of_integers(_mm512_add_epi32(even[t], odd[t]));
        out[(token + t) * out_stride + row] = wf_sketched_product(rows, row, x, token + t, sum);
    }
}

#include "sketched.h"

static void exponentials(const float *x, uint32_t count, float offset, float scale, float *out) {
    const __m512 offsets = _mm512_set1_ps(offset), scales = _mm512_set1_ps(scale);
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 value = _mm512_maskz_loadu_ps(mask, x + e);
        _mm512_mask_storeu_ps(out + e, mask, exponential(_mm512_mul_ps(_mm512_sub_ps(value, offsets), scales)));
    }
}

static void gate_relu_squared(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 positive = _mm512_max_ps(_mm512_maskz_loadu_ps(mask, gate + e), _mm512_setzero_ps());
        const __m512 square = _mm512_mul_ps(positive, positive);
        _mm512_mask_storeu_ps(gate + e, mask, _mm512_mul_ps(square, _mm512_maskz_loadu_ps(mask, up + e)));
    }
}

static void gate_silu(float *gate, const float *up, uint32_t count) {
    const __m512 sign = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f);
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 value = _mm512_maskz_loadu_ps(mask, gate + e);
        const __m512 divisor = _mm512_add_ps(one, exponential(_mm512_xor_ps(value, sign)));
        const __m512 gated = _mm512_mul_ps(_mm512_div_ps(value, divisor), _mm512_maskz_loadu_ps(mask, up + e));
        _mm512_mask_storeu_ps(gate + e, mask, gated);
    }
}

/* One query head's running softmax over the blocks. */
typedef struct running {
    float largest, total, rescale;
    float weights[WF_KV_BLOCK]; /* exp(score − largest) of this block's positions, times the value's scale where there is one */
} running;

/* `value_scales` may be NULL. */
static inline void update_softmax(running *state, __m512 first, __m512 second, const float *value_scales, uint32_t visible,
                                  int is_first) {
    const __mmask16 low = lanes_below(visible), high = visible > 16 ? lanes_below(visible - 16) : 0;
    const __m512 hidden = _mm512_set1_ps(-INFINITY);
    __m512 maximum = _mm512_set1_ps(state->largest);
    maximum = _mm512_max_ps(_mm512_mask_blend_ps(low, hidden, first), maximum);
    maximum = _mm512_max_ps(_mm512_mask_blend_ps(high, hidden, second), maximum);
    const float largest = _mm512_reduce_max_ps(maximum);
    const __m512 offset = _mm512_set1_ps(largest);
    state->rescale = is_first ? 0.0f : _mm512_cvtss_f32(exponential(_mm512_set1_ps(state->largest - largest)));
    first = _mm512_maskz_mov_ps(low, exponential(_mm512_sub_ps(first, offset)));
    second = _mm512_maskz_mov_ps(high, exponential(_mm512_sub_ps(second, offset)));
    if (value_scales == NULL) {
        _mm512_storeu_ps(state->weights, first);
        _mm512_storeu_ps(state->weights + 16, second);
    } else {
        _mm512_storeu_ps(state->weights, _mm512_mul_ps(first, _mm512_loadu_ps(value_scales)));
        _mm512_storeu_ps(state->weights + 16, _mm512_mul_ps(second, _mm512_loadu_ps(value_scales + 16)));
    }
    state->total = fmaf(state->total, state->rescale, sum_of_sixteen(_mm512_add_ps(first, second)));
    state->largest = largest;
}

/* Sixteen keys or values as they are stored; `kind` is a constant at each call. */
ALWAYS_INLINE __m512 load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return _mm512_loadu_ps((const float *)elements + index);
    if (kind == WF_KV_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)elements + index)));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)((const int8_t *)elements + index))));
}

/* Adds one block's weighted values to `count` heads' sums[head][value_stride], `width` vectors from element d on: with two, there are enough sums in flight to
 * hide the latency of an addition. */
ALWAYS_INLINE void add_values(const running *states, uint32_t count, const void *values, wf_lines_ahead *ahead,
                              enum wf_kv_kind kind, uint32_t value_stride, uint32_t visible, uint32_t d, uint32_t width,
                              float *sums) {
    __m512 sum[4][2];
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            sum[head][part] =
                _mm512_mul_ps(_mm512_load_ps(sums + head * value_stride + d + 16 * part), _mm512_set1_ps(states[head].rescale));
    for (uint32_t t = 0; t < visible; t++) {
        wf_ask_for_line(ahead);
        __m512 weights[4];
#pragma GCC unroll 4
        for (uint32_t head = 0; head < count; head++)
            weights[head] = _mm512_set1_ps(states[head].weights[t]);
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++) {
            const __m512 value = load_elements(values, kind, (size_t)t * value_stride + d + 16 * part);
#pragma GCC unroll 4
            for (uint32_t head = 0; head < count; head++) {
                sum[head][part] = _mm512_fmadd_ps(weights[head], value, sum[head][part]);
                PIN(sum[head][part]);
            }
        }
    }
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < width; part++)
            _mm512_store_ps(sums + head * value_stride + d + 16 * part, sum[head][part]);
}

/* Adds one block to `count` query heads of one token. */
ALWAYS_INLINE void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t count, uint32_t start,
                                uint32_t positions, wf_lines_ahead *ahead, running *states, float *sums) {
    const void *keys = wf_in_block(input, input->keys, start), *values = wf_in_block(input, input->values, start);
    const float *value_scales = kind == WF_KV_Q8 ? wf_in_block(input, input->value_scales, start) : NULL;
    const uint32_t visible = positions - start < WF_KV_BLOCK ? positions - start : WF_KV_BLOCK;

    __m512 first[4], second[4];
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
        first[head] = second[head] = _mm512_setzero_ps();
    for (uint32_t d = 0; d < input->head_dim; d++) {
        wf_ask_for_line(ahead);
        const __m512 low = load_elements(keys, kind, d * WF_KV_BLOCK), high = load_elements(keys, kind, d * WF_KV_BLOCK + 16);
#pragma GCC unroll 4
        for (uint32_t head = 0; head < count; head++) {
            const __m512 factor = _mm512_set1_ps(query[(size_t)head * input->head_dim + d]);
            first[head] = _mm512_fmadd_ps(factor, low, first[head]);
            PIN(first[head]);
            second[head] = _mm512_fmadd_ps(factor, high, second[head]);
            PIN(second[head]);
        }
    }
    __m512 low_scale = _mm512_set1_ps(input->scale), high_scale = low_scale;
    if (kind == WF_KV_Q8) {
        const float *key_scales = wf_in_block(input, input->key_scales, start);
        low_scale = _mm512_mul_ps(_mm512_loadu_ps(key_scales), low_scale);
        high_scale = _mm512_mul_ps(_mm512_loadu_ps(key_scales + 16), high_scale);
    }
#pragma GCC unroll 4
    for (uint32_t head = 0; head < count; head++)
        update_softmax(&states[head], _mm512_mul_ps(first[head], low_scale), _mm512_mul_ps(second[head], high_scale), value_scales,
                       visible, start == input->start);

    uint32_t d = 0;
    for (; d + 32 <= input->value_stride; d += 32)
        add_values(states, count, values, ahead, kind, input->value_stride, visible, d, 2, sums);
    if (d < input->value_stride)
        add_values(states, count, values, ahead, kind, input->value_stride, visible, d, 1, sums);
}

/* Four heads at a time, so that one load serves them. */
ALWAYS_INLINE void attend_group(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t count, uint32_t start,
                                uint32_t positions, wf_lines_ahead *ahead, running *states, float *sums) {
    uint32_t head = 0;
    for (; head + 4 <= count; head += 4)
        attend_block(input, kind, query + (size_t)head * input->head_dim, 4, start, positions, ahead, states + head,
                     sums + (size_t)head * input->value_stride);
    for (; head < count; head++)
        attend_block(input, kind, query + (size_t)head * input->head_dim, 1, start, positions, ahead, states + head,
                     sums + (size_t)head * input->value_stride);
}

#include "attend.h"

/* One step of an accumulator in multiply_add_peak. */
#define MULTIPLY_ADD(sum, weight, value)                                                                                           \
    do {                                                                                                                           \
        sum = _mm512_dpbusd_epi32(sum, weight, value);                                                                             \
        PIN(sum);                                                                                                                  \
    } while (0)

static uint64_t multiply_add_peak(uint64_t rounds) {
    /* Sixteen independent chains: two a cycle, five cycles each, and some to spare. */
    const __m512i weight = _mm512_set1_epi8(2), value = _mm512_set1_epi8(-3);
    __m512i sum0 = weight, sum1 = weight, sum2 = weight, sum3 = weight, sum4 = weight, sum5 = weight, sum6 = weight, sum7 = weight;
    __m512i sum8 = weight, sum9 = weight, sumA = weight, sumB = weight, sumC = weight, sumD = weight, sumE = weight, sumF = weight;
    for (uint64_t round = 0; round < rounds; round++) {
        MULTIPLY_ADD(sum0, weight, value);
        MULTIPLY_ADD(sum1, weight, value);
        MULTIPLY_ADD(sum2, weight, value);
        MULTIPLY_ADD(sum3, weight, value);
        MULTIPLY_ADD(sum4, weight, value);
        MULTIPLY_ADD(sum5, weight, value);
        MULTIPLY_ADD(sum6, weight, value);
        MULTIPLY_ADD(sum7, weight, value);
        MULTIPLY_ADD(sum8, weight, value);
        MULTIPLY_ADD(sum9, weight, value);
        MULTIPLY_ADD(sumA, weight, value);
        MULTIPLY_ADD(sumB, weight, value);
        MULTIPLY_ADD(sumC, weight, value);
        MULTIPLY_ADD(sumD, weight, value);
        MULTIPLY_ADD(sumE, weight, value);
        MULTIPLY_ADD(sumF, weight, value);
    }
    const __m512i sums[16] = {sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7, sum8, sum9, sumA, sumB, sumC, sumD, sumE, sumF};
    __m512i total = _mm512_setzero_si512();
    for (uint32_t i = 0; i < 16; i++)
        total = _mm512_add_epi32(total, sums[i]);
    __asm__ volatile("" : : "r"(sum_of_integers(total))); /* the sums are used */
    return rounds * 16 * 64;
}

const wf_kernels wf_kernels_avx512 = {
    .name = "avx512",
    .rows_together = 8,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .arrange = arrange,
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
