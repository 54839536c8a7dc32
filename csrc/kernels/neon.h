/*
 * neon.h: kernels for arm64, written once and compiled twice: for every arm64 processor (neon.c), and for those with the dot product
 * instructions, which is nearly all since 2018 (neon_dotprod.c). The file that includes this defines WF_TIER, the table's name, and
 * WF_TIER_NAME; the compiler's __ARM_FEATURE_DOTPROD says which instructions there are.
 *
 * Ternary products. Two loads of 16 bytes bring 128 codes; a shift and a mask give 32 of them as bytes. sdot multiplies 16 by 16
 * activations and adds fours into 32-bit lanes. Without it smull and smlal add products of at most 2 · 128 in 16 bits; a block brings a
 * lane 16 of them, so it may take 7 blocks before it is widened (7 · 16 · 256 < 2^15).
 */
#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Vectors of four floats in WF_LANES lanes. */
#define VECTORS (WF_LANES / 4)

/* Adds four lanes in halves. */
static inline float sum_of_four(float32x4_t lanes) {
    const float32x2_t two = vadd_f32(vget_low_f32(lanes), vget_high_f32(lanes));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* Adds WF_LANES lanes in halves. */
static inline float sum_of_lanes(const float32x4_t lanes[VECTORS]) {
    float32x4_t sums[VECTORS];
    memcpy(sums, lanes, sizeof sums);
    for (uint32_t half = VECTORS / 2; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            sums[j] = vaddq_f32(sums[j], sums[j + half]);
    return sum_of_four(sums[0]);
}

/* The first `count` (at most 4) of four floats; zeros for the others. Reads no further. */
static inline float32x4_t load_some(const float *x, uint32_t count) {
    float four[4] = {0};
    memcpy(four, x, (count < 4 ? count : 4) * sizeof *x);
    return vld1q_f32(four);
}

static inline void store_some(float *out, float32x4_t value, uint32_t count) {
    float four[4];
    vst1q_f32(four, value);
    memcpy(out, four, (count < 4 ? count : 4) * sizeof *out);
}

/* scalar.c's exponential, four at a time. */
static inline float32x4_t exponential(float32x4_t x) {
    x = vmaxq_f32(vdupq_n_f32(WF_EXP_LOW), x);
    x = vminq_f32(vdupq_n_f32(WF_EXP_HIGH), x);
    const float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(WF_EXP_LOG2E)));
    float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-WF_EXP_LN2_HIGH));
    r = vfmaq_f32(r, n, vdupq_n_f32(-WF_EXP_LN2_LOW));
    float32x4_t p = vdupq_n_f32(WF_EXP_P0);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P1), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P2), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P3), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P4), p, r);
    p = vfmaq_f32(vdupq_n_f32(WF_EXP_P5), p, r);
    p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(p, vreinterpretq_f32_s32(power));
}

static void rms_norm(const float *x, const float *weight, uint32_t count, float epsilon, float *out) {
    float32x4_t lanes[VECTORS];
    for (uint32_t part = 0; part < VECTORS; part++)
        lanes[part] = vdupq_n_f32(0);
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = e + 4 <= count ? vld1q_f32(x + e) : load_some(x + e, count - e);
        lanes[e / 4 % VECTORS] = vfmaq_f32(lanes[e / 4 % VECTORS], value, value);
    }
    const float mean = sum_of_lanes(lanes) / (float)count;
    const float inverse = 1.0f / sqrtf(mean + epsilon);
    for (uint32_t e = 0; e < count; e++)
        out[e] = x[e] * inverse * weight[e];
}

static void quantize(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum) {
    float32x4_t most = vdupq_n_f32(1e-5f);
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = e + 4 <= count ? vld1q_f32(x + e) : load_some(x + e, count - e);
        most = vmaxnmq_f32(vabsq_f32(value), most);
    }
    const float largest = vmaxvq_f32(most);
    const float scale = 127.0f / largest;
    int32_t total = 0;
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = e + 4 <= count ? vld1q_f32(x + e) : load_some(x + e, count - e);
        /* The conversion rounds half to even; the saturating narrowings are the clamp. */
        const int32x4_t integers = vcvtnq_s32_f32(vmulq_n_f32(value, scale));
        const int16x4_t words = vqmovn_s32(integers);
        const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
        const uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
        memcpy(values + e, &four, count - e < 4 ? count - e : 4);
        total += vaddlv_s16(vget_low_s16(vmovl_s8(bytes)));
    }
    memset(values + count, 0, padded - count);
    *inverse_scale = largest / 127.0f;
    *sum = total;
}

