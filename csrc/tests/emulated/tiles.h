/*
 * tiles.h: functions in the place of the instructions for tiles (AMX), after Intel's description of them. Included by immintrin.h, which
 * kernels include before their own tiles.h; that one is then left out.
 */
#ifndef WF_TILES_H
#define WF_TILES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WF_TILE_ROWS 16U
#define WF_TILE_ROW_BYTES 64U
#define WF_TILE_BYTES 1024U

typedef struct wf_tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} wf_tile_configuration;

/* Without it every use of a register faults, as on a processor. */
static const wf_tile_configuration *emulated_configuration;
static wf_tile_configuration emulated_copy;
static uint8_t emulated_tiles[8][WF_TILE_BYTES];

static inline void wf_tile_configure(const wf_tile_configuration *configuration) {
    emulated_copy = *configuration;
    emulated_configuration = &emulated_copy;
}

static inline uint8_t *emulated_tile(int tile) {
    if (emulated_configuration == NULL || emulated_configuration->palette != 1 ||
        emulated_configuration->rows[tile] != WF_TILE_ROWS || emulated_configuration->row_bytes[tile] != WF_TILE_ROW_BYTES)
        __builtin_trap();
    return emulated_tiles[tile];
}

static inline void emulated_tile_multiply(uint8_t *sums, const uint8_t *codes, const uint8_t *values, int are_signed) {
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            uint32_t sum;
            memcpy(&sum, sums + 64 * m + 4 * n, sizeof sum);
            for (int k = 0; k < 16; k++)
                for (int i = 0; i < 4; i++) {
                    const uint8_t value = values[64 * k + 4 * n + i];
                    sum += (uint32_t)(codes[64 * m + 4 * k + i] * (are_signed ? (int8_t)value : value));
                }
            memcpy(sums + 64 * m + 4 * n, &sum, sizeof sum);
        }
}

#define WF_TILE_ZERO(tile) memset(emulated_tile(tile), 0, WF_TILE_BYTES)
#define WF_TILE_LOAD(tile, bytes) memcpy(emulated_tile(tile), bytes, WF_TILE_BYTES)
#define WF_TILE_STORE(tile, bytes) memcpy(bytes, emulated_tile(tile), WF_TILE_BYTES)
#define EMULATED_TILE_MULTIPLY(sums, codes, values, are_signed)                                                                    \
    do {                                                                                                                           \
        _Static_assert((sums) != (codes) && (sums) != (values) && (codes) != (values), "the registers of a product differ");       \
        emulated_tile_multiply(emulated_tile(sums), emulated_tile(codes), emulated_tile(values), are_signed);                      \
    } while (0)
#define WF_TILE_MULTIPLY(sums, codes, values) EMULATED_TILE_MULTIPLY(sums, codes, values, 1)
#define WF_TILE_MULTIPLY_UNSIGNED(sums, codes, values) EMULATED_TILE_MULTIPLY(sums, codes, values, 0)

#endif
