/*
 * ffn.h: the feed-forward part of a layer: down(activation(gate(x)) ⊙ up(x)), and the zeros in it that need no weights.
 */
#ifndef WF_FFN_H
#define WF_FFN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "layers/norm.h"
#include "model/model.h"

/* The most tokens of a batch for which zeros are skipped: with more, hardly a weight is needed by none of them. */
#define WF_SKIPPING_TOKENS 4U

typedef struct wf_ffn wf_ffn;

/* Buffers for the batches that `inputs` are of, up to `max_rows` rows. Model, pool and inputs must outlive it. NULL without memory. */
wf_ffn *wf_ffn_create(const wf_model *model, wf_pool *pool, wf_quantised *inputs, uint32_t max_rows);

/* NULL is allowed. */
void wf_ffn_destroy(wf_ffn *ffn);

/* Whether zeros can be skipped in a model. */
bool wf_ffn_may_skip_zeros(const wf_config *config);

/* Memory to skip zeros with, as wf_forward_skip_zeros has it. Returns 0, or -1 with `error`. */
int wf_ffn_skip_zeros(wf_ffn *ffn, char *error, uint32_t error_size);

/* Makes the copy of weights that skipping zeros takes, on any thread and with a pool of that thread's own; zeros are skipped from the first
 * batch that finds it complete. It ends early when `stopping` becomes true. */
void wf_ffn_fill(wf_ffn *ffn, wf_pool *pool, const atomic_bool *stopping);

/* Gives back the memory of the model's file that small batches don't need as long as zeros are skipped. */
void wf_ffn_release(const wf_ffn *ffn);

/* Begins a batch. */
void wf_ffn_begin(wf_ffn *ffn);

/* hidden[rows][hidden] += the FFN of layer number `index` of it after the layer's norm, for the inputs' rows; product[rows][hidden] is
 * scratch. In a layer with a norm after its FFN nothing is added, and product is what the FFN gives. */
void wf_ffn_run(wf_ffn *ffn, uint32_t index, float *hidden, float *product);

/* What skipping has brought since the beginning. */
typedef struct wf_zeros {
    uint64_t inputs;        /* of down projections, where zeros were looked for */
    uint64_t zeros;         /* among those */
    uint64_t skipped_bytes; /* of weights that were not read */
} wf_zeros;

wf_zeros wf_ffn_zeros(const wf_ffn *ffn);

#endif
