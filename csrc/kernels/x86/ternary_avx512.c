/*
 * ternary_avx512.c: ternary products with AVX-512.
 *
 * A load of 64 bytes brings two blocks of 128 codes; a shift and a mask give 64 of them as unsigned bytes, and
 * vpdpbusd multiplies them by 64 signed activations and adds fours into 32-bit lanes, so nothing ever has to be widened. The
 * activations are arranged once a phase so that each load brings the 64 that belong to a quarter of the codes.
 *   - One token (decode) is bound by memory: one row after the other, so that the weights are one linear stream, asked for ahead.
 *   - Several tokens (prefill, batches) are bound by vpdpbusd: a tile of rows by tokens keeps sixteen accumulators in registers.
 *   - Columns are bound by memory too: each is a stream of its own, so those of the next step are asked for.
 * A row with an odd number of blocks ends with a half load; the upper half's weights and activations are zero then.
 */
#include "kernels/x86/lines_avx512.h"

/* Rows of a tile of a batch's product, and the most tokens. Eight tokens by two rows would unpack less, but read twice as many
 * activations, and was slower beyond sixteen tokens. */
#define TILE_ROWS 4
#define TILE_TOKENS 4

/* Adds a line's products to four sums, one for each quarter. Codes stay where they are in their bytes, so the sums count them
 * once, four, sixteen and 64 times: no shifts. */
ALWAYS_INLINE void add_line(__m512i codes, const int8_t *values, __m512i sums[4]) {
#pragma GCC unroll 4
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
        const __m512i weights = _mm512_and_si512(codes, _mm512_set1_epi8((char)(3 << 2 * quarter)));
        sums[quarter] = _mm512_dpbusd_epi32(sums[quarter], weights, _mm512_load_si512(values + 64 * quarter));
        PIN(sums[quarter]);
    }
}

/* The lanes' sums of one row by one token. Of rows up to a megabyte no lane leaves 32 bits: a line adds at most 4 · 192 · 128 to
 * it. */
ALWAYS_INLINE __m512i row_sums(const uint8_t *row, size_t row_bytes, size_t ahead, bool is_far, const int8_t *values) {
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t byte = 0;
    for (; byte + LINE_BYTES <= row_bytes; byte += LINE_BYTES) {
        ask_for(row + byte + ahead, is_far);
        add_line(_mm512_loadu_si512(row + byte), values + 4 * byte, sums);
    }
    if (byte < row_bytes)
        add_line(last_line(row + byte), values + 4 * byte, sums);
    const __m512i low = _mm512_add_epi32(sums[0], _mm512_srai_epi32(sums[1], 2));
    return _mm512_add_epi32(low, _mm512_add_epi32(_mm512_srai_epi32(sums[2], 4), _mm512_srai_epi32(sums[3], 6)));
}

/* All rows by one token, as one stream; four rows' lanes are added up together. `is_far` is a constant at each call. */
ALWAYS_INLINE void decode_stream(const uint8_t *rows, size_t row_bytes, uint32_t row_count, bool is_far, const int8_t *values,
                                 int32_t sum, float factor, float *out) {
    const size_t ahead = ahead_of(row_count);
    for (uint32_t row = 0; row < row_count; row += 4) {
        const uint32_t left = row_count - row < 4 ? row_count - row : 4;
        __m512i sums[4];
        for (uint32_t i = 0; i < 4; i++)
            sums[i] = i < left ? row_sums(rows + (row + i) * row_bytes, row_bytes, ahead, is_far, values) : _mm512_setzero_si512();
        const __m128i totals = sum_of_quarters(fours_of(sums[0], sums[1], sums[2], sums[3]));
        const __m128 products = _mm_mul_ps(_mm_cvtepi32_ps(_mm_sub_epi32(totals, _mm_set1_epi32(sum))), _mm_set1_ps(factor));
        _mm_mask_storeu_ps(out + row, (uint8_t)((1U << left) - 1), products);
    }
}

static void decode_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const int8_t *values, int32_t sum, float factor,
                        float *out) {
    if (wf_asks_far_ahead)
        decode_stream(rows, row_bytes, row_count, true, values, sum, factor, out);
    else
        decode_stream(rows, row_bytes, row_count, false, values, sum, factor, out);
}

/* Sixteen vectors' sums of lanes: lane i is that of sums[i]. A step adds halves of two vectors and puts what is left of them
 * into one, which takes a quarter of the work of adding up each vector by itself. */
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
    const bool is_far = wf_asks_far_ahead;
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
            ask_for(rows + row * row_bytes + byte + ahead, is_far);
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
    /* The first tokens bring the rows into the cache for the others. */
    const size_t ahead = token == 0 ? tiles_ahead_of(row_count, TILE_ROWS * row_bytes) : 0;
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

void wf_ternary_avx512(wf_kernels *kernels) {
    kernels->arrange = arrange_lines;
    kernels->ternary_matmul = ternary_matmul;
    kernels->ternary_columns = ternary_columns;
    kernels->multiply_add_peak = multiply_add_peak;
}