#if defined(__ARM_FEATURE_DOTPROD)

/* A sum of products of bytes; how often it may grow is not limited. */
typedef int32x4_t byte_sum;

static inline byte_sum no_sum(void) { return vdupq_n_s32(0); }

static inline byte_sum add_products(byte_sum sum, int8x16_t a, int8x16_t b) { return vdotq_s32(sum, a, b); }

static inline int32x4_t widened(byte_sum sum) { return sum; }

#define BLOCKS_BEFORE_WIDENING SIZE_MAX

#else

typedef int16x8_t byte_sum;

static inline byte_sum no_sum(void) { return vdupq_n_s16(0); }

static inline byte_sum add_products(byte_sum sum, int8x16_t a, int8x16_t b) {
    return vmlal_s8(vmlal_s8(sum, vget_low_s8(a), vget_low_s8(b)), vget_high_s8(a), vget_high_s8(b));
}

static inline int32x4_t widened(byte_sum sum) { return vpaddlq_s16(sum); }

#define BLOCKS_BEFORE_WIDENING ((size_t)7)

#endif

ALWAYS_INLINE int8x16_t quarter_of(uint8x16_t codes, uint32_t quarter) {
    const uint8x16_t shifted = vshlq_u8(codes, vdupq_n_s8((int8_t)(-2 * (int)quarter)));
    return vreinterpretq_s8_u8(vandq_u8(shifted, vdupq_n_u8(3)));
}

/* `row_count` rows by `count` tokens (both constants at each call; at most 2 by 4). */
ALWAYS_INLINE void tile(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                        uint32_t count, float *out, size_t out_stride) {
    const int8_t *values = x->values + token * x->stride;
    int32x4_t wide[2][4];
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t t = 0; t < count; t++)
            wide[row][t] = vdupq_n_s32(0);
    const size_t blocks = row_bytes / WF_BLOCK_BYTES;
    for (size_t block = 0; block < blocks;) {
        const size_t end = blocks - block > BLOCKS_BEFORE_WIDENING ? block + BLOCKS_BEFORE_WIDENING : blocks;
        byte_sum narrow[2][4];
        for (uint32_t row = 0; row < row_count; row++)
            for (uint32_t t = 0; t < count; t++)
                narrow[row][t] = no_sum();
        for (; block < end; block++)
            for (uint32_t half = 0; half < WF_BLOCK_BYTES; half += 16) {
                uint8x16_t codes[2];
                for (uint32_t row = 0; row < row_count; row++)
                    codes[row] = vld1q_u8(rows + row * row_bytes + block * WF_BLOCK_BYTES + half);
                for (uint32_t quarter = 0; quarter < 4; quarter++) {
                    int8x16_t weights[2];
                    for (uint32_t row = 0; row < row_count; row++)
                        weights[row] = quarter_of(codes[row], quarter);
                    for (uint32_t t = 0; t < count; t++) {
                        const int8x16_t value =
                            vld1q_s8(values + t * x->stride + block * WF_BLOCK_WEIGHTS + quarter * WF_BLOCK_BYTES + half);
                        for (uint32_t row = 0; row < row_count; row++)
                            narrow[row][t] = add_products(narrow[row][t], weights[row], value);
                    }
                }
            }
        for (uint32_t row = 0; row < row_count; row++)
            for (uint32_t t = 0; t < count; t++)
                wide[row][t] = vaddq_s32(wide[row][t], widened(narrow[row][t]));
    }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t row = 0; row < row_count; row++)
            out[(token + t) * out_stride + row] = (float)(vaddvq_s32(wide[row][t]) - x->sums[token + t]) * x->factors[token + t];
}

ALWAYS_INLINE void batch_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                              uint32_t count, float *out, size_t out_stride) {
    uint32_t row = 0;
    for (; row + 2 <= row_count; row += 2)
        tile(rows + row * row_bytes, row_bytes, 2, x, token, count, out + row, out_stride);
    if (row < row_count)
        tile(rows + row * row_bytes, row_bytes, 1, x, token, count, out + row, out_stride);
}

/* Bound by memory: one row after the other, as one stream. */
ALWAYS_INLINE void decode_rows(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, uint32_t token,
                               float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++)
        tile(rows + row * row_bytes, row_bytes, 1, x, token, 1, out + row, out_stride);
}

