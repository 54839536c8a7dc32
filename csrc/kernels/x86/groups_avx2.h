/*
 * groups_avx2.h: ternary products with a scale for each group of inputs, with AVX2, written once and compiled twice as ternary_avx2.h is.
 *
 * Two loads bring one word of the 16 rows of a panel, whose quarters are multiplied by four activations that all rows share. So a group's
 * sums of 16 rows are two vectors, which are multiplied by 16 scales; nothing is added across a vector. Without AVX-VNNI products are added
 * in 16 bits first, two lanes for each row.
 *   - One token: every other quarter of the codes stays where it is in its byte and counts four times. A lane adds at most 8 · 2 · 128 of
 *     what counts once of a quarter; two quarters that count four times fit exactly: 2 · 8 · 2 · 4 · 2 · 128 = 2^15, and only downwards.
 *   - Tiles of up to four tokens share the codes, which are unpacked for all of them; a lane adds at most 32 · 2 · 2 · 128 = 2^14.
 */
#ifndef WF_GROUPS_AVX2_H
#define WF_GROUPS_AVX2_H

#include "kernels/panels.h"
#include "kernels/x86/avx2.h"

#define TILE_TOKENS 4

/* Panels are asked for as ternary_avx2.h asks for rows. */
#define AHEAD_BYTES 16384

/* Vectors of rows in a panel. */
#define HALVES 2

#if defined(__AVXVNNI__)

/* Adds the products of unsigned and signed bytes to a sum, in lanes of 32 bits. */
static inline __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    return _mm256_dpbusd_avx_epi32(sum, codes, values);
}

static inline __m256i quartered(__m256i sums) { return _mm256_srai_epi32(sums, 2); }

static inline __m256i added(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }

static inline __m256i widened(__m256i sums) { return sums; }

#else

/* The same in lanes of 16 bits. */
static inline __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, values));
}

static inline __m256i quartered(__m256i sums) { return _mm256_srai_epi16(sums, 2); }

static inline __m256i added(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }

