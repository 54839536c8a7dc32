/*
 * ffn.c: the gated FFN, and what becomes of the zeros that its activation leaves.
 *
 * Where an activation makes zero of every gate that is not positive, the row of the up projection that belongs to such a gate changes no
 * bit, nor does a column of the down projection whose input rounds to zero. In small batches these weights are not read, if they are enough
 * to make up for reading the others here and there.
 */
#include "layers/ffn.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "layers/column_major.h"
#include "layers/moe.h"
#include "layers/product.h"

/* Single rows of the up projection are computed when at most so many eighths of them are needed: a processor reads all rows in a
 * line about twice as fast as it reads rows here and there. */
#define NEEDED_EIGHTHS_MAX 3U

/* The down projection is computed column by column when the tokens of the batch together have at most so many eighths of its inputs
 * that are not zero. */
#define NONZERO_EIGHTHS_MAX 4U

/* Rows of the up projection that are asked for ahead: the processor does not foresee where the next one is. */
#define PREFETCHED_ROWS 16U

/* gate[count] = activation(gate) * up. */
typedef void gated_activation(float *gate, const float *up, uint32_t count);

struct wf_ffn {
    const wf_model *model;
    wf_pool *pool;
    wf_quantised *inputs;
    gated_activation *activation;
    float *gate, *up; /* [rows][intermediate] */
    wf_moe *moe;      /* NULL: there are no experts */

    bool skips_zeros; /* the batch that runs does */
    /* All zero where zeros are not to be skipped: */
    wf_column_major columns;                  /* of the down projections */
    atomic_bool has_columns;                  /* the copy is complete */
    wf_nonzeros nonzeros[WF_SKIPPING_TOKENS]; /* inputs of the down projection */
    uint64_t *positive_before;                /* [layers] gates that were positive in the step before */
    uint32_t *needed;                         /* [intermediate] rows of the up projection, in each slice from its start on */
    wf_zeros zeros;                           /* but for the bytes of up projections: */
    atomic_uint_least64_t skipped_up_bytes;
    atomic_uint_least32_t positive; /* gates of the layer at hand, of all tokens */
};

static gated_activation *activation_of(const wf_kernels *kernels, enum wf_activation kind) {
    switch (kind) {
    case WF_RELU_SQUARED:
        return kernels->gate_relu_squared;
    case WF_SILU:
        return kernels->gate_silu;
    case WF_GELU_TANH:
        return kernels->gate_gelu;
    }
    return NULL;
}

/* Whether an activation makes zero of every gate that is not positive. */
static bool leaves_zeros(enum wf_activation kind) { return kind == WF_RELU_SQUARED; }

wf_ffn *wf_ffn_create(const wf_model *model, wf_pool *pool, wf_quantised *inputs, uint32_t max_rows) {
    wf_ffn *ffn = calloc(1, sizeof *ffn);
    if (ffn == NULL)
        return NULL;
    ffn->model = model;
    ffn->pool = pool;
    ffn->inputs = inputs;
    ffn->activation = activation_of(inputs->kernels, model->config.activation);
    if (model->config.experts > 0) {
        ffn->moe = wf_moe_create(model, inputs->kernels, pool, max_rows);
        if (ffn->moe != NULL)
            return ffn;
    } else {
        ffn->gate = wf_allocate((size_t)max_rows * model->config.intermediate, sizeof *ffn->gate);
        ffn->up = wf_allocate((size_t)max_rows * model->config.intermediate, sizeof *ffn->up);
        if (ffn->gate != NULL && ffn->up != NULL)
            return ffn;
    }
    wf_ffn_destroy(ffn);
    return NULL;
}

void wf_ffn_destroy(wf_ffn *ffn) {
    if (ffn == NULL)
        return;
    wf_column_major_destroy(&ffn->columns);
    for (uint32_t i = 0; i < WF_SKIPPING_TOKENS; i++) {
        free(ffn->nonzeros[i].indices);
        free(ffn->nonzeros[i].values);
    }
    free(ffn->needed);
    free(ffn->positive_before);
    free(ffn->gate);
    free(ffn->up);
    wf_moe_destroy(ffn->moe);
    free(ffn);
}

bool wf_ffn_may_skip_zeros(const wf_config *config) {
    /* Other scales, and what else may lie between the product and its addition, would need products of their own. */
    return leaves_zeros(config->activation) && config->is_gated && config->scales == WF_SCALE_MATRIX &&
           config->residual_scale == 1.0f && !config->post_norms && !config->input_norms && config->experts == 0;
}

