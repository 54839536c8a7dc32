/*
 * pack_groups.c: packs weights that are ternary with a scale for each group of inputs. No code and no scale is changed: a group that is wider
 * than those of the packed rows is divided, and its scale stands in each part. Rows become panels then. Used by the converter only.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "kernels/grouped_input.h"
#include "model/linear.h"
#include "model/ternary_blocks.h"
#include "wrinklefree.h"

/* The narrowest group, and the widest of packed rows. */
#define GROUP_MIN 16U
#define GROUP_MAX WF_BLOCK_WEIGHTS
#define GROUPS_MAX (WF_BLOCK_WEIGHTS / GROUP_MIN)

/* Bytes of 64 weights of Q2_0, of 128 of it (also called PQ2_0), and of 128 of PTQ1_0. */
#define Q2_0_64_BYTES 18U
#define Q2_0_128_BYTES 34U
#define PTQ1_0_BYTES 28U

/* A block of 128 weights: codes one a byte, and the scale of each of its groups. */
struct block {
    uint8_t codes[WF_BLOCK_WEIGHTS];
    float scales[GROUPS_MAX];
};

/* A matrix as it comes. */
struct source {
    const uint8_t *weights;
    uint32_t kind; /* WF_SOURCE_… */
    uint64_t columns;
    uint32_t group; /* of the packed rows */
};

/* Gives all groups from weight `first` to `end` of a block one scale. */
static void set_scales(struct block *block, uint32_t group, uint32_t first, uint32_t end, float scale) {
    for (uint32_t i = first / group; i < end / group; i++)
        block->scales[i] = scale;
}

/* Codes of two bits, four a byte, from the low bits up. */
static void take_pairs_of_bits(const uint8_t *bytes, uint32_t count, uint8_t *codes) {
    for (uint32_t i = 0; i < count; i++)
        codes[i] = bytes[i / 4] >> 2 * (i % 4) & 3;
}

static void take_q2_0(const struct source *source, uint64_t row, uint64_t column, struct block *block) {
    const uint32_t width = source->kind == WF_SOURCE_Q2_0_64 ? 64 : 128, bytes = width == 64 ? Q2_0_64_BYTES : Q2_0_128_BYTES;
    for (uint32_t first = 0; first < WF_BLOCK_WEIGHTS && column + first < source->columns; first += width) {
        const uint8_t *at = source->weights + (row * source->columns + column + first) / width * bytes;
        take_pairs_of_bits(at + 2, width, block->codes + first);
        set_scales(block, source->group, first, first + width, wf_half_at(at));
    }
}

static void take_ptq1_0(const struct source *source, uint64_t row, uint64_t column, struct block *block) {
    static const wf_digit_run runs[] = {{16, 5}, {8, 5}, {2, 4}};
    const uint8_t *at = source->weights + (row * source->columns + column) / WF_BLOCK_WEIGHTS * PTQ1_0_BYTES;
    wf_codes_of_digits(at, runs, sizeof runs / sizeof *runs, block->codes);
    set_scales(block, source->group, 0, WF_BLOCK_WEIGHTS, wf_half_at(at + PTQ1_0_BYTES - 2));
}

/* Half a block of TQ1_0 or TQ2_0. */
static void take_tq(const struct source *source, uint64_t row, uint64_t column, struct block *block) {
    const uint32_t bytes = source->kind == WF_SOURCE_TQ1_0 ? WF_TQ1_0_BYTES : WF_TQ2_0_BYTES;
    const uint8_t *at = source->weights + (row * source->columns + column) / WF_TQ_WEIGHTS * bytes;
    uint8_t packed[2 * WF_BLOCK_BYTES];
    if (source->kind == WF_SOURCE_TQ1_0)
        wf_pack_tq1_0(at, packed);
    else
        wf_pack_tq2_0(at, packed);
    wf_codes_of_block(packed + column % WF_TQ_WEIGHTS / WF_BLOCK_WEIGHTS * WF_BLOCK_BYTES, block->codes);
    set_scales(block, source->group, 0, WF_BLOCK_WEIGHTS, wf_half_at(at + bytes - 2));
}

