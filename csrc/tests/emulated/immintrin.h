/*
 * immintrin.h: the vector instructions of x86-64 in portable C, for the test that runs every tier on every processor: the kernels include
 * this file instead of the compiler's where its directory comes first.
 *
 * SIMDe (Debian's libsimde-dev) has nearly all of them. Here are those that its version 0.7 lacks, and those that differ from what a
 * processor does: it rounds halves away from zero, it rounds between multiplying and adding, and its masked loads read every lane.
 * Instructions of a new kind, such as AMX's tiles, go into a file of their own beside this one, included at its end.
 */
#ifndef WF_EMULATED_IMMINTRIN_H
#define WF_EMULATED_IMMINTRIN_H

#define SIMDE_NO_NATIVE /* the same code whatever the compiler's flags are */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <math.h>
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#include <string.h>

typedef simde__mmask16 __mmask16;
typedef simde__mmask64 __mmask64;

#undef _MM_FROUND_NO_EXC
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC

/* ---- Forms that several instructions have, each with `count` lanes ---- */

/* Every lane of the result from the argument's, x. */
#define EMULATE_CONVERSION(name, result_vector, result_lane, vector, lane, count, expression)                                      \
    static inline result_vector emulated##name(vector a) {                                                                         \
        lane in[count];                                                                                                            \
        result_lane out[count];                                                                                                    \
        memcpy(in, &a, sizeof in);                                                                                                 \
        for (int i = 0; i < count; i++) {                                                                                          \
            const lane x = in[i];                                                                                                  \
            out[i] = expression;                                                                                                   \
        }                                                                                                                          \
        result_vector result;                                                                                                      \
        memcpy(&result, out, sizeof result);                                                                                       \
        return result;                                                                                                             \
    }

#define EMULATE_MULTIPLY_ADD(name, vector, count)                                                                                  \
    static inline vector emulated##name(vector a, vector b, vector c) {                                                            \
        float factors[count], values[count], sums[count];                                                                          \
        memcpy(factors, &a, sizeof factors);                                                                                       \
        memcpy(values, &b, sizeof values);                                                                                         \
        memcpy(sums, &c, sizeof sums);                                                                                             \
        for (int i = 0; i < count; i++)                                                                                            \
            sums[i] = fmaf(factors[i], values[i], sums[i]);                                                                        \
        memcpy(&c, sums, sizeof c);                                                                                                \
        return c;                                                                                                                  \
    }

/* Lanes that the mask leaves out are zero in a load. Their memory is neither read nor written: it may belong to nobody. */
#define EMULATE_MASKED_LOAD(name, vector, lane, count, mask_type)                                                                  \
    static inline vector emulated##name(mask_type mask, const void *from) {                                                        \
        lane lanes[count] = {0};                                                                                                   \
        for (int i = 0; i < count; i++)                                                                                            \
            if (mask >> i & 1)                                                                                                     \
                memcpy(&lanes[i], (const lane *)from + i, sizeof(lane));                                                           \
        vector result;                                                                                                             \
        memcpy(&result, lanes, sizeof result);                                                                                     \
        return result;                                                                                                             \
    }

#define EMULATE_MASKED_STORE(name, vector, lane, count, mask_type)                                                                 \
    static inline void emulated##name(void *to, mask_type mask, vector a) {                                                        \
        lane lanes[count];                                                                                                         \
        memcpy(lanes, &a, sizeof lanes);                                                                                           \
        for (int i = 0; i < count; i++)                                                                                            \
            if (mask >> i & 1)                                                                                                     \
                memcpy((lane *)to + i, &lanes[i], sizeof(lane));                                                                   \
    }

/* Rounding to the nearest integer, halves to the even one: the only one that kernels ask for. */
#define EMULATED_NEAREST(name, a, rounding)                                                                                        \
    __extension__({                                                                                                                \
        _Static_assert((rounding) == (SIMDE_MM_FROUND_TO_NEAREST_INT | SIMDE_MM_FROUND_NO_EXC), "this rounding is not emulated");  \
        emulated##name(a);                                                                                                         \
    })

/* ---- AVX2, FMA ---- */

EMULATE_CONVERSION(_mm256_round_ps, __m256, float, __m256, float, 8, rintf(x))
#undef _mm256_round_ps
#define _mm256_round_ps(a, rounding) EMULATED_NEAREST(_mm256_round_ps, a, rounding)

EMULATE_MULTIPLY_ADD(_mm256_fmadd_ps, __m256, 8)
#undef _mm256_fmadd_ps
#define _mm256_fmadd_ps(a, b, c) emulated_mm256_fmadd_ps(a, b, c)

EMULATE_MASKED_LOAD(_mm256_maskload_ps, __m256, float, 8, int)
#undef _mm256_maskload_ps
#define _mm256_maskload_ps(from, mask) emulated_mm256_maskload_ps(_mm256_movemask_ps(_mm256_castsi256_ps(mask)), from)

/* ---- AVX-VNNI: instructions of AVX-512 under names of their own ---- */

#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32(sum, a, b) _mm256_dpbusd_epi32(sum, a, b)
#undef _mm256_dpwssd_avx_epi32
#define _mm256_dpwssd_avx_epi32(sum, a, b) _mm256_dpwssd_epi32(sum, a, b)

/* ---- AVX-512 ---- */

