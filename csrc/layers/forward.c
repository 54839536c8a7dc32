/*
 * forward.c: the transformer, top to bottom (formats.md §1 in code; the paper is arXiv:2402.17764, the model arXiv:2504.12285).
 *
 * A batch is a list of tokens; each has its sequence's block table and its absolute position, so decode steps, prompt chunks and any
 * mixture of them are the same code. Every phase is split over the pool in units that no other unit's result depends on: rows of the
 * batch for norms, slices of weight rows for products. So nothing here depends on the batch or on the number of threads.
 */
#include "layers/forward.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "layers/attention.h"
#include "layers/columns.h"
#include "base/error.h"
#include "layers/head.h"

/* Rows of a weight matrix in one unit of work: at most what leaves half of a second-level cache to the activations … */
#define SLICE_BYTES_MAX (128U << 10)
/* … in as many slices for each thread as evens out their speeds … */
#define SLICES_PER_THREAD 8U
/* … and a multiple of what the kernels work through together. */

/* Single rows of the up projection are computed when at most so many eighths of them are needed: a processor reads all rows in a
 * line about twice as fast as it reads rows here and there. */
#define NEEDED_EIGHTHS_MAX 3U

/* The down projection is computed column by column when the tokens of the batch together have at most so many eighths of its inputs
 * that are not zero. */
#define NONZERO_EIGHTHS_MAX 4U

/* Rows of the up projection that are asked for ahead: the processor does not foresee where the next one is. */
#define PREFETCHED_ROWS 16U

#define CACHE_LINE 64U

struct wf_forward {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    wf_kv_cache *cache;
    uint32_t padded; /* bytes of one token's activations: the widest layer's inputs rounded up to a block */

    double *frequencies;    /* [head_dim / 2] of the rotary embedding */
    float *cosines, *sines; /* [rows][head_dim / 2] of each row's position */
    float *hidden;          /* x: [rows][hidden] */
    float *query;           /* [rows][heads * head_dim] */
    float *key, *value;     /* [rows][kv_heads * head_dim] */
    float *attended;        /* [rows][heads * head_dim] */
    float *gate, *up;       /* [rows][intermediate] */
    float *product;         /* [rows][hidden], what a residual addition adds */
    float *normed;          /* [rows][widest]; scratch of one phase */
    int8_t *values;         /* [rows][padded], 64-byte aligned */
    int8_t *arranged;       /* [rows rounded up to a tile][wf_arranged_bytes(padded)], the same as the kernels arrange them */
    atomic_uint_least32_t *quantised; /* [tiles] rows of a tile whose activations are complete in this phase */
    float *inverse_scales;            /* [rows] 1 / s */
    int32_t *sums;                    /* [rows] */
    float *factors;                   /* [3][rows] inverse_scales times the weight scale of each product of a phase */
    wf_head *head;

    wf_columns columns;                       /* all zero where zeros are not to be skipped */
    atomic_bool has_columns;                  /* the copy is complete */
    bool skips_zeros;                         /* the batch that runs does */
    wf_nonzeros nonzeros[WF_SKIPPING_TOKENS]; /* inputs of the down projection; without memory as well */
    uint64_t *positive_before;                /* [layers] gates that were positive in the step before; NULL as well */
    uint32_t *needed; /* [intermediate] rows of the up projection, in each slice from its start on; NULL as well */
    wf_zeros zeros;   /* but for the bytes of up projections: */
    atomic_uint_least64_t skipped_up_bytes;
    atomic_uint_least32_t positive; /* gates of the layer at hand, of all tokens */

    wf_chunks chunks;   /* scratch of attention */
    wf_span *spans;     /* [rows] of the batch that runs */
    const wf_row *rows; /* the batch that runs; NULL between batches */
    uint32_t count;
};

