/*
 * groups_avx512.c: ternary products with a scale for each group of inputs, with AVX-512.
 *
 * A line of codes gives a vector of 16 lanes for each part of it that lies in other groups: the lower half is the first block's, the
 * upper half the second one's. The lanes of several such vectors are added up together, a step for two of them at once.
 *   - One token: the sums of 16 neighbouring groups become one vector, which is multiplied by 16 scales of the row and of the token.
 *   - Several tokens: a tile of four rows by four tokens, whose 16 sums of a group become one vector. Groups of 16 and 32 inputs would
 *     need more additions than products there, and go through the tokens one by one.
 */
#include "kernels/x86/lines_avx512.h"

#define TILE_ROWS 4

/* Lines that WF_GROUP_LANES groups take. */
ALWAYS_INLINE uint32_t lines_of(uint32_t group) { return WF_GROUP_LANES * group / LINE_WEIGHTS; }

/* The parts of a line that are summed by themselves, of each block. */
ALWAYS_INLINE uint32_t parts_of(uint32_t group) { return group == 128 ? 1 : group == 64 ? 2 : 4; }

/* Adds up the products of a line in its parts. */
ALWAYS_INLINE void add_parts(__m512i codes, const int8_t *values, uint32_t parts, __m512i *sums) {
#pragma GCC unroll 4
    for (uint32_t quarter = 0; quarter < 4; quarter++)
        sums[quarter * parts / 4] =
            _mm512_dpbusd_epi32(sums[quarter * parts / 4], quarter_of(codes, quarter), _mm512_load_si512(values + 64 * quarter));
}

/* Brings the sums of WF_GROUP_LANES groups into the order of the groups. */
ALWAYS_INLINE __m512i in_order(__m512i sums, uint32_t group) {
    switch (group) {
    case 128: /* lines 0 to 3 of the first block, of the second, lines 4 to 7 of each */
        return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), sums);
    case 64: /* both halves of two lines' first blocks, of their second ones, … */
        return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15), sums);
    case 16: /* the four quarters' first halves, their second ones, … */
        return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), sums);
    default:
        return sums;
    }
}

/* The sums of WF_GROUP_LANES groups of a row from codes[bytes] on, or of those that are there. `group` is a constant at each call. */
ALWAYS_INLINE __m512i sums_of_groups(const uint8_t *codes, size_t bytes, const int8_t *values, uint32_t group) {
    const uint32_t lines = lines_of(group), parts = parts_of(group);
    __m512i sums[8];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; i++)
        sums[i] = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (uint32_t line = 0; line < lines; line++) {
        const size_t byte = (size_t)line * LINE_BYTES;
        if (byte >= bytes)
            break;
        const __m512i whole = bytes - byte >= LINE_BYTES ? _mm512_loadu_si512(codes + byte) : last_line(codes + byte);
        add_parts(whole, values + 4 * byte, parts, sums + line * parts);
    }
    const __m512i low = fours_of(sums[0], sums[1], sums[2], sums[3]);
    if (group == 16)
        return in_order(low, group);
    const __m512i high = fours_of(sums[4], sums[5], sums[6], sums[7]);
    const __m512i even = _mm512_shuffle_i32x4(low, high, 0x88), odd = _mm512_shuffle_i32x4(low, high, 0xdd);
    return in_order(_mm512_add_epi32(even, odd), group);
}

/* The scales of WF_GROUP_LANES groups of a row. */
ALWAYS_INLINE __m512 scales_of(const wf_grouped_rows *rows, const uint8_t *row, uint32_t first) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(row + rows->code_bytes + 2 * (size_t)first)));
}

/* One row by one token. */
ALWAYS_INLINE float decode_row(const wf_grouped_rows *rows, const uint8_t *row, size_t ahead, bool is_far,
                               const wf_grouped_activations *x, uint32_t token, uint32_t group) {
    const size_t token_bytes = wf_arranged_bytes((uint32_t)rows->code_bytes * 4);
    const int8_t *values = x->arranged + token * token_bytes;
    const int32_t *token_sums = x->sums + (size_t)token * rows->groups;
    const float *token_scales = x->scales + (size_t)token * rows->groups;
    const size_t step = (size_t)lines_of(group) * LINE_BYTES;
    __m512 lanes = _mm512_setzero_ps();
    for (size_t byte = 0, first = 0; byte < rows->code_bytes; byte += step, first += WF_GROUP_LANES) {
#pragma GCC unroll 8
        for (size_t line = 0; line < step; line += LINE_BYTES)
            ask_for(row + byte + line + ahead, is_far);
        const __m512i products = sums_of_groups(row + byte, rows->code_bytes - byte, values + 4 * byte, group);
        const __m512i sums = _mm512_sub_epi32(products, _mm512_loadu_si512(token_sums + first));
        const __m512 scales = _mm512_mul_ps(scales_of(rows, row, (uint32_t)first), _mm512_loadu_ps(token_scales + first));
        lanes = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scales, lanes);
    }
    ask_for(row + rows->code_bytes + ahead, is_far);
    return sum_of_sixteen(lanes);
}

