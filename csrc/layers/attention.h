/*
 * attention.h: causal grouped-query attention over the paged KV cache, spread over the pool.
 */
#ifndef WF_ATTENTION_H
#define WF_ATTENTION_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "layers/batch.h"
#include "layers/kv_cache.h"

/* Consecutive tokens of one sequence in a batch. */
typedef struct wf_span {
    uint32_t first; /* row of the batch */
    uint32_t count; /* 1 to WF_ATTENTION_ROWS */
} wf_span;

/* Memory for what single chunks give, where their sequences are shared out. */
typedef struct wf_chunks {
    float *sums;                     /* [count][query heads together][value_stride] */
    wf_softmax *softmaxes;           /* [count][query heads together] */
    atomic_uint_least32_t *complete; /* [count] chunks of a span and some heads that are there, while not all of them are */
    uint32_t count;                  /* chunks of a span and some heads that there is room for */
} wf_chunks;

/* Takes memory for so much as `threads` can profit from in sequences of up to `context` tokens, whose keys and values `cache` holds for
 * `heads` query heads. Returns 0, or −1 without memory. */
int wf_chunks_create(wf_chunks *chunks, const wf_kv_cache *cache, uint32_t heads, uint32_t threads, uint32_t context);

/* Chunks that were never created are allowed, when they are all zero. */
void wf_chunks_destroy(wf_chunks *chunks);

/* Divides the rows of a batch with so many query heads into spans[count], as many as it returns. */
uint32_t wf_find_spans(const wf_kv_cache *cache, uint32_t heads, const wf_row *rows, uint32_t count, wf_span *spans);

/* A batch in any layer. */
typedef struct wf_attention_batch {
    const wf_kernels *kernels;
    const wf_kv_cache *cache;
    const wf_chunks *chunks;
    uint32_t heads;
    float scale;        /* of scores */
    const wf_row *rows; /* [row_count] */
    uint32_t row_count;
    const wf_span *spans; /* [span_count] of the rows */
    uint32_t span_count;
    const float *queries; /* [rows][heads * head_dim] */
    float *out;           /* [rows][heads * head_dim] */
    /* prepare(context, row * kv_heads + kv_head) rotates a row's queries of a KV head, and stores its key and value. NULL when that was done
     * for the layer. */
    wf_work prepare;
    void *context;
} wf_attention_batch;

/* Prepares what is to be prepared; then out[row] = attention of queries[row] to the positions up to rows[row].position of its sequence in
 * one layer: all of them, or the last `window` of them when that is not 0. */
void wf_attention_run(wf_pool *pool, const wf_attention_batch *batch, uint32_t layer, uint32_t window);

#endif
