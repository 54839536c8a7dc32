/*
 * residual_mass.h: what is known of the tokens whose logits were not computed.
 */
#ifndef WF_RESIDUAL_MASS_H
#define WF_RESIDUAL_MASS_H

/* A weight, or a sum of some, is off by less than this part: for the rounding of the exponential's argument and its own. */
#define WF_WEIGHT_ERROR 1e-4

/* 1 / temperature; bounded, so that the smallest temperatures do not make the likeliest token's 0 · ∞. */
static inline float wf_inverse_temperature(float temperature) {
    const float inverse = 1.0f / temperature;
    return inverse < 1e30f ? inverse : 1e30f;
}

/* What the tokens weigh that were left out of a product with the head. All zero when none was. */
typedef struct wf_residual_mass {
    float below; /* each of their logits is less than this */
    /* Bounds of Σ exp((logit − below) / temperature) over them, with the exponential of the kernels; the upper one is above 0. */
    double lower_bound, upper_bound;
} wf_residual_mass;

#endif
