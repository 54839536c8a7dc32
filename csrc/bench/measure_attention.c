/*
 * measure_attention.c: attention by itself, with the heads of the 2B and a context of CONTEXT positions. One token is bound by memory,
 * so its layers are many enough to come from there; the last tokens of a prompt are bound by multiply-adds.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bench/measure.h"
#include "layers/attention.h"

enum { HEADS = 20, KV_HEADS = 5, HEAD_DIM = 128, CONTEXT = 4096, BLOCKS = CONTEXT / WF_KV_BLOCK };

/* With more tokens than this the time is the multiply-adds', and one layer will do. */
#define TOKENS_FROM_MEMORY 8U

/* Keys and values that are no numbers at all would do as well; these are no special ones. */
#define ANY_BYTE 0x3c

struct attention_pass {
    wf_pool *pool;
    const wf_attention_batch *batch;
    uint32_t layers;
};

static void attend_layers(void *context) {
    const struct attention_pass *pass = context;
    for (uint32_t layer = 0; layer < pass->layers; layer++)
        wf_attention_run(pass->pool, pass->batch, layer, 0);
}

double wf_measure_attention(const wf_measurement *measurement, enum wf_kv_kind kind) {
    const uint32_t tokens = measurement->tokens;
    wf_config config = {.layers = 1, .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    const uint64_t layer_bytes = CONTEXT * wf_kv_token_bytes(1, KV_HEADS, HEAD_DIM, kind);
    if (tokens <= TOKENS_FROM_MEMORY)
        config.layers = (uint32_t)(wf_uncached_bytes() / layer_bytes) + 1;
    wf_pool *pool = wf_measuring_pool(measurement);
    if (pool == NULL)
        return 0;
    wf_kv_cache cache = {0};
    wf_chunks chunks = {0};
    float *queries = calloc((size_t)tokens * HEADS * HEAD_DIM, sizeof *queries);
    float *out = calloc((size_t)tokens * HEADS * HEAD_DIM, sizeof *out);
    wf_row *rows = calloc(tokens, sizeof *rows);
    wf_span *spans = calloc(tokens, sizeof *spans);
    double result = 0;
    if (queries == NULL || out == NULL || rows == NULL || spans == NULL ||
        wf_kv_create(&cache, &config, kind, BLOCKS, measurement->error, measurement->error_size) != 0 ||
        wf_chunks_create(&chunks, &cache, HEADS, measurement->threads, CONTEXT) != 0) {
        wf_fail(measurement->error, measurement->error_size, "no memory for the %llu MB that measuring attention takes",
                (unsigned long long)(config.layers * layer_bytes) >> 20);
    } else {
        memset(cache.memory, ANY_BYTE, cache.memory_bytes);
        uint32_t table[BLOCKS];
        for (uint32_t block = 0; block < BLOCKS; block++)
            table[block] = wf_kv_take(&cache);
        for (uint32_t token = 0; token < tokens; token++)
            rows[token] = (wf_row){.position = CONTEXT - tokens + token, .table = table};
        const wf_attention_batch batch = {
            .kernels = measurement->kernels,
            .cache = &cache,
            .chunks = &chunks,
            .heads = HEADS,
            .scale = 1.0f / sqrtf(HEAD_DIM),
            .rows = rows,
            .row_count = tokens,
            .spans = spans,
            .span_count = wf_find_spans(&cache, HEADS, rows, tokens, spans),
            .queries = queries,
            .out = out,
        };
        struct attention_pass pass = {pool, &batch, config.layers};
        const double seconds = wf_median_seconds(attend_layers, &pass);
        const double positions = (double)tokens * CONTEXT - (double)tokens * (tokens - 1) / 2;
        result = 2.0 * positions * HEADS * HEAD_DIM * config.layers / seconds * 1e-9;
    }
    wf_chunks_destroy(&chunks);
    wf_kv_destroy(&cache);
    free(queries);
    free(out);
    free(rows);
    free(spans);
    wf_pool_destroy(pool);
    return result;
}
