/*
 * forward.c: the transformer, top to bottom. The paper is arXiv:2402.17764, the model arXiv:2504.12285.
 *
 * A batch is a list of tokens; each has its sequence's block table and its absolute position, so decode steps, prompt chunks and any
 * mixture of them are the same code. Every phase is split over the pool in units that no other unit's result depends on: rows of the
 * batch for norms, slices of weight rows for products. So nothing here depends on the batch or on the number of threads.
 */
#include "layers/forward.h"

#include <stdlib.h>
#include <string.h>

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
    wf_rope rope, sliding_rope;
    wf_chunks chunks; /* scratch of attention */
    wf_span *spans;   /* [rows] of the batch that runs */
    float *attended;  /* [rows][heads * head_dim] */
    float *product;   /* [rows][hidden], what a residual addition adds */
    wf_ffn *ffn;

    uint32_t *asked; /* [rows] those of the batch that are more than context */
    wf_row *asked_rows;

    /* Of the phase that runs: */
    const wf_row *rows; /* the batch; NULL between batches */
    uint32_t index;     /* of the layer */
};

/* ---- Phases over the rows of the batch ---- */

static const wf_layer *layer_of(const wf_forward *forward) { return &forward->model->layers[forward->index]; }

static bool is_sliding(const wf_forward *forward) { return forward->model->config.sliding_layers[forward->index] != 0; }

/* Begins one row: what its token is, and what its position turns keys and queries by. */
static void embed(void *context, uint32_t row) {
    wf_forward *forward = context;
    const wf_linear *embedding = &forward->model->embedding;
    const float scale = forward->model->config.embedding_scale;
    float *hidden = forward->hidden + (size_t)row * embedding->inputs;
    wf_rope_place(&forward->rope, row, forward->rows[row].position);
    if (forward->sliding_rope.frequencies != NULL)
        wf_rope_place(&forward->sliding_rope, row, forward->rows[row].position);
    embedding->read_row(embedding, forward->rows[row].token, hidden);
    for (uint32_t i = 0; scale != 1.0f && i < embedding->inputs; i++)
        hidden[i] *= scale;
}

/* Inputs of one of the projections that attention begins with, or of all three. */
struct heads_job {
    wf_forward *forward;
    const wf_linear *linear;
};

static void prepare_attention(void *context, uint32_t row) {
    const struct heads_job *job = context;
    wf_forward *forward = job->forward;
    const uint32_t hidden = forward->model->config.hidden;
    const wf_normed source = {
        .x = forward->hidden + (size_t)row * hidden,
        .norm = layer_of(forward)->input_norm,
        .own_norm = job->linear->input_norm,
        .count = hidden,
        .mean_of = hidden,
    };
    wf_norm_and_quantise(&forward->inputs, row, &source);
}

/* Queries, keys and values of all rows: one phase for the inputs and one for the products, or as many for each projection that has a norm
 * of its own. */
static void multiply_heads(wf_forward *forward, uint32_t count) {
    const wf_layer *layer = layer_of(forward);
    const wf_product products[] = {{.linear = &layer->query, .out = forward->query},
                                   {.linear = &layer->key, .out = forward->key},
                                   {.linear = &layer->value, .out = forward->value}};
    const uint32_t together = layer->query.input_norm == NULL ? 3 : 1;
    for (uint32_t first = 0; first < 3; first += together) {
        struct heads_job job = {forward, products[first].linear};
        wf_pool_run(forward->pool, prepare_attention, &job, count);
        wf_products heads = {.inputs = &forward->inputs, .count = together};
        memcpy(heads.products, products + first, together * sizeof *products);
        wf_products_run(forward->pool, &heads);
    }
}

/* Each of so many heads by itself, in place. */
static void norm_heads(const wf_forward *forward, float *heads, uint32_t count, const float *norm) {
    const wf_config *config = &forward->model->config;
    for (uint32_t head = 0; norm != NULL && head < count; head++) {
        float *at = heads + (size_t)head * config->head_dim;
        forward->kernels->rms_norm(at, norm, config->head_dim, config->head_dim, config->rms_norm_eps, at);
    }
}

