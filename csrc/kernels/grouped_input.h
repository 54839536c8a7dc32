/*
 * grouped_input.h: what the kernels of products take whose weights have a scale for each group of inputs.
 *
 * Rows come in panels of WF_PANEL_ROWS. Each row is its packed codes, in the blocks of every ternary row, with four bytes of all rows of
 * the panel side by side: a vector has the same four inputs of each row, so its lanes are rows, and no sum goes across it. Behind the
 * codes of a panel are the scales in half precision, those of a group side by side as well.
 *
 * The activations are quantised by groups too. So the sum of a group's products is one exact integer, and what is rounded is the same in
 * every tier: that integer times the product of both scales, added to the row's sum, one group after the other.
 */
#ifndef WF_GROUPED_INPUT_H
#define WF_GROUPED_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "wrinklefree.h"

/* Rows of weights that are scaled by groups, from the first row of a panel on. A matrix ends with a whole panel. */
typedef struct wf_grouped_rows {
    const uint8_t
        *panels;       /* [panels][code_bytes / 4][WF_PANEL_ROWS][4] codes, then [groups][WF_PANEL_ROWS] halves; 64-byte aligned */
    size_t code_bytes; /* of a row: whole blocks */
    uint32_t group;    /* inputs that share a scale: 16, 32, 64 or 128 */
    uint32_t groups;   /* in a row, padded */
} wf_grouped_rows;

/* Activations of one or several tokens, quantised by groups. */
typedef struct wf_grouped_activations {
    const int8_t *values; /* [tokens][stride], zero past the inputs */
    size_t stride;        /* bytes from one token to the next */
    /* The same as wf_kernels.arrange_groups leaves them; looked at where the tier has that function and there are several tokens. */
    const int8_t *arranged;
    const int32_t *sums; /* [tokens][groups] sum of a group's values */
    const float *scales; /* [tokens][groups] what a group's values are to be multiplied by */
    uint32_t tokens;
} wf_grouped_activations;

/* Groups of a row of so many inputs: those of its whole blocks, padded to an even number, so that a panel's bytes are a multiple of 64. */
static inline uint32_t wf_padded_groups(uint64_t inputs, uint32_t group) {
    const uint64_t blocks = (inputs + WF_BLOCK_WEIGHTS - 1) / WF_BLOCK_WEIGHTS;
    return (uint32_t)(blocks * (WF_BLOCK_WEIGHTS / group) + 1) / 2 * 2;
}

/* Bytes of a panel's codes, and of the panel. */
static inline size_t wf_panel_code_bytes(const wf_grouped_rows *rows) { return WF_PANEL_ROWS * rows->code_bytes; }
static inline size_t wf_panel_bytes(const wf_grouped_rows *rows) {
    return WF_PANEL_ROWS * (rows->code_bytes + rows->groups * sizeof(uint16_t));
}

/* The code of an input of a row of the rows' first panel. */
static inline int32_t wf_panel_code(const wf_grouped_rows *rows, uint32_t row, uint32_t input) {
    const uint32_t place = input % WF_BLOCK_WEIGHTS;
    const size_t byte = (size_t)(input / WF_BLOCK_WEIGHTS) * WF_BLOCK_BYTES + place % WF_BLOCK_BYTES;
    const uint8_t codes = rows->panels[byte / 4 * WF_PANEL_ROWS * 4 + row * 4 + byte % 4];
    return codes >> 2 * (place / WF_BLOCK_BYTES) & 3;
}

/* The scales of a group, of all rows of a panel. */
static inline const uint16_t *wf_panel_scales(const wf_grouped_rows *rows, const uint8_t *panel, uint32_t group) {
    return (const uint16_t *)(const void *)(panel + wf_panel_code_bytes(rows)) + (size_t)group * WF_PANEL_ROWS;
}

#endif
