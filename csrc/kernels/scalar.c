/*
 * scalar.c: the specification of every kernel, in plain C.
 *
 * Written to be read, not to be fast: one loop per line of mathematics, with the order of operations that kernels.h states.
 * Every other tier is compared with this file bit for bit.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/exponential.h"
#include "kernels/kernels.h"

/* Adds the lanes in halves: 32, 16, 8, 4, 2, 1. */
static float sum_of_lanes(float lanes[WF_LANES]) {
    for (uint32_t half = WF_LANES / 2; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    return lanes[0];
}

static float exponential(float x) {
    x = x < WF_EXP_LOW ? WF_EXP_LOW : x;
    x = x > WF_EXP_HIGH ? WF_EXP_HIGH : x;
    const float n = rintf(x * WF_EXP_LOG2E);
    float r = fmaf(n, -WF_EXP_LN2_HIGH, x);
    r = fmaf(n, -WF_EXP_LN2_LOW, r);
    float p = WF_EXP_P0;
    p = fmaf(p, r, WF_EXP_P1);
    p = fmaf(p, r, WF_EXP_P2);
    p = fmaf(p, r, WF_EXP_P3);
    p = fmaf(p, r, WF_EXP_P4);
    p = fmaf(p, r, WF_EXP_P5);
    p = fmaf(p, r * r, r) + 1.0f;
    const uint32_t bits = ((uint32_t)(int32_t)n + 127U) << 23; /* unsigned: a NaN's n is negative */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static void rms_norm(const float *x, const float *weight, uint32_t count, uint32_t mean_of, float epsilon, float *out) {
    float lanes[WF_LANES] = {0};
    for (uint32_t e = 0; e < count; e++)
        lanes[e % WF_LANES] = fmaf(x[e], x[e], lanes[e % WF_LANES]);
    const float mean = sum_of_lanes(lanes) / (float)mean_of;
    const float inverse = 1.0f / sqrtf(mean + epsilon);
    for (uint32_t e = 0; e < count; e++)
        out[e] = x[e] * inverse * weight[e];
}

static void quantize(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum) {
    float largest = 1e-5f;
    for (uint32_t e = 0; e < count; e++)
        largest = fabsf(x[e]) > largest ? fabsf(x[e]) : largest;
    const float scale = 127.0f / largest;
    int32_t total = 0;
    for (uint32_t e = 0; e < count; e++) {
        float rounded = rintf(x[e] * scale);
        rounded = rounded > -128.0f ? rounded : -128.0f;
        rounded = rounded < 127.0f ? rounded : 127.0f;
        values[e] = (int8_t)rounded;
        total += values[e];
    }
    memset(values + count, 0, padded - count);
    *inverse_scale = largest / 127.0f;
    *sum = total;
}

static void ternary_matmul(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, float *out,
                           size_t out_stride) {
    for (uint32_t token = 0; token < x->tokens; token++) {
        const int8_t *values = x->values + token * x->stride;
        for (uint32_t row = 0; row < row_count; row++) {
            const uint8_t *codes = rows + row * row_bytes;
            int32_t sum = 0;
            for (size_t byte = 0; byte < row_bytes; byte++) {
                const int8_t *block = values + byte / WF_BLOCK_BYTES * WF_BLOCK_WEIGHTS + byte % WF_BLOCK_BYTES;
                for (uint32_t quarter = 0; quarter < 4; quarter++)
                    sum += (codes[byte] >> 2 * quarter & 3) * block[WF_BLOCK_BYTES * quarter];
            }
            out[token * out_stride + row] = (float)(sum - x->sums[token]) * x->factors[token];
        }
    }
}

/* Σ code · value of one group of a row of a panel. */
static int32_t sum_of_group(const wf_grouped_rows *panel, uint32_t row, uint32_t index, const int8_t *values) {
    int32_t sum = 0;
    for (uint32_t input = index * panel->group; input < (index + 1) * panel->group; input++)
        sum += wf_panel_code(panel, row, input) * values[input];
    return sum;
}

static void ternary_groups_matmul(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, float *out,
                                  size_t out_stride) {
    const uint32_t groups = (uint32_t)(rows->code_bytes * 4 / rows->group);
    for (uint32_t token = 0; token < x->tokens; token++)
        for (uint32_t i = 0; i < row_count; i++) {
            const uint32_t row = i % WF_PANEL_ROWS;
            wf_grouped_rows panel = *rows;
            panel.panels += i / WF_PANEL_ROWS * wf_panel_bytes(rows);
            float total = 0.0f;
            for (uint32_t group = 0; group < groups; group++) {
                const size_t at = (size_t)token * rows->groups + group;
                const int32_t sum = sum_of_group(&panel, row, group, x->values + token * x->stride) - x->sums[at];
                const float scale = wf_float_of_half(wf_panel_scales(&panel, panel.panels, group)[row]);
                total = fmaf((float)sum, scale * x->scales[at], total);
            }
            out[token * out_stride + i] = total;
        }
}

static void ternary_columns(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums) {
    for (uint32_t i = 0; i < count; i++)
        for (size_t output = 0; output < column_bytes * 4; output++) {
            const size_t block = output / WF_BLOCK_WEIGHTS, quarter = output % WF_BLOCK_WEIGHTS / WF_BLOCK_BYTES;
            const uint8_t byte = columns[indices[i] * column_bytes + block * WF_BLOCK_BYTES + output % WF_BLOCK_BYTES];
            sums[output] += (byte >> 2 * quarter & 3) * values[i];
        }
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t token = 0; token < tokens; token++) {
        for (uint32_t row = 0; row < row_count; row++) {
            float lanes[WF_LANES] = {0};
            for (uint32_t e = 0; e < count; e++) {
                const uint32_t bits = (uint32_t)rows[(size_t)row * count + e] << 16;
                float weight;
                memcpy(&weight, &bits, sizeof weight);
                lanes[e % WF_LANES] = fmaf(weight, x[token * x_stride + e], lanes[e % WF_LANES]);
            }
            out[token * out_stride + row] = sum_of_lanes(lanes);
        }
    }
}

/* The eight bits of a weight, or the upper six. */
static uint32_t sketched_bits(const wf_sketch_rows *rows, uint32_t row, uint32_t weight) {
    const size_t block = (size_t)row * rows->blocks + weight / WF_BLOCK_WEIGHTS;
    const uint32_t i = weight % WF_BLOCK_WEIGHTS, byte = i % WF_FINE_BYTES, quarter = i / WF_FINE_BYTES;
    const uint8_t *coarse = rows->coarse + block * WF_COARSE_BYTES;
    const uint32_t upper = i < WF_COARSE_BYTES ? coarse[i] & 63U
                                               : (uint32_t)coarse[byte] >> 6U | (uint32_t)coarse[byte + 32] >> 6U << 2U |
                                                     (uint32_t)coarse[byte + 64] >> 6U << 4U;
    if (rows->fine == NULL)
        return upper;
    return upper << 2U | (rows->fine[block * WF_FINE_BYTES + byte] >> 2U * quarter & 3U);
}

static void sketch_matmul(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, float *out,
                          size_t out_stride) {
    for (uint32_t token = 0; token < x->tokens; token++)
        for (uint32_t row = 0; row < row_count; row++) {
            const int16_t *values = x->values + token * x->stride;
            uint32_t sum = 0;
            for (uint32_t weight = 0; weight < rows->blocks * WF_BLOCK_WEIGHTS; weight++)
                sum += sketched_bits(rows, row, weight) * (uint32_t)values[wf_wide_index(weight)];
            out[token * out_stride + row] = wf_sketched_product(rows, row, x, token, sum);
        }
}

static void exponentials(const float *x, uint32_t count, float offset, float scale, float *out) {
    for (uint32_t e = 0; e < count; e++)
        out[e] = exponential((x[e] - offset) * scale);
}

static void gate_relu_squared(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e++) {
        const float positive = gate[e] > 0.0f ? gate[e] : 0.0f;
        gate[e] = positive * positive * up[e];
    }
}

