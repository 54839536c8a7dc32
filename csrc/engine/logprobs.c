/*
 * logprobs.c: softmax in logarithms, and the likeliest few.
 */
#include "engine/logprobs.h"

#include <math.h>

void wf_describe(const wf_kernels *kernels, const float *logits, uint32_t vocabulary, uint32_t top, float *weights,
                 wf_distribution *distribution) {
    uint32_t best = 0;
    for (uint32_t token = 1; token < vocabulary; token++)
        if (logits[token] > logits[best])
            best = token;
    kernels->exponentials(logits, vocabulary, logits[best], 1.0f, weights);
    double sum = 0;
    for (uint32_t token = 0; token < vocabulary; token++)
        sum += (double)weights[token];
    const double offset = (double)logits[best] + log(sum);
    distribution->offset = (float)offset;

    /* Insertion into a list of `top`: nearly every token is below its end. */
    uint32_t count = 0;
    for (uint32_t token = 0; token < vocabulary && top > 0; token++) {
        if (count == top && !(logits[token] > logits[distribution->top_ids[count - 1]]))
            continue;
        uint32_t place = count < top ? count++ : top - 1;
        for (; place > 0 && logits[token] > logits[distribution->top_ids[place - 1]]; place--)
            distribution->top_ids[place] = distribution->top_ids[place - 1];
        distribution->top_ids[place] = token;
    }
    distribution->top_count = count;
    for (uint32_t i = 0; i < count; i++)
        distribution->top_logprobs[i] = (float)((double)logits[distribution->top_ids[i]] - offset);
}
