/*
 * groups_avx2.h: ternary products with a scale for each group of inputs, with AVX2, written once and compiled twice as ternary_avx2.h is.
 *
 * A block of codes gives a vector of eight lanes for each part of it that is a group by itself (two groups, where they are of 16 inputs).
 * Eight such vectors are added up together to the sums of eight groups, or of one group for a tile of two rows by four tokens. Without
 * AVX-VNNI products are added in 16 bits first: a lane holds those of at most four bytes of a quarter, two of them counted four times.
 */
#ifndef WF_GROUPS_AVX2_H
#define WF_GROUPS_AVX2_H

#include "kernels/x86/avx2.h"

#define TILE_ROWS 2

/* Rows are asked for as ternary_avx2.h does. */
#define AHEAD_BYTES 8192
#define AHEAD_ROWS 8

/* Groups whose sums are one vector. */
#define GROUPS_TOGETHER 8U

/* The parts of a block that are summed by themselves. */
ALWAYS_INLINE uint32_t parts_of(uint32_t group) { return group == 128 ? 1 : group == 64 ? 2 : 4; }

/* A block's codes, unpacked as far as multiply_block needs them. */
struct codes {
    __m256i quarters[4]; /* without AVX-VNNI the second and the fourth count four times */
};

ALWAYS_INLINE struct codes unpack(const uint8_t *block) {
    const __m256i once = _mm256_set1_epi8(3);
    const __m256i codes = _mm256_load_si256((const __m256i *)(const void *)block), upper = _mm256_srli_epi16(codes, 4);
#if defined(__AVXVNNI__)
    return (struct codes){{_mm256_and_si256(codes, once), _mm256_and_si256(_mm256_srli_epi16(codes, 2), once),
                           _mm256_and_si256(upper, once), _mm256_and_si256(_mm256_srli_epi16(codes, 6), once)}};
#else
    const __m256i fourfold = _mm256_set1_epi8(3 << 2);
    return (struct codes){{_mm256_and_si256(codes, once), _mm256_and_si256(codes, fourfold), _mm256_and_si256(upper, once),
                           _mm256_and_si256(upper, fourfold)}};
#endif
}

/* The products of a block in its parts: each a vector of eight lanes of 32 bits. */
ALWAYS_INLINE void multiply_block(const struct codes *codes, const int8_t *values, uint32_t parts, __m256i *sums) {
    const __m256i *x = (const __m256i *)(const void *)values;
#if defined(__AVXVNNI__)
    for (uint32_t part = 0; part < parts; part++)
        sums[part] = _mm256_setzero_si256();
    for (uint32_t quarter = 0; quarter < 4; quarter++)
        sums[quarter * parts / 4] =
            _mm256_dpbusd_avx_epi32(sums[quarter * parts / 4], codes->quarters[quarter], _mm256_load_si256(x + quarter));
#else
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i products[4];
    for (uint32_t quarter = 0; quarter < 4; quarter++)
        products[quarter] = _mm256_maddubs_epi16(codes->quarters[quarter], _mm256_load_si256(x + quarter));
    if (parts == 1) {
        const __m256i once = _mm256_add_epi16(products[0], products[2]), fourfold = _mm256_add_epi16(products[1], products[3]);
        sums[0] = _mm256_madd_epi16(_mm256_add_epi16(once, _mm256_srai_epi16(fourfold, 2)), ones);
    } else if (parts == 2) {
        sums[0] = _mm256_madd_epi16(_mm256_add_epi16(products[0], _mm256_srai_epi16(products[1], 2)), ones);
        sums[1] = _mm256_madd_epi16(_mm256_add_epi16(products[2], _mm256_srai_epi16(products[3], 2)), ones);
    } else {
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            sums[quarter] = _mm256_madd_epi16(quarter % 2 == 1 ? _mm256_srai_epi16(products[quarter], 2) : products[quarter], ones);
    }
#endif
}

/* Four vectors' sums of the lanes of each half, the halves one after the other. */
ALWAYS_INLINE __m256i sums_of_four(const __m256i sums[4]) {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
}

