/*
 * moe.c: mixtures of experts.
 *
 * The router looks at a token's floats and chooses a few experts. Then the tokens are gathered by expert: those of one expert are a batch of
 * its own, so its weights are read once for all of them, and an expert that no token has chosen is not read at all. Each phase goes through
 * the batches of all experts at once. What a token gets depends on nothing but itself: an expert computes its rows as any product does, and
 * a token's experts are added in a fixed order.
 */
#include "layers/moe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "layers/product.h"

/* Units of work for each thread, at least, in a phase of products. */
#define UNITS_PER_THREAD 8U

/* An expert that a token has chosen. */
struct choice {
    uint32_t expert;
    uint32_t place; /* the gathered row */
    float share;
};

/* The gathered rows of one expert. */
struct segment {
    uint32_t expert;
    uint32_t first; /* gathered row, a multiple of WF_ARRANGED_TOKENS */
    uint32_t count;
};

struct wf_moe {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    wf_quantised gathered;    /* [gathered rows] inputs of the gate and up projections, then of the down projection */
    float *logits;            /* [max_rows][parts of the router * experts] */
    struct choice *choices;   /* [max_rows][experts_used], ascending by expert */
    uint32_t *source;         /* [gathered rows] of the batch */
    uint32_t *counts;         /* [experts] rows of each */
    struct segment *segments; /* [segment_count] */
    uint32_t segment_count;
    float *gate, *up; /* [gathered rows][neurons] */
    float *products;  /* [gathered rows][hidden] */
};

/* One phase. */
struct moe_job {
    wf_moe *moe;
    const wf_layer *layer;
    const wf_quantised *inputs;
    wf_activate *activate;
    const void *context;
    float *out;
    uint32_t slice;  /* weight rows in a unit */
    uint32_t slices; /* of each expert */
};

/* Gathered rows that batches of up to `max_rows` can have: each expert's begin with a tile. */
static uint32_t gathered_rows(const wf_config *config, uint32_t max_rows) {
    const uint64_t chosen = (uint64_t)max_rows * config->experts_used;
    const uint64_t segments = chosen < config->experts ? chosen : config->experts;
    return (uint32_t)((chosen + segments * (WF_ARRANGED_TOKENS - 1) + WF_ARRANGED_TOKENS - 1) / WF_ARRANGED_TOKENS *
                      WF_ARRANGED_TOKENS);
}

wf_moe *wf_moe_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, uint32_t max_rows) {
    const wf_config *config = &model->config;
    const uint32_t widest = config->hidden > config->intermediate ? config->hidden : config->intermediate;
    const size_t rows = gathered_rows(config, max_rows);
    wf_moe *moe = calloc(1, sizeof *moe);
    if (moe == NULL)
        return NULL;
    moe->model = model;
    moe->kernels = kernels;
    moe->pool = pool;
    const uint32_t group = config->scales == WF_SCALE_GROUP ? config->scale_group : 0;
    bool complete = wf_quantised_create(&moe->gathered, kernels, config->rms_norm_eps, group, (uint32_t)rows, widest) == 0;
    moe->logits = wf_allocate((size_t)max_rows * WF_ROUTER_PARTS * config->experts, sizeof *moe->logits);
    moe->choices = wf_allocate((size_t)max_rows * config->experts_used, sizeof *moe->choices);
    moe->source = wf_allocate(rows, sizeof *moe->source);
    moe->counts = wf_allocate(config->experts, sizeof *moe->counts);
    moe->segments = wf_allocate(config->experts, sizeof *moe->segments);
    moe->gate = wf_allocate(rows * config->intermediate, sizeof *moe->gate);
    moe->up = wf_allocate(rows * config->intermediate, sizeof *moe->up);
    moe->products = wf_allocate(rows * config->hidden, sizeof *moe->products);
    complete = complete && moe->logits && moe->choices && moe->source && moe->counts && moe->segments && moe->gate && moe->up &&
               moe->products;
    if (complete)
        return moe;
    wf_moe_destroy(moe);
    return NULL;
}

void wf_moe_destroy(wf_moe *moe) {
    if (moe == NULL)
        return;
    wf_quantised_destroy(&moe->gathered);
    free(moe->logits);
    free(moe->choices);
    free(moe->source);
    free(moe->counts);
    free(moe->segments);
    free(moe->gate);
    free(moe->up);
    free(moe->products);
    free(moe);
}

/* ---- The router ---- */