#include "ternary.h"

static void ternary_columns(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums) {
    for (uint32_t first = 0; first < count; first += WF_COLUMNS_TOGETHER) {
        wf_columns_step step;
        wf_begin_columns_step(&step, columns, column_bytes, indices, values, count, first);
        for (size_t byte = 0; byte < column_bytes; byte += 16) {
            int16x8_t low[4], high[4];
            for (uint32_t quarter = 0; quarter < 4; quarter++)
                low[quarter] = high[quarter] = vdupq_n_s16(0);
            for (uint32_t i = 0; i < WF_COLUMNS_TOGETHER; i++) {
                const uint8x16_t codes = vld1q_u8(step.columns[i] + byte);
                const int8x8_t factor = vdup_n_s8(step.values[i]);
                for (uint32_t quarter = 0; quarter < 4; quarter++) {
                    const int8x16_t weights = quarter_of(codes, quarter);
                    low[quarter] = vmlal_s8(low[quarter], vget_low_s8(weights), factor);
                    high[quarter] = vmlal_s8(high[quarter], vget_high_s8(weights), factor);
                }
            }
            int32_t *out = sums + byte / WF_BLOCK_BYTES * WF_BLOCK_WEIGHTS + byte % WF_BLOCK_BYTES;
            for (uint32_t quarter = 0; quarter < 4; quarter++, out += WF_BLOCK_BYTES) {
                vst1q_s32(out, vaddw_s16(vld1q_s32(out), vget_low_s16(low[quarter])));
                vst1q_s32(out + 4, vaddw_s16(vld1q_s32(out + 4), vget_high_s16(low[quarter])));
                vst1q_s32(out + 8, vaddw_s16(vld1q_s32(out + 8), vget_low_s16(high[quarter])));
                vst1q_s32(out + 12, vaddw_s16(vld1q_s32(out + 12), vget_high_s16(high[quarter])));
            }
        }
    }
}

static inline float32x4_t load_bf16(const uint16_t *weights, uint32_t count) {
    uint16_t four[4] = {0};
    if (count < 4)
        memcpy(four, weights, count * sizeof *weights);
    const uint16x4_t halves = count < 4 ? vld1_u16(four) : vld1_u16(weights);
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

static void bf16_matmul(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride) {
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t token = 0; token < tokens; token++) {
            const uint16_t *weights = rows + (size_t)row * count;
            const float *values = x + token * x_stride;
            float32x4_t lanes[VECTORS];
            for (uint32_t part = 0; part < VECTORS; part++)
                lanes[part] = vdupq_n_f32(0);
            uint32_t e = 0;
            for (; e + WF_LANES <= count; e += WF_LANES)
                for (uint32_t part = 0; part < VECTORS; part++)
                    lanes[part] = vfmaq_f32(lanes[part], load_bf16(weights + e + 4 * part, 4), vld1q_f32(values + e + 4 * part));
            for (uint32_t part = 0; e < count; e += 4, part++)
                lanes[part] = vfmaq_f32(lanes[part], load_bf16(weights + e, count - e), load_some(values + e, count - e));
            out[token * out_stride + row] = sum_of_lanes(lanes);
        }
}

/* Half of each quarter of a block's weights: six bits, or eight. */
static inline __attribute__((always_inline)) void unpack_sketch(const uint8_t *coarse, const uint8_t *fine, bool is_fine,
                                                                uint8x16_t quarters[4]) {
    const uint8x16_t first = vld1q_u8(coarse), second = vld1q_u8(coarse + 32), third = vld1q_u8(coarse + 64);
    const uint8x16_t six = vdupq_n_u8(63), two = vdupq_n_u8(3);
    quarters[0] = vandq_u8(first, six);
    quarters[1] = vandq_u8(second, six);
    quarters[2] = vandq_u8(third, six);
    quarters[3] =
        vorrq_u8(vshrq_n_u8(first, 6), vorrq_u8(vshlq_n_u8(vshrq_n_u8(second, 6), 2), vshlq_n_u8(vshrq_n_u8(third, 6), 4)));
    if (!is_fine)
        return;
    const uint8x16_t lower = vld1q_u8(fine);
    quarters[0] = vorrq_u8(vshlq_n_u8(quarters[0], 2), vandq_u8(lower, two));
    quarters[1] = vorrq_u8(vshlq_n_u8(quarters[1], 2), vandq_u8(vshrq_n_u8(lower, 2), two));
    quarters[2] = vorrq_u8(vshlq_n_u8(quarters[2], 2), vandq_u8(vshrq_n_u8(lower, 4), two));
    quarters[3] = vorrq_u8(vshlq_n_u8(quarters[3], 2), vshrq_n_u8(lower, 6));
}

