/*
 * random_weights.c: fills gigabytes in a fraction of a second.
 *
 * Drawing every weight would take longer than reading them from a disk. So one block of each kind is drawn, small
 * enough for a second-level cache, and tensors are put together from pieces of it, each from another place.
 */
#include "model/random_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "wrinklefree.h"

#define BLOCK_BYTES (512U << 10)
#define PIECE_BYTES (64U << 10)

/* Pieces begin at multiples of a cache line. */
#define PIECE_ALIGNMENT 64U

/* Of the embeddings and of an untied head: that of most models before their training. */
#define DEVIATION 0.02f

/* The standard deviation of a sum of four numbers drawn evenly from 0 to 65535. */
#define DEVIATION_OF_SUM 37837.2f
#define MEAN_OF_SUM 131070.0f

/* A byte of four codes for a weight of 0. */
#define NO_WEIGHTS 0x55

struct wf_random_weights {
    uint64_t state;
    double silent; /* share of gate rows without weights */
    uint8_t codes[BLOCK_BYTES];
    uint16_t normals[BLOCK_BYTES / 2];
};

/* The next 64 bits (Steele, Lea and Flood's SplitMix64). */
static uint64_t next(wf_random_weights *random) {
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

wf_random_weights *wf_random_create(double zeros) {
    wf_random_weights *random = malloc(sizeof *random);
    if (random == NULL)
        return NULL;
    random->state = 0;
    /* Of the other gates, half are negative. */
    random->silent = zeros > 0.5 ? 2 * zeros - 1 : 0;

    uint8_t bytes[81]; /* every byte of four codes */
    for (uint32_t i = 0; i < 81; i++)
        bytes[i] = (uint8_t)(i % 3 | i / 3 % 3 << 2 | i / 9 % 3 << 4 | i / 27 << 6);
    for (uint32_t i = 0; i < BLOCK_BYTES; i += 4) {
        const uint64_t bits = next(random);
        for (uint32_t part = 0; part < 4; part++)
            random->codes[i + part] = bytes[(bits >> 16 * part & 0xffff) * 81 >> 16];
    }
    for (uint32_t i = 0; i < BLOCK_BYTES / 2; i++) {
        const uint64_t bits = next(random);
        const uint64_t sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        const float value = ((float)sum - MEAN_OF_SUM) * (DEVIATION / DEVIATION_OF_SUM);
        uint32_t word;
        memcpy(&word, &value, sizeof word);
        random->normals[i] = (uint16_t)(word >> 16);
    }
    return random;
}

void wf_random_destroy(wf_random_weights *random) { free(random); }

static void fill(wf_random_weights *random, const void *block, void *out, uint64_t bytes) {
    const uint64_t places = (BLOCK_BYTES - PIECE_BYTES) / PIECE_ALIGNMENT;
    for (uint64_t done = 0; done < bytes; done += PIECE_BYTES) {
        const uint64_t left = bytes - done, place = (next(random) >> 32) * places >> 32;
        memcpy((uint8_t *)out + done, (const uint8_t *)block + place * PIECE_ALIGNMENT, left < PIECE_BYTES ? left : PIECE_BYTES);
    }
}

float wf_random_ternary(wf_random_weights *random, uint8_t *rows, uint64_t outputs, uint32_t inputs) {
    fill(random, random->codes, rows, outputs * wf_packed_row_bytes(inputs));
    /* Two in three weights are not zero: a product is a sum of inputs · 2/3 activations with random signs. */
    return sqrtf(1.5f / (float)inputs);
}

void wf_random_groups(wf_random_weights *random, uint8_t *rows, uint64_t outputs, uint32_t inputs, uint32_t group) {
    const uint64_t code_bytes = WF_PANEL_ROWS * wf_packed_row_bytes(inputs),
                   bytes = WF_PANEL_ROWS * wf_grouped_row_bytes(inputs, group);
    /* All groups have the scale that a matrix of these weights would have. */
    const uint16_t scale = wf_half_of_float(sqrtf(1.5f / (float)inputs));
    for (uint64_t row = 0; row < outputs; row += WF_PANEL_ROWS, rows += bytes) {
        fill(random, random->codes, rows, code_bytes);
        memset(rows + code_bytes, 0, bytes - code_bytes);
        for (uint64_t i = 0; i * group < (uint64_t)inputs; i++)
            for (uint64_t place = i * WF_PANEL_ROWS; place < (i + 1) * WF_PANEL_ROWS; place++)
                memcpy(rows + code_bytes + place * sizeof scale, &scale, sizeof scale);
    }
}

void wf_random_silence(wf_random_weights *random, uint8_t *rows, uint64_t outputs, uint64_t row_bytes) {
    for (uint64_t row = 0; random->silent > 0 && row < outputs; row++)
        if ((double)(next(random) >> 11) * 0x1p-53 < random->silent)
            memset(rows + row * row_bytes, NO_WEIGHTS, row_bytes);
}

void wf_random_bf16(wf_random_weights *random, uint16_t *values, uint64_t count) {
    fill(random, random->normals, values, count * sizeof *values);
}
