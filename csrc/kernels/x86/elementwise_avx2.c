/*
 * elementwise_avx2.c: norms, quantising, exponentials and gates with AVX2.
 *
 * Eight elements at a time; masked loads and stores take what is left. Vectors are a token's, in the first- or second-level cache:
 * loads and stores bound what has no exponential, multiply-adds what has.
 */
#include <math.h>

#include "kernels/x86/avx2.h"

static void rms_norm(const float *x, const float *weight, uint32_t count, uint32_t mean_of, float epsilon, float *out) {
    __m256 lanes[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    uint32_t e = 0;
    for (; e + WF_LANES <= count; e += WF_LANES)
        for (uint32_t part = 0; part < 4; part++) {
            const __m256 value = _mm256_loadu_ps(x + e + 8 * part);
            lanes[part] = _mm256_fmadd_ps(value, value, lanes[part]);
        }
    for (uint32_t part = 0; e < count; e += 8, part++) {
        const __m256 value = _mm256_maskload_ps(x + e, lanes_below(count - e));
        lanes[part] = _mm256_fmadd_ps(value, value, lanes[part]);
    }
    const float mean = sum_of_lanes(lanes) / (float)mean_of;
    const float inverse = 1.0f / sqrtf(mean + epsilon);
    const __m256 factor = _mm256_set1_ps(inverse);
    for (e = 0; e + 8 <= count; e += 8)
        _mm256_storeu_ps(out + e, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + e), factor), _mm256_loadu_ps(weight + e)));
    for (; e < count; e++)
        out[e] = x[e] * inverse * weight[e];
}

/* max(floor, |x[0]|, …, |x[count − 1]|) */
static inline float largest_magnitude(const float *x, uint32_t count, float floor) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_set1_ps(floor);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256 value = _mm256_maskload_ps(x + e, lanes_below(count - e < 8 ? count - e : 8));
        most = _mm256_max_ps(_mm256_and_ps(value, magnitude), most);
    }
    return largest_of_eight(most);
}

static void quantize(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum) {
    const float largest = largest_magnitude(x, count, 1e-5f);
    const float scale = 127.0f / largest;
    const __m256 factor = _mm256_set1_ps(scale);
    __m256i total = _mm256_setzero_si256();
    uint32_t e = 0;
    for (; e + 16 <= count; e += 16) {
        /* vcvtps2dq rounds half to even; the saturating packs are the clamp. */
        const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + e), factor));
        const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + e + 8), factor));
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(values + e), bytes);
        total = _mm256_add_epi32(total, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    }
    int32_t rest = 0;
    for (; e < count; e++) {
        values[e] = (int8_t)_mm_cvtss_si32(_mm_set_ss(x[e] * scale));
        rest += values[e];
    }
    memset(values + count, 0, padded - count);
    *inverse_scale = largest / 127.0f;
    *sum = sum_of_integers(total) + rest;
}

static void exponentials(const float *x, uint32_t count, float offset, float scale, float *out) {
    const __m256 offsets = _mm256_set1_ps(offset), scales = _mm256_set1_ps(scale);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 value = _mm256_maskload_ps(x + e, mask);
        _mm256_maskstore_ps(out + e, mask, exponential(_mm256_mul_ps(_mm256_sub_ps(value, offsets), scales)));
    }
}

static void gate_relu_squared(float *gate, const float *up, uint32_t count) {
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 positive = _mm256_max_ps(_mm256_maskload_ps(gate + e, mask), _mm256_setzero_ps());
        const __m256 square = _mm256_mul_ps(positive, positive);
        _mm256_maskstore_ps(gate + e, mask, _mm256_mul_ps(square, _mm256_maskload_ps(up + e, mask)));
    }
}

static void gate_silu(float *gate, const float *up, uint32_t count) {
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 value = _mm256_maskload_ps(gate + e, mask);
        const __m256 divisor = _mm256_add_ps(one, exponential(_mm256_xor_ps(value, sign)));
        _mm256_maskstore_ps(gate + e, mask, _mm256_mul_ps(_mm256_div_ps(value, divisor), _mm256_maskload_ps(up + e, mask)));
    }
}

static void gate_gelu(float *gate, const float *up, uint32_t count) {
    const __m256 one = _mm256_set1_ps(1.0f), cubic = _mm256_set1_ps(WF_GELU_CUBIC), steepness = _mm256_set1_ps(WF_GELU_SLOPE);
    for (uint32_t e = 0; e < count; e += 8) {
        const __m256i mask = lanes_below(count - e < 8 ? count - e : 8);
        const __m256 value = _mm256_maskload_ps(gate + e, mask);
        const __m256 slope = _mm256_mul_ps(_mm256_fmadd_ps(_mm256_mul_ps(value, value), cubic, one), steepness);
        const __m256 divisor = _mm256_add_ps(one, exponential(_mm256_mul_ps(value, slope)));
        _mm256_maskstore_ps(gate + e, mask, _mm256_mul_ps(_mm256_div_ps(value, divisor), _mm256_maskload_ps(up + e, mask)));
    }
}

void wf_elementwise_avx2(wf_kernels *kernels) {
    kernels->rms_norm = rms_norm;
    kernels->quantize = quantize;
    kernels->exponentials = exponentials;
    kernels->gate_relu_squared = gate_relu_squared;
    kernels->gate_silu = gate_silu;
    kernels->gate_gelu = gate_gelu;
}
