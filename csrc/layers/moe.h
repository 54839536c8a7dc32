/*
 * moe.h: the feed-forward part of a layer with experts: each token's share of a few of them.
 */
#ifndef WF_MOE_H
#define WF_MOE_H

#include <stdint.h>

#include "base/threads.h"
#include "layers/norm.h"
#include "model/model.h"

typedef struct wf_moe wf_moe;

/* gate[count] = activation(gate) * up, as the model's FFN has it. */
typedef void wf_activate(const void *context, float *gate, float *up, uint32_t count);

/* Buffers for batches of up to `max_rows` rows. The model and pool must outlive it. NULL without memory. */
wf_moe *wf_moe_create(const wf_model *model, const wf_kernels *kernels, wf_pool *pool, uint32_t max_rows);

/* NULL is allowed. */
void wf_moe_destroy(wf_moe *moe);

/* out[rows][hidden] = what the experts of layer number `index` give for the rows of `inputs`, whose floats are in inputs->normed: each
 * token's experts, chosen by the router, times their shares, added in pairs in the order of their numbers. */
void wf_moe_run(wf_moe *moe, uint32_t index, const wf_quantised *inputs, wf_activate *activate, const void *context, float *out);

#endif