/* Eight vectors' sums of lanes. */
ALWAYS_INLINE __m256i sums_of_eight(const __m256i sums[8]) {
    const __m256i low = sums_of_four(sums), high = sums_of_four(sums + 4);
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

/* The sums of GROUPS_TOGETHER groups of a row from codes[bytes] on, or of those that are there. `group` is a constant at each call. */
ALWAYS_INLINE __m256i sums_of_groups(const uint8_t *codes, size_t bytes, const int8_t *values, uint32_t group) {
    const uint32_t parts = parts_of(group), blocks = GROUPS_TOGETHER * group / WF_BLOCK_WEIGHTS;
    __m256i sums[8];
    for (uint32_t block = 0; block < blocks; block++) {
        const size_t byte = (size_t)block * WF_BLOCK_BYTES;
        if (byte >= bytes) {
            for (uint32_t part = 0; part < parts; part++)
                sums[block * parts + part] = _mm256_setzero_si256();
            continue;
        }
        const struct codes unpacked = unpack(codes + byte);
        multiply_block(&unpacked, values + 4 * byte, parts, sums + block * parts);
    }
    if (group > 16)
        return sums_of_eight(sums);
    return _mm256_permutevar8x32_epi32(sums_of_four(sums), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The scales of GROUPS_TOGETHER groups of a row. */
ALWAYS_INLINE __m256 scales_of(const wf_grouped_rows *rows, const uint8_t *row, uint32_t first) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(row + rows->code_bytes + 2 * (size_t)first)));
}

/* One row by one token; bytes `ahead` are asked for. */
ALWAYS_INLINE float decode_row(const wf_grouped_rows *rows, const uint8_t *row, size_t ahead, const wf_grouped_activations *x,
                               uint32_t token, uint32_t group) {
    const int8_t *values = x->values + token * x->stride;
    const int32_t *token_sums = x->sums + (size_t)token * rows->groups;
    const float *token_scales = x->scales + (size_t)token * rows->groups;
    const size_t step = (size_t)GROUPS_TOGETHER * group / 4;
    __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    uint32_t first = 0;
    for (size_t byte = 0; byte < rows->code_bytes; byte += step, first += GROUPS_TOGETHER) {
        for (size_t line = 0; line < step; line += CACHE_LINE)
            _mm_prefetch((const char *)(row + byte + line + ahead), _MM_HINT_T1);
        const __m256i products = sums_of_groups(row + byte, rows->code_bytes - byte, values + 4 * byte, group);
        const __m256i sums = _mm256_sub_epi32(products, _mm256_loadu_si256((const __m256i *)(const void *)(token_sums + first)));
        const __m256 scales = _mm256_mul_ps(scales_of(rows, row, first), _mm256_loadu_ps(token_scales + first));
        __m256 *lane = &lanes[first / GROUPS_TOGETHER % 2];
        *lane = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scales, *lane);
    }
    return sum_of_eight(_mm256_add_ps(lanes[0], lanes[1]));
}

/* TILE_ROWS rows by `count` tokens from `token` on, a multiple of WF_GROUP_TILE (`count` and `group` constants at each call; groups of 64
 * or 128). */