/* One KV head of one row, and the query heads that share it. */
static void rotate_and_store(void *context, uint32_t unit) {
    wf_forward *forward = context;
    const wf_config *config = &forward->model->config;
    const wf_layer *layer = layer_of(forward);
    const uint32_t row = unit / config->kv_heads, kv_head = unit % config->kv_heads, group = config->heads / config->kv_heads;
    const size_t kv = (size_t)unit * config->head_dim; /* [rows][kv_heads][head_dim] */
    float *queries = forward->query + kv * group, *key = forward->key + kv;
    norm_heads(forward, queries, group, layer->query_norm);
    norm_heads(forward, key, 1, layer->key_norm);
    if (is_sliding(forward) || config->full_rope) {
        const wf_rope *rope =
            is_sliding(forward) && forward->sliding_rope.frequencies != NULL ? &forward->sliding_rope : &forward->rope;
        wf_rope_rotate(rope, row, queries, group);
        wf_rope_rotate(rope, row, key, 1);
    }
    const wf_kv_place place = {forward->index, kv_head, forward->rows[row].table, forward->rows[row].position};
    wf_kv_store(forward->cache, forward->kernels, place, key, forward->value + kv);
}

static void prepare_output(void *context, uint32_t row) {
    wf_forward *forward = context;
    const wf_layer *layer = layer_of(forward);
    const uint32_t count = layer->output.inputs;
    const wf_normed source = {
        .x = forward->attended + (size_t)row * count,
        .norm = layer->attention_sub_norm,
        .own_norm = layer->output.input_norm,
        .count = count,
        .mean_of = count,
    };
    wf_norm_and_quantise(&forward->inputs, row, &source);
}

/* What is added to the hidden states of all rows after a norm. */
struct addition_job {
    wf_forward *forward;
    const float *norm;
};

static void add_normed(void *context, uint32_t row) {
    const struct addition_job *job = context;
    const wf_forward *forward = job->forward;
    const wf_config *config = &forward->model->config;
    const uint32_t count = config->hidden;
    float *addend = forward->product + (size_t)row * count, *hidden = forward->hidden + (size_t)row * count;
    forward->kernels->rms_norm(addend, job->norm, count, count, config->rms_norm_eps, addend);
    for (uint32_t i = 0; i < count; i++)
        hidden[i] += addend[i] * config->residual_scale;
}

/* Adds forward->product, through a post-norm, to the hidden states. */
static void add_product(wf_forward *forward, const float *norm, uint32_t count) {
    struct addition_job job = {forward, norm};
    wf_pool_run(forward->pool, add_normed, &job, count);
}

/* ---- The last layer ---- */

/* Moves what the rest of the last layer needs of the rows that are more than context to the front, so that it is computed for them alone. Of
 * the others only keys and values are stored. Returns how many rows are left. A row's results don't depend on the others. */
static uint32_t leave_context(wf_forward *forward, uint32_t count, wf_attention_batch *attention) {
    const wf_config *config = &forward->model->config;
    const size_t hidden = config->hidden, query = (size_t)config->heads * config->head_dim;
    uint32_t asked = 0;
    wf_pool_run(forward->pool, rotate_and_store, forward, count * config->kv_heads);
    attention->prepare = NULL;
    for (uint32_t row = 0; row < count; row++) {
        if (forward->rows[row].is_context)
            continue;
        memmove(forward->hidden + asked * hidden, forward->hidden + row * hidden, hidden * sizeof *forward->hidden);
        memmove(forward->query + asked * query, forward->query + row * query, query * sizeof *forward->query);
        forward->asked_rows[asked] = forward->rows[row];
        forward->asked[asked++] = row;
    }
    attention->rows = forward->asked_rows;
    attention->row_count = asked;
    attention->span_count = wf_find_spans(forward->cache, config->heads, forward->asked_rows, asked, forward->spans);
    forward->inputs.count = asked;
    return asked;
}

/* Moves their hidden states to where they belong in the batch. */
static void put_back(wf_forward *forward, uint32_t asked) {
    const size_t hidden = forward->model->config.hidden;
    for (uint32_t i = asked; i-- > 0;)
        memmove(forward->hidden + forward->asked[i] * hidden, forward->hidden + i * hidden, hidden * sizeof *forward->hidden);
}

/* ---- The transformer ---- */

