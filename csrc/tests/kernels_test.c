/*
 * kernels_test.c: every kernel of every tier against scalar.c, bit for bit, on random and extreme input, with guarded borders.
 *
 * Inputs lie at the very end of a page that is followed by an unreadable one, so that a read past the end faults; outputs lie between
 * canaries. Counts cover every remainder of the vector widths and blocks.
 *
 * This file is built twice: for the tiers that the processor has, and with WF_EMULATED (emulated/CMakeLists.txt) for those of x86-64 on
 * any processor. It says of every tier how it ran, in lines that tests/run.ts reads: "tier NAME: native", "emulated by …" or "not native: why".
 */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "check.h"
#include "kernels/dispatch.h"
#include "kernels/tiers.h"

static struct check_random source = {.state = 0x9e3779b97f4a7c15u};

/* ---- Guarded memory ---- */

/* `bytes` bytes, aligned to `alignment` at their start when that is over 1, that end where an unreadable page begins (or, with an
 * alignment, as near to it as the alignment allows). Freed all together by free_guarded. */
static struct {
    void *start;
    size_t size;
} guarded[64];
static size_t guarded_count;

static void *guard(size_t bytes, size_t alignment) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (bytes + alignment + page - 1) / page + 1;
    uint8_t *start = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || guarded_count == sizeof guarded / sizeof *guarded)
        abort();
    mprotect(start + (pages - 1) * page, page, PROT_NONE);
    guarded[guarded_count].start = start;
    guarded[guarded_count++].size = pages * page;
    const uintptr_t end = (uintptr_t)start + (pages - 1) * page;
    return (void *)((end - bytes) / alignment * alignment);
}

static void free_guarded(void) {
    while (guarded_count > 0) {
        guarded_count--;
        munmap(guarded[guarded_count].start, guarded[guarded_count].size);
    }
}

#define CANARY_BYTES 64

/* An output of `bytes` bytes between two canaries. */
static uint8_t *output(size_t bytes) {
    uint8_t *start = guard(bytes + 2 * CANARY_BYTES, 64);
    memset(start, 0xc5, bytes + 2 * CANARY_BYTES);
    return start + CANARY_BYTES;
}

static bool canaries_live(const uint8_t *out, size_t bytes) {
    for (size_t i = 0; i < CANARY_BYTES; i++)
        if (out[-1 - (ptrdiff_t)i] != 0xc5 || out[bytes + i] != 0xc5)
            return false;
    return true;
}

/* ---- Inputs ---- */

enum { PLAIN, WIDE, CONSTANT, ZERO, TIES, KINDS };

static float random_unit(void) { return (float)(check_next(&source) >> 40) * 0x1p-23f - 1.0f; }

/* Floats of one character: around 1, over many magnitudes, all equal, all zero, on rounding ties. */
static void fill(float *x, size_t count, int kind) {
    const float constant = random_unit();
    for (size_t i = 0; i < count; i++)
        switch (kind) {
        case PLAIN:
            x[i] = random_unit();
            break;
        case WIDE:
            x[i] = ldexpf(random_unit(), (int)check_below(&source, 60) - 40);
            break;
        case CONSTANT:
            x[i] = constant;
            break;
        case TIES: /* with a largest magnitude of 127 the scale is 1 and these are exactly halfway */
            x[i] = i == 0 ? 127.0f : (float)(int)check_below(&source, 254) - 126.5f;
            break;
        default:
            x[i] = i % 2 == 0 ? 0.0f : -0.0f;
        }
}

static bool same(const void *a, const void *b, size_t bytes) { return memcmp(a, b, bytes) == 0; }

/* ---- Kernels ---- */

static void test_rms_norm(const wf_kernels *tier, uint32_t count, int kind) {
    float *x = guard(count * sizeof *x, 4), *weight = guard(count * sizeof *weight, 4), expected[4096];
    fill(x, count, kind);
    fill(weight, count, PLAIN);
    float *out = (float *)output(count * sizeof *out);
    wf_kernels_scalar.rms_norm(x, weight, count, count + count / 3, 1e-5f, expected);
    tier->rms_norm(x, weight, count, count + count / 3, 1e-5f, out);
    CHECK(same(out, expected, count * sizeof *out) && canaries_live((uint8_t *)out, count * sizeof *out), "%s rms_norm %u kind %d",
          tier->name, count, kind);
}