wf_forward *wf_forward_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, wf_kv_cache *cache,
                              uint32_t max_rows, uint32_t max_logits, uint32_t context, char *error, uint32_t error_size) {
    const wf_config *config = &model->config;
    const size_t rows = max_rows, attention = (size_t)config->heads * config->head_dim;
    const size_t kv = (size_t)config->kv_heads * config->head_dim, half = config->head_dim / 2;
    const size_t tiles = (rows + WF_ARRANGED_TOKENS - 1) / WF_ARRANGED_TOKENS;
    size_t widest = config->hidden > config->intermediate ? config->hidden : config->intermediate;
    widest = widest > attention ? widest : attention;

    wf_forward *forward = calloc(1, sizeof *forward);
    if (forward == NULL) {
        wf_fail(error, error_size, "no memory for the engine");
        return NULL;
    }
    forward->model = model;
    forward->kernels = kernels;
    forward->pool = pool;
    forward->cache = cache;
    forward->padded = (uint32_t)((widest + WF_BLOCK_WEIGHTS - 1) / WF_BLOCK_WEIGHTS * WF_BLOCK_WEIGHTS);
    const struct {
        void **buffer;
        size_t count, size;
    } buffers[] = {
        {(void **)&forward->frequencies, half, sizeof(double)},
        {(void **)&forward->cosines, rows * half, sizeof(float)},
        {(void **)&forward->sines, rows * half, sizeof(float)},
        {(void **)&forward->hidden, rows * config->hidden, sizeof(float)},
        {(void **)&forward->query, rows * attention, sizeof(float)},
        {(void **)&forward->key, rows * kv, sizeof(float)},
        {(void **)&forward->value, rows * kv, sizeof(float)},
        {(void **)&forward->attended, rows * attention, sizeof(float)},
        {(void **)&forward->gate, rows * config->intermediate, sizeof(float)},
        {(void **)&forward->up, rows * config->intermediate, sizeof(float)},
        {(void **)&forward->product, rows * config->hidden, sizeof(float)},
        {(void **)&forward->normed, rows * widest, sizeof(float)},
        {(void **)&forward->values, rows * forward->padded, sizeof(int8_t)},
        {(void **)&forward->arranged, tiles * WF_ARRANGED_TOKENS, wf_arranged_bytes(forward->padded)},
        {(void **)&forward->quantised, tiles, sizeof *forward->quantised},
        {(void **)&forward->inverse_scales, rows, sizeof(float)},
        {(void **)&forward->sums, rows, sizeof(int32_t)},
        {(void **)&forward->factors, 3 * rows, sizeof(float)},
        {(void **)&forward->spans, rows, sizeof(wf_span)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i].buffer = wf_allocate(buffers[i].count, buffers[i].size);
        if (*buffers[i].buffer == NULL) {
            wf_forward_destroy(forward);
            wf_fail(error, error_size, "no memory for batches of %u tokens; lower the batch size", max_rows);
            return NULL;
        }
    }
    memset(forward->quantised, 0, tiles * sizeof *forward->quantised);

    if (wf_chunks_create(&forward->chunks, cache, config->heads, wf_pool_threads(pool), context) != 0) {
        wf_forward_destroy(forward);
        wf_fail(error, error_size, "no memory for attention to %u tokens; lower the context", context);
        return NULL;
    }
    forward->head = wf_head_create(model, kernels, pool, max_logits, error, error_size);
    if (forward->head == NULL) {
        wf_forward_destroy(forward);
        return NULL;
    }

    for (size_t d = 0; d < half; d++)
        forward->frequencies[d] = pow((double)config->rope_theta, -2.0 * (double)d / config->head_dim);
    return forward;
}

void wf_forward_destroy(wf_forward *forward) {
    if (forward == NULL)
        return;
    wf_head_destroy(forward->head);
    wf_columns_destroy(&forward->columns);
    wf_chunks_destroy(&forward->chunks);
    for (uint32_t i = 0; i < WF_SKIPPING_TOKENS; i++) {
        free(forward->nonzeros[i].indices);
        free(forward->nonzeros[i].values);
    }
    free(forward->needed);
    free(forward->positive_before);
    free(forward->spans);
    void *buffers[] = {forward->frequencies, forward->cosines,  forward->sines,    forward->hidden,         forward->query,
                       forward->key,         forward->value,    forward->attended, forward->gate,           forward->up,
                       forward->product,     forward->normed,   forward->values,   forward->inverse_scales, forward->sums,
                       forward->factors,     forward->arranged, forward->quantised};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(forward);
}

/* ---- Products: a ternary matrix times all rows of the batch ---- */

/* One product of a phase; the products of one phase share the activations in `values`. */
struct product {
    const wf_linear *linear;
    float *out;      /* [rows][linear->outputs] */
    float *residual; /* where the result is added when not NULL: [rows][linear->outputs] */
    float *factors;  /* [rows] */
    uint32_t slice;  /* weight rows in one unit */
    uint32_t slices;
};

