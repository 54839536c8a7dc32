/*
 * half.h: IEEE half precision numbers, for weights that come in them and for keys and values that are kept in them.
 */
#ifndef WF_HALF_H
#define WF_HALF_H

#include <stdint.h>
#include <string.h>

/* The exponent of infinities and NaNs. */
#define WF_HALF_EXPONENT 0x7C00U

/* The largest finite half. */
#define WF_HALF_MAX 65504.0F

static inline float wf_float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t wf_bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A half as float, exactly: subnormals, infinities and NaN included. Branch-free so that a loop over it vectorises. */
static inline float wf_float_of_half(uint32_t half) {
    const uint32_t sign = (half & 0x8000U) << 16;
    const uint32_t exponent = half & WF_HALF_EXPONENT;
    const uint32_t magnitude = (half & 0x7FFFU) << 13;
    /* The exponents' biases differ by 112, for infinities by twice that. */
    const uint32_t normal = magnitude + (exponent == WF_HALF_EXPONENT ? 224U << 23 : 112U << 23);
    /* A subnormal m is m * 2^-24: put m below a leading one at 2^-14, then take that one off (exact, and no float
     * subnormals). */
    const uint32_t smallest = 113U << 23;
    const uint32_t subnormal = wf_bits_of_float(wf_float_of_bits(smallest | magnitude) - wf_float_of_bits(smallest));
    return wf_float_of_bits(sign | (exponent == 0 ? subnormal : normal));
}

/* A float as the nearest half, ties to even; what is larger than the largest becomes that, NaN stays one. */
static inline uint16_t wf_half_of_float(float value) {
    const uint32_t bits = wf_bits_of_float(value), sign = bits >> 16 & 0x8000U;
    uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U)
        return (uint16_t)(sign | 0x7E00U);
    if (magnitude > wf_bits_of_float(WF_HALF_MAX))
        magnitude = wf_bits_of_float(WF_HALF_MAX);
    /* Below 2^-14 a half is a multiple of 2^-24, which is what the last bit of a float from 0.5 to 1 stands for. */
    if (magnitude < 113U << 23)
        return (uint16_t)(sign | (wf_bits_of_float(wf_float_of_bits(magnitude) + 0.5F) - wf_bits_of_float(0.5F)));
    return (uint16_t)(sign | (magnitude + 0xFFFU + (magnitude >> 13 & 1U) - (112U << 23)) >> 13);
}

#endif
