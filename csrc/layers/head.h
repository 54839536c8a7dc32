/*
 * head.h: from hidden states to logits: the last norm and the product with the head, all of it or only what a request needs.
 */
#ifndef WF_HEAD_H
#define WF_HEAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "layers/screen.h"
#include "model/model.h"

typedef struct wf_head wf_head;

/* Buffers for the logits of up to `max_logits` rows. The model and pool must outlive it. NULL with `error` when memory is lacking. */
wf_head *wf_head_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, uint32_t max_logits, char *error,
                        uint32_t error_size);

void wf_head_destroy(wf_head *head);

/* Whether a model's head can be screened: a ternary one is smaller than its sketch would be. */
bool wf_head_may_screen(const wf_config *config);

/* Memory to screen the head with. Returns 0, or -1 with `error`. */
int wf_head_screen(wf_head *head, char *error, uint32_t error_size);

/* Whether a request came that would be screened if more of the sketch was made. */
bool wf_head_wants(const wf_head *head);

/* Makes what is wanted of the head's sketch if there is memory for it, on any thread and with a pool of that thread's own; wf_head_logits
 * screens the head where it may from then on. It ends early when `stopping` becomes true. */
void wf_head_fill(wf_head *head, wf_pool *pool, const atomic_bool *stopping);

/* The logits of the rows of hidden[…][hidden size] that `count` requests name: [count][vocabulary], the caller's to change until the
 * next call. */
float *wf_head_logits(wf_head *head, const float *hidden, const wf_logits_request *requests, uint32_t count);

/* Bytes that were read since the beginning: of the head's rows and of its sketch. */
uint64_t wf_head_bytes(const wf_head *head);

/* Gives back the memory of the model's file that only requests which aren't screened need. */
void wf_head_release(const wf_head *head);

#endif