struct product_job {
    wf_forward *forward;
    struct product products[3];
    bool gate_first; /* of a gate and an up projection: the gates may make rows of the other needless */
};

static void multiply_slice(void *context, uint32_t unit) {
    const struct product_job *job = context;
    const wf_forward *forward = job->forward;
    const struct product *product = job->products;
    while (unit >= product->slices)
        unit -= product++->slices;
    const wf_linear *linear = product->linear;
    const uint32_t first = unit * product->slice;
    const uint32_t rows = linear->outputs - first < product->slice ? linear->outputs - first : product->slice;
    const wf_activations x = {forward->values, forward->padded, forward->arranged, forward->sums, product->factors, forward->count};
    forward->kernels->ternary_matmul(linear->rows + (size_t)first * linear->row_bytes, linear->row_bytes, rows, &x,
                                     product->out + first, linear->outputs);
    if (product->residual == NULL)
        return;
    for (uint32_t row = 0; row < forward->count; row++) {
        const size_t offset = (size_t)row * linear->outputs + first;
        for (uint32_t i = 0; i < rows; i++)
            product->residual[offset + i] += product->out[offset + i];
    }
}

/* Prepares the products of a phase. Returns the slices of all of them. */
static uint32_t plan(struct product_job *job, const struct product *products, uint32_t count) {
    wf_forward *forward = job->forward;
    uint32_t units = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct product *product = &job->products[i];
        *product = products[i];
        product->factors = forward->factors + (size_t)i * forward->count;
        for (uint32_t row = 0; row < forward->count; row++)
            product->factors[row] = product->linear->scale * forward->inverse_scales[row];
        uint32_t slice = product->linear->outputs / (wf_pool_threads(forward->pool) * SLICES_PER_THREAD);
        const uint32_t most = SLICE_BYTES_MAX / product->linear->row_bytes;
        slice = slice < most ? slice : most;
        const uint32_t together = forward->kernels->rows_together;
        product->slice = (slice / together + 1) * together;
        product->slices = (product->linear->outputs + product->slice - 1) / product->slice;
        units += product->slices;
    }
    return units;
}

/* Runs up to three products of the quantised activations as one phase. */
static void multiply(wf_forward *forward, const struct product *products, uint32_t count) {
    struct product_job job = {.forward = forward};
    const uint32_t units = plan(&job, products, count);
    wf_pool_run(forward->pool, multiply_slice, &job, units);
}

/* ---- Products that skip zeros ---- */

/* Computes those of an up projection's rows that a positive gate of some token needs; the others count as zero. Returns whether there
 * were so few that it was done. */
static bool multiply_needed(wf_forward *forward, const struct product *gate, const struct product *up, uint32_t first,
                            uint32_t rows) {
    const uint32_t width = up->linear->outputs;
    uint32_t *needed = forward->needed + first, count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        bool is_needed = false;
        for (uint32_t row = 0; row < forward->count; row++)
            is_needed |= gate->out[(size_t)row * width + first + i] > 0.0f;
        needed[count] = first + i;
        count += is_needed;
    }
    if (count * 8 > rows * NEEDED_EIGHTHS_MAX)
        return false;
    for (uint32_t row = 0; row < forward->count; row++)
        memset(up->out + (size_t)row * width + first, 0, rows * sizeof *up->out);
    const size_t row_bytes = up->linear->row_bytes;
    const wf_activations x = {forward->values, forward->padded, forward->arranged, forward->sums, up->factors, forward->count};
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *next = up->linear->rows + needed[i + PREFETCHED_ROWS < count ? i + PREFETCHED_ROWS : i] * row_bytes;
        for (size_t byte = 0; byte < row_bytes; byte += CACHE_LINE)
            __builtin_prefetch(next + byte);
        forward->kernels->ternary_matmul(up->linear->rows + needed[i] * row_bytes, row_bytes, 1, &x, up->out + needed[i], width);
    }
    atomic_fetch_add_explicit(&forward->skipped_up_bytes, (rows - count) * row_bytes, memory_order_relaxed);
    return true;
}

