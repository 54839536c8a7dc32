/*
 * forward.c: the transformer, top to bottom. The paper is arXiv:2402.17764, the model arXiv:2504.12285.
 *
 * A batch is a list of tokens; each has its sequence's block table and its absolute position, so decode steps, prompt chunks and any
 * mixture of them are the same code. Every phase is split over the pool in units that no other unit's result depends on: rows of the
 * batch for norms, slices of weight rows for products. So nothing here depends on the batch or on the number of threads.
 */
#include "layers/forward.h"

#include <stdlib.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "layers/attention.h"
#include "layers/norm.h"
#include "layers/product.h"
#include "layers/rope.h"

struct wf_forward {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    wf_kv_cache *cache;
    wf_head *head;

    float *hidden;       /* x: [rows][hidden] */
    wf_quantised inputs; /* norm(x) in 8 bits */
    float *query;        /* [rows][heads * head_dim] */
    float *key, *value;  /* [rows][kv_heads * head_dim] */
    wf_rope rope;
    wf_chunks chunks; /* scratch of attention */
    wf_span *spans;   /* [rows] of the batch that runs */
    float *attended;  /* [rows][heads * head_dim] */
    float *product;   /* [rows][hidden], what a residual addition adds */
    wf_ffn *ffn;

    /* Of the phase that runs: */
    const wf_row *rows; /* the batch; NULL between batches */
    uint32_t index;     /* of the layer */
};

/* ---- Phases over the rows of the batch ---- */

static const wf_layer *layer_of(const wf_forward *forward) { return &forward->model->layers[forward->index]; }

/* Begins one row: what its token is, and what its position turns keys and queries by. */
static void embed(void *context, uint32_t row) {
    wf_forward *forward = context;
    const wf_linear *embedding = &forward->model->embedding;
    wf_rope_place(&forward->rope, row, forward->rows[row].position);
    embedding->read_row(embedding, forward->rows[row].token, forward->hidden + (size_t)row * embedding->inputs);
}

static void prepare_attention(void *context, uint32_t row) {
    wf_forward *forward = context;
    const uint32_t hidden = forward->model->config.hidden;
    wf_norm_and_quantise(&forward->inputs, row, forward->hidden + (size_t)row * hidden, layer_of(forward)->input_norm, hidden,
                         hidden);
}

/* One KV head of one row, and the query heads that share it. */
static void rotate_and_store(void *context, uint32_t unit) {
    wf_forward *forward = context;
    const wf_config *config = &forward->model->config;
    const uint32_t row = unit / config->kv_heads, kv_head = unit % config->kv_heads, group = config->heads / config->kv_heads;
    const size_t kv = (size_t)unit * config->head_dim; /* [rows][kv_heads][head_dim] */
    wf_rope_rotate(&forward->rope, row, forward->query + kv * group, group);
    wf_rope_rotate(&forward->rope, row, forward->key + kv, 1);
    const wf_kv_place place = {forward->index, kv_head, forward->rows[row].table, forward->rows[row].position};
    wf_kv_store(forward->cache, forward->kernels, place, forward->key + kv, forward->value + kv);
}

static void prepare_output(void *context, uint32_t row) {
    wf_forward *forward = context;
    const wf_layer *layer = layer_of(forward);
    const uint32_t count = layer->output.inputs;
    wf_norm_and_quantise(&forward->inputs, row, forward->attended + (size_t)row * count, layer->attention_sub_norm, count, count);
}

static void prepare_ffn(void *context, uint32_t row) {
    wf_forward *forward = context;
    const uint32_t hidden = forward->model->config.hidden;
    wf_norm_and_quantise(&forward->inputs, row, forward->hidden + (size_t)row * hidden, layer_of(forward)->post_attention_norm,
                         hidden, hidden);
}

/* ---- The transformer ---- */

void wf_forward_run(wf_forward *forward, const wf_row *rows, uint32_t count) {
    const wf_config *config = &forward->model->config;
    wf_pool *pool = forward->pool;
    forward->rows = rows;
    forward->inputs.count = count;
    wf_ffn_begin(forward->ffn);
    const wf_attention_batch attention = {
        .kernels = forward->kernels,
        .cache = forward->cache,
        .chunks = &forward->chunks,
        .heads = config->heads,
        .rows = rows,
        .spans = forward->spans,
        .span_count = wf_find_spans(forward->cache, config->heads, rows, count, forward->spans),
        .queries = forward->query,
        .out = forward->attended,
    };

    wf_pool_run(pool, embed, forward, count);
    for (forward->index = 0; forward->index < config->layers; forward->index++) {
        const wf_layer *layer = layer_of(forward);

        wf_pool_run(pool, prepare_attention, forward, count);
        wf_products heads = {
            .inputs = &forward->inputs,
            .products = {{.linear = &layer->query, .out = forward->query},
                         {.linear = &layer->key, .out = forward->key},
                         {.linear = &layer->value, .out = forward->value}},
            .count = 3,
        };
        wf_products_run(pool, &heads);
        wf_pool_run(pool, rotate_and_store, forward, count * config->kv_heads);
        wf_attention_run(pool, &attention, forward->index);
        wf_pool_run(pool, prepare_output, forward, count);
        wf_products output = {
            .inputs = &forward->inputs,
            .products = {{.linear = &layer->output, .out = forward->product, .residual = forward->hidden}},
            .count = 1,
        };
        wf_products_run(pool, &output);

        wf_pool_run(pool, prepare_ffn, forward, count);
        wf_ffn_run(forward->ffn, forward->index, forward->product, forward->hidden);
    }
    forward->rows = NULL;
}

