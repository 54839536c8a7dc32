/*
 * head.c: the last norm, and the product with the head.
 *
 * A screened product goes through the vocabulary twice. First every slice of the head's sketch is multiplied, and for each request
 * the slice's best lower bound and best upper bound of a logit are kept. The tokens with the best lower bounds are computed from the head's own
 * rows, which gives a threshold that the likeliest tokens surely reach. Then only slices whose upper bound reaches it are looked at again,
 * and only tokens that can reach it are computed.
 *
 * A request that draws from the whole distribution, but most probably one of its likeliest tokens, can be served as well: the threshold is what
 * an eighth of the slices reach, and of all other tokens the sum of their weights is bounded. With that the sampler decides, or asks for
 * all logits.
 */
#include "layers/head.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "layers/sketch.h"

/* Tokens in one unit of work: enough that handing it out costs nothing, so few that a processor's second-level cache holds their rows
 * for a batch, and that the bounds of slices tell much. */
#define SLICE 32U

/* Of so many slices one can have tokens that are computed for a request with a `rest`. With few slices that is not worth the trouble. */
#define SLICES_A_CHOSEN_ONE 8U
#define CHOSEN_SLICES_MIN 8U

/* The best bounds of a slice's logits for one request; −∞ where no token is wanted. */
struct bounds {
    float least; /* some token's logit is at least this */
    float most;  /* no token's logit is more than this */
};

struct wf_head {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    uint32_t max_logits;
    float *normed; /* [max_logits][hidden] */
    float *logits; /* [max_logits][vocabulary] */

    _Atomic uint64_t bytes_read; /* of the model's head and of the sketch */
    atomic_bool is_sketched;     /* the sketch is complete */
    /* NULL and all zero where the head is not to be screened: */
    wf_sketch sketch;
    int16_t *sketched;         /* [max_logits][sketch.blocks * WF_BLOCK_WEIGHTS] */
    wf_sketched_state *states; /* [max_logits] */
    int32_t *sums;             /* [max_logits] of the states' values */
    float *factors;            /* [max_logits] the states' scales */
    struct bounds *bounds;     /* [max_logits][slices of the sketch] of logits; screened, of what the left out tokens weigh */
    float *thresholds;         /* [max_logits] */
    float *largest;            /* [max_logits][ranks_most(slices)] scratch of find_threshold */
};

struct head_job {
    wf_head *head;
    const float *hidden;
    const wf_logits_request *requests; /* [count] */
    uint32_t count;
    uint32_t slices;
    bool is_sketched;
    bool is_fine; /* all bits of the sketch are read: some request has a `rest` */
};

static uint32_t slices_of(const wf_model *model) { return (model->config.vocabulary + SLICE - 1) / SLICE; }

/* The most of find_threshold's ranks. */
static uint32_t ranks_most(uint32_t slices) {
    const uint32_t chosen = slices / SLICES_A_CHOSEN_ONE;
    return chosen > WF_SCREENED_MOST ? chosen : WF_SCREENED_MOST;
}

static uint32_t rows_of_slice(const struct head_job *job, uint32_t first) {
    const uint32_t left = job->head->model->config.vocabulary - first;
    return left < SLICE ? left : SLICE;
}

wf_head *wf_head_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, uint32_t max_logits, char *error,
                        uint32_t error_size) {
    wf_head *head = calloc(1, sizeof *head);
    if (head != NULL) {
        *head = (wf_head){.model = model, .kernels = kernels, .pool = pool, .max_logits = max_logits};
        head->normed = wf_allocate((size_t)max_logits * model->config.hidden, sizeof *head->normed);
        head->logits = wf_allocate((size_t)max_logits * model->config.vocabulary, sizeof *head->logits);
    }
    if (head == NULL || head->normed == NULL || head->logits == NULL) {
        wf_head_destroy(head);
        wf_fail(error, error_size, "no memory for the logits of %u tokens", max_logits);
        return NULL;
    }
    return head;
}

void wf_head_destroy(wf_head *head) {
    if (head == NULL)
        return;
    wf_sketch_destroy(&head->sketch);
    void *buffers[] = {head->normed,  head->logits, head->sketched,   head->states, head->sums,
                       head->factors, head->bounds, head->thresholds, head->largest};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(head);
}

