/*
 * logits.c: the logits of every position of one prompt, without an engine: for tests, which compare them with those of other
 * implementations, and for checks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/threads.h"
#include "kernels/dispatch.h"
#include "layers/forward.h"
#include "layers/kv_cache.h"
#include "model/model.h"
#include "wrinklefree.h"

/* Tokens in one batch. */
#define CHUNK 64

int32_t wf_model_logits(const wf_model *model, uint32_t threads, const uint32_t *tokens, uint32_t count, float *logits, char *error,
                        uint32_t error_size) {
    const uint32_t vocabulary = model->config.vocabulary;
    const wf_kernels *kernels = wf_kernels_active();
    if (kernels == NULL)
        return wf_fail(error, error_size, "WRINKLEFREE_CPU names no kernel tier that this processor can run");
    if (threads < 1 || threads > WF_THREADS_MAX)
        return wf_fail(error, error_size, "%u threads asked for; 1 to %u can be had", threads, WF_THREADS_MAX);
    if (count < 1 || count > model->config.context)
        return wf_fail(error, error_size, "%u tokens given; 1 to %u fit into the context", count, model->config.context);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] >= vocabulary)
            return wf_fail(error, error_size, "token %u is %u; the vocabulary has %u", i, tokens[i], vocabulary);

    const uint32_t blocks = (count + WF_KV_BLOCK - 1) / WF_KV_BLOCK;
    int result = -1;
    wf_kv_cache cache = {0};
    wf_forward *forward = NULL;
    uint32_t *table = calloc(blocks, sizeof *table);
    wf_pool *pool = wf_pool_create(threads, NULL, 0);
    if (table == NULL || pool == NULL)
        wf_fail(error, error_size, "no memory or threads");
    else if (wf_kv_create(&cache, &model->config, WF_KV_F32, blocks, error, error_size) == 0)
        forward = wf_forward_create(&(wf_forward_setup){model, kernels, pool, &cache, CHUNK, CHUNK, count}, error, error_size);
    if (forward != NULL) {
        for (uint32_t i = 0; i < blocks; i++)
            table[i] = wf_kv_take(&cache);
        for (uint32_t start = 0; start < count; start += CHUNK) {
            wf_row rows[CHUNK];
            wf_logits_request requests[CHUNK];
            uint32_t chunk = 0;
            for (; chunk < CHUNK && start + chunk < count; chunk++) {
                rows[chunk] = (wf_row){.token = tokens[start + chunk], .position = start + chunk, .table = table};
                requests[chunk] = (wf_logits_request){.row = chunk};
            }
            wf_forward_run(forward, rows, chunk);
            memcpy(logits + (size_t)start * vocabulary, wf_forward_logits(forward, requests, chunk),
                   (size_t)chunk * vocabulary * sizeof *logits);
        }
        result = 0;
    }
    wf_forward_destroy(forward);
    wf_kv_destroy(&cache);
    wf_pool_destroy(pool);
    free(table);
    return result;
}
