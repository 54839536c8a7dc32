/*
 * rest.h: what is known of the tokens whose logits were not computed.
 */
#ifndef WF_REST_H
#define WF_REST_H

/* All zero when no token was left out. */
typedef struct wf_rest {
    float below; /* each of their logits is less than this */
    double least,
        most; /* bounds of Σ exp((logit − below) / temperature) over them, with the exponential of the kernels; most is above 0 */
} wf_rest;

#endif