static void test_quantize(const wf_kernels *tier, uint32_t count, int kind) {
    const uint32_t padded = (count + WF_BLOCK_WEIGHTS - 1) / WF_BLOCK_WEIGHTS * WF_BLOCK_WEIGHTS;
    float *x = guard(count * sizeof *x, 4), scale, expected_scale;
    int32_t sum, expected_sum;
    int8_t expected[4096];
    fill(x, count, kind);
    int8_t *out = (int8_t *)output(padded);
    wf_kernels_scalar.quantize(x, count, padded, expected, &expected_scale, &expected_sum);
    tier->quantize(x, count, padded, out, &scale, &sum);
    CHECK(same(out, expected, padded) && canaries_live((uint8_t *)out, padded) && same(&scale, &expected_scale, sizeof scale) &&
              sum == expected_sum,
          "%s quantize %u kind %d", tier->name, count, kind);
}

/* Activations and codes at random, or all −128 and all 2, which is as far as a sum can go; or all 127 and 2. */
static void test_ternary_matmul(const wf_kernels *tier, uint32_t blocks, uint32_t rows, uint32_t tokens, int extreme) {
    wf_asks_far_ahead = check_below(&source, 2) == 1; /* which changes no bit */
    const size_t row_bytes = blocks * WF_BLOCK_BYTES, stride = blocks * WF_BLOCK_WEIGHTS, out_stride = rows + 3;
    uint8_t *packed = guard(rows * row_bytes, 32);
    int8_t *values = guard(tokens * stride, 64);
    int32_t *sums = guard(tokens * sizeof *sums, 4);
    float *factors = guard(tokens * sizeof *factors, 4);
    for (size_t i = 0; i < rows * row_bytes; i++) {
        packed[i] = 0;
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            packed[i] |= (uint8_t)((extreme ? 2 : check_below(&source, 3)) << 2 * quarter);
    }
    for (uint32_t token = 0; token < tokens; token++) {
        sums[token] = 0;
        factors[token] = random_unit();
        for (size_t i = 0; i < stride; i++) {
            values[token * stride + i] = (int8_t)(extreme == 1 ? -128 : extreme == 2 ? 127 : (int)check_below(&source, 256) - 128);
            sums[token] += values[token * stride + i];
        }
    }
    const uint32_t padded = blocks * WF_BLOCK_WEIGHTS;
    const size_t tile_bytes = WF_ARRANGED_TOKENS * wf_arranged_bytes(padded);
    int8_t *arranged = guard((tokens + WF_ARRANGED_TOKENS - 1) / WF_ARRANGED_TOKENS * tile_bytes, 4096);
    for (uint32_t token = 0; token < tokens && tier->arrange != NULL; token += WF_ARRANGED_TOKENS)
        tier->arrange(values + token * stride, stride, tokens,
                      tokens - token < WF_ARRANGED_TOKENS ? tokens - token : WF_ARRANGED_TOKENS, padded,
                      arranged + token / WF_ARRANGED_TOKENS * tile_bytes);
    const wf_activations x = {values, stride, arranged, sums, factors, tokens};
    const size_t bytes = ((tokens - 1) * out_stride + rows) * sizeof(float);
    float *expected = calloc(1, bytes), *out = (float *)output(bytes);
    /* What lies between the rows of two tokens must stay as it was. */
    memset(expected, 0xc5, bytes);
    wf_kernels_scalar.ternary_matmul(packed, row_bytes, rows, &x, expected, out_stride);
    tier->ternary_matmul(packed, row_bytes, rows, &x, out, out_stride);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes),
          "%s ternary_matmul %u blocks %u rows %u tokens extreme %d", tier->name, blocks, rows, tokens, extreme);
    free(expected);
}