/* One row by `count` tokens (constants at each call, as `is_fine` is; at most 4): unpacking the row once serves all of them. */
static inline __attribute__((always_inline)) void sketch_row(const wf_sketch_rows *rows, uint32_t row_count, uint32_t row,
                                                             bool is_fine, const wf_wide_activations *x, uint32_t token,
                                                             uint32_t count, float *out, size_t out_stride) {
    (void)row_count;
    int32x4_t sums[4][2];
    for (uint32_t t = 0; t < count; t++)
        sums[t][0] = sums[t][1] = vdupq_n_s32(0);
    for (uint32_t half = 0; half < 2 * rows->blocks; half++) {
        const size_t block = (size_t)row * rows->blocks + half / 2, offset = half % 2 * 16;
        const int16_t *values = x->values + token * x->stride + half / 2 * WF_BLOCK_WEIGHTS + half % 2 * 8;
        uint8x16_t quarters[4];
        unpack_sketch(rows->coarse + block * WF_COARSE_BYTES + offset, is_fine ? rows->fine + block * WF_FINE_BYTES + offset : NULL,
                      is_fine, quarters);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const uint16x8_t pairs = vreinterpretq_u16_u8(quarters[quarter]);
            const int16x8_t even = vreinterpretq_s16_u16(vandq_u16(pairs, vdupq_n_u16(0xff)));
            const int16x8_t odd = vreinterpretq_s16_u16(vshrq_n_u16(pairs, 8));
            for (uint32_t t = 0; t < count; t++) {
                const int16_t *at = values + t * x->stride + quarter / 2 * 64 + quarter % 2 * 16;
                const int16x8_t first = vld1q_s16(at), second = vld1q_s16(at + 32);
                sums[t][0] = vmlal_s16(sums[t][0], vget_low_s16(even), vget_low_s16(first));
                sums[t][1] = vmlal_high_s16(sums[t][1], even, first);
                sums[t][0] = vmlal_s16(sums[t][0], vget_low_s16(odd), vget_low_s16(second));
                sums[t][1] = vmlal_high_s16(sums[t][1], odd, second);
            }
        }
    }
    for (uint32_t t = 0; t < count; t++) {
        /* Unsigned, because it may go around. */
        const uint32x4_t all = vaddq_u32(vreinterpretq_u32_s32(sums[t][0]), vreinterpretq_u32_s32(sums[t][1]));
        out[(token + t) * out_stride + row] = wf_sketched_product(rows, row, x, token + t, vaddvq_u32(all));
    }
}

#include "sketched.h"

static void exponentials(const float *x, uint32_t count, float offset, float scale, float *out) {
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = vsubq_f32(load_some(x + e, count - e), vdupq_n_f32(offset));
        store_some(out + e, exponential(vmulq_n_f32(value, scale)), count - e);
    }
}

static void gate_relu_squared(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e++) {
        const float positive = gate[e] > 0.0f ? gate[e] : 0.0f;
        gate[e] = positive * positive * up[e];
    }
}

static void gate_silu(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = load_some(gate + e, count - e);
        const float32x4_t divisor = vaddq_f32(vdupq_n_f32(1.0f), exponential(vnegq_f32(value)));
        store_some(gate + e, vmulq_f32(vdivq_f32(value, divisor), load_some(up + e, count - e)), count - e);
    }
}

/* Four keys or values as they are stored; `kind` is a constant at each call. */
ALWAYS_INLINE float32x4_t load_elements(const void *elements, enum wf_kv_kind kind, size_t index) {
    if (kind == WF_KV_F32)
        return vld1q_f32((const float *)elements + index);
    if (kind == WF_KV_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)elements + index)));
    int32_t four;
    memcpy(&four, (const int8_t *)elements + index, sizeof four);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}

/* One query head's running softmax over the blocks. */
typedef struct running {
    float largest, total;
} running;

