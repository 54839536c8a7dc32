/*
 * logprobs.h: log-probabilities of the model's own distribution.
 */
#ifndef WF_LOGPROBS_H
#define WF_LOGPROBS_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "wrinklefree.h"

/* The distribution at one place, as far as a request asked for it. */
typedef struct wf_distribution {
    float offset; /* log-probability = logit − offset */
    uint32_t top_count;
    uint32_t top_ids[WF_TOP_LOGPROBS_MAX]; /* [top_count] the likeliest first; of equals the lowest id */
    float top_logprobs[WF_TOP_LOGPROBS_MAX];
} wf_distribution;

/* Describes logits[vocabulary] with `top` alternatives. weights[vocabulary] is scratch. */
void wf_describe(const wf_kernels *kernels, const float *logits, uint32_t vocabulary, uint32_t top, float *weights,
                 wf_distribution *distribution);

#endif