void wf_forward_run(wf_forward *forward, const wf_row *rows, uint32_t count) {
    const wf_config *config = &forward->model->config;
    wf_pool *pool = forward->pool;
    forward->rows = rows;
    forward->inputs.count = count;
    wf_ffn_begin(forward->ffn);
    wf_attention_batch attention = {
        .kernels = forward->kernels,
        .cache = forward->cache,
        .chunks = &forward->chunks,
        .heads = config->heads,
        .scale = config->attention_scale,
        .rows = rows,
        .row_count = count,
        .spans = forward->spans,
        .span_count = wf_find_spans(forward->cache, config->heads, rows, count, forward->spans),
        .queries = forward->query,
        .out = forward->attended,
        .prepare = rotate_and_store,
        .context = forward,
    };

    wf_pool_run(pool, embed, forward, count);
    for (forward->index = 0; forward->index < config->layers; forward->index++) {
        const wf_layer *layer = layer_of(forward);

        multiply_heads(forward, count);
        if (forward->index + 1 == config->layers)
            count = leave_context(forward, count, &attention);
        if (count == 0)
            break;
        wf_attention_run(pool, &attention, forward->index, is_sliding(forward) ? config->sliding_window : 0);
        wf_pool_run(pool, prepare_output, forward, count);
        wf_products output = {
            .inputs = &forward->inputs,
            .products = {{.linear = &layer->output,
                          .out = forward->product,
                          .residual = layer->attention_post_norm == NULL ? forward->hidden : NULL}},
            .count = 1,
            .residual_scale = config->residual_scale,
        };
        wf_products_run(pool, &output);
        if (layer->attention_post_norm != NULL)
            add_product(forward, layer->attention_post_norm, count);

        wf_ffn_run(forward->ffn, forward->index, forward->hidden, forward->product);
        if (layer->ffn_post_norm != NULL)
            add_product(forward, layer->ffn_post_norm, count);
    }
    put_back(forward, count);
    forward->rows = NULL;
}

void wf_forward_state(const wf_forward *forward, uint32_t row, float *out) {
    const wf_config *config = &forward->model->config;
    forward->kernels->rms_norm(forward->hidden + (size_t)row * config->hidden, forward->model->final_norm, config->hidden,
                               config->hidden, config->rms_norm_eps, out);
}

float *wf_forward_logits(wf_forward *forward, const wf_logits_request *requests, uint32_t count) {
    return wf_head_logits(forward->head, forward->hidden, requests, count);
}

/* ---- Making and ending it ---- */

static bool allocate(wf_forward *forward, uint32_t context, uint32_t max_rows) {
    const wf_config *config = &forward->model->config;
    const uint32_t attention = config->heads * config->head_dim;
    const size_t rows = max_rows, kv = (size_t)config->kv_heads * config->head_dim;
    uint32_t widest = config->hidden > config->intermediate ? config->hidden : config->intermediate;
    widest = widest > attention ? widest : attention;
    if (wf_quantised_create(&forward->inputs, forward->kernels, config->rms_norm_eps,
                            config->scales == WF_SCALE_GROUP ? config->scale_group : 0, max_rows, widest) != 0 ||
        wf_rope_create(&forward->rope, config, false, context, max_rows) != 0)
        return false;
    if (config->sliding_rope_theta > 0 && wf_rope_create(&forward->sliding_rope, config, true, context, max_rows) != 0)
        return false;
    forward->ffn = wf_ffn_create(forward->model, forward->pool, &forward->inputs, max_rows);
    forward->hidden = wf_allocate(rows * config->hidden, sizeof *forward->hidden);
    forward->query = wf_allocate(rows * attention, sizeof *forward->query);
    forward->key = wf_allocate(rows * kv, sizeof *forward->key);
    forward->value = wf_allocate(rows * kv, sizeof *forward->value);
    forward->spans = wf_allocate(rows, sizeof *forward->spans);
    forward->asked = wf_allocate(rows, sizeof *forward->asked);
    forward->asked_rows = wf_allocate(rows, sizeof *forward->asked_rows);
    forward->attended = wf_allocate(rows * attention, sizeof *forward->attended);
    forward->product = wf_allocate(rows * config->hidden, sizeof *forward->product);
    return forward->ffn != NULL && forward->hidden != NULL && forward->query != NULL && forward->key != NULL &&
           forward->value != NULL && forward->spans != NULL && forward->asked != NULL && forward->asked_rows != NULL &&
           forward->attended != NULL && forward->product != NULL;
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
    if (!allocate(forward, setup->context, setup->max_rows)) {
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
    wf_rope_destroy(&forward->sliding_rope);
    wf_quantised_destroy(&forward->inputs);
    free(forward->hidden);
    free(forward->query);
    free(forward->key);
    free(forward->value);
    free(forward->spans);
    free(forward->asked);
    free(forward->asked_rows);
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

bool wf_forward_wants_copies(const wf_forward *forward) { return wf_head_wants(forward->head); }

void wf_forward_release(const wf_forward *forward) {
    wf_head_release(forward->head);
    wf_ffn_release(forward->ffn);
}

void wf_forward_make_copies(wf_forward *forward, wf_pool *pool, const atomic_bool *stopping) {
    wf_head_fill(forward->head, pool, stopping);
    wf_ffn_fill(forward->ffn, pool, stopping);
}