/* The same by groups, in panels whose last may be filled up: with rows that are not wanted, and not as zeros. */
static void test_ternary_groups(const wf_kernels *tier, uint32_t blocks, uint32_t group, uint32_t rows, uint32_t tokens,
                                int extreme) {
    wf_asks_far_ahead = check_below(&source, 2) == 1;
    const uint32_t padded = blocks * WF_BLOCK_WEIGHTS, groups = wf_padded_groups(padded, group);
    const uint32_t panels = (rows + WF_PANEL_ROWS - 1) / WF_PANEL_ROWS;
    const size_t code_bytes = (size_t)blocks * WF_BLOCK_BYTES, out_stride = rows + 3;
    wf_grouped_rows weights = {NULL, code_bytes, group, groups};
    const size_t panel_bytes = wf_panel_bytes(&weights);
    uint8_t *packed = guard(panels * panel_bytes, 64);
    weights.panels = packed;
    int8_t *values = guard(tokens * padded, 64);
    int32_t *sums = guard(tokens * groups * sizeof *sums, 4);
    float *scales = guard(tokens * groups * sizeof *scales, 4);
    for (uint32_t panel = 0; panel < panels; panel++) {
        uint8_t *at = packed + panel * panel_bytes;
        for (size_t i = 0; i < wf_panel_code_bytes(&weights); i++) {
            at[i] = 0;
            for (uint32_t quarter = 0; quarter < 4; quarter++)
                at[i] |= (uint8_t)((extreme ? 2 : check_below(&source, 3)) << 2 * quarter);
        }
        for (uint32_t i = 0; i < groups * WF_PANEL_ROWS; i++) {
            const uint16_t scale = (uint16_t)(0x2000 + check_below(&source, 0x1800));
            memcpy(at + wf_panel_code_bytes(&weights) + i * sizeof scale, &scale, sizeof scale);
        }
    }
    memset(sums, 0, tokens * groups * sizeof *sums);
    for (uint32_t token = 0; token < tokens; token++) {
        for (uint32_t i = 0; i < padded; i++) {
            values[token * padded + i] = (int8_t)(extreme == 1 ? -128 : extreme == 2 ? 127 : (int)check_below(&source, 256) - 128);
            sums[token * groups + i / group] += values[token * padded + i];
        }
        for (uint32_t i = 0; i < groups; i++)
            scales[token * groups + i] = random_unit();
    }
    const size_t tile_bytes = WF_ARRANGED_TOKENS * wf_arranged_bytes(padded);
    int8_t *arranged = guard((tokens + WF_ARRANGED_TOKENS - 1) / WF_ARRANGED_TOKENS * tile_bytes, 4096);
    for (uint32_t token = 0; token < tokens && tier->arrange_groups != NULL; token += WF_ARRANGED_TOKENS)
        tier->arrange_groups(values + token * padded, padded, tokens,
                             tokens - token < WF_ARRANGED_TOKENS ? tokens - token : WF_ARRANGED_TOKENS, padded,
                             arranged + token / WF_ARRANGED_TOKENS * tile_bytes);
    const wf_grouped_activations x = {values, padded, arranged, sums, scales, tokens};
    const size_t bytes = ((tokens - 1) * out_stride + rows) * sizeof(float);
    float *expected = calloc(1, bytes), *out = (float *)output(bytes);
    memset(expected, 0xc5, bytes);
    wf_kernels_scalar.ternary_groups_matmul(&weights, rows, &x, expected, out_stride);
    tier->ternary_groups_matmul(&weights, rows, &x, out, out_stride);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes),
          "%s ternary_groups_matmul %u blocks, groups of %u, %u rows %u tokens extreme %d", tier->name, blocks, group, rows, tokens,
          extreme);
    free(expected);
}

/* Columns and values at random, all listed columns alike at the extremes, more than an accumulator of 16 bits could take. */
static void test_ternary_columns(const wf_kernels *tier, uint32_t blocks, uint32_t count, int extreme) {
    enum { COLUMNS = 7 };
    const size_t column_bytes = blocks * WF_BLOCK_BYTES, bytes = column_bytes * 4 * sizeof(int32_t);
    uint8_t *columns = guard(COLUMNS * column_bytes, 32);
    uint32_t *indices = guard(count * sizeof *indices, 4);
    int8_t *values = guard(count, 1);
    for (size_t i = 0; i < COLUMNS * column_bytes; i++) {
        columns[i] = 0;
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            columns[i] |= (uint8_t)((extreme ? 2 : check_below(&source, 3)) << 2 * quarter);
    }
    for (uint32_t i = 0; i < count; i++) {
        indices[i] = (uint32_t)check_below(&source, COLUMNS);
        values[i] = (int8_t)(extreme == 1 ? -128 : extreme == 2 ? 127 : (int)check_below(&source, 256) - 128);
    }
    int32_t *expected = calloc(1, bytes), *out = (int32_t *)output(bytes);
    for (size_t i = 0; i < bytes / sizeof *out; i++)
        expected[i] = out[i] = (int32_t)check_below(&source, 1000) - 500;
    wf_kernels_scalar.ternary_columns(columns, column_bytes, indices, values, count, expected);
    tier->ternary_columns(columns, column_bytes, indices, values, count, out);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes), "%s ternary_columns %u blocks %u columns extreme %d",
          tier->name, blocks, count, extreme);
    free(expected);
}

