/*
 * plan.c: checks how an engine is to be laid out, and says what memory it will take.
 */
#include "engine/plan.h"

#include "base/error.h"
#include "engine/pace.h"
#include "layers/column_major.h"
#include "layers/ffn.h"
#include "layers/head.h"
#include "layers/kv_cache.h"
#include "layers/sketch.h"
#include "model/container.h"
#include "model/mapping.h"

int wf_check_engine_options(const wf_config *config, wf_engine_options *options, char *error, uint32_t error_size) {
    if (options->threads < 1 || options->threads > WF_THREADS_MAX)
        return wf_fail(error, error_size, "%u threads asked for; 1 to %u can be had", options->threads, WF_THREADS_MAX);
    if (options->max_sequences < 1 || options->max_sequences > WF_SEQUENCES_MAX)
        return wf_fail(error, error_size, "%u sequences asked for; 1 to %u can run together", options->max_sequences,
                       WF_SEQUENCES_MAX);
    if (options->context == 0)
        options->context = config->original_context;
    if (options->context < 2 || options->context > config->context)
        return wf_fail(error, error_size, "a context of %u tokens asked for; this model has 2 to %u", options->context,
                       config->context);
    if (options->batch_tokens > WF_BATCH_TOKENS_MAX)
        return wf_fail(error, error_size, "batches of %u tokens asked for; at most %u", options->batch_tokens, WF_BATCH_TOKENS_MAX);
    if (options->zeros > WF_ZEROS_MULTIPLY)
        return wf_fail(error, error_size, "%u is no way to treat zeros; use one of WF_ZEROS_…", options->zeros);
    if (options->head > WF_HEAD_EXACT)
        return wf_fail(error, error_size, "%u is no kind of head; use one of WF_HEAD_…", options->head);
    if (options->kv_kind > WF_KV_KIND_F16)
        return wf_fail(error, error_size, "%u is no kind of KV cache; use one of WF_KV_KIND_…", options->kv_kind);
    const uint64_t all = (uint64_t)options->context * options->max_sequences;
    if (options->kv_tokens == 0)
        options->kv_tokens = all < UINT32_MAX - WF_KV_BLOCK ? (uint32_t)all : UINT32_MAX - WF_KV_BLOCK;
    if (options->kv_tokens < options->context)
        return wf_fail(error, error_size, "a KV cache of %u tokens can't hold one context of %u", options->kv_tokens,
                       options->context);
    return 0;
}

uint32_t wf_batch_rows(const wf_engine_options *options) {
    return (options->batch_tokens > 0 ? options->batch_tokens : WF_PACED_TOKENS_MAX) + options->max_sequences;
}

uint32_t wf_pool_blocks(const wf_engine_options *options) { return options->kv_tokens / WF_KV_BLOCK + options->max_sequences; }

/* What steps work with, about: the large arrays, by rows of a batch and by rows that have logits. */
static uint64_t buffer_bytes(const wf_config *config, const wf_engine_options *options) {
    const uint64_t attention = (uint64_t)config->heads * config->head_dim, kv = (uint64_t)config->kv_heads * config->head_dim;
    uint64_t widest = config->hidden > config->intermediate ? config->hidden : config->intermediate;
    widest = widest > attention ? widest : attention;
    /* Hidden states, products, queries, what attention gives, keys and values; normed and quantised inputs, these twice; gates and what
     * they gate, of all experts that a token uses. */
    const uint64_t neurons = (uint64_t)config->intermediate * (config->experts > 0 ? config->experts_used : 1);
    const uint64_t row = 4 * (2 * (uint64_t)config->hidden + 2 * attention + 2 * kv + widest + 2 * neurons) + 2 * widest;
    /* Logits, and what sampling sorts and remembers of each token. */
    const uint64_t logits = 4 * ((uint64_t)config->hidden + 6 * (uint64_t)config->vocabulary);
    return wf_batch_rows(options) * row + options->max_sequences * logits;
}

int32_t wf_plan_memory(const uint8_t *header, uint64_t header_size, const char *name, const wf_engine_options *given,
                       wf_memory_plan *plan, char *error, uint32_t error_size) {
    if (header == NULL || header_size == 0 || name == NULL)
        return wf_fail(error, error_size, "%s: is no packed model's header", name == NULL ? "a model in memory" : name);
    /* Only read. */
    const wf_mapping mapping = {.bytes = (uint8_t *)(uintptr_t)header, .size = header_size};
    wf_container container = {.name = name, .mapping = &mapping, .error = error, .error_size = error_size};
    wf_config config;
    wf_engine_options options = *given;
    const bool is_read = wf_container_read_header(&container) == 0 && wf_config_read(&container, &config) == 0;
    wf_container_close(&container);
    if (!is_read || wf_check_engine_options(&config, &options, error, error_size) != 0)
        return -1;
    const uint32_t blocks = wf_pool_blocks(&options);
    const uint64_t token = wf_kv_token_bytes(config.layers, config.kv_heads, config.head_dim, options.kv_kind);
    *plan = (wf_memory_plan){
        .context = options.context,
        .kv_blocks = blocks,
        .kv_bytes = (uint64_t)blocks * WF_KV_BLOCK * token,
        .buffer_bytes = buffer_bytes(&config, &options),
        .grammar_bytes = WF_GRAMMAR_BYTES,
    };
    if (options.head == WF_HEAD_SCREENED && wf_head_may_screen(&config))
        plan->sketch_bytes = wf_sketch_bytes(&config);
    if (options.zeros == WF_ZEROS_SKIP && wf_ffn_may_skip_zeros(&config))
        plan->column_bytes = wf_column_major_bytes(&config);
    return 0;
}