EMULATE_CONVERSION(_mm512_roundscale_ps, __m512, float, __m512, float, 16, rintf(x))
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(a, rounding) EMULATED_NEAREST(_mm512_roundscale_ps, a, rounding)

EMULATE_MULTIPLY_ADD(_mm512_fmadd_ps, __m512, 16)
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps(a, b, c) emulated_mm512_fmadd_ps(a, b, c)

EMULATE_CONVERSION(_mm512_cvtepi32_ps, __m512, float, __m512i, int32_t, 16, (float)x)
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(a) emulated_mm512_cvtepi32_ps(a)

EMULATE_CONVERSION(_mm512_cvtepi8_epi32, __m512i, int32_t, __m128i, int8_t, 16, x)
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32(a) emulated_mm512_cvtepi8_epi32(a)

EMULATE_CONVERSION(_mm512_cvtepu16_epi32, __m512i, int32_t, __m256i, uint16_t, 16, x)
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(a) emulated_mm512_cvtepu16_epi32(a)

/* A number beyond 32 bits, or none, becomes the lowest one. */
EMULATE_CONVERSION(_mm512_cvtps_epi32, __m512i, int32_t, __m512, float, 16,
                   x >= -0x1p31f && x < 0x1p31f ? (int32_t)rintf(x) : INT32_MIN)
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(a) emulated_mm512_cvtps_epi32(a)

EMULATE_CONVERSION(_mm512_cvtph_ps, __m512, float, __m256i, uint16_t, 16, simde_float16_to_float32(simde_uint16_as_float16(x)))
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(a) emulated_mm512_cvtph_ps(a)

EMULATE_MASKED_LOAD(_mm512_maskz_loadu_ps, __m512, float, 16, __mmask16)
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, from) emulated_mm512_maskz_loadu_ps(mask, from)

EMULATE_MASKED_LOAD(_mm256_maskz_loadu_epi16, __m256i, uint16_t, 16, __mmask16)
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16(mask, from) emulated_mm256_maskz_loadu_epi16(mask, from)

EMULATE_MASKED_LOAD(_mm512_maskz_loadu_epi8, __m512i, uint8_t, 64, __mmask64)
#undef _mm512_maskz_loadu_epi8
#define _mm512_maskz_loadu_epi8(mask, from) emulated_mm512_maskz_loadu_epi8(mask, from)

EMULATE_MASKED_STORE(_mm512_mask_storeu_ps, __m512, float, 16, __mmask16)
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(to, mask, a) emulated_mm512_mask_storeu_ps(to, mask, a)

EMULATE_MASKED_STORE(_mm_mask_storeu_epi8, __m128i, uint8_t, 16, __mmask16)
#undef _mm_mask_storeu_epi8
#define _mm_mask_storeu_epi8(to, mask, a) emulated_mm_mask_storeu_epi8(to, mask, a)

static inline __m256 emulated_mm512_extractf32x8_ps(__m512 a, int half) {
    __m256 halves[2];
    memcpy(halves, &a, sizeof halves);
    return halves[half];
}
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, half) emulated_mm512_extractf32x8_ps(a, half)

static inline __m512i emulated_mm512_zextsi256_si512(__m256i a) {
    const __m256i halves[2] = {a, _mm256_setzero_si256()};
    __m512i result;
    memcpy(&result, halves, sizeof result);
    return result;
}
#undef _mm512_zextsi256_si512
#define _mm512_zextsi256_si512(a) emulated_mm512_zextsi256_si512(a)

static inline float emulated_mm512_cvtss_f32(__m512 a) {
    float first;
    memcpy(&first, &a, sizeof first);
    return first;
}
#undef _mm512_cvtss_f32
#define _mm512_cvtss_f32(a) emulated_mm512_cvtss_f32(a)

static inline float emulated_mm512_reduce_max_ps(__m512 a) {
    float lanes[16];
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 1; i < 16; i++)
        lanes[0] = lanes[0] > lanes[i] ? lanes[0] : lanes[i];
    return lanes[0];
}
#undef _mm512_reduce_max_ps
#define _mm512_reduce_max_ps(a) emulated_mm512_reduce_max_ps(a)

EMULATE_MASKED_LOAD(_mm512_maskz_loadu_epi32, __m512i, uint32_t, 16, __mmask16)
#undef _mm512_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi32(mask, from) emulated_mm512_maskz_loadu_epi32(mask, from)

EMULATE_MASKED_STORE(_mm512_mask_storeu_epi32, __m512i, uint32_t, 16, __mmask16)
#undef _mm512_mask_storeu_epi32
#define _mm512_mask_storeu_epi32(to, mask, a) emulated_mm512_mask_storeu_epi32(to, mask, a)

EMULATE_MASKED_STORE(_mm_mask_storeu_ps, __m128, float, 4, uint8_t)
#undef _mm_mask_storeu_ps
#define _mm_mask_storeu_ps(to, mask, a) emulated_mm_mask_storeu_ps(to, mask, a)

static inline __m512i emulated_mm512_srai_epi32(__m512i a, int count) {
    int32_t lanes[16];
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 0; i < 16; i++)
        lanes[i] >>= count;
    memcpy(&a, lanes, sizeof a);
    return a;
}
#undef _mm512_srai_epi32
#define _mm512_srai_epi32(a, count) emulated_mm512_srai_epi32(a, count)

/* ---- AMX ---- */

#include "tiles.h"

#endif
