/*
 * plan.h: how an engine is laid out, before it is made.
 */
#ifndef WF_PLAN_H
#define WF_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "model/config.h"
#include "wrinklefree.h"

/* Memory for what is found out about grammars, shared out among the requests that run and the grammars that are kept. */
#define WF_GRAMMAR_BYTES ((size_t)256 << 20)

/* Checks the options of an engine for a model, and replaces each 0 that stands for what follows from the model. Returns 0, or -1 with `error`. */
int wf_check_engine_options(const wf_config *config, wf_engine_options *options, char *error, uint32_t error_size);

/* Rows of a batch at most: prompt tokens, and a token of every sequence. */
uint32_t wf_batch_rows(const wf_engine_options *options);

/* Blocks of the KV pool, of checked options: every sequence may leave its last block partly empty, so each gets one beside its share of the
 * tokens. */
uint32_t wf_pool_blocks(const wf_engine_options *options);

#endif
