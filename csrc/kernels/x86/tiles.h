/*
 * tiles.h: the instructions for tiles (AMX) that kernels use. Every tile register has 16 rows of 64 bytes and lies in memory
 * as 1,024 bytes in a line.
 *
 * The compiler's own intrinsics don't say which memory they read and write, so it may move stores past them. The kernels' tests, on
 * machines without tiles, put functions in the place of these.
 */
#ifndef WF_TILES_H
#define WF_TILES_H

#include <stddef.h>
#include <stdint.h>

#define WF_TILE_ROWS 16U
#define WF_TILE_ROW_BYTES 64U
#define WF_TILE_BYTES 1024U

/* As LDTILECFG reads it: palette 1 has eight registers. */
typedef struct wf_tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} wf_tile_configuration;

static inline void wf_tile_configure(const wf_tile_configuration *configuration) {
    __asm__ volatile("ldtilecfg %0" : : "m"(*configuration));
}

#define WF_TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : : :)
#define WF_TILE_LOAD(tile, bytes)                                                                                                  \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(bytes), "r"((size_t)WF_TILE_ROW_BYTES) : "memory")
#define WF_TILE_STORE(tile, bytes)                                                                                                 \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(bytes), "r"((size_t)WF_TILE_ROW_BYTES) : "memory")

/* sums[m][n] += Σ codes[m][4 k + i] · values[k][4 n + i]: unsigned by signed bytes, sums of 32 bits. All three registers differ. */
#define WF_TILE_MULTIPLY(sums, codes, values) __asm__ volatile("tdpbusd %%tmm" #values ", %%tmm" #codes ", %%tmm" #sums : : :)

/* The same of unsigned by unsigned bytes. */
#define WF_TILE_MULTIPLY_UNSIGNED(sums, codes, values)                                                                             \
    __asm__ volatile("tdpbuud %%tmm" #values ", %%tmm" #codes ", %%tmm" #sums : : :)

#endif
