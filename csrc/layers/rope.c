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

int wf_rope_create(wf_rope *rope, const wf_config *config, uint32_t rows) {
    const uint32_t head_dim = config->head_dim;
    const size_t half = head_dim / 2;
    *rope = (wf_rope){.head_dim = head_dim};
    rope->frequencies = wf_allocate(half, sizeof *rope->frequencies);
    rope->cosines = wf_allocate(rows * half, sizeof *rope->cosines);
    rope->sines = wf_allocate(rows * half, sizeof *rope->sines);
    if (!rope->frequencies || !rope->cosines || !rope->sines)
        return -1;
    for (size_t d = 0; d < half; d++)
        rope->frequencies[d] = pow((double)config->rope_theta, -2.0 * (double)d / head_dim) / config->rope_divisors[d];
    return 0;
}

void wf_rope_destroy(wf_rope *rope) {
    free(rope->frequencies);
    free(rope->cosines);
    free(rope->sines);
    *rope = (wf_rope){0};
}

void wf_rope_place(wf_rope *rope, uint32_t row, uint32_t position) {
    const uint32_t half = rope->head_dim / 2;
    /* In double precision: at position 4000 a float's rounding of the angle would be visible. */
    for (uint32_t d = 0; d < half; d++) {
        rope->cosines[(size_t)row * half + d] = (float)cos(position * rope->frequencies[d]);
        rope->sines[(size_t)row * half + d] = (float)sin(position * rope->frequencies[d]);
    }
}

void wf_rope_rotate(const wf_rope *rope, uint32_t row, float *heads, uint32_t count) {
    const uint32_t half = rope->head_dim / 2;
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
