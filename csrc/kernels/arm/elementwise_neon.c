/*
 * elementwise_neon.c: norms, quantising, exponentials and gates with NEON.
 *
 * Four elements at a time, what is left through a copy. Vectors are a token's, in the first- or second-level cache: loads and
 * stores bound what has no exponential, multiply-adds what has.
 */
#include <math.h>

#include "kernels/arm/neon.h"

static void rms_norm(const float *x, const float *weight, uint32_t count, uint32_t mean_of, float epsilon, float *out) {
    float32x4_t lanes[VECTORS];
    for (uint32_t part = 0; part < VECTORS; part++)
        lanes[part] = vdupq_n_f32(0);
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = e + 4 <= count ? vld1q_f32(x + e) : load_some(x + e, count - e);
        lanes[e / 4 % VECTORS] = vfmaq_f32(lanes[e / 4 % VECTORS], value, value);
    }
    const float mean = sum_of_lanes(lanes) / (float)mean_of;
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

static void gate_gelu(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e += 4) {
        const float32x4_t value = load_some(gate + e, count - e);
        const float32x4_t square = vmulq_f32(value, value);
        const float32x4_t slope =
            vmulq_f32(vfmaq_f32(vdupq_n_f32(1.0f), square, vdupq_n_f32(WF_GELU_CUBIC)), vdupq_n_f32(WF_GELU_SLOPE));
        const float32x4_t divisor = vaddq_f32(vdupq_n_f32(1.0f), exponential(vmulq_f32(value, slope)));
        store_some(gate + e, vmulq_f32(vdivq_f32(value, divisor), load_some(up + e, count - e)), count - e);
    }
}

void wf_elementwise_neon(wf_kernels *kernels) {
    kernels->rms_norm = rms_norm;
    kernels->quantize = quantize;
    kernels->exponentials = exponentials;
    kernels->gate_relu_squared = gate_relu_squared;
    kernels->gate_silu = gate_silu;
    kernels->gate_gelu = gate_gelu;
}
