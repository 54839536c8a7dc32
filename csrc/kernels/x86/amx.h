/*
 * amx.h: what the files of tiles (AMX) share: the registers' configuration, the four tiles of sums, and transposing. Their tier is above AVX-512.
 */
#ifndef WF_AMX_H
#define WF_AMX_H

#include "kernels/x86/avx512.h"
#include "kernels/x86/tiles.h"

#define TILE_ROWS WF_TILE_ROWS
#define TILE_BYTES WF_TILE_BYTES
#define TILE_TOKENS 16U

/* Batches of fewer tokens leave most of a tile empty. */
#define TOKENS_MIN 5U

/* Tile registers, all of 16 rows of 64 bytes: four sums and what is multiplied. Configured once for each thread, which takes
 * long. */
static inline void configure(void) {
    static _Thread_local bool is_configured;
    if (is_configured)
        return;
    wf_tile_configuration tiles = {.palette = 1};
    for (uint32_t tile = 0; tile < 8; tile++) {
        tiles.row_bytes[tile] = WF_TILE_ROW_BYTES;
        tiles.rows[tile] = WF_TILE_ROWS;
    }
    wf_tile_configure(&tiles);
    is_configured = true;
}

/* Registers 0 to 3 are sums; the others are for what is multiplied. */
ALWAYS_INLINE void zero_sums(void) {
    WF_TILE_ZERO(0);
    WF_TILE_ZERO(1);
    WF_TILE_ZERO(2);
    WF_TILE_ZERO(3);
}

/* sums[register][row][token] */
ALWAYS_INLINE void store_sums(int32_t sums[4][256]) {
    WF_TILE_STORE(0, sums[0]);
    WF_TILE_STORE(1, sums[1]);
    WF_TILE_STORE(2, sums[2]);
    WF_TILE_STORE(3, sums[3]);
}

/* Rows and columns of 16 by 16 elements of 32 bits change places: by pairs, by fours, then by lanes of 128 bits. */
ALWAYS_INLINE void transpose(__m512i v[16]) {
    __m512i pairs[16], fours[16];
    for (uint32_t i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (uint32_t i = 0; i < 16; i += 4)
        for (uint32_t j = 0; j < 2; j++) {
            fours[i + 2 * j] = _mm512_unpacklo_epi64(pairs[i + j], pairs[i + 2 + j]);
            fours[i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[i + j], pairs[i + 2 + j]);
        }
    /* Lane l of fours[4 a + b] is column 4 l + b of rows 4 a to 4 a + 3. */
    for (uint32_t b = 0; b < 4; b++) {
        const __m512i low = _mm512_shuffle_i32x4(fours[b], fours[4 + b], 0x88),
                      high = _mm512_shuffle_i32x4(fours[b], fours[4 + b], 0xdd);
        const __m512i low2 = _mm512_shuffle_i32x4(fours[8 + b], fours[12 + b], 0x88);
        const __m512i high2 = _mm512_shuffle_i32x4(fours[8 + b], fours[12 + b], 0xdd);
        v[b] = _mm512_shuffle_i32x4(low, low2, 0x88);
        v[8 + b] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        v[4 + b] = _mm512_shuffle_i32x4(high, high2, 0x88);
        v[12 + b] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
}

/* The tokens of a tile that begins with number `token` of so many. */
ALWAYS_INLINE uint32_t tokens_of_tile(uint32_t token, uint32_t tokens) {
    return tokens - token < TILE_TOKENS ? tokens - token : TILE_TOKENS;
}

/* Writes a tile's products[row], of `rows` rows by `tokens` tokens, to out[token][row]. */
ALWAYS_INLINE void store_products(__m512i products[16], uint32_t rows, uint32_t tokens, float *out, size_t out_stride) {
    transpose(products);
    for (uint32_t i = 0; i < 16; i++)
        if (i < tokens)
            _mm512_mask_storeu_epi32(out + i * out_stride, lanes_below(rows), products[i]);
}

#endif