static void test_bf16_matmul(const wf_kernels *tier, uint32_t count, uint32_t rows, uint32_t tokens) {
    const size_t x_stride = count, out_stride = rows + 2;
    uint16_t *weights = guard((size_t)rows * count * sizeof *weights, 2);
    float *x = guard(tokens * x_stride * sizeof *x, 4);
    for (size_t i = 0; i < (size_t)rows * count; i++) {
        const float weight = ldexpf(random_unit(), (int)check_below(&source, 8));
        uint32_t bits;
        memcpy(&bits, &weight, sizeof bits);
        weights[i] = (uint16_t)(bits >> 16);
    }
    fill(x, tokens * x_stride, PLAIN);
    const size_t bytes = ((tokens - 1) * out_stride + rows) * sizeof(float);
    float *expected = calloc(1, bytes), *out = (float *)output(bytes);
    memset(expected, 0xc5, bytes);
    wf_kernels_scalar.bf16_matmul(weights, rows, count, x, x_stride, tokens, expected, out_stride);
    tier->bf16_matmul(weights, rows, count, x, x_stride, tokens, out, out_stride);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes), "%s bf16_matmul %u inputs %u rows %u tokens",
          tier->name, count, rows, tokens);
    free(expected);
}

/* Bits and values at random, or all as large as they get, of either sign. */
static void test_sketch_matmul(const wf_kernels *tier, uint32_t blocks, uint32_t rows, uint32_t tokens, bool is_fine, int extreme) {
    wf_asks_far_ahead = check_below(&source, 2) == 1;
    const size_t width = (size_t)blocks * WF_BLOCK_WEIGHTS, out_stride = rows + 1;
    const size_t coarse_bytes = (size_t)rows * blocks * WF_COARSE_BYTES, fine_bytes = (size_t)rows * blocks * WF_FINE_BYTES;
    uint8_t *coarse = guard(coarse_bytes, 32), *fine = guard(fine_bytes, 32);
    int16_t *values = guard(tokens * width * sizeof *values, 32);
    int32_t *sums = guard(tokens * sizeof *sums, 4);
    float *scales = guard(rows * sizeof *scales, 4), *factors = guard(tokens * sizeof *factors, 4);
    const size_t room = (size_t)INT32_MAX / 128 / width;
    const int most = room < INT16_MAX ? (int)room : INT16_MAX;
    for (size_t i = 0; i < coarse_bytes; i++)
        coarse[i] = (uint8_t)(extreme == 1 ? 0xff : extreme == 2 ? 0 : check_below(&source, 256));
    for (size_t i = 0; i < fine_bytes; i++)
        fine[i] = (uint8_t)(extreme == 1 ? 0xff : extreme == 2 ? 0 : check_below(&source, 256));
    for (uint32_t token = 0; token < tokens; token++) {
        sums[token] = 0;
        for (size_t i = 0; i < width; i++) {
            values[token * width + i] = (int16_t)(extreme ? most : (int)check_below(&source, 2 * (uint32_t)most + 1) - most);
            sums[token] += values[token * width + i];
        }
    }
    fill(factors, tokens, PLAIN);
    fill(scales, rows, PLAIN);
    const wf_sketch_rows sketch = {coarse, is_fine ? fine : NULL, scales, blocks};
    uint8_t *arranged = guard(wf_wide_arranged_bytes(tokens, width), 4096);
    if (tier->arrange_wide != NULL)
        tier->arrange_wide(values, width, tokens, arranged);
    const wf_wide_activations x = {values, width, arranged, sums, factors, tokens};
    const size_t bytes = ((tokens - 1) * out_stride + rows) * sizeof(float);
    float *expected = calloc(1, bytes), *out = (float *)output(bytes);
    memset(expected, 0xc5, bytes);
    wf_kernels_scalar.sketch_matmul(&sketch, rows, &x, expected, out_stride);
    tier->sketch_matmul(&sketch, rows, &x, out, out_stride);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes),
          "%s sketch_matmul %u blocks %u rows %u tokens, fine %d, extreme %d", tier->name, blocks, rows, tokens, is_fine, extreme);
    free(expected);
}

