/*
 * elementwise_avx512.c: norms, quantising, exponentials and gates with AVX-512.
 *
 * Sixteen elements at a time; a mask stands for the loop over what is left. Vectors are a token's, in the first- or second-level
 * cache: loads and stores bound what has no exponential, multiply-adds what has.
 */
#include <math.h>

#include "kernels/x86/avx512.h"

static void rms_norm(const float *x, const float *weight, uint32_t count, uint32_t mean_of, float epsilon, float *out) {
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    for (uint32_t e = 0; e < count; e += WF_LANES) {
        const uint32_t left = count - e;
        const __m512 first = _mm512_maskz_loadu_ps(lanes_below(left), x + e);
        low = _mm512_fmadd_ps(first, first, low);
        if (left > 16) {
            const __m512 second = _mm512_maskz_loadu_ps(lanes_below(left - 16), x + e + 16);
            high = _mm512_fmadd_ps(second, second, high);
        }
    }
    const float mean = sum_of_sixteen(_mm512_add_ps(low, high)) / (float)mean_of;
    const __m512 factor = _mm512_set1_ps(1.0f / sqrtf(mean + epsilon));
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + e), factor);
        _mm512_mask_storeu_ps(out + e, mask, _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + e)));
    }
}

static void quantize(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum) {
    __m512 most = _mm512_set1_ps(1e-5f);
    for (uint32_t e = 0; e < count; e += 16)
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes_below(count - e), x + e)), most);
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 factor = _mm512_set1_ps(127.0f / largest);
    __m512i total = _mm512_setzero_si512();
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        /* The conversion rounds half to even; the saturating narrowing is the clamp. */
        const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + e), factor));
        const __m128i bytes = _mm512_cvtsepi32_epi8(integers);
        _mm_mask_storeu_epi8(values + e, mask, bytes);
        total = _mm512_add_epi32(total, _mm512_cvtepi8_epi32(bytes));
    }
    memset(values + count, 0, padded - count);
    *inverse_scale = largest / 127.0f;
    *sum = sum_of_integers(total);
}

static void exponentials(const float *x, uint32_t count, float offset, float scale, float *out) {
    const __m512 offsets = _mm512_set1_ps(offset), scales = _mm512_set1_ps(scale);
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 value = _mm512_maskz_loadu_ps(mask, x + e);
        _mm512_mask_storeu_ps(out + e, mask, exponential(_mm512_mul_ps(_mm512_sub_ps(value, offsets), scales)));
    }
}

static void gate_relu_squared(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 positive = _mm512_max_ps(_mm512_maskz_loadu_ps(mask, gate + e), _mm512_setzero_ps());
        const __m512 square = _mm512_mul_ps(positive, positive);
        _mm512_mask_storeu_ps(gate + e, mask, _mm512_mul_ps(square, _mm512_maskz_loadu_ps(mask, up + e)));
    }
}

static void gate_silu(float *gate, const float *up, uint32_t count) {
    const __m512 sign = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f);
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 value = _mm512_maskz_loadu_ps(mask, gate + e);
        const __m512 divisor = _mm512_add_ps(one, exponential(_mm512_xor_ps(value, sign)));
        const __m512 gated = _mm512_mul_ps(_mm512_div_ps(value, divisor), _mm512_maskz_loadu_ps(mask, up + e));
        _mm512_mask_storeu_ps(gate + e, mask, gated);
    }
}

static void gate_gelu(float *gate, const float *up, uint32_t count) {
    const __m512 one = _mm512_set1_ps(1.0f), cubic = _mm512_set1_ps(WF_GELU_CUBIC), steepness = _mm512_set1_ps(WF_GELU_SLOPE);
    for (uint32_t e = 0; e < count; e += 16) {
        const __mmask16 mask = lanes_below(count - e);
        const __m512 value = _mm512_maskz_loadu_ps(mask, gate + e);
        const __m512 slope = _mm512_mul_ps(_mm512_fmadd_ps(_mm512_mul_ps(value, value), cubic, one), steepness);
        const __m512 divisor = _mm512_add_ps(one, exponential(_mm512_mul_ps(value, slope)));
        const __m512 gated = _mm512_mul_ps(_mm512_div_ps(value, divisor), _mm512_maskz_loadu_ps(mask, up + e));
        _mm512_mask_storeu_ps(gate + e, mask, gated);
    }
}

void wf_elementwise_avx512(wf_kernels *kernels) {
    kernels->rms_norm = rms_norm;
    kernels->quantize = quantize;
    kernels->exponentials = exponentials;
    kernels->gate_relu_squared = gate_relu_squared;
    kernels->gate_silu = gate_silu;
    kernels->gate_gelu = gate_gelu;
}
