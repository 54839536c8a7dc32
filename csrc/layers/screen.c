/*
 * screen.c: goes through the vocabulary twice.
 *
 * First every slice of the head's sketch is multiplied, and for each request the slice's best lower bound and best upper bound of a logit
 * are kept. The tokens with the best lower bounds are computed from the head's own rows, which gives a threshold that the likeliest tokens
 * surely reach. Then only slices whose upper bound reaches it are looked at again, and only tokens that can reach it are computed.
 *
 * A request that draws from the whole distribution, but most probably one of its likeliest tokens, can be served as well: the threshold is what
 * an eighth of the slices reach, and of all other tokens the sum of their weights is bounded. With that the sampler decides, or asks for
 * all logits.
 */
#include "layers/screen.h"

#include <math.h>
#include <stdlib.h>

#include "base/aligned_memory.h"
#include "base/error.h"

/* Of so many slices one can have tokens that are computed for a request with a `residual`. With few slices that is not worth the trouble. */
#define SLICES_A_CHOSEN_ONE 8U
#define CHOSEN_SLICES_MIN 8U

struct screen_job {
    wf_screen *screen;
    const wf_screening *work;
    uint32_t slices;
    bool is_fine;                /* all bits of the sketch are read: some request has a `residual` */
    _Atomic uint64_t bytes_read; /* of the head's rows */
};

/* The most of find_threshold's ranks. */
static uint32_t ranks_max(uint32_t slices) {
    const uint32_t chosen = slices / SLICES_A_CHOSEN_ONE;
    return chosen > WF_SCREENED_TOP_K_MAX ? chosen : WF_SCREENED_TOP_K_MAX;
}

int wf_screen_create(wf_screen *screen, const wf_model *model, const wf_kernels *kernels, uint32_t max_logits, char *error,
                     uint32_t error_size) {
    const uint32_t slices = wf_token_slices(model->config.vocabulary);
    const size_t rows = max_logits;
    screen->model = model;
    screen->kernels = kernels;
    if (wf_sketch_create(&screen->sketch, model, error, error_size) != 0)
        return -1;
    const size_t width = (size_t)screen->sketch.blocks * WF_BLOCK_WEIGHTS;
    screen->sketched = wf_allocate(rows * width, sizeof *screen->sketched);
    if (kernels->arrange_wide != NULL)
        screen->arranged = wf_allocate(wf_wide_arranged_bytes(max_logits, width), 1);
    screen->states = calloc(rows, sizeof *screen->states);
    screen->sums = calloc(rows, sizeof *screen->sums);
    screen->factors = calloc(rows, sizeof *screen->factors);
    screen->bounds = calloc(rows * slices, sizeof *screen->bounds);
    screen->thresholds = calloc(rows, sizeof *screen->thresholds);
    screen->largest = calloc(rows * ranks_max(slices), sizeof *screen->largest);
    if (!screen->sketched || !screen->states || !screen->sums || !screen->factors || !screen->bounds || !screen->thresholds ||
        !screen->largest || (kernels->arrange_wide != NULL && !screen->arranged))
        return wf_fail(error, error_size, "no memory to screen the head");
    for (size_t i = 0; i < rows; i++)
        screen->states[i].values = screen->sketched + i * width;
    return 0;
}

void wf_screen_destroy(wf_screen *screen) {
    wf_sketch_destroy(&screen->sketch);
    free(screen->sketched);
    free(screen->arranged);
    free(screen->states);
    free(screen->sums);
    free(screen->factors);
    free(screen->bounds);
    free(screen->thresholds);
    free(screen->largest);
}

void wf_screen_fill(wf_screen *screen, wf_pool *pool, const atomic_bool *stopping) {
    if (screen->sketch.coarse == NULL)
        return;
    const bool is_fine = atomic_load(&screen->is_ready);
    if (is_fine && !wf_screen_wants(screen))
        return;
    wf_sketch_fill(&screen->sketch, screen->model, screen->kernels, is_fine, pool, stopping);
    if (!atomic_load(stopping))
        atomic_store_explicit(is_fine ? &screen->has_fine : &screen->is_ready, true, memory_order_release);
}