int wf_ffn_skip_zeros(wf_ffn *ffn, char *error, uint32_t error_size) {
    const wf_config *config = &ffn->model->config;
    if (!wf_ffn_may_skip_zeros(config))
        return 0;
    ffn->needed = calloc(config->intermediate, sizeof *ffn->needed);
    ffn->positive_before = calloc(config->layers, sizeof *ffn->positive_before);
    bool complete = ffn->needed != NULL && ffn->positive_before != NULL;
    for (uint32_t i = 0; i < WF_SKIPPING_TOKENS; i++) {
        wf_nonzeros *nonzeros = &ffn->nonzeros[i];
        nonzeros->indices = calloc(config->intermediate, sizeof *nonzeros->indices);
        nonzeros->values = calloc(config->intermediate, sizeof *nonzeros->values);
        complete = complete && nonzeros->indices != NULL && nonzeros->values != NULL;
    }
    if (!complete)
        return wf_fail(error, error_size, "no memory to skip zeros");
    return wf_column_major_create(&ffn->columns, ffn->model, wf_pool_threads(ffn->pool), WF_SKIPPING_TOKENS, error, error_size);
}

void wf_ffn_fill(wf_ffn *ffn, wf_pool *pool, const atomic_bool *stopping) {
    if (ffn->columns.bytes == NULL || atomic_load(&ffn->has_columns))
        return;
    wf_column_major_fill(&ffn->columns, ffn->model, pool, stopping);
    if (!atomic_load(stopping))
        atomic_store_explicit(&ffn->has_columns, true, memory_order_release);
}

void wf_ffn_release(const wf_ffn *ffn) {
    if (!atomic_load_explicit(&ffn->has_columns, memory_order_relaxed))
        return;
    for (uint32_t i = 0; i < ffn->model->config.layers; i++) {
        const wf_linear *down = &ffn->model->layers[i].down;
        wf_mapping_release(&ffn->model->mapping, down->rows, (uint64_t)down->outputs * down->row_bytes);
    }
}

wf_zeros wf_ffn_zeros(const wf_ffn *ffn) {
    wf_zeros zeros = ffn->zeros;
    zeros.skipped_bytes += atomic_load_explicit(&ffn->skipped_up_bytes, memory_order_relaxed);
    return zeros;
}

void wf_ffn_begin(wf_ffn *ffn) {
    ffn->skips_zeros = ffn->inputs->count <= WF_SKIPPING_TOKENS && atomic_load_explicit(&ffn->has_columns, memory_order_acquire);
}

/* ---- The inputs ---- */

/* Inputs of the gate and up projections, or of one of them that has a norm of its own. */
struct input_job {
    wf_ffn *ffn;
    const wf_layer *layer;
    const wf_linear *linear;
    const float *hidden; /* [rows][hidden] */
};

static void prepare_row(void *context, uint32_t row) {
    const struct input_job *job = context;
    const uint32_t count = job->linear->inputs;
    const wf_normed source = {
        .x = job->hidden + (size_t)row * count,
        .norm = job->layer->post_attention_norm,
        .own_norm = job->linear->input_norm,
        .count = count,
        .mean_of = count,
    };
    wf_norm_and_quantise(job->ffn->inputs, row, &source);
}

static void prepare(wf_ffn *ffn, const wf_layer *layer, const wf_linear *linear, const float *hidden) {
    struct input_job job = {ffn, layer, linear, hidden};
    wf_pool_run(ffn->pool, prepare_row, &job, ffn->inputs->count);
}

/* ---- The gate and up projections ---- */

/* gate[count] = activation(gate) * up, both within the model's limit. */
static void activate(const void *context, float *gate, float *up, uint32_t count) {
    const wf_ffn *ffn = context;
    const float limit = ffn->model->config.activation_limit;
    for (uint32_t i = 0; limit < INFINITY && i < count; i++) {
        gate[i] = gate[i] < limit ? gate[i] : limit;
        up[i] = up[i] < limit ? up[i] : limit;
        up[i] = up[i] > -limit ? up[i] : -limit;
    }
    ffn->activation(gate, up, count);
}

struct gated_job {
    wf_ffn *ffn;
    wf_products products; /* the gate's and the up projection's */
    bool gate_first;      /* the gates may make rows of the other needless */
};

/* Computes those of an up projection's rows that a positive gate of some token needs; the others count as zero. Returns whether there
 * were so few that it was done. */
