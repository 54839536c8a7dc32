/*
 * groups_avx512.c: ternary products with a scale for each group of inputs, with AVX-512.
 *
 * A load brings one word of the 16 rows of a panel, a quarter of which vpdpbusd multiplies by four activations that all rows share. So a
 * group's sums of 16 rows are one vector, which is multiplied by 16 scales; nothing is added across a vector.
 *   - Up to four tokens: each quarter has sums of its own, and its codes stay where they are in their bytes, so that the sums count them
 *     once, four, sixteen and 64 times.
 *   - Tiles of eight tokens share the codes, which are unpacked for all of them.
 */
#include "kernels/panels.h"
#include "kernels/x86/avx512.h"

#define TILE_TOKENS 8

/* Fewer tokens have sums of their own for each quarter: one sum would wait for itself. */
#define SHARED_SUMS 5

/* Asks for the codes of a block of all rows. */
ALWAYS_INLINE void ask_for_block(const uint8_t *codes) {
    const bool is_far = wf_asks_far_ahead;
    UNROLL(8)
    for (uint32_t word = 0; word < BLOCK_WORDS; word++)
        ask_for(codes + (size_t)word * WORD_BYTES, is_far);
}

/* Adds the products of a part of a block to sums[quarter][token], or to sums[0][token] where quarters share them. */
ALWAYS_INLINE void add_part(const uint8_t *codes, uint32_t block, const tile_values *x, uint32_t count, block_part part,
                            __m512i sums[4][TILE_TOKENS]) {
    UNROLL(8)
    for (uint32_t word = part.first_word; word < part.word_end; word++) {
        const __m512i line = _mm512_load_si512(codes + (size_t)word * WORD_BYTES);
        UNROLL(4)
        for (uint32_t quarter = part.first_quarter; quarter < part.quarter_end; quarter++) {
            const bool is_shared = count >= SHARED_SUMS;
            const __m512i weights = is_shared ? _mm512_and_si512(_mm512_srli_epi16(line, 2 * quarter), _mm512_set1_epi8(3))
                                              : _mm512_and_si512(line, _mm512_set1_epi8((char)(3 << 2 * quarter)));
            __m512i *of_tokens = sums[is_shared ? 0 : quarter];
            UNROLL(8)
            for (uint32_t t = 0; t < count; t++) {
                of_tokens[t] = _mm512_dpbusd_epi32(of_tokens[t], weights, _mm512_set1_epi32(values_at(x, block, quarter, word, t)));
                PIN(of_tokens[t]);
            }
        }
    }
}

/* A part's sum for a token. */
ALWAYS_INLINE __m512i sum_of_part(__m512i sums[4][TILE_TOKENS], uint32_t t, uint32_t count, block_part part) {
    if (count >= SHARED_SUMS)
        return sums[0][t];
    __m512i sum = _mm512_setzero_si512();
    UNROLL(4)
    for (uint32_t quarter = part.first_quarter; quarter < part.quarter_end; quarter++)
        sum = _mm512_add_epi32(sum, _mm512_srai_epi32(sums[quarter][t], 2 * quarter));
    return sum;
}

/* A panel's rows by `count` tokens (`count` and `group` constants at each call), of which `present` rows are wanted. Bytes `ahead` are asked
 * for. */
ALWAYS_INLINE void multiply_panel(const wf_grouped_rows *rows, const uint8_t *panel, __mmask16 present, size_t ahead,
                                  const wf_grouped_activations *x, uint32_t token, const tile_values *values, uint32_t count,
                                  float *out, size_t out_stride, uint32_t group) {
    const int32_t *token_sums = x->sums + (size_t)token * rows->groups;
    const float *token_scales = x->scales + (size_t)token * rows->groups;
    const uint32_t blocks = (uint32_t)(rows->code_bytes / WF_BLOCK_BYTES);
    const uint8_t *codes = panel;
    __m512 totals[TILE_TOKENS];
    UNROLL(8)
    for (uint32_t t = 0; t < count; t++)
        totals[t] = _mm512_setzero_ps();
    uint32_t index = 0; /* of the group */
    for (uint32_t block = 0; block < blocks; block++, codes += BLOCK_WORDS * WORD_BYTES) {
        ask_for_block(codes + ahead);
        UNROLL(8)
        for (uint32_t i = 0; i < parts_of(group); i++, index++) {
            const block_part part = part_of(group, i);
            const uint16_t *halves = wf_panel_scales(rows, panel, index);
            if (index % 2 == 0)
                ask_for((const uint8_t *)halves + ahead, wf_asks_far_ahead);
            const __m512 row_scales = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)halves));
            __m512i sums[4][TILE_TOKENS];
            UNROLL(4)
            for (uint32_t quarter = 0; quarter < 4; quarter++)
                UNROLL(8)
            for (uint32_t t = 0; t < count; t++)
                sums[quarter][t] = _mm512_setzero_si512();
            add_part(codes, block, values, count, part, sums);
            UNROLL(8)
            for (uint32_t t = 0; t < count; t++) {
                const size_t at = (size_t)t * rows->groups + index;
                const __m512i sum = _mm512_sub_epi32(sum_of_part(sums, t, count, part), _mm512_set1_epi32(token_sums[at]));
                const __m512 scales = _mm512_mul_ps(row_scales, _mm512_set1_ps(token_scales[at]));
                totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, totals[t]);
            }
        }
    }
    UNROLL(8)
    for (uint32_t t = 0; t < count; t++)
        _mm512_mask_storeu_ps(out + (token + t) * out_stride, present, totals[t]);
}

ALWAYS_INLINE void multiply_panels(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                                   uint32_t count, float *out, size_t out_stride, uint32_t group) {
    const tile_values values = values_of(rows, x, token, count, TILE_TOKENS);
    const uint8_t *panel = rows->panels;
    /* The first tokens bring the rows into the cache for the others. */
    const size_t ahead = token == 0 ? ahead_of(row_count) : 0;
    for (uint32_t row = 0; row < row_count; row += WF_PANEL_ROWS, panel += wf_panel_bytes(rows))
        multiply_panel(rows, panel, lanes_below(row_count - row), ahead, x, token, &values, count, out + row, out_stride, group);
}

#include "kernels/grouped.h"

void wf_groups_avx512(wf_kernels *kernels) {
    kernels->arrange_groups = arrange_groups;
    kernels->ternary_groups_matmul = ternary_groups_matmul;
}
