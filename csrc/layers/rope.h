/*
 * rope.h: rotary position embedding (arXiv:2104.09864).
 */
#ifndef WF_ROPE_H
#define WF_ROPE_H

#include <stdint.h>

#include "model/config.h"

typedef struct wf_rope {
    uint32_t head_dim;
    uint32_t dimensions; /* of a head that are rotated, the first ones */
    float magnitude;
    double *frequencies;    /* [dimensions / 2] */
    float *cosines, *sines; /* [rows][dimensions / 2] of each row's position, times the magnitude */
} wf_rope;

/* With the frequencies of a configuration, those of its sliding layers or of the others, for positions below `context`: the same for all of
 * them, so that keys in the cache hold whatever comes behind them. With memory for batches of up to `rows` rows. Returns 0, or -1 without
 * memory; wf_rope_destroy is due in any case. */
int wf_rope_create(wf_rope *rope, const wf_config *config, bool is_sliding, uint32_t context, uint32_t rows);

/* What was never made, and is all zero, is allowed. */
void wf_rope_destroy(wf_rope *rope);

/* Says which position a row of the batch has. */
void wf_rope_place(wf_rope *rope, uint32_t row, uint32_t position);

/* Rotates heads[count][head_dim] of a row: element d with element d + dimensions / 2 ("rotate half", as NeoX does). */
void wf_rope_rotate(const wf_rope *rope, uint32_t row, float *heads, uint32_t count);

#endif