static bool multiply_needed(wf_ffn *ffn, const wf_product *gate, const wf_product *up, uint32_t first, uint32_t rows) {
    const wf_quantised *inputs = ffn->inputs;
    const wf_linear *linear = up->linear;
    const uint32_t width = linear->outputs;
    uint32_t *needed = ffn->needed + first, count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        bool is_needed = false;
        for (uint32_t row = 0; row < inputs->count; row++)
            is_needed |= gate->out[(size_t)row * width + first + i] > 0.0f;
        needed[count] = first + i;
        count += is_needed;
    }
    if (count * 8 > rows * NEEDED_EIGHTHS_MAX)
        return false;
    for (uint32_t row = 0; row < inputs->count; row++)
        memset(up->out + (size_t)row * width + first, 0, rows * sizeof *up->out);
    const size_t row_bytes = linear->row_bytes;
    wf_quantised_view view;
    const wf_inputs x = wf_quantised_inputs(inputs, 0, inputs->count, linear->inputs, up->factors, &view);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *next = linear->rows + needed[i + PREFETCHED_ROWS < count ? i + PREFETCHED_ROWS : i] * row_bytes;
        for (size_t byte = 0; byte < row_bytes; byte += WF_CACHE_LINE)
            __builtin_prefetch(next + byte);
        linear->multiply(linear, inputs->kernels, needed[i], 1, &x, up->out + needed[i], width);
    }
    atomic_fetch_add_explicit(&ffn->skipped_up_bytes, (rows - count) * row_bytes, memory_order_relaxed);
    return true;
}

/* One slice of the gate projection, the same of the up projection, and the activation of both. */
static void multiply_gated_slice(void *context, uint32_t unit) {
    const struct gated_job *job = context;
    wf_ffn *ffn = job->ffn;
    const wf_product *gate = &job->products.products[0], *up = &job->products.products[1];
    const uint32_t width = up->linear->outputs, first = unit * up->slice;
    const uint32_t rows = width - first < up->slice ? width - first : up->slice;
    wf_products_multiply(&job->products, unit);
    if (!job->gate_first || !multiply_needed(ffn, gate, up, first, rows))
        wf_products_multiply(&job->products, gate->slices + unit);
    for (uint32_t row = 0; row < ffn->inputs->count; row++) {
        float *gates = gate->out + (size_t)row * width + first;
        if (ffn->skips_zeros) {
            uint32_t positive = 0;
            for (uint32_t i = 0; i < rows; i++)
                positive += gates[i] > 0.0f;
            atomic_fetch_add_explicit(&ffn->positive, positive, memory_order_relaxed);
        }
        activate(ffn, gates, up->out + (size_t)row * width + first, rows);
    }
}

/* gate = activation(gate(x)) ⊙ up(x); the gates first, if the step before lets hope that few rows of the other are needed then. */
static void multiply_gated(wf_ffn *ffn, const wf_layer *layer, uint32_t index) {
    struct gated_job job = {
        .ffn = ffn,
        .products = {.inputs = ffn->inputs,
                     .products = {{.linear = &layer->gate, .out = ffn->gate}, {.linear = &layer->up, .out = ffn->up}},
                     .count = 2},
    };
    if (ffn->skips_zeros) {
        job.gate_first = ffn->positive_before[index] * 8 <= (uint64_t)layer->up.outputs * NEEDED_EIGHTHS_MAX;
        atomic_store_explicit(&ffn->positive, 0, memory_order_relaxed);
    }
    wf_products_plan(&job.products, wf_pool_threads(ffn->pool));
    wf_pool_run(ffn->pool, multiply_gated_slice, &job, job.products.products[0].slices);
    if (ffn->skips_zeros)
        ffn->positive_before[index] = atomic_load_explicit(&ffn->positive, memory_order_relaxed);
}

/* One projection by itself. */
static void multiply_alone(wf_ffn *ffn, const wf_linear *linear, float *out) {
    wf_products products = {.inputs = ffn->inputs, .products = {{.linear = linear, .out = out}}, .count = 1};
    wf_products_run(ffn->pool, &products);
}

struct activation_job {
    wf_ffn *ffn;
    uint32_t neurons;
    bool is_gated;
};

static void activate_row(void *context, uint32_t row) {
    const struct activation_job *job = context;
    float *gate = job->ffn->gate + (size_t)row * job->neurons, *up = job->ffn->up + (size_t)row * job->neurons;
    for (uint32_t i = 0; !job->is_gated && i < job->neurons; i++)
        up[i] = 1.0f;
    activate(job->ffn, gate, up, job->neurons);
}

