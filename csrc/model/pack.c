/*
 * pack.c: quantises weights to {-1, 0, +1} and packs them into the rows that the kernels read. Used by the converter
 * only.
 *
 * A checkpoint of 2 G weights passes through here once, so the loops are written to be vectorised by the compiler
 * without any instruction set of their own: whole blocks of 128 weights, no branches, no table look-ups. The source may
 * have any alignment (tensors of other people's files start anywhere), hence every block is copied into a local array
 * first.
 */
#include "base/error.h"
#include "base/half.h"
#include "kernels/kernels.h"
#include "model/ternary_blocks.h"
#include "wrinklefree.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Bits of the exponent; all of them set: an infinity or a NaN. */
#define F32_EXPONENT 0x7F800000U

/* Accumulators of wf_sum_of_magnitudes: independent, so that the additions overlap; a fixed number, so that the sum of
 * a tensor is the same on every machine. */
#define SUM_LANES 8U

/* Whether each weight of block[128] is finite. */
static bool block_is_finite(const float block[WF_BLOCK_WEIGHTS]) {
    uint32_t faults = 0;
    for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i++)
        faults |= (wf_bits_of_float(block[i]) & F32_EXPONENT) == F32_EXPONENT ? 1U : 0U;
    return faults == 0;
}

/* clamp(round_half_even(weight / scale), -1, 1) + 1. A quotient of exactly ±0.5 rounds to the even 0, one beyond it to
 * at least ±1, which the clamp keeps at ±1: so two comparisons are the whole of rounding and clamping. */
static inline uint32_t code_of_weight(float weight, float scale) {
    const float quotient = weight / scale;
    return 1U + (quotient > 0.5f ? 1U : 0U) - (quotient < -0.5f ? 1U : 0U);
}

/* Packs block[128] into out[32]. */
static void pack_master_block(const float block[WF_BLOCK_WEIGHTS], float scale, uint8_t out[WF_BLOCK_BYTES]) {
    for (size_t p = 0; p < WF_BLOCK_BYTES; p++) {
        out[p] = (uint8_t)(code_of_weight(block[p], scale) | code_of_weight(block[32 + p], scale) << 2 |
                           code_of_weight(block[64 + p], scale) << 4 | code_of_weight(block[96 + p], scale) << 6);
    }
}

/* Describes the first code over 2 among codes[count], the first of which stands at [row, column]. */
static int32_t fail_code(const uint8_t *codes, size_t count, uint64_t row, uint64_t column, char *error, uint32_t error_size) {
    size_t i = 0;
    while (i + 1 < count && codes[i] <= 2)
        i++;
    return wf_fail(error, error_size,
                   "the code at row %" PRIu64 ", column %" PRIu64 " is %u; a ternary code is 0, 1 or 2: the source is damaged", row,
                   column + i, (unsigned int)codes[i]);
}

/* Describes the first weight of block[128] that is not finite; block[0] stands at [row, column]. */
static int32_t fail_not_finite(const float block[WF_BLOCK_WEIGHTS], uint64_t row, uint64_t column, char *error,
                               uint32_t error_size) {
    size_t i = 0;
    while (i + 1 < WF_BLOCK_WEIGHTS && isfinite(block[i]))
        i++;
    return wf_fail(error, error_size,
                   "the weight at row %" PRIu64 ", column %" PRIu64 " is %s, not a finite number: the source is damaged", row,
                   column + i, isnan(block[i]) ? "NaN" : "infinite");
}

uint64_t wf_packed_row_bytes(uint64_t columns) {
    return (columns / WF_BLOCK_WEIGHTS + (columns % WF_BLOCK_WEIGHTS != 0 ? 1 : 0)) * WF_BLOCK_BYTES;
}

