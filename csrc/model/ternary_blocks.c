/*
 * ternary_blocks.c: I2_S keeps the same four weights in a byte as our blocks, in the other order; TQ2_0 has our order already; TQ1_0
 * keeps five weights in a byte, as digits in base 3.
 */
#include "model/ternary_blocks.h"

#include <string.h>

#include "base/half.h"

/* Code 1, zero, for four weights. */
#define ZEROS 0x55

bool wf_is_master(uint32_t source) { return source == WF_SOURCE_F32 || source == WF_SOURCE_F16 || source == WF_SOURCE_BF16; }

float wf_half_at(const uint8_t bytes[2]) { return wf_float_of_half((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8); }

/* Whether none of the codes in bytes[count] is 3, which has both bits set. */
static bool are_codes(const uint8_t *bytes, size_t count) {
    uint32_t faults = 0;
    for (size_t i = 0; i < count; i++)
        faults |= (uint32_t)bytes[i] & (uint32_t)bytes[i] >> 1 & ZEROS;
    return faults == 0;
}

void wf_codes_of_digits(const uint8_t *bytes, const wf_digit_run *runs, uint32_t run_count, uint8_t *codes) {
    for (uint32_t run = 0; run < run_count; run++) {
        for (uint32_t digit = 0, power = 1; digit < runs[run].digits; digit++, power *= 3)
            for (uint32_t i = 0; i < runs[run].bytes; i++)
                *codes++ = (uint8_t)((bytes[i] * power & 255U) * 3U >> 8);
        bytes += runs[run].bytes;
    }
}

/* Packs the codes of a block of ours, none of them over 3. */
static void pack_codes(const uint8_t codes[WF_BLOCK_WEIGHTS], uint8_t out[WF_BLOCK_BYTES]) {
    for (size_t p = 0; p < WF_BLOCK_BYTES; p++)
        out[p] = (uint8_t)(codes[p] | codes[32 + p] << 2 | codes[64 + p] << 4 | codes[96 + p] << 6);
}

bool wf_pack_tq1_0(const uint8_t block[WF_TQ1_0_BYTES], uint8_t out[2 * WF_BLOCK_BYTES]) {
    static const wf_digit_run runs[] = {{32, 5}, {16, 5}, {4, 4}};
    if (wf_half_at(block + WF_TQ1_0_BYTES - 2) == 0.0f) {
        memset(out, ZEROS, 2 * (size_t)WF_BLOCK_BYTES);
        return true;
    }
    uint8_t codes[WF_TQ_WEIGHTS];
    wf_codes_of_digits(block, runs, sizeof runs / sizeof *runs, codes);
    pack_codes(codes, out);
    pack_codes(codes + WF_BLOCK_WEIGHTS, out + WF_BLOCK_BYTES);
    return true;
}

bool wf_pack_tq2_0(const uint8_t block[WF_TQ2_0_BYTES], uint8_t out[2 * WF_BLOCK_BYTES]) {
    if (wf_half_at(block + WF_TQ2_0_BYTES - 2) == 0.0f)
        memset(out, ZEROS, 2 * (size_t)WF_BLOCK_BYTES);
    else
        memcpy(out, block, 2 * (size_t)WF_BLOCK_BYTES);
    return are_codes(out, 2 * (size_t)WF_BLOCK_BYTES);
}

bool wf_pack_i2_s(const uint8_t block[WF_BLOCK_BYTES], uint8_t out[WF_BLOCK_BYTES]) {
    for (size_t p = 0; p < WF_BLOCK_BYTES; p++)
        out[p] = (uint8_t)(block[p] >> 6 | (block[p] >> 2 & 0x0C) | (block[p] << 2 & 0x30) | block[p] << 6);
    return are_codes(out, WF_BLOCK_BYTES);
}

void wf_codes_of_i2_s(const uint8_t *weights, uint64_t first, size_t count, uint8_t *codes) {
    for (size_t i = 0; i < count; i++) {
        const uint64_t weight = first + i, place = weight % WF_BLOCK_WEIGHTS;
        codes[i] = weights[weight / WF_BLOCK_WEIGHTS * WF_BLOCK_BYTES + place % 32] >> (6 - place / 32 * 2) & 3;
    }
}

void wf_codes_of_block(const uint8_t block[WF_BLOCK_BYTES], uint8_t codes[WF_BLOCK_WEIGHTS]) {
    for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i++)
        codes[i] = block[i % 32] >> (i / 32 * 2) & 3;
}

uint64_t wf_source_width(uint32_t source) {
    switch (source) {
    case WF_SOURCE_F32:
        return 4;
    case WF_SOURCE_F16:
    case WF_SOURCE_BF16:
        return 2;
    case WF_SOURCE_CODES:
        return 1;
    default:
        return 0;
    }
}

void wf_load_block(const uint8_t *weights, uint32_t source, size_t count, float block[WF_BLOCK_WEIGHTS]) {
    if (source == WF_SOURCE_F32) {
        if (count < WF_BLOCK_WEIGHTS)
            memset(block, 0, WF_BLOCK_WEIGHTS * sizeof block[0]);
        memcpy(block, weights, count * sizeof block[0]);
        return;
    }
    uint16_t halves[WF_BLOCK_WEIGHTS];
    if (count < WF_BLOCK_WEIGHTS)
        memset(halves, 0, sizeof halves);
    memcpy(halves, weights, count * sizeof halves[0]);
    if (source == WF_SOURCE_F16)
        for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i++)
            block[i] = wf_float_of_half(halves[i]);
    else
        for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i++)
            block[i] = wf_float_of_bits((uint32_t)halves[i] << 16);
}

bool wf_pack_code_block(const uint8_t *codes, size_t count, uint8_t out[WF_BLOCK_BYTES]) {
    uint8_t block[WF_BLOCK_WEIGHTS];
    if (count < WF_BLOCK_WEIGHTS)
        memset(block, 1, sizeof block);
    memcpy(block, codes, count);
    uint8_t faults = 0;
    for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i++)
        faults |= block[i] > 2 ? 1 : 0;
    if (faults != 0)
        return false;
    pack_codes(block, out);
    return true;
}