/* One slice of the gate projection, the same of the up projection, and the activation of both. */
static void multiply_gated_slice(void *context, uint32_t unit) {
    const struct product_job *job = context;
    wf_forward *forward = job->forward;
    const struct product *gate = &job->products[0], *up = &job->products[1];
    const uint32_t width = up->linear->outputs, first = unit * up->slice;
    const uint32_t rows = width - first < up->slice ? width - first : up->slice;
    multiply_slice(context, unit);
    if (!job->gate_first || !multiply_needed(forward, gate, up, first, rows))
        multiply_slice(context, gate->slices + unit);
    for (uint32_t row = 0; row < forward->count; row++) {
        float *gates = gate->out + (size_t)row * width + first;
        const float *ups = up->out + (size_t)row * width + first;
        if (forward->model->config.activation != WF_RELU_SQUARED) {
            forward->kernels->gate_silu(gates, ups, rows);
            continue;
        }
        if (forward->skips_zeros) {
            uint32_t positive = 0;
            for (uint32_t i = 0; i < rows; i++)
                positive += gates[i] > 0.0f;
            atomic_fetch_add_explicit(&forward->positive, positive, memory_order_relaxed);
        }
        forward->kernels->gate_relu_squared(gates, ups, rows);
    }
}

/* The gate and up projections of a layer and the activation; the gates first, if the step before lets hope that few rows of the other are
 * needed then. */
static void multiply_gated(wf_forward *forward, const wf_layer *layer, uint32_t index) {
    const struct product products[] = {{.linear = &layer->gate, .out = forward->gate}, {.linear = &layer->up, .out = forward->up}};
    struct product_job job = {.forward = forward};
    if (forward->skips_zeros) {
        job.gate_first = forward->positive_before[index] * 8 <= (uint64_t)layer->up.outputs * NEEDED_EIGHTHS_MAX;
        atomic_store_explicit(&forward->positive, 0, memory_order_relaxed);
    }
    plan(&job, products, 2);
    wf_pool_run(forward->pool, multiply_gated_slice, &job, job.products[0].slices);
    if (forward->skips_zeros)
        forward->positive_before[index] = atomic_load_explicit(&forward->positive, memory_order_relaxed);
}

/* The down projection by its columns, if there are few enough that matter. Returns whether it was computed. */
static bool multiply_columns(wf_forward *forward, const wf_layer *layer, uint32_t index) {
    const wf_linear *down = &layer->down;
    uint64_t nonzeros = 0;
    for (uint32_t row = 0; row < forward->count; row++)
        nonzeros += forward->nonzeros[row].count;
    const uint64_t inputs = (uint64_t)down->inputs * forward->count;
    forward->zeros.inputs += inputs;
    forward->zeros.zeros += inputs - nonzeros;
    if (nonzeros * 8 > (uint64_t)down->inputs * NONZERO_EIGHTHS_MAX)
        return false;
    for (uint32_t row = 0; row < forward->count; row++)
        forward->factors[row] = down->scale * forward->inverse_scales[row];
    wf_columns_multiply(&forward->columns, down, index, forward->kernels, forward->pool, forward->nonzeros, forward->count,
                        forward->sums, forward->factors, forward->hidden);
    const uint64_t all = (uint64_t)down->outputs * down->row_bytes, read = nonzeros * forward->columns.column_bytes;
    forward->zeros.skipped_bytes += all > read ? all - read : 0;
    return true;
}

int wf_forward_skip_zeros(wf_forward *forward, char *error, uint32_t error_size) {
    const wf_config *config = &forward->model->config;
    if (config->activation != WF_RELU_SQUARED)
        return 0;
    forward->needed = calloc(config->intermediate, sizeof *forward->needed);
    forward->positive_before = calloc(config->layers, sizeof *forward->positive_before);
    bool complete = forward->needed != NULL && forward->positive_before != NULL;
    for (uint32_t i = 0; i < WF_SKIPPING_TOKENS; i++) {
        wf_nonzeros *nonzeros = &forward->nonzeros[i];
        nonzeros->indices = calloc(config->intermediate, sizeof *nonzeros->indices);
        nonzeros->values = calloc(config->intermediate, sizeof *nonzeros->values);
        complete = complete && nonzeros->indices != NULL && nonzeros->values != NULL;
    }
    if (!complete)
        return wf_fail(error, error_size, "no memory to skip zeros");
    return wf_columns_create(&forward->columns, forward->model, wf_pool_threads(forward->pool), WF_SKIPPING_TOKENS, error,
                             error_size);
}