double wf_sum_of_magnitudes(const void *weights, uint32_t source, uint64_t count) {
    const uint64_t width = wf_source_width(source);
    if (width == 0 || source == WF_SOURCE_CODES)
        return (double)NAN;
    const uint8_t *at = weights;
    double sums[SUM_LANES] = {0};
    float block[WF_BLOCK_WEIGHTS];
    while (count > 0) {
        const uint64_t taken = count < WF_BLOCK_WEIGHTS ? count : WF_BLOCK_WEIGHTS;
        wf_load_block(at, source, (size_t)taken, block);
        for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i += SUM_LANES)
            for (size_t lane = 0; lane < SUM_LANES; lane++)
                sums[lane] += (double)fabsf(block[i + lane]);
        at += taken * width;
        count -= taken;
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* Takes the magnitude of one more weight, or of several, into *found, which is 0 before the first. Returns false when it is another one,
 * or none. */
static bool is_same_magnitude(float magnitude, float *found) {
    if (magnitude == 0.0f)
        return true;
    if (*found == 0.0f)
        *found = magnitude;
    return magnitude == *found && isfinite(magnitude) && magnitude > 0.0f;
}

/* The magnitude of master weights. Every block is compared with what was found before, without branches. */
static float master_magnitude(const uint8_t *at, uint32_t source, uint64_t count) {
    const uint64_t width = wf_source_width(source);
    float block[WF_BLOCK_WEIGHTS];
    float found = 0.0f;
    while (count > 0) {
        const uint64_t taken = count < WF_BLOCK_WEIGHTS ? count : WF_BLOCK_WEIGHTS;
        wf_load_block(at, source, (size_t)taken, block);
        for (size_t i = 0; found == 0.0f && i < WF_BLOCK_WEIGHTS; i++)
            if (!is_same_magnitude(fabsf(block[i]), &found))
                return (float)NAN;
        uint32_t others = 0;
        for (size_t i = 0; i < WF_BLOCK_WEIGHTS; i++)
            others |= (fabsf(block[i]) == found ? 0U : 1U) & (block[i] == 0.0f ? 0U : 1U);
        if (others != 0)
            return (float)NAN;
        at += taken * width;
        count -= taken;
    }
    return found;
}

float wf_ternary_magnitude(const void *weights, uint32_t source, uint64_t count) {
    if (wf_is_master(source))
        return master_magnitude(weights, source, count);
    if (source != WF_SOURCE_TQ1_0 && source != WF_SOURCE_TQ2_0)
        return (float)NAN;
    const uint64_t bytes = source == WF_SOURCE_TQ1_0 ? WF_TQ1_0_BYTES : WF_TQ2_0_BYTES;
    float found = 0.0f;
    for (uint64_t block = 1; block <= count / WF_TQ_WEIGHTS; block++)
        if (!is_same_magnitude(wf_half_at((const uint8_t *)weights + block * bytes - 2), &found))
            return (float)NAN;
    return found;
}

/* Packs master weights. `at` and `out` are those of wf_pack_rows. */
static int32_t pack_master_rows(const uint8_t *at, uint32_t source, uint64_t rows, uint64_t columns, float scale, uint8_t *out,
                                char *error, uint32_t error_size) {
    const uint64_t width = wf_source_width(source);
    float block[WF_BLOCK_WEIGHTS];
    for (uint64_t row = 0; row < rows; row++) {
        for (uint64_t column = 0; column < columns; column += WF_BLOCK_WEIGHTS) {
            const uint64_t left = columns - column;
            const size_t count = left < WF_BLOCK_WEIGHTS ? (size_t)left : WF_BLOCK_WEIGHTS;
            wf_load_block(at, source, count, block);
            if (!block_is_finite(block))
                return fail_not_finite(block, row, column, error, error_size);
            pack_master_block(block, scale, out);
            at += count * width;
            out += WF_BLOCK_BYTES;
        }
    }
    return 0;
}

/* Packs codes of one byte each, or of I2_S where rows are no multiple of its blocks. */
static int32_t pack_code_rows(const uint8_t *weights, uint32_t source, uint64_t rows, uint64_t columns, uint8_t *out, char *error,
                              uint32_t error_size) {
    for (uint64_t row = 0; row < rows; row++) {
        for (uint64_t column = 0; column < columns; column += WF_BLOCK_WEIGHTS) {
            const uint64_t left = columns - column, first = row * columns + column;
            const size_t count = left < WF_BLOCK_WEIGHTS ? (size_t)left : WF_BLOCK_WEIGHTS;
            uint8_t block[WF_BLOCK_WEIGHTS];
            const uint8_t *codes = weights + first;
            if (source == WF_SOURCE_I2_S) {
                wf_codes_of_i2_s(weights, first, count, block);
                codes = block;
            }
            if (!wf_pack_code_block(codes, count, out))
                return fail_code(codes, count, row, column, error, error_size);
            out += WF_BLOCK_BYTES;
        }
    }
    return 0;
}

/* Packs whole blocks of another format. */
static int32_t pack_block_rows(const uint8_t *at, uint32_t source, uint64_t rows, uint64_t columns, uint8_t *out, char *error,
                               uint32_t error_size) {
    const uint64_t block_weights = source == WF_SOURCE_I2_S ? WF_BLOCK_WEIGHTS : WF_TQ_WEIGHTS;
    for (uint64_t first = 0; first < rows * columns; first += block_weights) {
        bool packed;
        if (source == WF_SOURCE_I2_S) {
            packed = wf_pack_i2_s(at, out);
            at += WF_BLOCK_BYTES;
        } else if (source == WF_SOURCE_TQ1_0) {
            packed = wf_pack_tq1_0(at, out);
            at += WF_TQ1_0_BYTES;
        } else {
            packed = wf_pack_tq2_0(at, out);
            at += WF_TQ2_0_BYTES;
        }
        for (uint64_t block = 0; !packed && block < block_weights / WF_BLOCK_WEIGHTS; block++) {
            uint8_t codes[WF_BLOCK_WEIGHTS], again[WF_BLOCK_BYTES];
            wf_codes_of_block(out + block * WF_BLOCK_BYTES, codes);
            if (!wf_pack_code_block(codes, WF_BLOCK_WEIGHTS, again))
                return fail_code(codes, WF_BLOCK_WEIGHTS, first / columns, first % columns + block * WF_BLOCK_WEIGHTS, error,
                                 error_size);
        }
        out += block_weights / WF_BLOCK_WEIGHTS * WF_BLOCK_BYTES;
    }
    return 0;
}

int32_t wf_pack_rows(const void *weights, uint32_t source, uint64_t rows, uint64_t columns, float scale, uint8_t *out, char *error,
                     uint32_t error_size) {
    if (source > WF_SOURCE_TQ2_0)
        return wf_fail(error, error_size, "%" PRIu32 " is no source of weights: use one of WF_SOURCE_…", source);
    if (wf_is_master(source) && !(isfinite(scale) && scale > 0.0f))
        return wf_fail(error, error_size, "the weight scale is %g; it must be finite and above 0", (double)scale);
    if (rows == 0 || columns == 0)
        return 0;
    if (rows > UINT64_MAX / 4 / columns)
        return wf_fail(error, error_size, "%" PRIu64 " rows of %" PRIu64 " weights are more than memory can hold", rows, columns);
    const bool blocks = source == WF_SOURCE_TQ1_0 || source == WF_SOURCE_TQ2_0;
    if (blocks && columns % WF_TQ_WEIGHTS != 0)
        return wf_fail(error, error_size, "rows of %" PRIu64 " weights are no whole blocks of %u", columns, WF_TQ_WEIGHTS);
    if (wf_is_master(source))
        return pack_master_rows(weights, source, rows, columns, scale, out, error, error_size);
    if (blocks || (source == WF_SOURCE_I2_S && columns % WF_BLOCK_WEIGHTS == 0))
        return pack_block_rows(weights, source, rows, columns, out, error, error_size);
    return pack_code_rows(weights, source, rows, columns, out, error, error_size);
}