/* Weights in floating point. Returns the first place where a group has a second magnitude or none, or WF_BLOCK_WEIGHTS. */
static uint32_t take_values(const struct source *source, uint64_t row, uint64_t column, struct block *block) {
    float values[WF_BLOCK_WEIGHTS];
    const uint64_t left = source->columns - column, width = wf_source_width(source->kind);
    wf_load_block(source->weights + (row * source->columns + column) * width, source->kind,
                  (size_t)(left < WF_BLOCK_WEIGHTS ? left : WF_BLOCK_WEIGHTS), values);
    for (uint32_t first = 0; first < WF_BLOCK_WEIGHTS; first += source->group) {
        float scale = 0.0f;
        for (uint32_t i = first; i < first + source->group; i++) {
            const float magnitude = fabsf(values[i]);
            scale = scale == 0.0f ? magnitude : scale;
            if (!isfinite(values[i]) || (magnitude != 0.0f && magnitude != scale))
                return i;
            block->codes[i] = (uint8_t)(1 + (values[i] > 0.0f) - (values[i] < 0.0f));
        }
        block->scales[first / source->group] = scale;
    }
    return WF_BLOCK_WEIGHTS;
}

static uint32_t take_block(const struct source *source, uint64_t row, uint64_t column, struct block *block) {
    memset(block->codes, 1, sizeof block->codes);
    memset(block->scales, 0, sizeof block->scales);
    switch (source->kind) {
    case WF_SOURCE_Q2_0_64:
    case WF_SOURCE_Q2_0_128:
        take_q2_0(source, row, column, block);
        return WF_BLOCK_WEIGHTS;
    case WF_SOURCE_PTQ1_0:
        take_ptq1_0(source, row, column, block);
        return WF_BLOCK_WEIGHTS;
    case WF_SOURCE_TQ1_0:
    case WF_SOURCE_TQ2_0:
        take_tq(source, row, column, block);
        return WF_BLOCK_WEIGHTS;
    default:
        return take_values(source, row, column, block);
    }
}

/* Weights of a block of the source. */
static uint32_t weights_of_block(uint32_t source) {
    switch (source) {
    case WF_SOURCE_Q2_0_64:
        return 64;
    case WF_SOURCE_Q2_0_128:
    case WF_SOURCE_PTQ1_0:
        return 128;
    case WF_SOURCE_TQ1_0:
    case WF_SOURCE_TQ2_0:
        return WF_TQ_WEIGHTS;
    default:
        return wf_is_master(source) ? 1 : 0;
    }
}

uint64_t wf_grouped_row_bytes(uint64_t columns, uint32_t group) {
    return wf_packed_row_bytes(columns) + wf_padded_groups(columns, group) * sizeof(uint16_t);
}

/* The widest group up to `group` by which a row's weights are ternary; 0 for none. */
static uint32_t group_of_row(const uint8_t *row, uint32_t source, uint64_t columns, uint32_t group) {
    struct source weights = {row, source, columns, group};
    struct block block;
    for (; weights.group >= GROUP_MIN; weights.group /= 2) {
        uint64_t column = 0;
        while (column < columns && take_values(&weights, 0, column, &block) == WF_BLOCK_WEIGHTS)
            column += WF_BLOCK_WEIGHTS;
        if (column >= columns)
            return weights.group;
    }
    return 0;
}

uint32_t wf_ternary_group(const void *weights, uint32_t source, uint64_t rows, uint64_t columns) {
    const uint32_t blocks = weights_of_block(source);
    if (blocks != 1)
        return blocks < GROUP_MAX ? blocks : GROUP_MAX;
    uint32_t group = GROUP_MAX;
    for (uint64_t row = 0; row < rows && group != 0; row++)
        group = group_of_row((const uint8_t *)weights + row * columns * wf_source_width(source), source, columns, group);
    return group;
}

