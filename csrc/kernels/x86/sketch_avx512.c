/*
 * sketch_avx512.c: products with the head's sketch, with AVX-512.
 *
 * Bytes of weights are taken apart into even and odd ones of 16 bits, as wf_wide_index has arranged the activations; vpdpwssd
 * multiplies 32 of them and adds pairs into 32-bit lanes. One token is bound by memory, several by unpacking and products:
 * unpacking a row serves four.
 */
#include "kernels/x86/sketch_avx512.h"

/* One row by `count` tokens (constants at each call, as `is_fine` is; at most 4): unpacking the row once serves all of them. */
ALWAYS_INLINE void sketch_row(const wf_sketch_rows *rows, uint32_t row_count, uint32_t row, bool is_fine,
                              const wf_wide_activations *x, uint32_t token, uint32_t count, float *out, size_t out_stride) {
    /* The first tokens bring in the rows for the others. A row that comes alone was picked out of many. */
    const size_t ahead = token == 0 ? ahead_of(row_count) : 0;
    const bool is_far = wf_asks_far_ahead;
    const uint8_t *coarse = rows->coarse + (size_t)row * rows->blocks * WF_COARSE_BYTES;
    const uint8_t *fine = is_fine ? rows->fine + (size_t)row * rows->blocks * WF_FINE_BYTES : NULL;
    const int16_t *values = x->values + token * x->stride;
    __m512i even[4], odd[4];
    for (uint32_t t = 0; t < count; t++)
        even[t] = odd[t] = _mm512_setzero_si512();
    for (uint32_t block = 0; block < rows->blocks; block++, coarse += WF_COARSE_BYTES, values += WF_BLOCK_WEIGHTS) {
        /* Every line once: 96 bytes are one and a half. */
        for (uint32_t line = 0; line < 1 + block % 2; line++)
            ask_for(coarse + ahead + 64 * line, is_far);
        __m512i halves[2];
        unpack_sketch(coarse, is_fine ? fine + block * WF_FINE_BYTES : NULL, is_fine, halves);
        for (uint32_t half = 0; half < 2; half++) {
            const __m512i low = _mm512_and_si512(halves[half], _mm512_set1_epi16(0xff));
            const __m512i high = _mm512_srli_epi16(halves[half], 8);
            for (uint32_t t = 0; t < count; t++) {
                const int16_t *at = values + t * x->stride + half * 64;
                even[t] = _mm512_dpwssd_epi32(even[t], low, _mm512_loadu_si512(at));
                odd[t] = _mm512_dpwssd_epi32(odd[t], high, _mm512_loadu_si512(at + 32));
            }
        }
    }
    for (uint32_t t = 0; t < count; t++) {
        const uint32_t sum = (uint32_t)sum_of_integers(_mm512_add_epi32(even[t], odd[t]));
        out[(token + t) * out_stride + row] = wf_sketched_product(rows, row, x, token + t, sum);
    }
}

#include "kernels/sketched.h"

void wf_sketch_avx512(wf_kernels *kernels) { kernels->sketch_matmul = sketch_matmul; }
