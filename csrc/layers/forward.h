/*
 * forward.h: the transformer, for a batch of tokens that may belong to any number of sequences.
 */
#ifndef WF_FORWARD_H
#define WF_FORWARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "layers/batch.h"
#include "layers/ffn.h"
#include "layers/head.h"
#include "layers/kv_cache.h"
#include "model/model.h"

typedef struct wf_forward wf_forward;

/* What a forward pass works with, and for how much it takes memory. */
typedef struct wf_forward_setup {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    wf_kv_cache *cache;
    uint32_t max_rows;   /* tokens of a batch */
    uint32_t max_logits; /* of those, how many want logits at once */
    uint32_t context;    /* positions are below this */
} wf_forward_setup;

/* Buffers for batches. The model, pool and cache must outlive it. NULL with `error` when memory is lacking. */
wf_forward *wf_forward_create(const wf_forward_setup *setup, char *error, uint32_t error_size);

/* NULL is allowed. */
void wf_forward_destroy(wf_forward *forward);

/* Runs `count` rows through all layers: their keys and values are stored, their hidden states kept for wf_forward_logits and
 * wf_forward_state, but for those of rows that are nothing but context. */
void wf_forward_run(wf_forward *forward, const wf_row *rows, uint32_t count);

/* Has wf_forward_run leave out, in small batches, the weights of the FFN that only meet zeros after relu²: rows of the up projection
 * whose gate is not positive, columns of the down projection whose input rounds to zero. No result changes a bit. Takes a second copy of the down
 * projections, which wf_forward_make_copies makes. For models with another activation it does nothing. Returns 0, or -1 with `error`. */
int wf_forward_skip_zeros(wf_forward *forward, char *error, uint32_t error_size);

/* What skipping has brought since the beginning. */
wf_zeros wf_forward_zeros(const wf_forward *forward);

/* Has wf_forward_logits screen the head where it may, with a sketch that wf_forward_make_copies makes. Returns 0, or -1 with `error`. */
int wf_forward_screen_head(wf_forward *forward, char *error, uint32_t error_size);

/* Bytes that were read for logits since the beginning: of the head's rows and of its sketch. */
uint64_t wf_forward_head_bytes(const wf_forward *forward);

/* Whether a batch came that would be computed sooner if there were more copies of weights. */
bool wf_forward_wants_copies(const wf_forward *forward);

/* Gives back the memory of the model's file that the commonest steps don't need, because they use copies. Other steps take it again. */
void wf_forward_release(const wf_forward *forward);

/* Makes those copies of weights that are wanted and not made yet. No result depends on them, so batches may run meanwhile on another thread;
 * each copy is used as soon as it is complete. `pool` is the calling thread's own. It ends early when `stopping` becomes true. */
void wf_forward_make_copies(wf_forward *forward, wf_pool *pool, const atomic_bool *stopping);

/* out[hidden] = the hidden state of a row of the last batch after the last norm. */
void wf_forward_state(const wf_forward *forward, uint32_t row, float *out);

/* The logits of `count` rows of the last batch: [count][vocabulary], the caller's to change until the next call. */
float *wf_forward_logits(wf_forward *forward, const wf_logits_request *requests, uint32_t count);

#endif