int32_t wf_pack_groups(const void *weights, uint32_t source, uint64_t rows, uint64_t columns, uint32_t group, uint8_t *out,
                       char *error, uint32_t error_size) {
    const uint32_t block_weights = weights_of_block(source);
    if (block_weights == 0)
        return wf_fail(error, error_size, "%" PRIu32 " is no source of weights in groups: use one of WF_SOURCE_…", source);
    if (group != 16 && group != 32 && group != 64 && group != 128)
        return wf_fail(error, error_size, "groups of %" PRIu32 " inputs; 16, 32, 64 and 128 are supported", group);
    if (columns % block_weights != 0)
        return wf_fail(error, error_size, "rows of %" PRIu64 " weights are no whole blocks of %" PRIu32, columns, block_weights);
    if (block_weights > 1 && block_weights < group)
        return wf_fail(error, error_size, "groups of %" PRIu32 " inputs do not fit into groups of %" PRIu32, block_weights, group);
    const struct source from = {weights, source, columns, group};
    const uint64_t row_bytes = wf_grouped_row_bytes(columns, group);
    for (uint64_t row = 0; row < rows; row++) {
        uint8_t *codes = out + row * row_bytes, *scales = codes + wf_packed_row_bytes(columns);
        memset(scales, 0, (size_t)(codes + row_bytes - scales));
        for (uint64_t column = 0; column < columns; column += WF_BLOCK_WEIGHTS, codes += WF_BLOCK_BYTES) {
            struct block block;
            const uint32_t odd = take_block(&from, row, column, &block);
            if (odd < WF_BLOCK_WEIGHTS)
                return wf_fail(error, error_size,
                               "its weights are not ternary by groups of %" PRIu32 ": in row %" PRIu64
                               ", the one in column %" PRIu64 " is neither 0 nor of its group's magnitude",
                               group, row, column + odd);
            for (uint32_t i = 0; i < WF_BLOCK_WEIGHTS / group && column + i * group < columns; i++) {
                const uint16_t half = wf_half_of_float(block.scales[i]);
                if (!isfinite(block.scales[i]) || wf_float_of_half(half) != block.scales[i])
                    return wf_fail(error, error_size,
                                   "the scale of the group at row %" PRIu64 ", column %" PRIu64
                                   " is %.9g, which half precision can't hold",
                                   row, column + i * group, (double)block.scales[i]);
                memcpy(scales + (column / group + i) * sizeof half, &half, sizeof half);
                if (half >> 15 != 0 && half != 0x8000U)
                    return wf_fail(error, error_size,
                                   "the scale of the group at row %" PRIu64 ", column %" PRIu64
                                   " is negative: the source is damaged",
                                   row, column + i * group);
                if (block.scales[i] == 0.0f)
                    memset(block.codes + i * group, 1, group);
            }
            if (!wf_pack_code_block(block.codes, WF_BLOCK_WEIGHTS, codes))
                return wf_fail(error, error_size,
                               "a code in row %" PRIu64 ", from column %" PRIu64 " on, is 3; a ternary code is 0, 1 or 2", row,
                               column);
        }
    }
    return 0;
}

void wf_pack_panels(const uint8_t *rows, uint64_t count, uint64_t columns, uint32_t group, uint8_t *out) {
    const uint64_t code_bytes = wf_packed_row_bytes(columns), row_bytes = wf_grouped_row_bytes(columns, group);
    memset(out, 0, wf_linear_rows(WF_LAYOUT_GROUPED, count) * row_bytes);
    for (uint64_t i = 0; i < count; i++, rows += row_bytes) {
        const uint64_t row = i % WF_PANEL_ROWS;
        uint8_t *codes = out + (i - row) * row_bytes, *scales = codes + WF_PANEL_ROWS * code_bytes;
        for (uint64_t byte = 0; byte < code_bytes; byte += 4)
            memcpy(codes + byte * WF_PANEL_ROWS + row * 4, rows + byte, 4);
        for (uint64_t byte = 0; byte < row_bytes - code_bytes; byte += 2)
            memcpy(scales + byte * WF_PANEL_ROWS + row * 2, rows + code_bytes + byte, 2);
    }
}
