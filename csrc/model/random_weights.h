/*
 * random_weights.h: weights for a model that was never trained, so that a machine can be measured at a model's size
 * before the model is there.
 *
 * What is measured must not depend on chance: the numbers are the same on every machine and in every run, and their
 * sizes are such that a token's activations stay near 1 through any number of layers.
 */
#ifndef WF_RANDOM_WEIGHTS_H
#define WF_RANDOM_WEIGHTS_H

#include <stdint.h>

typedef struct wf_random_weights wf_random_weights;

/* A source of weights at the beginning of its sequence. `zeros` is the share of gates that are not to be positive; half of them are not
 * anyhow. NULL when memory is lacking. */
wf_random_weights *wf_random_create(double zeros);

/* NULL is allowed. */
void wf_random_destroy(wf_random_weights *random);

/* Fills rows[outputs][wf_packed_row_bytes(inputs)] with codes 0, 1 and 2 in equal parts; those past the inputs too,
 * which no kernel's result depends on. Returns the weight scale at which activations near 1 give products near 1. */
float wf_random_ternary(wf_random_weights *random, uint8_t *rows, uint64_t outputs, uint32_t inputs);

/* Likewise rows whose weights are scaled by groups, with such scales: rows[outputs], whole panels, as grouped_input.h has them. */
void wf_random_groups(wf_random_weights *random, uint8_t *rows, uint64_t outputs, uint32_t inputs, uint32_t group);

/* Takes all weights from as many of rows[outputs][row_bytes] of a gate projection as the source's share of zeros demands. */
void wf_random_silence(wf_random_weights *random, uint8_t *rows, uint64_t outputs, uint64_t row_bytes);

/* Fills values[count] with bf16 numbers around 0, bell-shaped, of a standard deviation of 0.02. */
void wf_random_bf16(wf_random_weights *random, uint16_t *values, uint64_t count);

#endif
