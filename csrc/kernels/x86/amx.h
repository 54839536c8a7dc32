/*
 * amx.h: what the files of tiles (AMX) share: the registers' configuration, and transposing. Their tier is above AVX-512.
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

#endif