float *wf_forward_logits(wf_forward *forward, const wf_logits_request *requests, uint32_t count) {
    return wf_head_logits(forward->head, forward->hidden, requests, count);
}

/* ---- Making and ending it ---- */

static bool allocate(wf_forward *forward, uint32_t max_rows) {
    const wf_config *config = &forward->model->config;
    const uint32_t attention = config->heads * config->head_dim;
    const size_t rows = max_rows, kv = (size_t)config->kv_heads * config->head_dim;
    uint32_t widest = config->hidden > config->intermediate ? config->hidden : config->intermediate;
    widest = widest > attention ? widest : attention;
    if (wf_quantised_create(&forward->inputs, forward->kernels, config->rms_norm_eps, max_rows, widest) != 0 ||
        wf_rope_create(&forward->rope, config, max_rows) != 0)
        return false;
    forward->ffn = wf_ffn_create(forward->model, forward->pool, &forward->inputs, max_rows);
    forward->hidden = wf_allocate(rows * config->hidden, sizeof *forward->hidden);
    forward->query = wf_allocate(rows * attention, sizeof *forward->query);
    forward->key = wf_allocate(rows * kv, sizeof *forward->key);
    forward->value = wf_allocate(rows * kv, sizeof *forward->value);
    forward->spans = wf_allocate(rows, sizeof *forward->spans);
    forward->attended = wf_allocate(rows * attention, sizeof *forward->attended);
    forward->product = wf_allocate(rows * config->hidden, sizeof *forward->product);
    return forward->ffn != NULL && forward->hidden != NULL && forward->query != NULL && forward->key != NULL &&
           forward->value != NULL && forward->spans != NULL && forward->attended != NULL && forward->product != NULL;
}

wf_forward *wf_forward_create(const wf_forward_setup *setup, char *error, uint32_t error_size) {
    wf_forward *forward = calloc(1, sizeof *forward);
    if (forward == NULL) {
        wf_fail(error, error_size, "no memory for the engine");
        return NULL;
    }
    forward->model = setup->model;
    forward->kernels = setup->kernels;
    forward->pool = setup->pool;
    forward->cache = setup->cache;
    if (!allocate(forward, setup->max_rows)) {
        wf_forward_destroy(forward);
        wf_fail(error, error_size, "no memory for batches of %u tokens; lower the batch size", setup->max_rows);
        return NULL;
    }
    if (wf_chunks_create(&forward->chunks, setup->cache, setup->model->config.heads, wf_pool_threads(setup->pool),
                         setup->context) != 0) {
        wf_forward_destroy(forward);
        wf_fail(error, error_size, "no memory for attention to %u tokens; lower the context", setup->context);
        return NULL;
    }
    forward->head = wf_head_create(setup->model, setup->kernels, setup->pool, setup->max_logits, error, error_size);
    if (forward->head == NULL) {
        wf_forward_destroy(forward);
        return NULL;
    }
    return forward;
}

void wf_forward_destroy(wf_forward *forward) {
    if (forward == NULL)
        return;
    wf_head_destroy(forward->head);
    wf_ffn_destroy(forward->ffn);
    wf_chunks_destroy(&forward->chunks);
    wf_rope_destroy(&forward->rope);
    wf_quantised_destroy(&forward->inputs);
    free(forward->hidden);
    free(forward->query);
    free(forward->key);
    free(forward->value);
    free(forward->spans);
    free(forward->attended);
    free(forward->product);
    free(forward);
}

/* ---- Copies of weights ---- */

int wf_forward_skip_zeros(wf_forward *forward, char *error, uint32_t error_size) {
    return wf_ffn_skip_zeros(forward->ffn, error, error_size);
}

wf_zeros wf_forward_zeros(const wf_forward *forward) { return wf_ffn_zeros(forward->ffn); }

int wf_forward_screen_head(wf_forward *forward, char *error, uint32_t error_size) {
    return wf_head_screen(forward->head, error, error_size);
}

uint64_t wf_forward_head_bytes(const wf_forward *forward) { return wf_head_bytes(forward->head); }

void wf_forward_make_copies(wf_forward *forward, wf_pool *pool, const atomic_bool *stopping) {
    wf_head_fill(forward->head, pool, stopping);
    wf_ffn_fill(forward->ffn, pool, stopping);
}
