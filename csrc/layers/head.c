/*
 * head.c: the last norm, and the product with all of the head or, where its sketch will do, with few of its rows.
 */
#include "layers/head.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "layers/norm.h"

struct wf_head {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    uint32_t max_logits;
    float *normed;      /* [max_logits][hidden] */
    float *logits;      /* [max_logits][vocabulary] */
    wf_quantised split; /* for a ternary head: [2 * max_logits] inputs in 15 bits, those of row i in two rows, 2i and 2i + 1 */
    wf_screen screen;
    _Atomic uint64_t bytes_read; /* of the model's head and of its sketch */
};

struct head_job {
    wf_head *head;
    const float *hidden;
    const wf_logits_request *requests; /* [count] */
    uint32_t count;
    bool has_screen; /* that is ready */
};

/* Requests whose logits of a slice are computed together where the head is ternary: they fill a tile of arranged activations. */
#define SPLIT_TOGETHER (WF_ARRANGED_TOKENS / 2)

/* What an input of 15 bits is made of: 128 times an integer of 8 bits and the rest. */
#define SPLIT_FACTOR 128
#define SPLIT_LARGEST (127 * SPLIT_FACTOR)

static bool is_ternary(const wf_head *head) { return head->model->head.layout == WF_LAYOUT_GROUPED; }

static bool create_split(wf_head *head, uint32_t max_logits) {
    const wf_linear *linear = &head->model->head;
    return !is_ternary(head) || wf_quantised_create(&head->split, head->kernels, head->model->config.rms_norm_eps, linear->group,
                                                    2 * max_logits, linear->inputs) == 0;
}

wf_head *wf_head_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, uint32_t max_logits, char *error,
                        uint32_t error_size) {
    wf_head *head = calloc(1, sizeof *head);
    if (head != NULL) {
        *head = (wf_head){.model = model, .kernels = kernels, .pool = pool, .max_logits = max_logits};
        head->normed = wf_allocate((size_t)max_logits * model->config.hidden, sizeof *head->normed);
        head->logits = wf_allocate((size_t)max_logits * model->config.vocabulary, sizeof *head->logits);
    }
    if (head == NULL || head->normed == NULL || head->logits == NULL || !create_split(head, max_logits)) {
        wf_head_destroy(head);
        wf_fail(error, error_size, "no memory for the logits of %u tokens", max_logits);
        return NULL;
    }
    return head;
}

void wf_head_destroy(wf_head *head) {
    if (head == NULL)
        return;
    wf_screen_destroy(&head->screen);
    wf_quantised_destroy(&head->split);
    free(head->normed);
    free(head->logits);
    free(head);
}

bool wf_head_may_screen(const wf_config *config) { return !config->ternary_head; }

int wf_head_screen(wf_head *head, char *error, uint32_t error_size) {
    if (!wf_head_may_screen(&head->model->config))
        return 0;
    return wf_screen_create(&head->screen, head->model, head->kernels, head->max_logits, error, error_size);
}

bool wf_head_wants(const wf_head *head) { return wf_screen_wants(&head->screen); }

void wf_head_fill(wf_head *head, wf_pool *pool, const atomic_bool *stopping) { wf_screen_fill(&head->screen, pool, stopping); }

/* A row's inputs in 15 bits, in two rows of 8: 8 bits alone would move the logits as much as all layers' roundings do. */
static void split(wf_quantised *inputs, uint32_t row, const float *x, uint32_t count) {
    const uint32_t groups = wf_padded_groups(count, inputs->group), together = wf_activations_together(inputs->group);
    int8_t *upper = inputs->values + (size_t)2 * row * inputs->stride, *lower = upper + inputs->stride;
    for (uint32_t first = 0; first < inputs->stride; first += together) {
        float largest = 1e-5f;
        for (uint32_t i = first; i < first + together && i < count; i++)
            largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        const float scale = SPLIT_LARGEST / largest;
        for (uint32_t i = first; i < first + together; i++) {
            float rounded = i < count ? rintf(x[i] * scale) : 0.0f;
            /* Only what is no number is beyond them. */
            rounded = rounded > -SPLIT_LARGEST ? rounded : -SPLIT_LARGEST;
            rounded = rounded < SPLIT_LARGEST ? rounded : SPLIT_LARGEST;
            const int32_t integer = (int32_t)rounded;
            upper[i] = (int8_t)((integer + SPLIT_LARGEST + SPLIT_FACTOR / 2) / SPLIT_FACTOR - 127);
            lower[i] = (int8_t)(integer - SPLIT_FACTOR * upper[i]);
        }
        for (uint32_t at = first; at < first + together; at += inputs->group) {
            int32_t sums[2] = {0, 0};
            for (uint32_t i = at; i < at + inputs->group; i++) {
                sums[0] += upper[i];
                sums[1] += lower[i];
            }
            wf_note_group(&inputs->groups, 2 * row, groups, at / inputs->group, sums[0], largest / 127);
            wf_note_group(&inputs->groups, 2 * row + 1, groups, at / inputs->group, sums[1], largest / SPLIT_LARGEST);
        }
    }
    for (uint32_t i = inputs->stride / inputs->group; i < groups; i++) {
        wf_note_group(&inputs->groups, 2 * row, groups, i, 0, 0.0f);
        wf_note_group(&inputs->groups, 2 * row + 1, groups, i, 0, 0.0f);
    }
    wf_arrange_complete_tile(inputs, 2 * row, count);
    wf_arrange_complete_tile(inputs, 2 * row + 1, count);
}