wf_zeros wf_forward_zeros(const wf_forward *forward) {
    wf_zeros zeros = forward->zeros;
    zeros.skipped_bytes += atomic_load_explicit(&forward->skipped_up_bytes, memory_order_relaxed);
    return zeros;
}

/* ---- Phases over the rows of the batch ---- */

struct row_job {
    wf_forward *forward;
    const wf_layer *layer;
    uint32_t layer_index;
};

/* Whoever completes a tile of activations arranges it, if the kernels want that, so it takes no phase of its own. */
static void arrange_complete_tile(wf_forward *forward, uint32_t row, uint32_t padded) {
    if (forward->kernels->arrange == NULL)
        return;
    const uint32_t tile = row / WF_ARRANGED_TOKENS, first = tile * WF_ARRANGED_TOKENS, left = forward->count - first;
    const uint32_t rows = left < WF_ARRANGED_TOKENS ? left : WF_ARRANGED_TOKENS;
    if (atomic_fetch_add_explicit(&forward->quantised[tile], 1, memory_order_acq_rel) + 1 < rows)
        return;
    atomic_store_explicit(&forward->quantised[tile], 0, memory_order_relaxed); /* for the next phase */
    forward->kernels->arrange(forward->values + (size_t)first * forward->padded, forward->padded, forward->count, rows, padded,
                              forward->arranged + first * wf_arranged_bytes(padded));
}

/* The activations of the next products: norm(x) in 8 bits. Without a norm x itself. */
static void normalise_and_quantise(wf_forward *forward, uint32_t row, const float *x, const float *norm, uint32_t count) {
    if (norm != NULL) {
        float *normed = forward->normed + (size_t)row * count;
        forward->kernels->rms_norm(x, norm, count, forward->model->config.rms_norm_eps, normed);
        x = normed;
    }
    const uint32_t padded = (count + WF_BLOCK_WEIGHTS - 1) / WF_BLOCK_WEIGHTS * WF_BLOCK_WEIGHTS;
    forward->kernels->quantize(x, count, padded, forward->values + (size_t)row * forward->padded, &forward->inverse_scales[row],
                               &forward->sums[row]);
    arrange_complete_tile(forward, row, padded);
}

/* Begins one row: what its token is, and what its position turns keys and queries by. The angles are found anew for each batch, which takes a
 * few microseconds; a table of them would be as long as a model says that its context is. */
static void embed(void *context, uint32_t row) {
    wf_forward *forward = ((struct row_job *)context)->forward;
    const uint32_t half = forward->model->config.head_dim / 2, position = forward->rows[row].position;
    /* In double precision: at position 4000 a float's rounding of the angle would be visible. */
    for (uint32_t d = 0; d < half; d++) {
        forward->cosines[(size_t)row * half + d] = (float)cos(position * forward->frequencies[d]);
        forward->sines[(size_t)row * half + d] = (float)sin(position * forward->frequencies[d]);
    }
    const uint32_t hidden = forward->model->config.hidden;
    const wf_linear *embedding = &forward->model->embedding;
    embedding->read_row(embedding, forward->rows[row].token, forward->hidden + (size_t)row * hidden);
}

static void prepare_attention(void *context, uint32_t row) {
    const struct row_job *job = context;
    const uint32_t hidden = job->forward->model->config.hidden;
    normalise_and_quantise(job->forward, row, job->forward->hidden + (size_t)row * hidden, job->layer->input_norm, hidden);
}

/* Rotates heads[count][head_dim]: element d with element d + head_dim / 2 ("rotate half", as NeoX does). */
static void rotate(float *heads, uint32_t count, uint32_t head_dim, const float *cosines, const float *sines) {
    const uint32_t half = head_dim / 2;
    for (uint32_t head = 0; head < count; head++) {
        float *low = heads + (size_t)head * head_dim, *high = low + half;
        for (uint32_t d = 0; d < half; d++) {
            const float a = low[d], b = high[d];
            low[d] = a * cosines[d] - b * sines[d];
            high[d] = b * cosines[d] + a * sines[d];
        }
    }
}

