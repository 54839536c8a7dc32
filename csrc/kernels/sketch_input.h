/*
 * sketch_input.h: what the kernels of the head's sketch take: rows of weights in six bits and two more, activations in 16 bits.
 */
#ifndef WF_SKETCH_INPUT_H
#define WF_SKETCH_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_input.h"

/* Rows of the head's sketch: 8 bits a weight in two parts. A block's coarse part has the upper six bits: byte i those of weight
 * i, and above them two bits of the weight that is 96 + i % 32 (byte i's, 32 + i's and 64 + i's, from the lowest on). Its fine
 * part has the lower two, as packed ternary codes lie: byte i those of the weights i, 32 + i, 64 + i and 96 + i. */
#define WF_COARSE_BYTES 96U
#define WF_FINE_BYTES 32U

typedef struct wf_sketch_rows {
    const uint8_t *coarse; /* [rows][blocks][WF_COARSE_BYTES] */
    const uint8_t *fine;   /* [rows][blocks][WF_FINE_BYTES]; NULL where the coarse part does */
    const float *scales;   /* [rows] */
    uint32_t blocks;       /* of WF_BLOCK_WEIGHTS weights, in a row */
} wf_sketch_rows;

/* Activations of one or several tokens in 16 bits, for a product with the sketch's rows. */
typedef struct wf_wide_activations {
    const int16_t *values; /* [tokens][stride], each where wf_wide_index says, and zero past the inputs; 32-byte aligned */
    size_t stride;         /* elements from one token to the next: the inputs rounded up to WF_BLOCK_WEIGHTS */
    /* The same as wf_kernels.arrange_wide leaves them; looked at where the tier has that function. */
    const uint8_t *arranged;
    const int32_t *sums;  /* [tokens] sum of a token's values */
    const float *factors; /* [tokens] turns an integer sum, times the row's scale, into the product's value */
    uint32_t tokens;
} wf_wide_activations;

/* Tokens whose wide activations are arranged together, and the bytes that those of a batch take then, for inputs rounded up to
 * WF_BLOCK_WEIGHTS. */
#define WF_WIDE_TOKENS 16U
static inline size_t wf_wide_arranged_bytes(uint32_t tokens, size_t padded) {
    return (tokens + WF_WIDE_TOKENS - 1) / WF_WIDE_TOKENS * (WF_WIDE_TOKENS * padded * sizeof(int16_t));
}

/* Where the activation of an input lies: of each 64 first those with even numbers, then those with odd ones, because these are the
 * lower and upper bytes of 16-bit words of weights. */
static inline size_t wf_wide_index(size_t input) { return input / 64 * 64 + input % 2 * 32 + input % 64 / 2; }

/* The product of a row of the sketch and a token, from Σ bits · value, which may have gone around in 32 bits. Eight bits u stand
 * for u − 128. Six bits c, without the lower two, are taken for the middle of what those can make of them, 4 c − 126.5. */
static inline float wf_sketched_product(const wf_sketch_rows *rows, uint32_t row, const wf_wide_activations *x, uint32_t token,
                                        uint32_t sum) {
    const int32_t sum_of_values = x->sums[token];
    const uint32_t values = (uint32_t)sum_of_values;
    const float product = rows->fine != NULL ? (float)(int32_t)(sum - 128 * values)
                                             : (float)(int32_t)(4 * sum - 126 * values) - 0.5f * (float)sum_of_values;
    return product * (rows->scales[row] * x->factors[token]);
}

#endif