static void normalise(void *context, uint32_t i) {
    const struct head_job *job = context;
    wf_head *head = job->head;
    const wf_config *config = &head->model->config;
    float *normed = head->normed + (size_t)i * config->hidden;
    head->kernels->rms_norm(job->hidden + (size_t)job->requests[i].row * config->hidden, head->model->final_norm, config->hidden,
                            config->hidden, config->rms_norm_eps, normed);
    for (uint32_t e = 0; config->logit_divisor != 1.0f && e < config->hidden; e++)
        normed[e] /= config->logit_divisor;
    if (job->has_screen)
        wf_screen_note(&head->screen, i, normed);
    if (is_ternary(head))
        split(&head->split, i, normed, config->hidden);
}

/* The logits of one slice of the vocabulary, by a ternary head. */
static void multiply_ternary(const struct head_job *job, uint32_t first, uint32_t rows) {
    const wf_head *head = job->head;
    const wf_linear *linear = &head->model->head;
    float products[2 * SPLIT_TOGETHER][WF_TOKEN_SLICE];
    for (uint32_t request = 0; request < job->count; request += SPLIT_TOGETHER) {
        const uint32_t left = job->count - request, count = left < SPLIT_TOGETHER ? left : SPLIT_TOGETHER;
        wf_quantised_view view;
        const wf_inputs x = wf_quantised_inputs(&head->split, 2 * request, 2 * count, linear->inputs, NULL, &view);
        linear->multiply(linear, head->kernels, first, rows, &x, products[0], WF_TOKEN_SLICE);
        for (uint32_t i = 0; i < count; i++) {
            float *logits = head->logits + (size_t)(request + i) * linear->outputs + first;
            for (uint32_t row = 0; row < rows; row++)
                logits[row] = products[2 * i][row] + products[2 * i + 1][row];
        }
    }
}

/* The logits of one slice of the vocabulary. */
static void multiply(void *context, uint32_t slice) {
    const struct head_job *job = context;
    const wf_head *head = job->head;
    const wf_linear *linear = &head->model->head;
    const uint32_t first = slice * WF_TOKEN_SLICE, left = linear->outputs - first;
    const uint32_t rows = left < WF_TOKEN_SLICE ? left : WF_TOKEN_SLICE;
    if (is_ternary(head)) {
        multiply_ternary(job, first, rows);
        return;
    }
    const wf_inputs x = {.f32 = head->normed, .f32_stride = linear->inputs, .tokens = job->count};
    linear->multiply(linear, head->kernels, first, rows, &x, head->logits + first, linear->outputs);
}

float *wf_head_logits(wf_head *head, const float *hidden, const wf_logits_request *requests, uint32_t count) {
    struct head_job job = {
        .head = head,
        .hidden = hidden,
        .requests = requests,
        .count = count,
        .has_screen = atomic_load_explicit(&head->screen.is_ready, memory_order_acquire),
    };
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].residual != NULL)
            *requests[i].residual = (wf_residual_mass){0};
    head->split.count = 2 * count;
    wf_pool_run(head->pool, normalise, &job, count);
    const wf_screening work = {requests, head->normed, head->logits, count};
    uint64_t bytes_read;
    if (job.has_screen && wf_screen_serves(&head->screen, &work)) {
        bytes_read = wf_screen_run(&head->screen, head->pool, &work);
    } else {
        wf_pool_run(head->pool, multiply, &job, wf_token_slices(head->model->config.vocabulary));
        bytes_read = (uint64_t)head->model->config.vocabulary * head->model->head.row_bytes;
    }
    atomic_fetch_add_explicit(&head->bytes_read, bytes_read, memory_order_relaxed);
    return head->logits;
}

uint64_t wf_head_bytes(const wf_head *head) { return atomic_load_explicit(&head->bytes_read, memory_order_relaxed); }

void wf_head_release(const wf_head *head) {
    const wf_linear *rows = &head->model->head;
    if (atomic_load_explicit(&head->screen.is_ready, memory_order_relaxed))
        wf_mapping_release(&head->model->mapping, rows->rows, (uint64_t)rows->outputs * rows->row_bytes);
}
