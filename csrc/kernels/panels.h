/*
 * panels.h: what the vector tiers share of products with rows in panels: where the groups of a block lie in it, and how the activations of
 * several tokens are arranged.
 */
#ifndef WF_PANELS_H
#define WF_PANELS_H

#include <string.h>

#include "kernels/tiers.h"

/* Before a loop of so many rounds, whose sums then are registers. Where the instructions are emulated, it would only take minutes to
 * compile. */
#if defined(WF_EMULATED)
#define UNROLL(rounds)
#else
#define PRAGMA(text) _Pragma(#text)
#define UNROLL(rounds) PRAGMA(GCC unroll rounds)
#endif

/* Bytes of one word of all rows of a panel. */
#define WORD_BYTES (4 * WF_PANEL_ROWS)

/* Words of a block of one row; each has four inputs of every quarter of the block. */
#define BLOCK_WORDS (WF_BLOCK_BYTES / 4)

/* The groups of a block. */
ALWAYS_INLINE uint32_t parts_of(uint32_t group) { return WF_BLOCK_WEIGHTS / group; }

/* The inputs of one of them: some quarters of some words. */
typedef struct block_part {
    uint32_t first_quarter, quarter_end, first_word, word_end;
} block_part;

ALWAYS_INLINE block_part part_of(uint32_t group, uint32_t index) {
    if (group == 16) {
        const uint32_t first_word = index % 2 * BLOCK_WORDS / 2;
        return (block_part){index / 2, index / 2 + 1, first_word, first_word + BLOCK_WORDS / 2};
    }
    const uint32_t quarters = group / WF_BLOCK_BYTES;
    return (block_part){index * quarters, (index + 1) * quarters, 0, BLOCK_WORDS};
}

/* Puts four values of `tile` tokens side by side, for all inputs, tile by tile. */
static inline void arrange_words(const int8_t *values, size_t stride, uint32_t count, uint32_t padded, uint32_t tile,
                                 int8_t *arranged) {
    for (uint32_t first = 0; first < count; first += tile, arranged += tile * wf_arranged_bytes(padded))
        for (uint32_t token = first; token < first + tile; token++)
            for (uint32_t word = 0; word < padded / 4; word++) {
                int8_t *to = arranged + ((size_t)word * tile + token % tile) * 4;
                if (token < count)
                    memcpy(to, values + token * stride + (size_t)word * 4, 4);
                else
                    memset(to, 0, 4);
            }
}

/* The activations of some tokens, from one of them on: four values at a time. */
typedef struct tile_values {
    const int8_t *first;
    size_t bytes; /* from four inputs to the next four */
} tile_values;

ALWAYS_INLINE tile_values values_of(const wf_grouped_rows *rows, const wf_grouped_activations *x, uint32_t token, uint32_t count,
                                    uint32_t tile) {
    if (count == 1)
        return (tile_values){x->values + token * x->stride, 4};
    const size_t token_bytes = wf_arranged_bytes((uint32_t)rows->code_bytes * 4);
    return (tile_values){x->arranged + token / tile * tile * token_bytes + token % tile * 4, (size_t)tile * 4};
}

/* Four values of a token, of some quarter and word of a block. */
ALWAYS_INLINE int32_t values_at(const tile_values *x, uint32_t block, uint32_t quarter, uint32_t word, uint32_t token) {
    int32_t four;
    memcpy(&four, x->first + ((size_t)block * WF_BLOCK_BYTES + quarter * BLOCK_WORDS + word) * x->bytes + token * 4, sizeof four);
    return four;
}

#endif