static void gate_silu(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e++)
        gate[e] = gate[e] / (1.0f + exponential(-gate[e])) * up[e];
}

static void gate_gelu(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e++) {
        const float x = gate[e], slope = fmaf(x * x, WF_GELU_CUBIC, 1.0f) * WF_GELU_SLOPE;
        gate[e] = x / (1.0f + exponential(x * slope)) * up[e];
    }
}

/* A key or value as it is stored. */
static float element(const void *elements, enum wf_kv_kind kind, size_t index) {
    switch (kind) {
    case WF_KV_F16:
        return wf_float_of_half(((const uint16_t *)elements)[index]);
    case WF_KV_Q8:
        return (float)((const int8_t *)elements)[index];
    default:
        return ((const float *)elements)[index];
    }
}

static void attend_head(const wf_attention *input, uint32_t row, uint32_t head, float *sums, wf_softmax *softmax) {
    const uint32_t head_dim = input->head_dim;
    const enum wf_kv_kind kind = input->kind;
    const float *query = input->query + row * input->row_stride + (size_t)head * head_dim;
    const uint32_t positions = input->positions + row, chunk_end = input->start + WF_KV_CHUNK;
    const uint32_t end = positions < chunk_end ? positions : chunk_end, first_seen = wf_first_seen(input, row);
    *softmax = (wf_softmax){-INFINITY, 0.0f};
    memset(sums, 0, input->value_stride * sizeof *sums);

    for (uint32_t start = input->start; start < end; start += WF_KV_BLOCK) {
        if (first_seen >= start + WF_KV_BLOCK)
            continue;
        const uint32_t from = first_seen > start ? first_seen - start : 0;
        const void *keys = wf_in_block(input, input->keys, start), *values = wf_in_block(input, input->values, start);
        const float *key_scales = wf_in_block(input, input->key_scales, start);
        const float *value_scales = wf_in_block(input, input->value_scales, start);
        const uint32_t visible = end - start < WF_KV_BLOCK ? end - start : WF_KV_BLOCK;

        float scores[WF_KV_BLOCK] = {0};
        for (uint32_t d = 0; d < head_dim; d++)
            for (uint32_t t = 0; t < WF_KV_BLOCK; t++)
                scores[t] = fmaf(query[d], element(keys, kind, d * WF_KV_BLOCK + t), scores[t]);

        float maximum = softmax->largest;
        for (uint32_t t = from; t < visible; t++) {
            scores[t] *= kind == WF_KV_Q8 ? key_scales[t] * input->scale : input->scale;
            maximum = scores[t] > maximum ? scores[t] : maximum;
        }
        /* The first block has nothing to rescale, and exp(−∞ − maximum) must not be formed. */
        const float rescale = start == input->start ? 0.0f : exponential(softmax->largest - maximum);
        float weights[WF_LANES] = {0};
        for (uint32_t t = 0; t < visible; t++) {
            weights[t] = t < from ? 0.0f : exponential(scores[t] - maximum);
            scores[t] = kind == WF_KV_Q8 ? weights[t] * value_scales[t] : weights[t];
        }
        softmax->total = fmaf(softmax->total, rescale, sum_of_lanes(weights));
        softmax->largest = maximum;

        for (uint32_t d = 0; d < input->value_stride; d++) {
            float sum = sums[d] * rescale;
            for (uint32_t t = 0; t < visible; t++)
                sum = fmaf(scores[t], element(values, kind, (size_t)t * input->value_stride + d), sum);
            sums[d] = sum;
        }
    }
}