ALWAYS_INLINE void batch_tile(const wf_grouped_rows *rows, const uint8_t *row, const wf_grouped_activations *x, uint32_t token,
                              uint32_t count, float *out, size_t out_stride, uint32_t group) {
    const int8_t *values = x->values + token * x->stride;
    const int32_t *tile_sums = x->tile_sums + (size_t)token * rows->groups;
    const float *tile_scales = x->tile_scales + (size_t)token * rows->groups;
    const uint32_t parts = parts_of(group);
    /* A token's number for each of its rows. */
    const __m256i tokens = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    __m256 lanes[WF_GROUP_LANES];
    float scales[GROUPS_TOGETHER][TILE_ROWS];
    for (uint32_t lane = 0; lane < WF_GROUP_LANES; lane++)
        lanes[lane] = _mm256_setzero_ps();
    uint32_t first = 0; /* group of the block */
    for (size_t byte = 0; byte < rows->code_bytes; byte += WF_BLOCK_BYTES, first += parts) {
        if (first % GROUPS_TOGETHER == 0) {
            const __m256 one = scales_of(rows, row, first), other = scales_of(rows, row + rows->row_bytes, first);
            const __m256 low = _mm256_unpacklo_ps(one, other), high = _mm256_unpackhi_ps(one, other);
            _mm256_storeu_ps(scales[0], _mm256_permute2f128_ps(low, high, 0x20));
            _mm256_storeu_ps(scales[4], _mm256_permute2f128_ps(low, high, 0x31));
        }
        struct codes codes[TILE_ROWS];
        for (uint32_t i = 0; i < TILE_ROWS; i++) {
            const uint8_t *block = row + i * rows->row_bytes + byte;
            codes[i] = unpack(block);
            if (token == 0)
                _mm_prefetch((const char *)(block + AHEAD_ROWS * rows->row_bytes), _MM_HINT_T0);
        }
        __m256i sums[8][2]; /* of tokens and rows, their parts */
        for (uint32_t t = 0; t < 4; t++)
            for (uint32_t i = 0; i < TILE_ROWS; i++) {
                if (t < count)
                    multiply_block(&codes[i], values + t * x->stride + 4 * byte, parts, sums[t * TILE_ROWS + i]);
                else
                    sums[t * TILE_ROWS + i][0] = sums[t * TILE_ROWS + i][1] = _mm256_setzero_si256();
            }
        for (uint32_t part = 0; part < parts; part++) {
            const uint32_t index = first + part, lane = index % WF_GROUP_LANES;
            __m256i of_part[8];
            for (uint32_t i = 0; i < 8; i++)
                of_part[i] = sums[i][part];
            const __m128i four_sums = _mm_loadu_si128((const __m128i *)(const void *)(tile_sums + 4 * (size_t)index));
            const __m128 four_scales = _mm_loadu_ps(tile_scales + 4 * (size_t)index);
            double pair; /* of rows' scales */
            memcpy(&pair, scales[index % GROUPS_TOGETHER], sizeof pair);
            const __m256i sum =
                _mm256_sub_epi32(sums_of_eight(of_part), _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(four_sums), tokens));
            const __m256 scale = _mm256_mul_ps(_mm256_castpd_ps(_mm256_set1_pd(pair)),
                                               _mm256_permutevar8x32_ps(_mm256_castps128_ps256(four_scales), tokens));
            lanes[lane] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, lanes[lane]);
        }
    }
    for (uint32_t half = WF_GROUP_LANES / 2; half > 0; half /= 2)
        for (uint32_t lane = 0; lane < half; lane++)
            lanes[lane] = _mm256_add_ps(lanes[lane], lanes[lane + half]);
    float products[4][TILE_ROWS];
    _mm256_storeu_ps(products[0], lanes[0]);
    for (uint32_t t = 0; t < count; t++)
        memcpy(out + (token + t) * out_stride, products[t], sizeof products[t]);
}

/* All rows by the tokens of a tile. */
ALWAYS_INLINE void multiply_tile(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                                 uint32_t count, float *out, size_t out_stride, uint32_t group) {
    uint32_t row = 0;
    if (count > 1 && group >= 64)
        for (; row + TILE_ROWS <= row_count; row += TILE_ROWS)
            batch_tile(rows, rows->rows + row * rows->row_bytes, x, token, count, out + row, out_stride, group);
    const size_t ahead = row_count > 1 ? AHEAD_BYTES : 0;
    for (; row < row_count; row++)
        for (uint32_t t = 0; t < count; t++)
            out[(token + t) * out_stride + row] = decode_row(rows, rows->rows + row * rows->row_bytes, ahead, x, token + t, group);
}

#define GROUPED_TILE(name, count, group)                                                                                           \
    static __attribute__((noinline)) void name(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x,   \
                                               uint32_t token, float *out, size_t out_stride) {                                    \
        multiply_tile(rows, row_count, x, token, count, out, out_stride, group);                                                   \
    }
GROUPED_TILE(one_by_128, 1, 128)
GROUPED_TILE(two_by_128, 2, 128)
GROUPED_TILE(three_by_128, 3, 128)
GROUPED_TILE(four_by_128, 4, 128)
GROUPED_TILE(one_by_64, 1, 64)
GROUPED_TILE(two_by_64, 2, 64)
GROUPED_TILE(three_by_64, 3, 64)
GROUPED_TILE(four_by_64, 4, 64)
GROUPED_TILE(one_by_32, 1, 32)
GROUPED_TILE(one_by_16, 1, 16)

static void ternary_groups_matmul(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, float *out,
                                  size_t out_stride) {
    typedef void tile_function(const wf_grouped_rows *, uint32_t, const wf_grouped_activations *, uint32_t, float *, size_t);
    static tile_function *const tiles[2][4] = {{one_by_64, two_by_64, three_by_64, four_by_64},
                                               {one_by_128, two_by_128, three_by_128, four_by_128}};
    for (uint32_t token = 0; token < x->tokens;) {
        const uint32_t left = x->tokens - token, count = rows->group < 64 ? 1 : left < WF_GROUP_TILE ? left : WF_GROUP_TILE;
        tile_function *tile = rows->group == 16 ? one_by_16 : rows->group == 32 ? one_by_32 : tiles[rows->group / 128][count - 1];
        tile(rows, row_count, x, token, out, out_stride);
        token += count;
    }
}

#endif
