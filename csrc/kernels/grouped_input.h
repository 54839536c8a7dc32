/*
 * grouped_input.h: what the kernels of products take whose weights have a scale for each group of inputs.
 *
 * A row is its packed codes, in the blocks of every ternary row, and behind them the scales of its groups in half precision. The
 * activations are quantised by groups as well. So the sum of a group's products is one exact integer, and what is rounded is the same in
 * every tier: that integer times the product of both scales, added to one of WF_GROUP_LANES lanes.
 */
#ifndef WF_GROUPED_INPUT_H
#define WF_GROUPED_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "wrinklefree.h"

/* Group g is added to lane g % WF_GROUP_LANES. The groups of a row are padded to a multiple of it, with scales of zero. */
#define WF_GROUP_LANES 16U

/* Tokens whose sums and scales lie side by side for products of batches. */
#define WF_GROUP_TILE 4U

/* Rows of weights that are scaled by groups. */
typedef struct wf_grouped_rows {
    const uint8_t *rows; /* [row_count][row_bytes]: code_bytes of codes, then `groups` scales as halves; 32-byte aligned */
    size_t row_bytes;
    size_t code_bytes; /* whole blocks */
    uint32_t group;    /* inputs that share a scale: 16, 32, 64 or 128 */
    uint32_t groups;   /* in a row, padded */
} wf_grouped_rows;

/* Activations of one or several tokens, quantised by groups. */
typedef struct wf_grouped_activations {
    const int8_t *values; /* [tokens][stride], zero past the inputs */
    size_t stride;        /* bytes from one token to the next */
    /* The same as wf_kernels.arrange_groups leaves them; looked at where the tier has that function. */
    const int8_t *arranged;
    const int32_t *sums;      /* [tokens][groups] sum of a group's values */
    const float *scales;      /* [tokens][groups] what a group's values are to be multiplied by */
    const int32_t *tile_sums; /* [tokens / WF_GROUP_TILE rounded up][groups][WF_GROUP_TILE] the same once more */
    const float *tile_scales; /* likewise */
    uint32_t tokens;
} wf_grouped_activations;

/* Groups of a row of so many inputs, padded. */
static inline uint32_t wf_padded_groups(uint64_t inputs, uint32_t group) {
    return (uint32_t)((inputs + group - 1) / group + WF_GROUP_LANES - 1) / WF_GROUP_LANES * WF_GROUP_LANES;
}

#endif
