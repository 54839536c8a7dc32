/*
 * sketch_amx.c: products of batches with the head's sketch, with tiles (AMX). Batches of few tokens are the tier's below.
 *
 * Tiles multiply bytes, and activations have 16 bits: their upper halves, signed, and their lower halves, unsigned, are multiplied
 * apart and put together as 256 · upper + lower, which goes around in 32 bits as all sums of the sketch may. A block of weights is
 * unpacked for 32 rows while the block before is multiplied. That, not the tiles, is what it takes most time for; one token after
 * another it is still less work than in vectors of 16-bit numbers.
 */
#include "kernels/x86/amx.h"
#include "kernels/x86/sketch_avx512.h"

/* What batches of few tokens are left to: written once, when the table is put together. */
static wf_kernels below;

/* Rows that are multiplied together, and unpacked blocks of them: one that is multiplied, one that is written. */
#define BLOCK_ROWS 32U
#define BLOCKS_TOGETHER 2U

/* A half of a block is 64 weights, a tile's row. Unpacked: [half][row][64]. */
#define HALVES 2U
#define HALF_BYTES (BLOCK_ROWS * 64U)
#define UNPACKED_BYTES (HALVES * HALF_BYTES)

/* For each half of a block two tiles, of the lower and the upper bytes: fours of inputs, token beside token. Of the tokens that
 * are not there, zeros. */
static void arrange_tile(const int16_t *values, size_t stride, uint32_t count, uint8_t *arranged) {
    const __m512i lower_bytes = _mm512_set1_epi16(0xff);
    for (size_t input = 0; input < stride; input += 64, arranged += 2 * TILE_BYTES) {
        __m512i lower[TILE_TOKENS], upper[TILE_TOKENS];
        for (uint32_t i = 0; i < TILE_TOKENS; i++) {
            lower[i] = upper[i] = _mm512_setzero_si512();
            if (i >= count)
                continue;
            const __m512i even = _mm512_loadu_si512(values + i * stride + input);
            const __m512i odd = _mm512_loadu_si512(values + i * stride + input + 32);
            lower[i] = _mm512_or_si512(_mm512_and_si512(even, lower_bytes), _mm512_slli_epi16(odd, 8));
            upper[i] = _mm512_or_si512(_mm512_srli_epi16(even, 8), _mm512_andnot_si512(lower_bytes, odd));
        }
        transpose(lower);
        transpose(upper);
        for (uint32_t four = 0; four < 16; four++) {
            _mm512_store_si512(arranged + 64 * four, lower[four]);
            _mm512_store_si512(arranged + TILE_BYTES + 64 * four, upper[four]);
        }
    }
}

static void arrange_wide(const int16_t *values, size_t stride, uint32_t tokens, uint8_t *arranged) {
    if (tokens < TOKENS_MIN)
        return; /* the tier below reads them as they are */
    for (uint32_t token = 0; token < tokens; token += TILE_TOKENS)
        arrange_tile(values + token * stride, stride, tokens_of_tile(token, tokens),
                     arranged + wf_wide_arranged_bytes(token, stride));
}

/* Where rows are unpacked next: block by block through BLOCK_ROWS of them, once for each tile of tokens, then through those that
 * follow. */
typedef struct unpacking {
    const wf_sketch_rows *rows;
    uint32_t row, row_count; /* the first of the rows at hand; all */
    uint32_t block;
    uint32_t passes, pass;
    const uint8_t *later; /* what is asked for meanwhile: as one stream, though rows are unpacked side by side */
} unpacking;

/* A part of the rows' block. Rows that are missing are taken for the last one. */
ALWAYS_INLINE void unpack_rows(unpacking *at, bool is_fine, uint32_t part, uint32_t parts, uint8_t *unpacked) {
    const wf_sketch_rows *rows = at->rows;
    const uint32_t first = part * (BLOCK_ROWS / parts);
#pragma GCC unroll 4
    for (uint32_t i = first; i < first + BLOCK_ROWS / parts; i++) {
        const uint32_t row = at->row + i < at->row_count ? at->row + i : at->row_count - 1;
        const size_t block = (size_t)row * rows->blocks + at->block;
        __m512i halves[HALVES];
        unpack_sketch(rows->coarse + block * WF_COARSE_BYTES, is_fine ? rows->fine + block * WF_FINE_BYTES : NULL, is_fine, halves);
        _mm512_store_si512(unpacked + 64 * i, halves[0]);
        _mm512_store_si512(unpacked + HALF_BYTES + 64 * i, halves[1]);
    }
    if (at->pass > 0)
        return;
    const uint32_t bytes = BLOCK_ROWS / parts * WF_COARSE_BYTES;
    for (uint32_t byte = 0; byte < bytes; byte += 64)
        _mm_prefetch((const char *)at->later + byte, _MM_HINT_T1);
    at->later += bytes;
}

/* Behind the last block it is unpacked once more, for nobody. */
ALWAYS_INLINE void next_block(unpacking *at) {
    if (++at->block < at->rows->blocks)
        return;
    at->block = 0;
    if (++at->pass < at->passes || at->row_count - at->row <= BLOCK_ROWS)
        return;
    at->pass = 0;
    at->row += BLOCK_ROWS;
}

