/*
 * exponential.h: the polynomial that every tier computes exponentials with, in the order of scalar.c.
 */
#ifndef WF_EXPONENTIAL_H
#define WF_EXPONENTIAL_H

/* exp(x) = 2^n * p(r), n = round(x / ln 2), r = x − n ln 2, with ln 2 in two parts (Cody and Waite) and p the
 * Cephes library's minimax polynomial for expf. Inputs are clamped to [WF_EXP_LOW, WF_EXP_HIGH], so that the result is normal. */
#define WF_EXP_LOW (-87.0f)
#define WF_EXP_HIGH 88.0f
#define WF_EXP_LOG2E 1.44269504088896341f
#define WF_EXP_LN2_HIGH 0.693359375f
#define WF_EXP_LN2_LOW (-2.12194440e-4f)
#define WF_EXP_P0 1.9875691500e-4f
#define WF_EXP_P1 1.3981999507e-3f
#define WF_EXP_P2 8.3334519073e-3f
#define WF_EXP_P3 4.1665795894e-2f
#define WF_EXP_P4 1.6666665459e-1f
#define WF_EXP_P5 5.0000001201e-1f

/* GELU's approximation: x / (1 + exp(−2 √(2/π) (x + 0.044715 x³))). */
#define WF_GELU_CUBIC 0.044715f
#define WF_GELU_SLOPE (-1.5957691216057308f)

#endif