static void test_elementwise(const wf_kernels *tier, uint32_t count, int kind) {
    const size_t bytes = count * sizeof(float);
    float *x = guard(bytes, 4), *up = guard(bytes, 4), expected[4096];
    fill(x, count, kind);
    fill(up, count, PLAIN);

    float *out = (float *)output(bytes);
    wf_kernels_scalar.exponentials(x, count, 0.25f, 300.0f, expected);
    tier->exponentials(x, count, 0.25f, 300.0f, out);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes), "%s exponentials %u kind %d", tier->name, count,
          kind);

    memcpy(expected, x, bytes);
    memcpy(out, x, bytes);
    wf_kernels_scalar.gate_relu_squared(expected, up, count);
    tier->gate_relu_squared(out, up, count);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes), "%s gate_relu_squared %u kind %d", tier->name, count,
          kind);

    memcpy(expected, x, bytes);
    memcpy(out, x, bytes);
    wf_kernels_scalar.gate_silu(expected, up, count);
    tier->gate_silu(out, up, count);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes), "%s gate_silu %u kind %d", tier->name, count, kind);

    memcpy(expected, x, bytes);
    memcpy(out, x, bytes);
    wf_kernels_scalar.gate_gelu(expected, up, count);
    tier->gate_gelu(out, up, count);
    CHECK(same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes), "%s gate_gelu %u kind %d", tier->name, count, kind);
}

/* Exponentials over all of their range and beyond. */
static void test_range(const wf_kernels *tier) {
    enum { COUNT = 4096 };
    static float x[COUNT], expected[COUNT], out[COUNT];
    for (int i = 0; i < COUNT; i++)
        x[i] = ((float)i - COUNT / 2) * 0.06f;
    wf_kernels_scalar.exponentials(x, COUNT, 0, 1, expected);
    tier->exponentials(x, COUNT, 0, 1, out);
    CHECK(same(out, expected, sizeof out), "%s exponentials over the range", tier->name);
}