bool wf_screen_wants(const wf_screen *screen) { return atomic_load(&screen->wants_fine) && !atomic_load(&screen->has_fine); }

void wf_screen_note(wf_screen *screen, uint32_t i, const float *normed) {
    wf_sketched_state *state = &screen->states[i];
    wf_sketch_state(normed, screen->model->config.hidden, screen->sketch.blocks, state);
    screen->sums[i] = state->sum;
    screen->factors[i] = state->inverse_scale;
}

/* ---- Parts of the vocabulary ---- */

static uint32_t rows_of_slice(const struct screen_job *job, uint32_t first) {
    const uint32_t left = job->screen->model->config.vocabulary - first;
    return left < WF_TOKEN_SLICE ? left : WF_TOKEN_SLICE;
}

/* The logits of the i-th request. */
static float *logits_of(const struct screen_job *job, uint32_t i) {
    return job->work->logits + (size_t)i * job->screen->model->config.vocabulary;
}

/* The bounds of its slices. */
static wf_slice_bounds *bounds_of(const struct screen_job *job, uint32_t i) {
    return job->screen->bounds + (size_t)i * job->slices;
}

/* How far the sketch's logit of a token can be off. */
static float width_of(const struct screen_job *job, uint32_t token, uint32_t i) {
    return wf_sketch_bound(&job->screen->sketch, job->is_fine, &job->screen->states[i], token);
}

static inline bool is_wanted(const wf_logits_request *request, uint32_t token) {
    return request->allowed == NULL || (request->allowed[token / 64] >> token % 64 & 1) != 0;
}

/* The head's logit of one token for the i-th request. */
static void compute_logit(const struct screen_job *job, uint32_t token, uint32_t i) {
    const wf_linear *head = &job->screen->model->head;
    const wf_inputs x = {.f32 = job->work->normed + (size_t)i * head->inputs, .f32_stride = head->inputs, .tokens = 1};
    head->multiply(head, job->screen->kernels, token, 1, &x, logits_of(job, i) + token, 1);
}

static void count_rows(struct screen_job *job, uint32_t rows) {
    atomic_fetch_add_explicit(&job->bytes_read, (uint64_t)rows * job->screen->model->head.row_bytes, memory_order_relaxed);
}

/* ---- The sketch ---- */

/* Asks for a slice's scales and norms, which lie apart from its rows: they come while those are multiplied. */
static void ask_for_norms(const struct screen_job *job, uint32_t first, uint32_t rows) {
    const wf_sketch *sketch = &job->screen->sketch;
    const wf_sketch_norms *norms = job->is_fine ? &sketch->of_fine : &sketch->of_coarse;
    for (uint32_t row = first; row < first + rows; row += WF_CACHE_LINE / sizeof(float)) {
        __builtin_prefetch(sketch->scales + row);
        __builtin_prefetch(norms->errors + row);
        __builtin_prefetch(norms->norms + row);
    }
}

/* One slice of the sketch's logits and their bounds. */
static void multiply_sketch(void *context, uint32_t slice) {
    const struct screen_job *job = context;
    const wf_screen *screen = job->screen;
    const uint32_t vocabulary = screen->model->config.vocabulary, first = slice * WF_TOKEN_SLICE, rows = rows_of_slice(job, first);
    const size_t width = (size_t)screen->sketch.blocks * WF_BLOCK_WEIGHTS;
    const wf_wide_activations x = {screen->sketched, width, screen->arranged, screen->sums, screen->factors, job->work->count};
    const wf_sketch_rows of_sketch = wf_sketch_rows_from(&screen->sketch, first, job->is_fine);
    ask_for_norms(job, first, rows);
    screen->kernels->sketch_matmul(&of_sketch, rows, &x, job->work->logits + first, vocabulary);
    for (uint32_t i = 0; i < job->work->count; i++) {
        const float *logits = logits_of(job, i) + first;
        float widths[WF_TOKEN_SLICE];
        for (uint32_t row = 0; row < rows; row++)
            widths[row] = width_of(job, first + row, i);
        wf_slice_bounds best = {-INFINITY, -INFINITY};
        for (uint32_t row = 0; row < rows; row++) {
            if (!is_wanted(&job->work->requests[i], first + row))
                continue;
            const float lower = logits[row] - widths[row], upper = logits[row] + widths[row];
            best.lower = lower > best.lower ? lower : best.lower;
            best.upper = upper > best.upper ? upper : best.upper;
        }
        bounds_of(job, i)[slice] = best;
    }
}

