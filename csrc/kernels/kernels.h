/*
 * kernels.h: the table of functions that do nearly all of the arithmetic. Every tier (tiers.h) has one.
 *
 * scalar.c is the specification. Every other file must give the same bits for every input, which is possible because each
 * function here fixes the order of its floating-point operations in terms that suit any vector width:
 *   - sums over a row run in WF_LANES independent lanes: element e goes to lane e % WF_LANES with a fused multiply-add, and the
 *     lanes are then added in halves (lane j to lane j + 16, then + 8, + 4, + 2, + 1);
 *   - sums over groups of inputs run one group after the other, each added with a fused multiply-add;
 *   - sums over positions run one position after the other;
 *   - exponentials are one polynomial with a fixed sequence of fused operations (exponential.h).
 * So a result does not depend on the processor, the number of threads, the batch or how a prompt was cut into chunks.
 */
#ifndef WF_KERNELS_H
#define WF_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/attention_input.h"
#include "kernels/grouped_input.h"
#include "kernels/sketch_input.h"
#include "kernels/ternary_input.h"

/* Lanes of a row sum: two 16-float vectors with AVX-512, four of eight with AVX2, eight of four with NEON. */
#define WF_LANES 32

typedef struct wf_kernels {
    const char *name; /* of the tier */

    /* ---- Ternary products ---- */

    /* Rows that products work through together: slices of a matrix are best a multiple of it. */
    uint32_t rows_together;

    /* Puts the activations of `count` tokens, at most WF_ARRANGED_TOKENS of a batch of `batch` tokens, in the order in which
     * this tier's ternary_matmul reads those of such a batch: values[count][stride], of which `padded` bytes are the inputs', to
     * the tile's WF_ARRANGED_TOKENS * wf_arranged_bytes(padded) bytes, 64-byte aligned. NULL where it reads them as they are. */
    void (*arrange)(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded, int8_t *arranged);

    /* out[token][row] = (Σ code · value − sum of values) * factor, for `row_count` packed rows of `row_bytes` bytes. out's
     * tokens are out_stride elements apart. Codes are 0 to 2; a 3, which only a damaged file holds, gives some number and no
     * fault. */
    void (*ternary_matmul)(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, float *out,
                           size_t out_stride);

    /* sums[output] += Σ code · value over the `count` columns that indices[count] lists, for one token's values[count] of them;
     * a column is column_bytes bytes of packed codes (whole blocks, as a row is), one for each of the column_bytes * 4 outputs. */
    void (*ternary_columns)(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums);

    /* As `arrange` for ternary_matmul, for ternary_groups_matmul, which reads one token's values as they are in any case. */
    void (*arrange_groups)(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded, int8_t *arranged);

    /* out[token][row] = Σ over groups (Σ code · value − sum of the group's values) * (weight scale * activation scale), for
     * `row_count` rows: a group's integer is exact, becomes a float, is multiplied by the product of the scales and added, fused, one
     * group after the other. */
    void (*ternary_groups_matmul)(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, float *out,
                                  size_t out_stride);

    /* Multiplies and adds 8-bit numbers as ternary_matmul does, but with all of them in registers or the first-level cache:
     * `rounds` times a fixed number of multiply-adds. Returns how many that were. It bounds ternary_matmul from above and
     * computes nothing. */
    uint64_t (*multiply_add_peak)(uint64_t rounds);

    /* The same of floats, as attend does them. */
    uint64_t (*float_multiply_add_peak)(uint64_t rounds);

    /* ---- Dense products, the sketch, attention ---- */

    /* out[token][row] = row · x[token] for `row_count` rows of bf16 weights [count]. x's tokens are x_stride elements apart. */
    void (*bf16_matmul)(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride);

    /* Puts the wide activations of a batch of `tokens` in the order in which this tier's sketch_matmul reads those of such a batch:
     * values[tokens][stride] to wf_wide_arranged_bytes(tokens, stride) bytes, 64-byte aligned. NULL where it reads them as they are. */
    void (*arrange_wide)(const int16_t *values, size_t stride, uint32_t tokens, uint8_t *arranged);

    /* out[token][row] = (Σ weight · value) * (scale * factor) for `row_count` of the sketch's rows. The values are such that no
     * sum is beyond 32 bits: |value| * 128 * inputs < 2^31. */
    void (*sketch_matmul)(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, float *out,
                          size_t out_stride);

    /* The softmax over a chunk's positions, block by block with a running maximum: softmaxes[rows][group], and
     * sums[rows][group][value_stride] = Σ exp(score − largest) · value, 64-byte aligned. score = query · key * scale. The scales
     * Positions before a token's window count as seen with a weight of zero, in blocks of which it sees a part; others are left out. The scales
     * of WF_KV_Q8 are applied to scores (times `scale`, first) and to softmax weights, not to the elements. */
    void (*attend)(const wf_attention *input, float *sums, wf_softmax *softmaxes);

    /* ---- Elementwise ---- */

    /* out = weight * (x * 1 / sqrt(Σx² / mean_of + epsilon)); all [count]. mean_of is count, or more where zeros were left out of x. */
    void (*rms_norm)(const float *x, const float *weight, uint32_t count, uint32_t mean_of, float epsilon, float *out);

    /* BitLinear's activations: s = 127 / max(max|x|, 1e-5); values = clamp(round_half_even(x * s), -128, 127), then
     * zeros up to `padded`. Gives 1 / s as max(max|x|, 1e-5) / 127, and the sum of the values. */
    void (*quantize)(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum);

    /* out = exp((x − offset) * scale), elementwise [count]; x may be out. */
    void (*exponentials)(const float *x, uint32_t count, float offset, float scale, float *out);

    /* gate = max(gate, 0)² * up, elementwise [count]. */
    void (*gate_relu_squared)(float *gate, const float *up, uint32_t count);

    /* gate = gate / (1 + exp(−gate)) * up, elementwise [count]. */
    void (*gate_silu)(float *gate, const float *up, uint32_t count);

    /* gate = gate / (1 + exp(gate * (gate² * WF_GELU_CUBIC + 1) * WF_GELU_SLOPE)) * up, elementwise [count]: GELU's approximation with
     * tanh. The addition is fused. */
    void (*gate_gelu)(float *gate, const float *up, uint32_t count);
} wf_kernels;

/* The specification. */
extern const wf_kernels wf_kernels_scalar;

#endif