static void test_attend(const wf_kernels *tier, enum wf_kv_kind kind, uint32_t head_dim, uint32_t group, uint32_t positions) {
    const uint32_t rows = 1 + (uint32_t)check_below(&source, positions < WF_ATTENTION_ROWS ? positions : WF_ATTENTION_ROWS);
    const size_t row_stride = (size_t)group * head_dim + 3;
    const uint32_t value_stride = (head_dim + WF_VALUE_ALIGN - 1) / WF_VALUE_ALIGN * WF_VALUE_ALIGN;
    const uint32_t used = (positions + WF_KV_BLOCK - 1) / WF_KV_BLOCK, blocks = used + 1;
    const size_t element = kind == WF_KV_Q8 ? 1 : kind == WF_KV_F16 ? 2 : sizeof(float);
    const size_t keys = WF_KV_BLOCK * head_dim * element, values = WF_KV_BLOCK * value_stride * element;
    const size_t scales = 2 * WF_KV_BLOCK * sizeof(float), block_bytes = keys + values + scales;
    uint8_t *memory = guard(blocks * block_bytes, 4);
    float *query = guard(((rows - 1) * row_stride + group * head_dim) * sizeof *query, 4);
    uint32_t *table = guard(used * sizeof *table, 4);
    fill(query, (rows - 1) * row_stride + group * head_dim, PLAIN);
    for (uint32_t block = 0; block < blocks; block++) {
        uint8_t *start = memory + block * block_bytes;
        for (size_t i = 0; i < (keys + values) / element; i++) {
            if (kind == WF_KV_Q8)
                start[i] = (uint8_t)check_next(&source);
            else if (kind == WF_KV_F16)
                ((uint16_t *)(void *)start)[i] = wf_half_of_float(ldexpf(random_unit(), 2 - (int)check_below(&source, 26)));
            else
                ((float *)(void *)start)[i] = 6.0f * random_unit();
        }
        for (uint32_t i = 0; i < 2 * WF_KV_BLOCK; i++)
            ((float *)(void *)(start + keys + values))[i] = (random_unit() + 1.0f) * 0.05f;
    }
    for (uint32_t i = 0; i < used; i++) /* in reverse order: positions are not where memory is */
        table[i] = blocks - 1 - i;
    /* Positions that are not visible may hold anything, and must not reach the result. */
    uint8_t *last = memory + table[used - 1] * block_bytes;
    for (uint32_t t = (positions - 1) % WF_KV_BLOCK + 1; t < WF_KV_BLOCK; t++) {
        const float odd = t % 2 == 0 ? INFINITY : NAN;
        ((float *)(void *)(last + keys + values))[t] = odd;
        ((float *)(void *)(last + keys + values))[WF_KV_BLOCK + t] = odd;
        for (uint32_t d = 0; d < head_dim && kind == WF_KV_F16; d++)
            ((uint16_t *)(void *)last)[d * WF_KV_BLOCK + t] = t % 2 == 0 ? WF_HALF_EXPONENT : WF_HALF_EXPONENT + 1;
        for (uint32_t d = 0; d < value_stride && kind == WF_KV_F16; d++)
            ((uint16_t *)(void *)(last + keys))[(size_t)t * value_stride + d] = WF_HALF_EXPONENT;
        for (uint32_t d = 0; d < head_dim && kind == WF_KV_F32; d++)
            ((float *)(void *)last)[d * WF_KV_BLOCK + t] = odd;
        for (uint32_t d = 0; d < value_stride && kind == WF_KV_F32; d++)
            ((float *)(void *)(last + keys))[(size_t)t * value_stride + d] = odd;
    }
    wf_attention input = {
        .query = query,
        .keys = memory,
        .values = memory + keys,
        .key_scales = (const float *)(const void *)(memory + keys + values),
        .value_scales = (const float *)(const void *)(memory + keys + values) + WF_KV_BLOCK,
        .block_bytes = block_bytes,
        .table = table,
        .kind = kind,
        .row_stride = row_stride,
        .rows = rows,
        .positions = positions - rows + 1,
        .window = check_below(&source, 2) == 0 ? 0 : 1 + (uint32_t)check_below(&source, positions),
        .group = group,
        .head_dim = head_dim,
        .value_stride = value_stride,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
    const size_t results = (size_t)rows * group, bytes = results * value_stride * sizeof(float);
    float *expected = calloc(1, bytes), *out = (float *)output(bytes);
    wf_softmax *expected_softmaxes = calloc(results, sizeof *expected_softmaxes);
    wf_softmax *softmaxes = (wf_softmax *)(void *)output(results * sizeof *softmaxes);
    for (input.start = wf_first_seen(&input, 0) / WF_KV_CHUNK * WF_KV_CHUNK; input.start < positions; input.start += WF_KV_CHUNK) {
        wf_kernels_scalar.attend(&input, expected, expected_softmaxes);
        tier->attend(&input, out, softmaxes);
        bool finite = true;
        for (size_t i = 0; i < results * value_stride; i++)
            finite = finite && isfinite(out[i]);
        CHECK(finite && same(out, expected, bytes) && canaries_live((uint8_t *)out, bytes),
              "%s attend kind %d head_dim %u group %u positions %u from %u", tier->name, (int)kind, head_dim, group, positions,
              input.start);
        const size_t softmax_bytes = results * sizeof *softmaxes;
        CHECK(same(softmaxes, expected_softmaxes, softmax_bytes) && canaries_live((uint8_t *)softmaxes, softmax_bytes),
              "%s attend kind %d head_dim %u group %u positions %u from %u: the softmax", tier->name, (int)kind, head_dim, group,
              positions, input.start);
    }
    free(expected);
    free(expected_softmaxes);
}

/* The specification itself, where something independent can be said about it. */
static void test_specification(void) {
    enum { COUNT = 2000 };
    float x[COUNT], y[COUNT];
    double worst = 0;
    for (int i = 0; i < COUNT; i++)
        x[i] = -87.0f + 0.0875f * (float)i;
    wf_kernels_scalar.exponentials(x, COUNT, 0, 1, y);
    for (int i = 0; i < COUNT; i++)
        worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1));
    CHECK(worst < 2e-7, "exponential is off by %g", worst);
    /* Every finite half is the nearest to itself and to what rounds to it. */
    uint32_t wrong = 0;
    for (uint32_t half = 0; half < WF_HALF_EXPONENT; half++) {
        const double value = (double)wf_float_of_half(half), next = (double)wf_float_of_half(half + 1);
        const float middle = (float)((value + next) / 2), above = nextafterf(middle, 1e9f), below = nextafterf(middle, 0);
        wrong += wf_half_of_float((float)value) != half || wf_half_of_float((float)-value) != (half | 0x8000);
        if (half + 1 < WF_HALF_EXPONENT)
            wrong += wf_half_of_float(below) != half || wf_half_of_float(above) != half + 1 ||
                     wf_half_of_float(middle) != half + half % 2;
    }
    CHECK(wrong == 0 && wf_half_of_float(1e30f) == WF_HALF_EXPONENT - 1 && wf_half_of_float(NAN) == 0x7e00, "%u halves are wrong",
          wrong);
    float one = 1.0f;
    wf_kernels_scalar.exponentials(&one, 1, 1.0f, 1.0f, y);
    CHECK(y[0] == 1.0f, "exp(0) is %.9g", (double)y[0]);
}