/* All rows by one token. */
ALWAYS_INLINE void decode_rows(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                               float *out, size_t out_stride, uint32_t group) {
    const size_t ahead = ahead_of(row_count);
    float *products = out + token * out_stride;
    for (uint32_t row = 0; row < row_count; row++) {
        const uint8_t *codes = rows->rows + row * rows->row_bytes;
        products[row] = wf_asks_far_ahead ? decode_row(rows, codes, ahead, true, x, token, group)
                                          : decode_row(rows, codes, ahead, false, x, token, group);
    }
}

/* The scales of WF_GROUP_LANES groups of TILE_ROWS rows, four rows' side by side: of group g at [g % 4][g / 4]. */
ALWAYS_INLINE void load_scales(const wf_grouped_rows *rows, const uint8_t *first_row, uint32_t first,
                               float scales[4][4][TILE_ROWS]) {
    __m512 of_row[TILE_ROWS];
#pragma GCC unroll 4
    for (uint32_t row = 0; row < TILE_ROWS; row++)
        of_row[row] = scales_of(rows, first_row + row * rows->row_bytes, first);
    const __m512 low = _mm512_unpacklo_ps(of_row[0], of_row[1]), high = _mm512_unpackhi_ps(of_row[0], of_row[1]);
    const __m512 low2 = _mm512_unpacklo_ps(of_row[2], of_row[3]), high2 = _mm512_unpackhi_ps(of_row[2], of_row[3]);
    _mm512_store_ps(scales[0][0], _mm512_shuffle_ps(low, low2, 0x44));
    _mm512_store_ps(scales[1][0], _mm512_shuffle_ps(low, low2, 0xee));
    _mm512_store_ps(scales[2][0], _mm512_shuffle_ps(high, high2, 0x44));
    _mm512_store_ps(scales[3][0], _mm512_shuffle_ps(high, high2, 0xee));
}

/* TILE_ROWS rows by `count` tokens from `token` on, a multiple of WF_GROUP_TILE (`count` and `group` constants at each call; groups of 64
 * or 128). */
ALWAYS_INLINE void batch_tile(const wf_grouped_rows *rows, const uint8_t *row, size_t ahead, const wf_grouped_activations *x,
                              uint32_t token, uint32_t count, float *out, size_t out_stride, uint32_t group) {
    const size_t token_bytes = wf_arranged_bytes((uint32_t)rows->code_bytes * 4);
    const int8_t *values = x->arranged + token * token_bytes;
    const int32_t *tile_sums = x->tile_sums + (size_t)token * rows->groups;
    const float *tile_scales = x->tile_scales + (size_t)token * rows->groups;
    const uint32_t parts = parts_of(group), line_groups = 2 * parts;
    /* A token's number for each of its rows. */
    const __m512i tokens = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const bool is_far = wf_asks_far_ahead;
    _Alignas(64) float scales[4][4][TILE_ROWS];
    __m512 lanes[WF_GROUP_LANES];
    for (uint32_t lane = 0; lane < WF_GROUP_LANES; lane++)
        lanes[lane] = _mm512_setzero_ps();
    uint32_t first = 0; /* group of the line */
    for (size_t byte = 0; byte < rows->code_bytes; byte += LINE_BYTES, first += line_groups) {
        if (first % WF_GROUP_LANES == 0)
            load_scales(rows, row, first, scales);
        const bool is_whole = rows->code_bytes - byte >= LINE_BYTES;
        __m512i codes[TILE_ROWS];
#pragma GCC unroll 4
        for (uint32_t i = 0; i < TILE_ROWS; i++) {
            const uint8_t *line = row + i * rows->row_bytes + byte;
            codes[i] = is_whole ? _mm512_loadu_si512(line) : last_line(line);
            ask_for(line + ahead, is_far);
        }
#pragma GCC unroll 2
        for (uint32_t part = 0; part < parts; part++) {
            __m512i sums[16];
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 16; i++)
                sums[i] = _mm512_setzero_si512();
#pragma GCC unroll 4
            for (uint32_t quarter = part * 4 / parts; quarter < (part + 1) * 4 / parts; quarter++) {
                __m512i weights[TILE_ROWS];
#pragma GCC unroll 4
                for (uint32_t i = 0; i < TILE_ROWS; i++)
                    weights[i] = quarter_of(codes[i], quarter);
#pragma GCC unroll 4
                for (uint32_t t = 0; t < count; t++) {
                    const __m512i value = _mm512_load_si512(values + t * token_bytes + 4 * byte + 64 * quarter);
#pragma GCC unroll 4
                    for (uint32_t i = 0; i < TILE_ROWS; i++) {
                        sums[t * TILE_ROWS + i] = _mm512_dpbusd_epi32(sums[t * TILE_ROWS + i], weights[i], value);
                        PIN(sums[t * TILE_ROWS + i]);
                    }
                }
            }
            __m512i fours[4];
#pragma GCC unroll 4
            for (uint32_t t = 0; t < 4; t++)
                fours[t] =
                    t < count ? fours_of(sums[4 * t], sums[4 * t + 1], sums[4 * t + 2], sums[4 * t + 3]) : _mm512_setzero_si512();
            /* Of two tokens the first block's, then the second one's. */
            const __m512i low =
                _mm512_add_epi32(_mm512_shuffle_i32x4(fours[0], fours[1], 0x88), _mm512_shuffle_i32x4(fours[0], fours[1], 0xdd));
            const __m512i high =
                _mm512_add_epi32(_mm512_shuffle_i32x4(fours[2], fours[3], 0x88), _mm512_shuffle_i32x4(fours[2], fours[3], 0xdd));
            const __m512i of_block[2] = {_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd)};
#pragma GCC unroll 2
            for (uint32_t block = 0; block < 2; block++) {
                const uint32_t index = first + block * parts + part, lane = index % WF_GROUP_LANES;
                const __m128i four_sums = _mm_loadu_si128((const __m128i *)(const void *)(tile_sums + 4 * (size_t)index));
                const __m128 four_scales = _mm_loadu_ps(tile_scales + 4 * (size_t)index);
                const __m512i sum =
                    _mm512_sub_epi32(of_block[block], _mm512_permutexvar_epi32(tokens, _mm512_castsi128_si512(four_sums)));
                const __m512 scale = _mm512_mul_ps(_mm512_broadcast_f32x4(_mm_load_ps(scales[lane % 4][lane / 4])),
                                                   _mm512_permutexvar_ps(tokens, _mm512_castps128_ps512(four_scales)));
                lanes[lane] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, lanes[lane]);
            }
        }
    }
    for (uint32_t half = WF_GROUP_LANES / 2; half > 0; half /= 2)
        for (uint32_t lane = 0; lane < half; lane++)
            lanes[lane] = _mm512_add_ps(lanes[lane], lanes[lane + half]);
    _Alignas(64) float products[4][TILE_ROWS];
    _mm512_store_ps(products[0], lanes[0]);
    for (uint32_t t = 0; t < count; t++)
        _mm_storeu_ps(out + (token + t) * out_stride, _mm_load_ps(products[t]));
}

