/*
 * rope.c: turns queries and keys by angles that depend on their position.
 *
 * The angles are found anew for each batch, which takes a few microseconds; a table of them would be as long as a model says that its
 * context is.
 */
#include "layers/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/aligned_memory.h"

int wf_rope_create(wf_rope *rope, const wf_config *config, bool is_sliding, uint32_t context, uint32_t rows) {
    const uint32_t dimensions = config->rope_dimensions;
    const size_t half = dimensions / 2;
    const bool has_base = is_sliding && config->sliding_rope_theta > 0; /* of its own, and then nothing is stretched */
    const double theta = (double)(has_base ? config->sliding_rope_theta : config->rope_theta);
    const double *divisors = context > config->original_context ? config->rope_long_divisors : config->rope_divisors;
    *rope = (wf_rope){.head_dim = config->head_dim, .dimensions = dimensions};
    rope->magnitude = has_base ? 1.0f : config->rope_magnitude;
    rope->frequencies = wf_allocate(half, sizeof *rope->frequencies);
    rope->cosines = wf_allocate(rows * half, sizeof *rope->cosines);
    rope->sines = wf_allocate(rows * half, sizeof *rope->sines);
    if (!rope->frequencies || !rope->cosines || !rope->sines)
        return -1;
    for (size_t d = 0; d < half; d++)
        rope->frequencies[d] = pow(theta, -2.0 * (double)d / dimensions) / (has_base ? 1.0 : divisors[d]);
    return 0;
}

void wf_rope_destroy(wf_rope *rope) {
    free(rope->frequencies);
    free(rope->cosines);
    free(rope->sines);
    *rope = (wf_rope){0};
}

void wf_rope_place(wf_rope *rope, uint32_t row, uint32_t position) {
    const uint32_t half = rope->dimensions / 2;
    /* In double precision: at position 4000 a float's rounding of the angle would be visible. */
    for (uint32_t d = 0; d < half; d++) {
        rope->cosines[(size_t)row * half + d] = (float)cos(position * rope->frequencies[d]) * rope->magnitude;
        rope->sines[(size_t)row * half + d] = (float)sin(position * rope->frequencies[d]) * rope->magnitude;
    }
}

void wf_rope_rotate(const wf_rope *rope, uint32_t row, float *heads, uint32_t count) {
    const uint32_t half = rope->dimensions / 2;
    const float *cosines = rope->cosines + (size_t)row * half, *sines = rope->sines + (size_t)row * half;
    for (uint32_t head = 0; head < count; head++) {
        float *low = heads + (size_t)head * rope->head_dim, *high = low + half;
        for (uint32_t d = 0; d < half; d++) {
            const float a = low[d], b = high[d];
            low[d] = a * cosines[d] - b * sines[d];
            high[d] = b * cosines[d] + a * sines[d];
        }
    }
}