/* Turns logits[experts] into shares of a softmax over all. */
static void soften(const wf_kernels *kernels, float *logits, uint32_t experts) {
    float largest = -INFINITY;
    for (uint32_t i = 0; i < experts; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    kernels->exponentials(logits, experts, largest, 1.0f, logits);
    float total = 0;
    for (uint32_t i = 0; i < experts; i++)
        total += logits[i];
    for (uint32_t i = 0; i < experts; i++)
        logits[i] /= total;
}

/* Chooses the experts with the largest shares, of equal ones those with the lower numbers. */
static void choose(const wf_config *config, const float *shares, struct choice *choices) {
    uint64_t chosen[WF_EXPERTS_MAX / 64] = {0};
    for (uint32_t k = 0; k < config->experts_used; k++) {
        uint32_t best = config->experts;
        for (uint32_t i = 0; i < config->experts; i++)
            if ((chosen[i / 64] >> i % 64 & 1) == 0 && (best == config->experts || shares[i] > shares[best]))
                best = i;
        chosen[best / 64] |= UINT64_C(1) << best % 64;
    }
    float total = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->experts; i++)
        if ((chosen[i / 64] >> i % 64 & 1) != 0) {
            choices[count++] = (struct choice){.expert = i, .share = shares[i]};
            total += shares[i];
        }
    for (uint32_t k = 0; config->normalises_shares && k < count; k++)
        choices[k].share /= total;
}

static void route(void *context, uint32_t row) {
    const struct moe_job *job = context;
    wf_moe *moe = job->moe;
    const wf_config *config = &moe->model->config;
    struct choice *choices = moe->choices + (size_t)row * config->experts_used;
    if (config->router == WF_ROUTER_IDENTITY) {
        for (uint32_t k = 0; k < config->experts_used; k++)
            choices[k] = (struct choice){.expert = k, .share = 1.0f / (float)config->experts_used};
        return;
    }
    const wf_linear *router = &job->layer->router;
    float *logits = moe->logits + (size_t)row * router->outputs;
    const wf_inputs x = {.f32 = job->inputs->normed + (size_t)row * config->hidden, .f32_stride = config->hidden, .tokens = 1};
    router->multiply(router, moe->kernels, 0, router->outputs, &x, logits, router->outputs);
    for (uint32_t i = 0; i < config->experts; i++)
        logits[i] = logits[i] + logits[config->experts + i] + logits[2 * config->experts + i];
    soften(moe->kernels, logits, config->experts);
    choose(config, logits, choices);
}

/* ---- Gathering ---- */

/* Gives every choice its place among the gathered rows. Returns how many tiles these are. */
static uint32_t place_rows(wf_moe *moe, uint32_t rows) {
    const wf_config *config = &moe->model->config;
    const uint32_t choices = rows * config->experts_used;
    memset(moe->counts, 0, config->experts * sizeof *moe->counts);
    for (uint32_t i = 0; i < choices; i++)
        moe->counts[moe->choices[i].expert]++;
    moe->segment_count = 0;
    uint32_t next = 0;
    for (uint32_t expert = 0; expert < config->experts; expert++) {
        const uint32_t count = moe->counts[expert];
        if (count > 0)
            moe->segments[moe->segment_count++] = (struct segment){expert, next, count};
        moe->counts[expert] = next; /* from now on the place of its next row */
        next += (count + WF_ARRANGED_TOKENS - 1) / WF_ARRANGED_TOKENS * WF_ARRANGED_TOKENS;
    }
    for (uint32_t i = 0; i < choices; i++) {
        struct choice *choice = &moe->choices[i];
        choice->place = moe->counts[choice->expert]++;
        moe->source[choice->place] = i / config->experts_used;
    }
    return next / WF_ARRANGED_TOKENS;
}

/* The first row of a tile, the `unit`-th of all experts'; *rows are those in it, *segment those of its expert. */
static uint32_t tile_at(const wf_moe *moe, uint32_t unit, uint32_t *rows, const struct segment **segment) {
    const uint32_t first = unit * WF_ARRANGED_TOKENS;
    const struct segment *of = moe->segments;
    while (first >= of->first + of->count)
        of++;
    const uint32_t left = of->first + of->count - first;
    *rows = left < WF_ARRANGED_TOKENS ? left : WF_ARRANGED_TOKENS;
    *segment = of;
    return first;
}

/* Copies the quantised inputs of a tile's rows. */
static void gather_tile(void *context, uint32_t unit) {
    const struct moe_job *job = context;
    wf_moe *moe = job->moe;
    const struct segment *segment;
    uint32_t rows;
    const uint32_t first = tile_at(moe, unit, &rows, &segment), hidden = moe->model->config.hidden;
    for (uint32_t row = first; row < first + rows; row++)
        wf_copy_quantised(&moe->gathered, row, job->inputs, moe->source[row], hidden);
    wf_arrange_tile(&moe->gathered, first, rows, segment->count, hidden);
}

/* ---- Products ---- */

/* Divides `outputs` rows of each expert's matrix into slices. */
static uint32_t plan_slices(struct moe_job *job, const wf_linear *linear) {
    const uint32_t wanted = UNITS_PER_THREAD * wf_pool_threads(job->moe->pool) / job->moe->segment_count + 1;
    job->slice = wf_slice_rows(linear, job->moe->kernels, wanted);
    job->slices = (linear->outputs + job->slice - 1) / job->slice;
    return job->slices * job->moe->segment_count;
}

