/*
 * batch.h: what a step computes: tokens that may belong to any number of sequences.
 */
#ifndef WF_BATCH_H
#define WF_BATCH_H

#include <stdbool.h>
#include <stdint.h>

/* One token of a batch. Tokens of one sequence must be in the order of their positions, and all positions before the first must
 * have been computed by earlier batches. */
typedef struct wf_row {
    uint32_t token;
    uint32_t position;     /* absolute, from 0 */
    const uint32_t *table; /* the sequence's KV blocks; the one of `position` is there */
    bool is_context;       /* nobody asks for what the last layer gives: its key and value there are all that is needed */
} wf_row;

#endif
