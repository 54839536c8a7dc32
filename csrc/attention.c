/*
 * attention.c: hands each (token, KV head) pair to the attend kernel.
 *
 * A token sees its own position and those before it, and nothing of other sequences: its block table is all it can reach. Each pair is
 * computed by itself, in the fixed block order of the kernel, so neither the batch nor the chunking of a prompt changes a bit.
 */
#include "attention.h"

#include <math.h>

struct attention_job {
    const wf_kernels *kernels;
    const wf_kv_cache *cache;
    const wf_row *rows;
    const float *queries; /* [count][heads * head_dim] */
    float *out;           /* [count][heads * head_dim] */
    uint32_t layer;
    uint32_t heads;
};

static void attend_pair(void *context, uint32_t unit) {
    const struct attention_job *job = context;
    const wf_kv_cache *cache = job->cache;
    const uint32_t row = unit / cache->kv_heads, kv_head = unit % cache->kv_heads;
    const uint32_t group = job->heads / cache->kv_heads;
    const size_t offset = ((size_t)row * job->heads + (size_t)kv_head * group) * cache->head_dim;
    const wf_kv_view first = wf_kv_at(cache, job->layer, 0, kv_head);
    const wf_attention input = {
        .query = job->queries + offset,
        .keys = first.keys,
        .values = first.values,
        .key_scales = first.key_scales,
        .value_scales = first.value_scales,
        .block_bytes = cache->block_bytes,
        .kind = cache->kind,
        .table = job->rows[row].table,
        .positions = job->rows[row].position + 1,
        .group = group,
        .head_dim = cache->head_dim,
        .value_stride = cache->value_stride,
        .scale = 1.0f / sqrtf((float)cache->head_dim),
    };
    job->kernels->attend(&input, job->out + offset);
}

void wf_attention_run(wf_pool *pool, const wf_kernels *kernels, const wf_kv_cache *cache, uint32_t layer, uint32_t heads,
                      const wf_row *rows, uint32_t count, const float *queries, float *out) {
    struct attention_job job = {kernels, cache, rows, queries, out, layer, heads};
    wf_pool_run(pool, attend_pair, &job, count * cache->kv_heads);
}