/* One slice of an expert's matrix, for all its rows: out[gathered rows][outputs]. Returns how many weight rows it has. */
static uint32_t multiply_slice(const struct moe_job *job, const struct segment *segment, const wf_linear *linear, uint32_t first,
                               float *out) {
    const wf_moe *moe = job->moe;
    const uint32_t left = linear->outputs - first, rows = left < job->slice ? left : job->slice;
    float factors[WF_BATCH_TOKENS_MAX + WF_SEQUENCES_MAX]; /* as many rows as a batch has at most */
    if (linear->input_kind == WF_INPUT_INT8)
        wf_linear_factors(linear, moe->gathered.inverse_scales + segment->first, segment->count, factors);
    wf_quantised_view view;
    const wf_inputs x = wf_quantised_inputs(&moe->gathered, segment->first, segment->count, linear->inputs, factors, &view);
    linear->multiply(linear, moe->kernels, first, rows, &x, out + (size_t)segment->first * linear->outputs + first,
                     linear->outputs);
    return rows;
}

static void multiply_gated(void *context, uint32_t unit) {
    const struct moe_job *job = context;
    wf_moe *moe = job->moe;
    const struct segment *segment = &moe->segments[unit / job->slices];
    const wf_expert *expert = &job->layer->experts[segment->expert];
    const uint32_t first = unit % job->slices * job->slice, neurons = expert->up.outputs;
    multiply_slice(job, segment, &expert->gate, first, moe->gate);
    const uint32_t rows = multiply_slice(job, segment, &expert->up, first, moe->up);
    for (uint32_t row = segment->first; row < segment->first + segment->count; row++) {
        const size_t at = (size_t)row * neurons + first;
        job->activate(job->context, moe->gate + at, moe->up + at, rows);
    }
}

static void quantise_tile(void *context, uint32_t unit) {
    const struct moe_job *job = context;
    wf_moe *moe = job->moe;
    const struct segment *segment;
    uint32_t rows;
    const uint32_t first = tile_at(moe, unit, &rows, &segment), neurons = moe->model->config.intermediate;
    for (uint32_t row = first; row < first + rows; row++) {
        const wf_normed source = {.x = moe->gate + (size_t)row * neurons, .count = neurons, .mean_of = neurons};
        wf_quantise(&moe->gathered, row, &source);
    }
    wf_arrange_tile(&moe->gathered, first, rows, segment->count, neurons);
}

static void multiply_down(void *context, uint32_t unit) {
    const struct moe_job *job = context;
    const struct segment *segment = &job->moe->segments[unit / job->slices];
    multiply_slice(job, segment, &job->layer->experts[segment->expert].down, unit % job->slices * job->slice, job->moe->products);
}

/* Adds up what a token's experts give, in pairs, then pairs of those: so equal parts of one value add up to it. */
static void combine(void *context, uint32_t row) {
    const struct moe_job *job = context;
    const wf_moe *moe = job->moe;
    const wf_config *config = &moe->model->config;
    const struct choice *choices = moe->choices + (size_t)row * config->experts_used;
    float *out = job->out + (size_t)row * config->hidden;
    for (uint32_t i = 0; i < config->hidden; i++) {
        float parts[WF_EXPERTS_USED_MAX];
        parts[0] = 0.0f;
        for (uint32_t k = 0; k < config->experts_used; k++)
            parts[k] = moe->products[(size_t)choices[k].place * config->hidden + i] * choices[k].share;
        for (uint32_t count = config->experts_used; count > 1; count = (count + 1) / 2)
            for (uint32_t k = 0; k < (count + 1) / 2; k++)
                parts[k] = 2 * k + 1 < count ? parts[2 * k] + parts[2 * k + 1] : parts[2 * k];
        out[i] = parts[0];
    }
}

void wf_moe_run(wf_moe *moe, uint32_t index, const wf_quantised *inputs, wf_activate *activate, const void *context, float *out) {
    struct moe_job job = {moe, &moe->model->layers[index], inputs, activate, context, out, 0, 0};
    wf_pool_run(moe->pool, route, &job, inputs->count);
    const uint32_t tiles = place_rows(moe, inputs->count);
    wf_pool_run(moe->pool, gather_tile, &job, tiles);
    uint32_t units = plan_slices(&job, &job.layer->experts[0].up);
    wf_pool_run(moe->pool, multiply_gated, &job, units);
    wf_pool_run(moe->pool, quantise_tile, &job, tiles);
    units = plan_slices(&job, &job.layer->experts[0].down);
    wf_pool_run(moe->pool, multiply_down, &job, units);
    wf_pool_run(moe->pool, combine, &job, inputs->count);
}