static inline __m256i widened(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

#endif

/* The sums of a part of a block for one token. */
ALWAYS_INLINE void sum_part_of_one(const uint8_t *codes, uint32_t block, const tile_values *x, block_part part,
                                   __m256i sums[HALVES][TILE_TOKENS]) {
    const __m256i once = _mm256_set1_epi8(3), fourfold = _mm256_set1_epi8(3 << 2);
    __m256i of_quarters[HALVES][2]; /* what counts once, and what counts four times */
    for (uint32_t half = 0; half < HALVES; half++)
        of_quarters[half][0] = of_quarters[half][1] = _mm256_setzero_si256();
    for (uint32_t word = part.first_word; word < part.word_end; word++)
        UNROLL(2)
    for (uint32_t half = 0; half < HALVES; half++) {
        const __m256i line = _mm256_load_si256((const __m256i *)(const void *)(codes + word * WORD_BYTES + half * 32));
        const __m256i upper = _mm256_srli_epi16(line, 4);
        UNROLL(4)
        for (uint32_t quarter = part.first_quarter; quarter < part.quarter_end; quarter++) {
            const __m256i weights = _mm256_and_si256(quarter / 2 == 0 ? line : upper, quarter % 2 == 0 ? once : fourfold);
            __m256i *sum = &of_quarters[half][quarter % 2];
            *sum = add_products(*sum, weights, _mm256_set1_epi32(values_at(x, block, quarter, word, 0)));
            PIN(*sum);
        }
    }
    for (uint32_t half = 0; half < HALVES; half++)
        sums[half][0] = widened(added(of_quarters[half][0], quartered(of_quarters[half][1])));
}

/* The sums of a part of a block for the tokens of a tile. */
ALWAYS_INLINE void sum_part_of_tile(const uint8_t *codes, uint32_t block, const tile_values *x, uint32_t count, block_part part,
                                    __m256i sums[HALVES][TILE_TOKENS]) {
    for (uint32_t half = 0; half < HALVES; half++)
        for (uint32_t t = 0; t < count; t++)
            sums[half][t] = _mm256_setzero_si256();
    for (uint32_t word = part.first_word; word < part.word_end; word++) {
        const __m256i *line = (const __m256i *)(const void *)(codes + word * WORD_BYTES);
        const __m256i lines[HALVES] = {_mm256_load_si256(line), _mm256_load_si256(line + 1)};
        UNROLL(4)
        for (uint32_t quarter = part.first_quarter; quarter < part.quarter_end; quarter++) {
            __m256i weights[HALVES];
            for (uint32_t half = 0; half < HALVES; half++)
                weights[half] = _mm256_and_si256(_mm256_srli_epi16(lines[half], (int)(2 * quarter)), _mm256_set1_epi8(3));
            for (uint32_t t = 0; t < count; t++) {
                const __m256i values = _mm256_set1_epi32(values_at(x, block, quarter, word, t));
                for (uint32_t half = 0; half < HALVES; half++) {
                    sums[half][t] = add_products(sums[half][t], weights[half], values);
                    PIN(sums[half][t]);
                }
            }
        }
    }
    for (uint32_t half = 0; half < HALVES; half++)
        for (uint32_t t = 0; t < count; t++)
            sums[half][t] = widened(sums[half][t]);
}

/* A panel's rows by `count` tokens (`count` and `group` constants at each call), of which `present` rows are wanted. Bytes `ahead` are asked
 * for. */
ALWAYS_INLINE void multiply_panel(const wf_grouped_rows *rows, const uint8_t *panel, uint32_t present, size_t ahead,
                                  const wf_grouped_activations *x, uint32_t token, const tile_values *values, uint32_t count,
                                  float *out, size_t out_stride, uint32_t group) {
    const int32_t *token_sums = x->sums + (size_t)token * rows->groups;
    const float *token_scales = x->scales + (size_t)token * rows->groups;
    const uint32_t blocks = (uint32_t)(rows->code_bytes / WF_BLOCK_BYTES);
    const uint8_t *codes = panel;
    __m256 totals[HALVES][TILE_TOKENS];
    for (uint32_t half = 0; half < HALVES; half++)
        for (uint32_t t = 0; t < count; t++)
            totals[half][t] = _mm256_setzero_ps();
    uint32_t index = 0; /* of the group */
    for (uint32_t block = 0; block < blocks; block++, codes += BLOCK_WORDS * WORD_BYTES) {
        for (uint32_t word = 0; word < BLOCK_WORDS; word++)
            _mm_prefetch((const char *)(codes + word * WORD_BYTES + ahead), _MM_HINT_T1);
        UNROLL(8)
        for (uint32_t i = 0; i < parts_of(group); i++, index++) {
            const uint16_t *halves = wf_panel_scales(rows, panel, index);
            if (index % 2 == 0)
                _mm_prefetch((const char *)halves + ahead, _MM_HINT_T1);
            __m256i sums[HALVES][TILE_TOKENS];
            if (count == 1)
                sum_part_of_one(codes, block, values, part_of(group, i), sums);
            else
                sum_part_of_tile(codes, block, values, count, part_of(group, i), sums);
            for (uint32_t half = 0; half < HALVES; half++) {
                const __m256 row_scales = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(halves + half * 8)));
                for (uint32_t t = 0; t < count; t++) {
                    const size_t at = (size_t)t * rows->groups + index;
                    const __m256i sum = _mm256_sub_epi32(sums[half][t], _mm256_set1_epi32(token_sums[at]));
                    const __m256 scales = _mm256_mul_ps(row_scales, _mm256_set1_ps(token_scales[at]));
                    totals[half][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scales, totals[half][t]);
                }
            }
        }
    }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t half = 0; half < HALVES && half * 8 < present; half++)
            _mm256_maskstore_ps(out + (token + t) * out_stride + half * 8, lanes_below(present - half * 8), totals[half][t]);
}

ALWAYS_INLINE void multiply_panels(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                                   uint32_t count, float *out, size_t out_stride, uint32_t group) {
    const tile_values values = values_of(rows, x, token, count, TILE_TOKENS);
    const uint8_t *panel = rows->panels;
    /* The first tokens bring the rows into the cache for the others. */
    const size_t ahead = token == 0 ? AHEAD_BYTES : 0;
    for (uint32_t row = 0; row < row_count; row += WF_PANEL_ROWS, panel += wf_panel_bytes(rows))
        multiply_panel(rows, panel, row_count - row, ahead, x, token, &values, count, out + row, out_stride, group);
}

#include "kernels/grouped.h"

#endif