int wf_head_screen(wf_head *head, char *error, uint32_t error_size) {
    if (wf_sketch_create(&head->sketch, head->model, error, error_size) != 0)
        return -1;
    const size_t width = (size_t)head->sketch.blocks * WF_BLOCK_WEIGHTS, rows = head->max_logits;
    head->sketched = wf_allocate(rows * width, sizeof *head->sketched);
    head->states = calloc(rows, sizeof *head->states);
    head->sums = calloc(rows, sizeof *head->sums);
    head->factors = calloc(rows, sizeof *head->factors);
    head->bounds = calloc(rows * slices_of(head->model), sizeof *head->bounds);
    head->thresholds = calloc(rows, sizeof *head->thresholds);
    head->largest = calloc(rows * ranks_most(slices_of(head->model)), sizeof *head->largest);
    if (head->sketched == NULL || head->states == NULL || head->sums == NULL || head->factors == NULL || head->bounds == NULL ||
        head->thresholds == NULL || head->largest == NULL)
        return wf_fail(error, error_size, "no memory to screen the head");
    for (size_t i = 0; i < rows; i++)
        head->states[i].values = head->sketched + i * width;
    return 0;
}

void wf_head_fill(wf_head *head, wf_pool *pool, const atomic_bool *stopping) {
    if (head->sketch.coarse == NULL)
        return;
    wf_sketch_fill(&head->sketch, head->model, head->kernels, pool, stopping);
    if (!atomic_load(stopping))
        atomic_store_explicit(&head->is_sketched, true, memory_order_release);
}

static void normalise(void *context, uint32_t i) {
    const struct head_job *job = context;
    wf_head *head = job->head;
    const wf_config *config = &head->model->config;
    float *normed = head->normed + (size_t)i * config->hidden;
    head->kernels->rms_norm(job->hidden + (size_t)job->requests[i].row * config->hidden, head->model->final_norm, config->hidden,
                            config->rms_norm_eps, normed);
    if (!job->is_sketched)
        return;
    wf_sketch_state(normed, config->hidden, head->sketch.blocks, &head->states[i]);
    head->sums[i] = head->states[i].sum;
    head->factors[i] = head->states[i].inverse_scale;
}

static void multiply(void *context, uint32_t unit) {
    const struct head_job *job = context;
    wf_head *head = job->head;
    const uint32_t first = unit * SLICE;
    const wf_inputs x = {.f32 = head->normed, .f32_stride = head->model->head.inputs, .tokens = job->count};
    head->model->head.multiply(&head->model->head, head->kernels, first, rows_of_slice(job, first), &x, head->logits);
}

static inline bool is_wanted(const wf_logits_request *request, uint32_t token) {
    return request->allowed == NULL || (request->allowed[token / 64] >> token % 64 & 1) != 0;
}

static void count_bytes(wf_head *head, uint64_t bytes) {
    atomic_fetch_add_explicit(&head->bytes_read, bytes, memory_order_relaxed);
}

/* The head's logit of one token for the i-th request. */
static void compute_logit(wf_head *head, uint32_t token, uint32_t i) {
    const wf_linear *linear = &head->model->head;
    const wf_inputs x = {.f32 = head->normed + (size_t)i * linear->inputs, .f32_stride = linear->inputs, .tokens = 1};
    linear->multiply(linear, head->kernels, token, 1, &x, head->logits + (size_t)i * linear->outputs);
}

/* Asks for a slice's scales and norms, which lie apart from its rows: they come while those are multiplied. */
static void ask_for_norms(const struct head_job *job, uint32_t first, uint32_t rows) {
    const wf_sketch *sketch = &job->head->sketch;
    const wf_sketch_norms *norms = job->is_fine ? &sketch->of_fine : &sketch->of_coarse;
    for (uint32_t row = first; row < first + rows; row += WF_CACHE_LINE / sizeof(float)) {
        __builtin_prefetch(sketch->scales + row);
        __builtin_prefetch(norms->errors + row);
        __builtin_prefetch(norms->norms + row);
    }
}