/* ---- The threshold ---- */

/* Keeps smallest-first the `count` largest of what it is given. */
static void keep_largest(float *heap, uint32_t count, float value) {
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= value)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

/* The token of a slice with the best lower bound. */
static uint32_t best_of_slice(const struct screen_job *job, uint32_t slice, uint32_t i) {
    const float *logits = logits_of(job, i);
    const uint32_t first = slice * WF_TOKEN_SLICE, end = first + rows_of_slice(job, first);
    uint32_t best = first;
    float best_lower = -INFINITY;
    for (uint32_t token = first; token < end; token++) {
        const float lower = logits[token] - width_of(job, token, i);
        if (is_wanted(&job->work->requests[i], token) && lower > best_lower) {
            best_lower = lower;
            best = token;
        }
    }
    return best;
}

/* Where only the likeliest tokens are needed: computes the best one of each of as many slices, those with the best lower bounds. So many tokens
 * have at least the smallest of these logits, and none with a lower one is needed. With fewer slices than tokens all tokens are candidates.
 * For a request with a `residual`: the upper bound that only the chosen slices reach. */
static void find_threshold(void *context, uint32_t i) {
    struct screen_job *job = context;
    wf_screen *screen = job->screen;
    const wf_logits_request *request = &job->work->requests[i];
    const wf_slice_bounds *bounds = bounds_of(job, i);
    const bool is_weighed = request->residual != NULL;
    const uint32_t rank = is_weighed ? job->slices / SLICES_A_CHOSEN_ONE : request->top_k;
    float *largest = screen->largest + (size_t)i * ranks_max(job->slices);
    for (uint32_t k = 0; k < rank; k++)
        largest[k] = -INFINITY;
    for (uint32_t slice = 0; slice < job->slices; slice++) {
        const float bound = is_weighed ? bounds[slice].upper : bounds[slice].lower;
        if (bound > largest[0])
            keep_largest(largest, rank, bound);
    }
    const float ranked = largest[0];
    screen->thresholds[i] = ranked;
    if (is_weighed)
        request->residual->below = ranked;
    if (is_weighed || ranked == -INFINITY)
        return;
    const float *logits = logits_of(job, i);
    float threshold = INFINITY;
    uint32_t computed = 0;
    for (uint32_t slice = 0; slice < job->slices && computed < rank; slice++) {
        if (bounds[slice].lower < ranked)
            continue;
        const uint32_t token = best_of_slice(job, slice, i);
        compute_logit(job, token, i);
        threshold = logits[token] < threshold ? logits[token] : threshold;
        computed++;
    }
    screen->thresholds[i] = threshold;
    count_rows(job, computed);
}

/* ---- The tokens that reach it ---- */

/* The sum of exp((logit − below) / temperature); it overwrites logits[count]. */
static float total_weight(const wf_kernels *kernels, float *logits, uint32_t count, const wf_logits_request *request) {
    kernels->exponentials(logits, count, request->residual->below, wf_inverse_temperature(request->temperature), logits);
    float total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += logits[i];
    return total;
}

/* Replaces a slice's sketched logits of one request: by the head's where the token can be among the likeliest, else by −∞. Returns how many
 * were computed. */