static void attend(const wf_attention *input, float *sums, wf_softmax *softmaxes) {
    for (uint32_t row = 0; row < input->rows; row++)
        for (uint32_t head = 0; head < input->group; head++) {
            const size_t index = (size_t)row * input->group + head;
            attend_head(input, row, head, sums + index * input->value_stride, &softmaxes[index]);
        }
}

static uint64_t multiply_add_peak(uint64_t rounds) {
    uint8_t codes[WF_BLOCK_WEIGHTS];
    int8_t values[WF_BLOCK_WEIGHTS];
    memset(codes, 2, sizeof codes);
    memset(values, -1, sizeof values);
    uint32_t sum = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        /* As far as the compiler knows the numbers are others in every round, and the sum is used. */
        __asm__ volatile("" : : "r"(codes), "r"(values) : "memory");
        for (uint32_t e = 0; e < WF_BLOCK_WEIGHTS; e++)
            sum += (uint32_t)(codes[e] * values[e]);
    }
    __asm__ volatile("" : : "r"(sum));
    return rounds * WF_BLOCK_WEIGHTS;
}

static uint64_t float_multiply_add_peak(uint64_t rounds) {
    float sums[8] = {0}, factor = 0.5f;
    for (uint64_t round = 0; round < rounds; round++) {
        __asm__ volatile("" : : "r"(&factor), "r"(sums) : "memory"); /* others in every round, as far as the compiler knows */
        for (uint32_t i = 0; i < 8; i++)
            sums[i] = fmaf(factor, factor, sums[i]);
    }
    __asm__ volatile("" : : "r"(sums) : "memory");
    return rounds * 8;
}

const wf_kernels wf_kernels_scalar = {
    .name = "scalar",
    .rows_together = 8,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .ternary_matmul = ternary_matmul,
    .ternary_groups_matmul = ternary_groups_matmul,
    .ternary_columns = ternary_columns,
    .bf16_matmul = bf16_matmul,
    .sketch_matmul = sketch_matmul,
    .exponentials = exponentials,
    .gate_relu_squared = gate_relu_squared,
    .gate_silu = gate_silu,
    .gate_gelu = gate_gelu,
    .attend = attend,
    .multiply_add_peak = multiply_add_peak,
    .float_multiply_add_peak = float_multiply_add_peak,
};