/* One slice of the sketch's logits and their bounds. */
static void multiply_sketch(void *context, uint32_t unit) {
    const struct head_job *job = context;
    wf_head *head = job->head;
    const uint32_t vocabulary = head->model->config.vocabulary, first = unit * SLICE, rows = rows_of_slice(job, first);
    const size_t width = (size_t)head->sketch.blocks * WF_BLOCK_WEIGHTS;
    const wf_wide_activations x = {head->sketched, width, head->sums, head->factors, job->count};
    const wf_sketch_rows of_sketch = wf_sketch_rows_from(&head->sketch, first, job->is_fine);
    ask_for_norms(job, first, rows);
    head->kernels->sketch_matmul(&of_sketch, rows, &x, head->logits + first, vocabulary);
    for (uint32_t i = 0; i < job->count; i++) {
        const float *logits = head->logits + (size_t)i * vocabulary + first;
        float widths[SLICE];
        for (uint32_t row = 0; row < rows; row++)
            widths[row] = wf_sketch_bound(&head->sketch, job->is_fine, &head->states[i], first + row);
        struct bounds best = {-INFINITY, -INFINITY};
        for (uint32_t row = 0; row < rows; row++) {
            if (!is_wanted(&job->requests[i], first + row))
                continue;
            const float least = logits[row] - widths[row], most = logits[row] + widths[row];
            best.least = least > best.least ? least : best.least;
            best.most = most > best.most ? most : best.most;
        }
        head->bounds[(size_t)i * job->slices + unit] = best;
    }
}

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
static uint32_t best_of_slice(const struct head_job *job, uint32_t slice, uint32_t i) {
    const wf_head *head = job->head;
    const float *logits = head->logits + (size_t)i * head->model->config.vocabulary;
    const uint32_t first = slice * SLICE, end = first + rows_of_slice(job, first);
    uint32_t best = first;
    float most = -INFINITY;
    for (uint32_t token = first; token < end; token++) {
        const float least = logits[token] - wf_sketch_bound(&head->sketch, job->is_fine, &head->states[i], token);
        if (is_wanted(&job->requests[i], token) && least > most) {
            most = least;
            best = token;
        }
    }
    return best;
}

/* Where only the likeliest tokens are needed: computes the best one of each of as many slices, those with the best lower bounds. So many tokens
 * have at least the least of these logits, and none with a lower one is needed. With fewer slices than tokens all tokens are candidates.
 * For a request with a `rest`: the upper bound that only the chosen slices reach. */
static void find_threshold(void *context, uint32_t i) {
    const struct head_job *job = context;
    wf_head *head = job->head;
    const wf_logits_request *request = &job->requests[i];
    const struct bounds *bounds = head->bounds + (size_t)i * job->slices;
    const bool is_weighed = request->rest != NULL;
    const uint32_t rank = is_weighed ? job->slices / SLICES_A_CHOSEN_ONE : request->most;
    float *largest = head->largest + (size_t)i * ranks_most(job->slices);
    for (uint32_t k = 0; k < rank; k++)
        largest[k] = -INFINITY;
    for (uint32_t slice = 0; slice < job->slices; slice++) {
        const float bound = is_weighed ? bounds[slice].most : bounds[slice].least;
        if (bound > largest[0])
            keep_largest(largest, rank, bound);
    }
    const float ranked = largest[0];
    head->thresholds[i] = ranked;
    if (is_weighed)
        request->rest->below = ranked;
    if (is_weighed || ranked == -INFINITY)
        return;
    const float *logits = head->logits + (size_t)i * head->model->config.vocabulary;
    float least = INFINITY;
    uint32_t computed = 0;
    for (uint32_t slice = 0; slice < job->slices && computed < rank; slice++) {
        if (bounds[slice].least < ranked)
            continue;
        const uint32_t token = best_of_slice(job, slice, i);
        compute_logit(head, token, i);
        least = logits[token] < least ? logits[token] : least;
        computed++;
    }
    head->thresholds[i] = least;
    count_bytes(head, computed * (uint64_t)head->model->head.row_bytes);
}

/* The sum of exp((logit − below) / temperature); it overwrites logits[count]. */
static float total_weight(const wf_kernels *kernels, float *logits, uint32_t count, const wf_logits_request *request) {
    kernels->exponentials(logits, count, request->rest->below, wf_inverse_temperature(request->temperature), logits);
    float total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += logits[i];
    return total;
}

/* Replaces a slice's sketched logits of one request: by the head's where the token can be among the likeliest, else by −∞. Returns how many
 * were computed. */