/* The sums that it keeps may not be forgotten by the compiler, and it says how much it did. */
static void test_multiply_add_peak(const wf_kernels *tier) {
    const uint64_t once = tier->multiply_add_peak(1);
    CHECK(once > 0 && tier->multiply_add_peak(7) == 7 * once, "%s multiply_add_peak", tier->name);
    const uint64_t floats = tier->float_multiply_add_peak(1);
    CHECK(floats > 0 && tier->float_multiply_add_peak(7) == 7 * floats, "%s float_multiply_add_peak", tier->name);
}

static void test_tier(const wf_kernels *tier) {
    for (int kind = 0; kind < KINDS; kind++)
        for (uint32_t count = 1; count <= 300; count++) {
            test_rms_norm(tier, count, kind);
            test_quantize(tier, count, kind);
            test_elementwise(tier, count, kind);
            free_guarded();
        }
    test_range(tier);
    for (uint32_t blocks = 1; blocks <= 70; blocks++)
        for (int extreme = 0; extreme < 3; extreme++) {
            test_ternary_matmul(tier, blocks, 1 + (uint32_t)check_below(&source, 11), 1 + blocks % 9, extreme);
            test_ternary_matmul(tier, blocks, 1 + (uint32_t)check_below(&source, 11), 1, extreme);
            free_guarded();
        }
    /* Whole tiles of rows and tokens, one more, one less, and rows shorter than what is worked through together. */
    static const uint32_t counts[] = {15, 16, 17, 31, 32, 33, 65, 96};
    for (uint32_t blocks = 1; blocks <= 11; blocks++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            test_ternary_matmul(tier, blocks, counts[(i + blocks) % 8], counts[i], (int)(i % 3));
            free_guarded();
        }
    /* Whole panels and parts of them, whole tiles of tokens and every remainder, and more tokens than are arranged together. */
    for (uint32_t group = 16; group <= 128; group *= 2)
        for (uint32_t blocks = 1; blocks <= 19; blocks++)
            for (int extreme = 0; extreme < 3; extreme++) {
                test_ternary_groups(tier, blocks, group, 1 + (uint32_t)check_below(&source, 40), 1, extreme);
                test_ternary_groups(tier, blocks, group, 1 + (uint32_t)check_below(&source, 40), 1 + blocks, extreme);
                free_guarded();
            }
    for (uint32_t group = 16; group <= 128; group *= 2)
        for (uint32_t tokens = 31; tokens <= 41; tokens++) {
            test_ternary_groups(tier, 1 + tokens % 3, group, 16 + tokens % 2 * 16, tokens, (int)(tokens % 3));
            free_guarded();
        }
    for (uint32_t blocks = 1; blocks <= 9; blocks++)
        for (uint32_t count = 1; count <= 70; count += 1 + (uint32_t)check_below(&source, 4))
            for (int extreme = 0; extreme < 3; extreme++) {
                test_ternary_columns(tier, blocks, count, extreme);
                free_guarded();
            }
    for (uint32_t blocks = 1; blocks <= 20; blocks++) {
        for (int extreme = 0; extreme < 3; extreme++) {
            test_sketch_matmul(tier, blocks, 1 + blocks % 5, 1 + blocks % 9, false, extreme);
            test_sketch_matmul(tier, blocks, 1 + blocks % 5, 1 + blocks % 9, true, extreme);
            /* Several tiles of rows and of tokens, and parts of them. */
            const uint32_t rows = 1 + (uint32_t)check_below(&source, 70), tokens = 1 + (uint32_t)check_below(&source, 40);
            test_sketch_matmul(tier, blocks, rows, tokens, blocks % 2 == 0, extreme);
            free_guarded();
        }
    }
    for (uint32_t count = 1; count <= 140; count++) {
        test_bf16_matmul(tier, count, 1 + count % 5, 1 + count % 4);
        free_guarded();
    }
    static const uint32_t head_dims[] = {2, 16, 64, 100, 128, 256};
    for (size_t d = 0; d < sizeof head_dims / sizeof *head_dims; d++)
        for (uint32_t positions = 1; positions <= 300; positions += 1 + (uint32_t)check_below(&source, 19)) {
            test_attend(tier, WF_KV_F32, head_dims[d], 1 + (uint32_t)check_below(&source, WF_HEADS_TOGETHER), positions);
            test_attend(tier, WF_KV_F16, head_dims[d], 1 + (uint32_t)check_below(&source, WF_HEADS_TOGETHER), positions);
            test_attend(tier, WF_KV_Q8, head_dims[d], 1 + (uint32_t)check_below(&source, WF_HEADS_TOGETHER), positions);
            free_guarded();
        }
    test_multiply_add_peak(tier);
}

/* ---- Tiers ---- */

