/*
 * forward.h: the transformer, for a batch of tokens that may belong to any number of sequences.
 */
#ifndef WF_FORWARD_H
#define WF_FORWARD_H

#include <stdatomic.h>
#include <stdint.h>

#include "layers/attention.h"
#include "layers/head.h"
#include "kernels/kernels.h"
#include "layers/kv_cache.h"
#include "model/model.h"
#include "base/threads.h"

typedef struct wf_forward wf_forward;

/* Buffers for batches of up to `max_rows` tokens, of which up to `max_logits` want logits, at positions below `context`. The model,
 * pool and cache must outlive it. NULL with `error` when memory is lacking. */
wf_forward *wf_forward_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, wf_kv_cache *cache,
                              uint32_t max_rows, uint32_t max_logits, uint32_t context, char *error, uint32_t error_size);

void wf_forward_destroy(wf_forward *forward);

/* Runs `count` rows through all layers: their keys and values are stored, their hidden states kept for wf_forward_logits. */
void wf_forward_run(wf_forward *forward, const wf_row *rows, uint32_t count);

/* The most tokens of a batch for which zeros are skipped: with more, hardly a weight is needed by none of them. */
#define WF_SKIPPING_TOKENS 4U

/* Has wf_forward_run leave out, in small batches, the weights of the FFN that only meet zeros after relu²: rows of the up projection
 * whose gate is not positive, columns of the down projection whose input rounds to zero. No result changes a bit. Takes a second copy of the down
 * projections, which wf_forward_make_copies makes. For models with another activation it does nothing. Returns 0, or -1 with `error`. */
int wf_forward_skip_zeros(wf_forward *forward, char *error, uint32_t error_size);

/* What skipping has brought since the beginning. */
typedef struct wf_zeros {
    uint64_t inputs;        /* of down projections, where zeros were looked for */
    uint64_t zeros;         /* among those */
    uint64_t skipped_bytes; /* of weights that were not read */
} wf_zeros;

wf_zeros wf_forward_zeros(const wf_forward *forward);

/* Has wf_forward_logits screen the head where it may, with a sketch that wf_forward_make_copies makes. Returns 0, or -1 with `error`. */
int wf_forward_screen_head(wf_forward *forward, char *error, uint32_t error_size);

/* Bytes that were read for logits since the beginning: of the head's rows and of its sketch. */
uint64_t wf_forward_head_bytes(const wf_forward *forward);

/* Makes the copies of weights that were asked for. No result depends on them, so batches may run meanwhile on another thread; each copy is
 * used as soon as it is complete. `pool` is the calling thread's own. It ends early when `stopping` becomes true. */
void wf_forward_make_copies(wf_forward *forward, wf_pool *pool, const atomic_bool *stopping);

/* The logits of `count` rows of the last batch: [count][vocabulary], the caller's to change until the next call. */
float *wf_forward_logits(wf_forward *forward, const wf_logits_request *requests, uint32_t count);

#endif