/* Functions of their own, so that registers are given out for each by itself. */
#define GROUPED_TILE(name, count, group)                                                                                           \
    static __attribute__((noinline)) void name(const wf_grouped_rows *rows, const uint8_t *row, size_t ahead,                      \
                                               const wf_grouped_activations *x, uint32_t token, float *out, size_t out_stride) {   \
        batch_tile(rows, row, ahead, x, token, count, out, out_stride, group);                                                     \
    }
GROUPED_TILE(four_by_128, 4, 128)
GROUPED_TILE(three_by_128, 3, 128)
GROUPED_TILE(two_by_128, 2, 128)
GROUPED_TILE(four_by_64, 4, 64)
GROUPED_TILE(three_by_64, 3, 64)
GROUPED_TILE(two_by_64, 2, 64)

typedef void tile_function(const wf_grouped_rows *rows, const uint8_t *row, size_t ahead, const wf_grouped_activations *x,
                           uint32_t token, float *out, size_t out_stride);

#define GROUPED_DECODE(name, group)                                                                                                \
    static __attribute__((noinline)) void name(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x,   \
                                               uint32_t token, float *out, size_t out_stride) {                                    \
        decode_rows(rows, row_count, x, token, out, out_stride, group);                                                            \
    }
GROUPED_DECODE(decode_128, 128)
GROUPED_DECODE(decode_64, 64)
GROUPED_DECODE(decode_32, 32)
GROUPED_DECODE(decode_16, 16)

typedef void decode_function(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                             float *out, size_t out_stride);

static void ternary_groups_matmul(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, float *out,
                                  size_t out_stride) {
    static tile_function *const tiles[2][3] = {{two_by_64, three_by_64, four_by_64}, {two_by_128, three_by_128, four_by_128}};
    decode_function *decode = rows->group == 128  ? decode_128
                              : rows->group == 64 ? decode_64
                              : rows->group == 32 ? decode_32
                                                  : decode_16;
    const size_t tile_bytes = TILE_ROWS * rows->row_bytes;
    for (uint32_t token = 0; token < x->tokens; token += WF_GROUP_TILE) {
        const uint32_t left = x->tokens - token, count = left < WF_GROUP_TILE ? left : WF_GROUP_TILE;
        uint32_t row = 0;
        if (count > 1 && rows->group >= 64) {
            /* The first tokens bring the rows into the cache for the others. */
            const size_t ahead = token == 0 && row_count > 1 ? (ahead_of(row_count) / tile_bytes + 1) * tile_bytes : 0;
            for (; row + TILE_ROWS <= row_count; row += TILE_ROWS)
                tiles[rows->group / 128][count - 2](rows, rows->rows + row * rows->row_bytes, ahead, x, token, out + row,
                                                    out_stride);
        }
        if (row == row_count)
            continue;
        wf_grouped_rows rest = *rows;
        rest.rows += row * rows->row_bytes;
        for (uint32_t t = 0; t < count; t++)
            decode(&rest, row_count - row, x, token + t, out + row, out_stride);
    }
}

void wf_groups_avx512(wf_kernels *kernels) {
    kernels->arrange_groups = arrange_lines;
    kernels->ternary_groups_matmul = ternary_groups_matmul;
}