/* A tier has the kernels of the one below, apart from those that it does better. */
static void test_inheritance(void) {
    const wf_cpu_features all = {{NULL}};
    for (uint32_t i = 0; i < wf_tier_count; i++) {
        const wf_tier *tier = wf_tiers[i];
        if (tier->below == NULL || !wf_tier_is_usable(tier, &all))
            continue;
        wf_kernels table, below;
        wf_fill_table(tier->below, &below);
        wf_fill_table(tier, &table);
        CHECK(strcmp(table.name, tier->name) == 0, "the table of %s is called %s", tier->name, table.name);
        CHECK(table.ternary_matmul != below.ternary_matmul, "%s multiplies as %s does", tier->name, below.name);
        const bool is_part = tier->families[3] == NULL;
        CHECK((table.attend == below.attend && table.rms_norm == below.rms_norm) == is_part, "%s and %s share the wrong kernels",
              tier->name, below.name);
    }
}

/* The tier that a processor without these features is left with, and what it is told. */
static void test_fall_back(uint32_t lacking, const char *name, const char *reason) {
    wf_cpu_features features = {{NULL}};
    for (uint32_t feature = 0; feature < WF_CPU_FEATURES; feature++)
        if (lacking >> feature & 1)
            features.lacking[feature] = "none";
    uint32_t best = 0;
    while (!wf_tier_is_usable(wf_tiers[best], &features))
        best++;
    char text[256];
    wf_explain_tier(wf_tiers[best], &features, text, sizeof text);
    CHECK(strcmp(wf_tiers[best]->name, name) == 0, "%s is used in the place of %s", wf_tiers[best]->name, name);
    CHECK(strcmp(text, reason) == 0, "%s is used because: %s", name, text);
}

static void test_fall_backs(void) {
#if defined(WF_HAS_AMX) && defined(WF_HAS_AVX_VNNI)
    enum { AVX2 = 1 << WF_CPU_AVX2, AVX_VNNI = 1 << WF_CPU_AVX_VNNI, AVX512 = 1 << WF_CPU_AVX512, AMX = 1 << WF_CPU_AMX };
    test_fall_back(0, "amx", "");
    test_fall_back(AVX_VNNI, "amx", "");
    test_fall_back(AMX, "avx512", "no tiles: none");
    test_fall_back(AVX_VNNI | AMX, "avx512", "no tiles: none");
    test_fall_back(AVX512, "avx2_vnni", "no AVX-512 with VNNI: none");
    test_fall_back(AVX512 | AMX, "avx2_vnni", "no AVX-512 with VNNI: none");
    test_fall_back(AVX512 | AVX_VNNI, "avx2", "no AVX-512 with VNNI: none; no AVX-VNNI: none");
    test_fall_back(AVX2, "scalar", "no AVX2 with FMA and F16C: none");
    test_fall_back(~0U, "scalar", "no AVX2 with FMA and F16C: none");
#elif defined(__aarch64__)
    test_fall_back(0, "neon_dotprod", "");
    test_fall_back(1 << WF_CPU_DOT_PRODUCTS, "neon", "no dot products: none");
#endif
}

/* The kernels of a tier where it can be run here, or NULL. */
static const wf_kernels *runnable(const wf_tier *tier) {
#if defined(WF_EMULATED)
    static wf_kernels table;
    if (tier->below == NULL)
        return NULL; /* nothing to emulate */
    wf_fill_table(tier, &table);
    return &table;
#else
    uint32_t count;
    const wf_kernels *const *supported = wf_kernels_supported(&count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(supported[i]->name, tier->name) == 0)
            return supported[i];
    return NULL;
#endif
}

int main(void) {
    uint32_t tested = 0;
    test_specification();
    test_inheritance();
    test_fall_backs();
    for (uint32_t i = 0; i < wf_tier_count; i++) {
        const wf_kernels *kernels = runnable(wf_tiers[i]);
        if (kernels == NULL) {
#if !defined(WF_EMULATED)
            printf("tier %s: not native: this machine lacks its instructions\n", wf_tiers[i]->name);
#endif
            continue;
        }
        test_tier(kernels);
        tested++;
#if defined(WF_EMULATED)
        printf("tier %s: emulated by SIMDe\n", wf_tiers[i]->name);
#else
        printf("tier %s: native\n", wf_tiers[i]->name);
#endif
    }
#if !defined(WF_EMULATED)
    uint32_t supported;
    wf_kernels_supported(&supported);
    CHECK(tested == supported, "%u tiers are supported and %u of them tested", supported, tested);
#endif
    return check_report();
}