static uint32_t screen_slice(const struct screen_job *job, uint32_t slice, uint32_t i) {
    const wf_kernels *kernels = job->screen->kernels;
    const wf_logits_request *request = &job->work->requests[i];
    const float threshold = job->screen->thresholds[i];
    wf_slice_bounds *bounds = &bounds_of(job, i)[slice];
    const bool is_weighed = request->residual != NULL;
    const uint32_t first = slice * WF_TOKEN_SLICE, end = first + rows_of_slice(job, first);
    float *logits = logits_of(job, i);
    if (bounds->upper < threshold && !is_weighed) {
        for (uint32_t token = first; token < end; token++)
            logits[token] = -INFINITY;
        return 0;
    }
    float lower[WF_TOKEN_SLICE], upper[WF_TOKEN_SLICE];
    uint32_t left_out = 0, computed = 0;
    for (uint32_t token = first; token < end; token++) {
        const bool matters = is_wanted(request, token);
        const float width = matters ? width_of(job, token, i) : 0.0f;
        if (matters && logits[token] + width >= threshold) {
            compute_logit(job, token, i);
            computed++;
            continue;
        }
        if (matters && is_weighed) {
            lower[left_out] = logits[token] - width;
            upper[left_out++] = logits[token] + width;
        }
        logits[token] = -INFINITY;
    }
    if (is_weighed)
        *bounds =
            (wf_slice_bounds){total_weight(kernels, lower, left_out, request), total_weight(kernels, upper, left_out, request)};
    return computed;
}

static void screen_requests(void *context, uint32_t slice) {
    struct screen_job *job = context;
    uint32_t computed = 0;
    for (uint32_t i = 0; i < job->work->count; i++)
        computed += screen_slice(job, slice, i);
    if (computed > 0)
        count_rows(job, computed);
}

/* Adds up what the tokens weigh that were left out of the i-th request. */
static void weigh_residual(const struct screen_job *job, uint32_t i) {
    wf_residual_mass *residual = job->work->requests[i].residual;
    for (uint32_t slice = 0; slice < job->slices; slice++) {
        const wf_slice_bounds *weights = &bounds_of(job, i)[slice];
        residual->lower_bound += (double)weights->lower * (1.0 - WF_WEIGHT_ERROR);
        residual->upper_bound += (double)weights->upper * (1.0 + WF_WEIGHT_ERROR);
    }
    if (residual->upper_bound == 0.0)
        *residual = (wf_residual_mass){0};
}

bool wf_screen_serves(wf_screen *screen, const wf_screening *work) {
    const uint32_t chosen_slices = wf_token_slices(screen->model->config.vocabulary) / SLICES_A_CHOSEN_ONE;
    bool needs_fine = false;
    for (uint32_t i = 0; i < work->count; i++) {
        const wf_logits_request *request = &work->requests[i];
        const bool is_served = request->residual != NULL ? chosen_slices >= CHOSEN_SLICES_MIN
                                                         : request->top_k > 0 && request->top_k <= WF_SCREENED_TOP_K_MAX;
        if (!is_served || !isfinite(screen->states[i].norm))
            return false;
        needs_fine |= request->residual != NULL;
    }
    if (!needs_fine || atomic_load_explicit(&screen->has_fine, memory_order_acquire))
        return true;
    atomic_store(&screen->wants_fine, true);
    return false;
}

uint64_t wf_screen_run(wf_screen *screen, wf_pool *pool, const wf_screening *work) {
    const uint32_t vocabulary = screen->model->config.vocabulary;
    struct screen_job job = {.screen = screen, .work = work, .slices = wf_token_slices(vocabulary)};
    for (uint32_t i = 0; i < work->count; i++)
        job.is_fine |= work->requests[i].residual != NULL;
    if (screen->kernels->arrange_wide != NULL) /* in a few microseconds: not worth a phase of its own */
        screen->kernels->arrange_wide(screen->sketched, (size_t)screen->sketch.blocks * WF_BLOCK_WEIGHTS, work->count,
                                      screen->arranged);
    wf_pool_run(pool, multiply_sketch, &job, job.slices);
    wf_pool_run(pool, find_threshold, &job, work->count);
    wf_pool_run(pool, screen_requests, &job, job.slices);
    for (uint32_t i = 0; i < work->count; i++)
        if (work->requests[i].residual != NULL)
            weigh_residual(&job, i);
    return vocabulary * wf_sketch_row_bytes(&screen->sketch, job.is_fine) + atomic_load(&job.bytes_read);
}