/* gate = activation(gate(x)) ⊙ up(x), or activation(up(x)), where each projection goes through a phase of its own. */
static void multiply_apart(wf_ffn *ffn, const wf_layer *layer, const float *hidden) {
    struct activation_job job = {ffn, layer->up.outputs, ffn->model->config.is_gated};
    if (job.is_gated) {
        prepare(ffn, layer, &layer->gate, hidden);
        multiply_alone(ffn, &layer->gate, ffn->gate);
    }
    prepare(ffn, layer, &layer->up, hidden);
    multiply_alone(ffn, &layer->up, job.is_gated ? ffn->up : ffn->gate);
    wf_pool_run(ffn->pool, activate_row, &job, ffn->inputs->count);
}

/* ---- Experts ---- */

struct addition_job {
    const float *product;
    float *hidden;
    uint32_t count;
    float scale;
};

static void add_row(void *context, uint32_t row) {
    const struct addition_job *job = context;
    const float *product = job->product + (size_t)row * job->count;
    float *hidden = job->hidden + (size_t)row * job->count;
    for (uint32_t i = 0; i < job->count; i++)
        hidden[i] += product[i] * job->scale;
}

static void run_experts(wf_ffn *ffn, uint32_t index, float *hidden, float *product) {
    const wf_layer *layer = &ffn->model->layers[index];
    prepare(ffn, layer, &layer->experts[0].up, hidden);
    wf_moe_run(ffn->moe, index, ffn->inputs, activate, ffn, product);
    struct addition_job job = {product, hidden, ffn->model->config.hidden, ffn->model->config.residual_scale};
    if (layer->ffn_post_norm == NULL)
        wf_pool_run(ffn->pool, add_row, &job, ffn->inputs->count);
}

/* ---- The down projection ---- */

struct down_job {
    wf_ffn *ffn;
    const wf_layer *layer;
};

static void prepare_down(void *context, uint32_t row) {
    const struct down_job *job = context;
    wf_ffn *ffn = job->ffn;
    const uint32_t count = job->layer->down.inputs;
    const wf_normed source = {
        .x = ffn->gate + (size_t)row * count,
        .norm = job->layer->ffn_sub_norm,
        .own_norm = job->layer->down.input_norm,
        .count = count,
        .mean_of = ffn->model->config.intermediate,
    };
    wf_norm_and_quantise(ffn->inputs, row, &source);
    if (ffn->skips_zeros)
        wf_list_nonzeros(ffn->inputs->values + (size_t)row * ffn->inputs->stride, count, &ffn->nonzeros[row]);
}

/* The down projection by its columns, if there are few enough that matter. Returns whether it was computed. */
static bool multiply_columns(wf_ffn *ffn, const wf_layer *layer, uint32_t index, float *residual) {
    const wf_linear *down = &layer->down;
    const wf_quantised *x = ffn->inputs;
    uint64_t nonzeros = 0;
    for (uint32_t row = 0; row < x->count; row++)
        nonzeros += ffn->nonzeros[row].count;
    const uint64_t inputs = (uint64_t)down->inputs * x->count;
    ffn->zeros.inputs += inputs;
    ffn->zeros.zeros += inputs - nonzeros;
    if (nonzeros * 8 > (uint64_t)down->inputs * NONZERO_EIGHTHS_MAX)
        return false;
    wf_linear_factors(down, x->inverse_scales, x->count, x->factors);
    const wf_sparse_inputs sparse = {ffn->nonzeros, x->sums, x->factors, x->count};
    wf_column_major_multiply(&ffn->columns, index, x->kernels, ffn->pool, &sparse, residual);
    const uint64_t all = (uint64_t)down->outputs * down->row_bytes, read = nonzeros * ffn->columns.column_bytes;
    ffn->zeros.skipped_bytes += all > read ? all - read : 0;
    return true;
}

void wf_ffn_run(wf_ffn *ffn, uint32_t index, float *hidden, float *product) {
    const wf_layer *layer = &ffn->model->layers[index];
    struct down_job job = {ffn, layer};
    if (ffn->moe != NULL) {
        run_experts(ffn, index, hidden, product);
        return;
    }
    if (ffn->model->config.is_gated && layer->up.input_norm == NULL) {
        prepare(ffn, layer, &layer->up, hidden);
        multiply_gated(ffn, layer, index);
    } else {
        multiply_apart(ffn, layer, hidden);
    }
    wf_pool_run(ffn->pool, prepare_down, &job, ffn->inputs->count);
    if (ffn->skips_zeros && multiply_columns(ffn, layer, index, hidden))
        return;
    wf_products down = {
        .inputs = ffn->inputs,
        .products = {{.linear = &layer->down, .out = product, .residual = layer->ffn_post_norm == NULL ? hidden : NULL}},
        .count = 1,
        .residual_scale = ffn->model->config.residual_scale,
    };
    wf_products_run(ffn->pool, &down);
}