static uint32_t screen_slice(const struct head_job *job, uint32_t slice, uint32_t i) {
    wf_head *head = job->head;
    const wf_logits_request *request = &job->requests[i];
    const float threshold = head->thresholds[i];
    struct bounds *bounds = &head->bounds[(size_t)i * job->slices + slice];
    const bool is_weighed = request->rest != NULL;
    const uint32_t first = slice * SLICE, end = first + rows_of_slice(job, first);
    float *logits = head->logits + (size_t)i * head->model->config.vocabulary;
    if (bounds->most < threshold && !is_weighed) {
        for (uint32_t token = first; token < end; token++)
            logits[token] = -INFINITY;
        return 0;
    }
    float least[SLICE], most[SLICE];
    uint32_t left_out = 0, computed = 0;
    for (uint32_t token = first; token < end; token++) {
        const bool matters = is_wanted(request, token);
        const float width = matters ? wf_sketch_bound(&head->sketch, job->is_fine, &head->states[i], token) : 0.0f;
        if (matters && logits[token] + width >= threshold) {
            compute_logit(head, token, i);
            computed++;
            continue;
        }
        if (matters && is_weighed) {
            least[left_out] = logits[token] - width;
            most[left_out++] = logits[token] + width;
        }
        logits[token] = -INFINITY;
    }
    if (is_weighed)
        *bounds = (struct bounds){total_weight(head->kernels, least, left_out, request),
                                  total_weight(head->kernels, most, left_out, request)};
    return computed;
}

static void screen(void *context, uint32_t unit) {
    const struct head_job *job = context;
    uint32_t computed = 0;
    for (uint32_t i = 0; i < job->count; i++)
        computed += screen_slice(job, unit, i);
    if (computed > 0)
        count_bytes(job->head, computed * (uint64_t)job->head->model->head.row_bytes);
}

/* Adds up what the tokens weigh that were left out of the i-th request. */
static void weigh_rest(const struct head_job *job, uint32_t i) {
    wf_rest *rest = job->requests[i].rest;
    for (uint32_t slice = 0; slice < job->slices; slice++) {
        const struct bounds *weights = &job->head->bounds[(size_t)i * job->slices + slice];
        rest->least += (double)weights->least * (1.0 - WF_WEIGHT_ERROR);
        rest->most += (double)weights->most * (1.0 + WF_WEIGHT_ERROR);
    }
    if (rest->most == 0.0)
        *rest = (wf_rest){0};
}

/* Whether the sketch serves all requests: the head's rows are read for all or for none. */
static bool can_screen(const struct head_job *job) {
    for (uint32_t i = 0; i < job->count; i++) {
        const wf_logits_request *request = &job->requests[i];
        const bool is_served = request->rest != NULL ? job->slices / SLICES_A_CHOSEN_ONE >= CHOSEN_SLICES_MIN
                                                     : request->most > 0 && request->most <= WF_SCREENED_MOST;
        if (!is_served || !isfinite(job->head->states[i].norm))
            return false;
    }
    return true;
}

float *wf_head_logits(wf_head *head, const float *hidden, const wf_logits_request *requests, uint32_t count) {
    struct head_job job = {
        .head = head,
        .hidden = hidden,
        .requests = requests,
        .count = count,
        .slices = slices_of(head->model),
        .is_sketched = atomic_load_explicit(&head->is_sketched, memory_order_acquire),
    };
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].rest != NULL) {
            *requests[i].rest = (wf_rest){0};
            job.is_fine = true;
        }
    wf_pool_run(head->pool, normalise, &job, count);
    if (!job.is_sketched || !can_screen(&job)) {
        wf_pool_run(head->pool, multiply, &job, job.slices);
        count_bytes(head, head->model->config.vocabulary * (uint64_t)head->model->head.row_bytes);
        return head->logits;
    }
    wf_pool_run(head->pool, multiply_sketch, &job, job.slices);
    count_bytes(head, head->model->config.vocabulary * wf_sketch_row_bytes(&head->sketch, job.is_fine));
    wf_pool_run(head->pool, find_threshold, &job, count);
    wf_pool_run(head->pool, screen, &job, job.slices);
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].rest != NULL)
            weigh_rest(&job, i);
    return head->logits;
}

uint64_t wf_head_bytes(const wf_head *head) { return atomic_load_explicit(&head->bytes_read, memory_order_relaxed); }
