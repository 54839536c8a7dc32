/*
 * attention.h: causal grouped-query attention over the paged KV cache, spread over the pool.
 */
#ifndef WF_ATTENTION_H
#define WF_ATTENTION_H

#include "forward.h"

/* out[row][heads * head_dim] = attention of queries[row][heads * head_dim] (rotated) to the positions 0 … rows[row].position of its
 * sequence in one layer. */
void wf_attention_run(wf_pool *pool, const wf_kernels *kernels, const wf_kv_cache *cache, uint32_t layer, uint32_t heads,
                      const wf_row *rows, uint32_t count, const float *queries, float *out);

#endif