/* The products of `rows` rows by the tokens of a tile from the sums of their lower and upper bytes, [16][16] row by row. */
static void finish_tile(const int32_t *lower, const int32_t *upper, const wf_sketch_rows *rows, uint32_t first, uint32_t row_count,
                        const wf_wide_activations *x, uint32_t token, float *out, size_t out_stride) {
    const uint32_t tokens = tokens_of_tile(token, x->tokens);
    const __mmask16 present = lanes_below(tokens);
    const __m512i values = _mm512_maskz_loadu_epi32(present, x->sums + token);
    const __m512 factors = _mm512_maskz_loadu_ps(present, x->factors + token);
    const bool is_fine = rows->fine != NULL;
    /* As wf_sketched_product has it. */
    const __m512i offset = is_fine ? _mm512_slli_epi32(values, 7) : _mm512_mullo_epi32(values, _mm512_set1_epi32(126));
    const __m512 half = _mm512_mul_ps(_mm512_set1_ps(0.5f), _mm512_cvtepi32_ps(values));
    __m512i products[16];
    for (uint32_t row = 0; row < 16; row++) {
        const __m512i high = _mm512_slli_epi32(_mm512_load_si512(upper + 16 * row), 8);
        const __m512i sum = _mm512_add_epi32(_mm512_load_si512(lower + 16 * row), high);
        const __m512i centred = _mm512_sub_epi32(is_fine ? sum : _mm512_slli_epi32(sum, 2), offset);
        __m512 product = _mm512_cvtepi32_ps(centred);
        if (!is_fine)
            product = _mm512_sub_ps(product, half);
        const __m512 scale = _mm512_set1_ps(rows->scales[first + (row < row_count ? row : 0)]);
        products[row] = _mm512_castps_si512(_mm512_mul_ps(product, _mm512_mul_ps(scale, factors)));
    }
    store_products(products, row_count, tokens, out + token * out_stride + first, out_stride);
}

/* One half of a block by a tile of tokens: 0 and 1 are the sums of two tiles of rows by lower bytes, 2 and 3 by upper ones. */
ALWAYS_INLINE void multiply_half(const uint8_t *codes, const uint8_t *values, unpacking *at, bool is_fine, uint32_t half,
                                 uint8_t *later) {
    WF_TILE_LOAD(4, codes);
    WF_TILE_LOAD(6, values);
    WF_TILE_MULTIPLY_UNSIGNED(0, 4, 6);
    WF_TILE_LOAD(7, values + TILE_BYTES);
    WF_TILE_MULTIPLY(2, 4, 7);
    unpack_rows(at, is_fine, 2 * half, 4, later);
    WF_TILE_LOAD(5, codes + TILE_BYTES);
    WF_TILE_MULTIPLY_UNSIGNED(1, 5, 6);
    WF_TILE_MULTIPLY(3, 5, 7);
    unpack_rows(at, is_fine, 2 * half + 1, 4, later);
}

ALWAYS_INLINE void multiply_rows(const wf_sketch_rows *rows, uint32_t row_count, bool is_fine, const wf_wide_activations *x,
                                 float *out, size_t out_stride) {
    _Alignas(64) uint8_t ring[BLOCKS_TOGETHER][UNPACKED_BYTES];
    _Alignas(64) int32_t sums[4][256];
    unpacking at = {
        .rows = rows,
        .row_count = row_count,
        .passes = (x->tokens + TILE_TOKENS - 1) / TILE_TOKENS,
        .later = rows->coarse + (size_t)BLOCK_ROWS * rows->blocks * WF_COARSE_BYTES,
    };
    uint32_t turn = 0;
    unpack_rows(&at, is_fine, 0, 1, ring[turn]);
    next_block(&at);
    for (uint32_t row = 0; row < row_count; row += BLOCK_ROWS)
        for (uint32_t token = 0; token < x->tokens; token += TILE_TOKENS) {
            const uint8_t *values = x->arranged + wf_wide_arranged_bytes(token, x->stride);
            zero_sums();
            for (uint32_t block = 0; block < rows->blocks; block++, turn ^= 1) {
                for (uint32_t half = 0; half < HALVES; half++, values += 2 * TILE_BYTES)
                    multiply_half(ring[turn] + half * HALF_BYTES, values, &at, is_fine, half, ring[turn ^ 1]);
                next_block(&at);
            }
            store_sums(sums);
            for (uint32_t tile = 0; tile < 2 && row + tile * TILE_ROWS < row_count; tile++) {
                const uint32_t first = row + tile * TILE_ROWS, left = row_count - first;
                finish_tile(sums[tile], sums[2 + tile], rows, first, left < TILE_ROWS ? left : TILE_ROWS, x, token, out,
                            out_stride);
            }
        }
}

static void sketch_matmul(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, float *out,
                          size_t out_stride) {
    if (x->tokens < TOKENS_MIN) {
        below.sketch_matmul(rows, row_count, x, out, out_stride);
        return;
    }
    configure();
    if (rows->fine != NULL)
        multiply_rows(rows, row_count, true, x, out, out_stride);
    else
        multiply_rows(rows, row_count, false, x, out, out_stride);
}

void wf_sketch_amx(wf_kernels *kernels) {
    below = *kernels;
    kernels->arrange_wide = arrange_wide;
    kernels->sketch_matmul = sketch_matmul;
}