/* One KV head of one row, and the query heads that share it. */
static void rotate_and_store(void *context, uint32_t unit) {
    const struct row_job *job = context;
    wf_forward *forward = job->forward;
    const wf_config *config = &forward->model->config;
    const uint32_t row = unit / config->kv_heads, kv_head = unit % config->kv_heads, group = config->heads / config->kv_heads;
    const uint32_t position = forward->rows[row].position, half = config->head_dim / 2;
    const float *cosines = forward->cosines + (size_t)row * half, *sines = forward->sines + (size_t)row * half;
    const size_t kv = (size_t)unit * config->head_dim; /* [rows][kv_heads][head_dim] */
    rotate(forward->query + kv * group, group, config->head_dim, cosines, sines);
    rotate(forward->key + kv, 1, config->head_dim, cosines, sines);
    wf_kv_store(forward->cache, forward->kernels, job->layer_index, forward->rows[row].table, position, kv_head, forward->key + kv,
                forward->value + kv);
}

static void prepare_output(void *context, uint32_t row) {
    const struct row_job *job = context;
    const uint32_t count = job->layer->output.inputs;
    normalise_and_quantise(job->forward, row, job->forward->attended + (size_t)row * count, job->layer->attention_sub_norm, count);
}

static void prepare_ffn(void *context, uint32_t row) {
    const struct row_job *job = context;
    const uint32_t hidden = job->forward->model->config.hidden;
    normalise_and_quantise(job->forward, row, job->forward->hidden + (size_t)row * hidden, job->layer->post_attention_norm, hidden);
}

static void prepare_down(void *context, uint32_t row) {
    const struct row_job *job = context;
    wf_forward *forward = job->forward;
    const uint32_t count = job->layer->down.inputs;
    normalise_and_quantise(forward, row, forward->gate + (size_t)row * count, job->layer->ffn_sub_norm, count);
    if (forward->skips_zeros)
        wf_list_nonzeros(forward->values + (size_t)row * forward->padded, count, &forward->nonzeros[row]);
}

void wf_forward_run(wf_forward *forward, const wf_row *rows, uint32_t count) {
    const wf_model *model = forward->model;
    wf_pool *pool = forward->pool;
    forward->rows = rows;
    forward->count = count;
    forward->skips_zeros = count <= WF_SKIPPING_TOKENS && atomic_load_explicit(&forward->has_columns, memory_order_acquire);

    const uint32_t span_count = wf_find_spans(rows, count, forward->spans);
    struct row_job job = {.forward = forward};
    wf_pool_run(pool, embed, &job, count);
    for (uint32_t index = 0; index < model->config.layers; index++) {
        const wf_layer *layer = &model->layers[index];
        job.layer = layer;
        job.layer_index = index;

        wf_pool_run(pool, prepare_attention, &job, count);
        multiply(forward,
                 (struct product[]){{.linear = &layer->query, .out = forward->query},
                                    {.linear = &layer->key, .out = forward->key},
                                    {.linear = &layer->value, .out = forward->value}},
                 3);
        wf_pool_run(pool, rotate_and_store, &job, count * model->config.kv_heads);
        wf_attention_run(pool, forward->kernels, forward->cache, &forward->chunks, index, model->config.heads, rows, forward->spans,
                         span_count, forward->query, forward->attended);
        wf_pool_run(pool, prepare_output, &job, count);
        multiply(forward, &(struct product){.linear = &layer->output, .out = forward->product, .residual = forward->hidden}, 1);

        wf_pool_run(pool, prepare_ffn, &job, count);
        multiply_gated(forward, layer, index);
        wf_pool_run(pool, prepare_down, &job, count);
        if (!forward->skips_zeros || !multiply_columns(forward, layer, index))
            multiply(forward, &(struct product){.linear = &layer->down, .out = forward->product, .residual = forward->hidden}, 1);
    }
    forward->rows = NULL;
}

int wf_forward_screen_head(wf_forward *forward, char *error, uint32_t error_size) {
    return wf_head_screen(forward->head, error, error_size);
}

uint64_t wf_forward_head_bytes(const wf_forward *forward) { return wf_head_bytes(forward->head); }

void wf_forward_make_copies(wf_forward *forward, wf_pool *pool, const atomic_bool *stopping) {
    wf_head_fill(forward->head, pool, stopping);
    if (forward->columns.bytes != NULL) {
        wf_columns_fill(&forward->columns, forward->model, pool, stopping);
        if (!atomic_load(stopping))
            atomic_store_explicit(&forward->has_columns, true, memory_order_release);
    }
}

float *wf_forward_logits(wf_forward *forward, const wf_logits_request *requests, uint32_t count) {
    return wf_head_logits(forward->head, forward->hidden, requests, count);
}
