/*
 * head.c: the last norm, and the product with all of the head or, where its sketch will do, with few of its rows.
 */
#include "layers/head.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/aligned_memory.h"
#include "base/error.h"

struct wf_head {
    const wf_model *model;
    const wf_kernels *kernels;
    wf_pool *pool;
    uint32_t max_logits;
    float *normed; /* [max_logits][hidden] */
    float *logits; /* [max_logits][vocabulary] */
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
    wf_screen_destroy(&head->screen);
    free(head->normed);
    free(head->logits);
    free(head);
}

int wf_head_screen(wf_head *head, char *error, uint32_t error_size) {
    return wf_screen_create(&head->screen, head->model, head->kernels, head->max_logits, error, error_size);
}

void wf_head_fill(wf_head *head, wf_pool *pool, const atomic_bool *stopping) { wf_screen_fill(&head->screen, pool, stopping); }

static void normalise(void *context, uint32_t i) {
    const struct head_job *job = context;
    wf_head *head = job->head;
    const wf_config *config = &head->model->config;
    float *normed = head->normed + (size_t)i * config->hidden;
    head->kernels->rms_norm(job->hidden + (size_t)job->requests[i].row * config->hidden, head->model->final_norm, config->hidden,
                            config->hidden, config->rms_norm_eps, normed);
    if (job->has_screen)
        wf_screen_note(&head->screen, i, normed);
}

/* The logits of one slice of the vocabulary. */
static void multiply(void *context, uint32_t slice) {
    const struct head_job *job = context;
    const wf_head *head = job->head;
    const wf_linear *linear = &head->model->head;
    const uint32_t first = slice * WF_TOKEN_SLICE, left = linear->outputs - first;
    const wf_inputs x = {.f32 = head->normed, .f32_stride = linear->inputs, .tokens = job->count};
    linear->multiply(linear, head->kernels, first, left < WF_TOKEN_SLICE ? left : WF_TOKEN_SLICE, &x, head->logits);
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
