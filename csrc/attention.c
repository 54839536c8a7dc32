/*
 * attention.c: hands each (span of tokens, KV head) pair to the attend kernel.
 *
 * A token sees its own position and those before it, and nothing of other sequences: its block table is all it can reach. A span is only
 * a way to read keys and values once for several tokens; each token is computed by itself, in the fixed block order of the kernel, so
 * neither the batch nor the chunking of a prompt changes a bit.
 */
#include "attention.h"

#include <math.h>
#include <stdbool.h>

struct attention_job {
    const wf_kernels *kernels;
    const wf_kv_cache *cache;
    const wf_row *rows;
    const wf_span *spans;
    const float *queries; /* [rows][heads * head_dim] */
    float *out;           /* [rows][heads * head_dim] */
    uint32_t layer;
    uint32_t heads;
};

uint32_t wf_find_spans(const wf_row *rows, uint32_t count, wf_span *spans) {
    uint32_t found = 0;
    for (uint32_t row = 0; row < count; row++) {
        wf_span *last = &spans[found - (found > 0)];
        const bool follows = found > 0 && last->count < WF_ATTENTION_ROWS && rows[row].table == rows[row - 1].table &&
                             rows[row].position == rows[row - 1].position + 1;
        if (follows)
            last->count++;
        else
            spans[found++] = (wf_span){row, 1};
    }
    return found;
}

static void attend_pair(void *context, uint32_t unit) {
    const struct attention_job *job = context;
    const wf_kv_cache *cache = job->cache;
    const wf_span span = job->spans[unit / cache->kv_heads];
    const uint32_t kv_head = unit % cache->kv_heads, group = job->heads / cache->kv_heads;
    const size_t offset = ((size_t)span.first * job->heads + (size_t)kv_head * group) * cache->head_dim;
    const wf_kv_view first = wf_kv_at(cache, job->layer, 0, kv_head);
    const wf_attention input = {
        .query = job->queries + offset,
        .row_stride = (size_t)job->heads * cache->head_dim,
        .rows = span.count,
        .keys = first.keys,
        .values = first.values,
        .key_scales = first.key_scales,
        .value_scales = first.value_scales,
        .block_bytes = cache->block_bytes,
        .kind = cache->kind,
        .table = job->rows[span.first].table,
        .positions = job->rows[span.first].position + 1,
        .group = group,
        .head_dim = cache->head_dim,
        .value_stride = cache->value_stride,
        .scale = 1.0f / sqrtf((float)cache->head_dim),
    };
    job->kernels->attend(&input, job->out + offset);
}

void wf_attention_run(wf_pool *pool, const wf_kernels *kernels, const wf_kv_cache *cache, uint32_t layer, uint32_t heads,
                      const wf_row *rows, const wf_span *spans, uint32_t span_count, const float *queries, float *out) {
    struct attention_job job = {kernels, cache, rows, spans, queries, out, layer, heads};
    wf_pool_run(pool, attend_pair, &job, span_count * cache->kv_heads);
}
