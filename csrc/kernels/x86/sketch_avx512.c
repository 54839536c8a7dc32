/*
 * sketch_avx512.c: products with the head's sketch, with AVX-512.
 *
 * Bytes of weights are taken apart into even and odd ones of 16 bits, as wf_wide_index has arranged the activations; vpdpwssd
 * multiplies 32 of them and adds pairs into 32-bit lanes.
 *   - One token is bound by memory: one row after the other, asked for ahead.
 *   - Several are bound by vpdpwssd: a tile of rows by tokens keeps sixteen accumulators in registers, so that unpacking a row
 *     serves four tokens, and loading a token's activations four rows.
 */
#include "kernels/x86/sketch_avx512.h"

/* Rows of a tile of a batch's product, and the most tokens. */
#define TILE_ROWS 4
#define TILE_TOKENS 4

/* Asks for a block's lines, every one once: 96 bytes are one and a half. */
ALWAYS_INLINE void ask_for_block(const uint8_t *coarse, uint32_t block, bool is_far) {
    for (uint32_t line = 0; line < 1 + block % 2; line++)
        ask_for(coarse + 64 * line, is_far);
}

/* `row_count` rows, TILE_ROWS or one, by `count` tokens (constants at each call, as `is_fine` is). `ahead` is how far behind a block
 * the bytes lie that are asked for. */
ALWAYS_INLINE void sketch_tile(const wf_sketch_rows *rows, uint32_t row, uint32_t row_count, size_t ahead, bool is_fine,
                               const wf_wide_activations *x, uint32_t token, uint32_t count, float *out, size_t out_stride) {
    const bool is_far = wf_asks_far_ahead;
    const size_t coarse_bytes = (size_t)rows->blocks * WF_COARSE_BYTES, fine_bytes = (size_t)rows->blocks * WF_FINE_BYTES;
    const uint8_t *coarse = rows->coarse + row * coarse_bytes;
    const uint8_t *fine = is_fine ? rows->fine + row * fine_bytes : NULL;
    const int16_t *values = x->values + token * x->stride;
    __m512i sums[TILE_TOKENS][4]; /* by row; of a single row by parts of a block, so that no addition waits for the one before */
#pragma GCC unroll 4
    for (uint32_t t = 0; t < count; t++)
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            sums[t][i] = _mm512_setzero_si512();
    for (uint32_t block = 0; block < rows->blocks; block++, coarse += WF_COARSE_BYTES, values += WF_BLOCK_WEIGHTS) {
        __m512i halves[TILE_ROWS][2];
#pragma GCC unroll 4
        for (uint32_t i = 0; i < row_count; i++) {
            ask_for_block(coarse + i * coarse_bytes + ahead, block, is_far);
            unpack_sketch(coarse + i * coarse_bytes, is_fine ? fine + i * fine_bytes + block * WF_FINE_BYTES : NULL, is_fine,
                          halves[i]);
        }
#pragma GCC unroll 4
        for (uint32_t part = 0; part < 4; part++) { /* even and odd weights of the first half, and of the second */
            __m512i weights[TILE_ROWS];
#pragma GCC unroll 4
            for (uint32_t i = 0; i < row_count; i++)
                weights[i] = part % 2 == 0 ? _mm512_and_si512(halves[i][part / 2], _mm512_set1_epi16(0xff))
                                           : _mm512_srli_epi16(halves[i][part / 2], 8);
#pragma GCC unroll 4
            for (uint32_t t = 0; t < count; t++) {
                const __m512i value = _mm512_loadu_si512(values + t * x->stride + 32 * part);
#pragma GCC unroll 4
                for (uint32_t i = 0; i < row_count; i++) {
                    __m512i *sum = &sums[t][row_count == 1 ? part : i];
                    *sum = _mm512_dpwssd_epi32(*sum, weights[i], value);
                    PIN(*sum);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (uint32_t t = 0; t < count; t++) {
        _Alignas(16) uint32_t totals[4];
        _mm_store_si128((__m128i *)totals, sum_of_quarters(fours_of(sums[t][0], sums[t][1], sums[t][2], sums[t][3])));
        if (row_count == 1)
            totals[0] += totals[1] + totals[2] + totals[3];
#pragma GCC unroll 4
        for (uint32_t i = 0; i < row_count; i++)
            out[(token + t) * out_stride + row + i] = wf_sketched_product(rows, row + i, x, token + t, totals[i]);
    }
}

/* All rows by `count` tokens. One token takes them one after the other, as one stream. */
ALWAYS_INLINE void sketch_tokens(const wf_sketch_rows *rows, uint32_t row_count, bool is_fine, const wf_wide_activations *x,
                                 uint32_t token, uint32_t count, float *out, size_t out_stride) {
    const size_t tile_bytes = (size_t)TILE_ROWS * rows->blocks * WF_COARSE_BYTES;
    /* The first tokens bring in the rows for the others. */
    const size_t ahead = token > 0 ? 0 : count == 1 ? ahead_of(row_count) : tiles_ahead_of(row_count, tile_bytes);
    uint32_t row = 0;
    for (; row + TILE_ROWS <= row_count && count > 1; row += TILE_ROWS)
        sketch_tile(rows, row, TILE_ROWS, ahead, is_fine, x, token, count, out, out_stride);
    for (; row < row_count; row++)
        sketch_tile(rows, row, 1, ahead, is_fine, x, token, count, out, out_stride);
}

/* Functions of their own, so that registers are given out for each by itself. */
#define SKETCH_TOKENS(name, is_fine, count)                                                                                        \
    static __attribute__((noinline)) void name(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x,       \
                                               uint32_t token, float *out, size_t out_stride) {                                    \
        sketch_tokens(rows, row_count, is_fine, x, token, count, out, out_stride);                                                 \
    }
SKETCH_TOKENS(coarse_by_one, false, 1)
SKETCH_TOKENS(coarse_by_two, false, 2)
SKETCH_TOKENS(coarse_by_three, false, 3)
SKETCH_TOKENS(coarse_by_four, false, 4)
SKETCH_TOKENS(fine_by_one, true, 1)
SKETCH_TOKENS(fine_by_two, true, 2)
SKETCH_TOKENS(fine_by_three, true, 3)
SKETCH_TOKENS(fine_by_four, true, 4)

typedef void tokens_function(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, uint32_t token,
                             float *out, size_t out_stride);

static void sketch_matmul(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, float *out,
                          size_t out_stride) {
    static tokens_function *const coarse[TILE_TOKENS] = {coarse_by_one, coarse_by_two, coarse_by_three, coarse_by_four};
    static tokens_function *const fine[TILE_TOKENS] = {fine_by_one, fine_by_two, fine_by_three, fine_by_four};
    tokens_function *const *by = rows->fine != NULL ? fine : coarse;
    uint32_t token = 0;
    for (; token + TILE_TOKENS <= x->tokens; token += TILE_TOKENS)
        by[TILE_TOKENS - 1](rows, row_count, x, token, out, out_stride);
    if (token < x->tokens)
        by[x->tokens - token - 1](rows, row_count, x, token, out, out_stride);
}

void wf_sketch_avx512(wf_kernels *kernels) { kernels->sketch_matmul = sketch_matmul; }