/* Adds one block to one query head of one token. */
ALWAYS_INLINE void attend_block(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t start,
                                uint32_t positions, running *state, float *sums) {
    const void *keys = wf_in_block(input, input->keys, start), *values = wf_in_block(input, input->values, start);
    const float *key_scales = wf_in_block(input, input->key_scales, start);
    const float *value_scales = wf_in_block(input, input->value_scales, start);
    const uint32_t visible = positions - start < WF_KV_BLOCK ? positions - start : WF_KV_BLOCK;

    float32x4_t scores[VECTORS];
    for (uint32_t part = 0; part < VECTORS; part++)
        scores[part] = vdupq_n_f32(0);
    for (uint32_t d = 0; d < input->head_dim; d++)
        for (uint32_t part = 0; part < VECTORS; part++)
            scores[part] = vfmaq_n_f32(scores[part], load_elements(keys, kind, d * WF_KV_BLOCK + 4 * part), query[d]);

    float weights[WF_KV_BLOCK], largest = state->largest;
    for (uint32_t part = 0; part < VECTORS; part++)
        vst1q_f32(weights + 4 * part, scores[part]);
    for (uint32_t t = 0; t < visible; t++) {
        weights[t] *= kind == WF_KV_Q8 ? key_scales[t] * input->scale : input->scale;
        largest = weights[t] > largest ? weights[t] : largest;
    }
    const float rescale = start == input->start ? 0.0f : vgetq_lane_f32(exponential(vdupq_n_f32(state->largest - largest)), 0);
    for (uint32_t part = 0; part < VECTORS; part++) {
        const float32x4_t weight = exponential(vsubq_f32(vld1q_f32(weights + 4 * part), vdupq_n_f32(largest)));
        vst1q_f32(weights + 4 * part, weight);
    }
    for (uint32_t t = visible; t < WF_KV_BLOCK; t++)
        weights[t] = 0.0f;
    for (uint32_t part = 0; part < VECTORS; part++)
        scores[part] = vld1q_f32(weights + 4 * part);
    state->total = fmaf(state->total, rescale, sum_of_lanes(scores));
    state->largest = largest;
    for (uint32_t t = 0; t < visible && kind == WF_KV_Q8; t++)
        weights[t] *= value_scales[t];

    for (uint32_t d = 0; d < input->value_stride; d += 16) {
        float32x4_t sum[4];
        for (uint32_t part = 0; part < 4; part++)
            sum[part] = vmulq_n_f32(vld1q_f32(sums + d + 4 * part), rescale);
        for (uint32_t t = 0; t < visible; t++)
            for (uint32_t part = 0; part < 4; part++)
                sum[part] =
                    vfmaq_n_f32(sum[part], load_elements(values, kind, (size_t)t * input->value_stride + d + 4 * part), weights[t]);
        for (uint32_t part = 0; part < 4; part++)
            vst1q_f32(sums + d + 4 * part, sum[part]);
    }
}

ALWAYS_INLINE void attend_group(const wf_attention *input, enum wf_kv_kind kind, const float *query, uint32_t count, uint32_t start,
                                uint32_t positions, wf_lines_ahead *ahead, running *states, float *sums) {
    (void)ahead; /* not measured yet on such a processor */
    for (uint32_t head = 0; head < count; head++)
        attend_block(input, kind, query + (size_t)head * input->head_dim, start, positions, states + head,
                     sums + (size_t)head * input->value_stride);
}

#include "attend.h"

static uint64_t multiply_add_peak(uint64_t rounds) {
    /* Sixteen independent chains; the empty asm makes each value another one, as far as the compiler knows. */
    int8x16_t weight = vdupq_n_s8(2), value = vdupq_n_s8(-3);
    byte_sum sums[16];
    for (uint32_t i = 0; i < 16; i++)
        sums[i] = no_sum();
    for (uint64_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < 16; i++) {
            sums[i] = add_products(sums[i], weight, value);
            __asm__("" : "+w"(sums[i]));
        }
    for (uint32_t i = 0; i < 16; i++)
        __asm__ volatile("" : : "w"(sums[i]));
    return rounds * 16 * 16;
}

const wf_kernels WF_TIER = {
    .name = WF_TIER_NAME,
    .rows_together = 8,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .ternary_matmul = ternary_matmul,
    .ternary_columns = ternary_columns,
    .bf16_matmul = bf16_matmul,
    .sketch_matmul = sketch_matmul,
    .exponentials = exponentials,
    .gate_relu_squared = gate_relu_squared,
    .gate_silu = gate_silu,
    .attend = attend,
    .multiply_add_peak = multiply_add_peak,
};
