/*
 * rest.h: what is known of the tokens whose logits were not computed.
 */
#ifndef WF_REST_H
#define WF_REST_H

/* A weight, or a sum of some, is off by less than this part: for the rounding of the exponential's argument and its own. */
#define WF_WEIGHT_ERROR 1e-4

/* 1 / temperature; bounded, so that the smallest temperatures do not make the likeliest token's 0 · ∞. */
static inline float wf_inverse_temperature(float temperature) {
    const float inverse = 1.0f / temperature;
    return inverse < 1e30f ? inverse : 1e30f;
}

/* All zero when no token was left out. */
typedef struct wf_rest {
    float below; /* each of their logits is less than this */
    double least,
        most; /* bounds of Σ exp((logit − below) / temperature) over them, with the exponential of the kernels; most is above 0 */
} wf_rest;

#endif
