/*
 * pack_test.c: wf_pack_rows and wf_sum_of_magnitudes against a naive reference that follows the words of wrinklefree.h.
 *
 * The reference converts, divides, rounds and places one weight at a time, by other means than pack.c does. Sources
 * start at odd addresses, and canaries guard the output on both sides.
 */
#include "wrinklefree.h"

#include "check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define GUARD_BYTES 64U
#define GUARD_VALUE 0xA5U
#define ERROR_BYTES 256U

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The half with these bits, from the definition of the format. */
static float reference_half(uint16_t bits) {
    const int exponent = bits >> 10 & 31;
    const float fraction = (float)(bits & 1023);
    const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
    if (exponent == 31) {
        return fraction == 0.0F ? sign * INFINITY : NAN;
    }
    return sign * (exponent == 0 ? ldexpf(fraction, -24) : ldexpf(1024.0F + fraction, exponent - 25));
}

static size_t width_of(uint32_t source) { return source == WF_SOURCE_F32 ? 4 : source == WF_SOURCE_CODES ? 1 : 2; }

/* Weight `index` of a source, as float. */
static float reference_weight(const uint8_t *weights, uint32_t source, size_t index) {
    if (source == WF_SOURCE_F32) {
        float value;
        memcpy(&value, weights + index * 4, sizeof value);
        return value;
    }
    uint16_t bits;
    memcpy(&bits, weights + index * 2, sizeof bits);
    return source == WF_SOURCE_F16 ? reference_half(bits) : float_of_bits((uint32_t)bits << 16);
}

static uint32_t reference_code(const uint8_t *weights, uint32_t source, size_t index, float scale) {
    if (source == WF_SOURCE_CODES) {
        return weights[index];
    }
    const float quotient = reference_weight(weights, source, index) / scale;
    const float rounded = nearbyintf(quotient); /* the rounding mode is to nearest, ties to even */
    return (uint32_t)(int)(fminf(fmaxf(rounded, -1.0F), 1.0F) + 1.0F);
}

/* The packed form, one code at a time. */
static void reference_pack(const uint8_t *weights, uint32_t source, size_t rows, size_t columns, float scale, uint8_t *out) {
    const size_t row_bytes = (columns + 127) / 128 * 32;
    memset(out, 0, rows * row_bytes);
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < row_bytes * 4; column++) {
            const uint32_t code = column < columns ? reference_code(weights, source, row * columns + column, scale) : 1U;
            const size_t place = column % 128;
            uint8_t *byte = &out[row * row_bytes + column / 128 * 32 + place % 32];
            *byte = (uint8_t)(*byte | code << (place / 32 * 2));
        }
    }
}

/* Packs both ways and compares. `weights` may have any alignment. */
static void compare(const uint8_t *weights, uint32_t source, size_t rows, size_t columns, float scale) {
    const size_t size = rows * ((columns + 127) / 128 * 32);
    uint8_t *expected = malloc(size + 1);
    uint8_t *guarded = malloc(size + 2 * GUARD_BYTES);
    if (expected == NULL || guarded == NULL) {
        CHECK(false, "no memory");
        free(expected);
        free(guarded);
        return;
    }
    memset(guarded, GUARD_VALUE, size + 2 * GUARD_BYTES);
    reference_pack(weights, source, rows, columns, scale, expected);
    char error[ERROR_BYTES] = "";
    const int32_t status = wf_pack_rows(weights, source, rows, columns, scale, guarded + GUARD_BYTES, error, ERROR_BYTES);
    CHECK(status == 0, "source %u, %zu x %zu: %s", source, rows, columns, error);
    CHECK(memcmp(guarded + GUARD_BYTES, expected, size) == 0, "source %u, %zu x %zu, scale %g", source, rows, columns,
          (double)scale);
    bool intact = true;
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        intact = intact && guarded[i] == GUARD_VALUE && guarded[GUARD_BYTES + size + i] == GUARD_VALUE;
    }
    CHECK(intact, "source %u, %zu x %zu: wrote outside its output", source, rows, columns);
    free(expected);
    free(guarded);
}

/* Fills weights[count] of a source with values around `scale`, a fourth of them at the borders of rounding. */
static void fill(uint8_t *weights, uint32_t source, size_t count, float scale, struct check_random *random) {
    static const float multiples[] = {0.0F, 0.5F, 1.0F, 1.5F, 2.5F};
    for (size_t i = 0; i < count; i++) {
        const uint64_t draw = check_next(random);
        if (source == WF_SOURCE_CODES) {
            weights[i] = (uint8_t)(draw % 3);
            continue;
        }
        float value = ((float)(draw >> 40) / 8388608.0F - 1.0F) * 2.0F * scale;
        if ((draw & 3) == 0) {
            value = multiples[(draw >> 2) % 5] * scale;
            value = (draw & 32) != 0 ? nextafterf(value, (draw & 64) != 0 ? INFINITY : 0.0F) : value;
            value = (draw & 128) != 0 ? -value : value;
        }
        const uint32_t bits = bits_of_float(value);
        if (source == WF_SOURCE_F32) {
            memcpy(weights + i * 4, &bits, sizeof bits);
        } else {
            /* Any finite half and any finite bfloat16 will do: what matters is that both sides see the same bits. */
            uint16_t half = (uint16_t)(bits >> 16);
            if (source == WF_SOURCE_F16) {
                half = (uint16_t)((bits >> 16 & 0x8000U) | (draw >> 8 & 0x3FFFU));
            }
            memcpy(weights + i * 2, &half, sizeof half);
        }
    }
}

/* Every number of columns from 1 to 300 from every source, at an odd address. */
static void test_shapes(void) {
    struct check_random random = {.state = 0x9E3779B97F4A7C15U};
    static const float scales[] = {1.0F, 0.02F, 3.5e-3F, 1e-5F, 0.75F};
    for (uint32_t source = WF_SOURCE_F32; source <= WF_SOURCE_CODES; source++) {
        for (size_t columns = 1; columns <= 300; columns++) {
            const size_t rows = 1 + columns % 5;
            const float scale = scales[columns % 5];
            const size_t bytes = rows * columns * width_of(source);
            uint8_t *memory = malloc(bytes + 1);
            if (memory == NULL) {
                CHECK(false, "no memory");
                return;
            }
            fill(memory + 1, source, rows * columns, scale, &random);
            compare(memory + 1, source, rows, columns, scale);
            free(memory);
        }
    }
}

/* Exact ties, their neighbours, and the extremes of float. */
static void test_boundaries(void) {
    static const float scales[] = {1.0F, 2.0F, 0.3F, 0.1F, 0.0123456F, 1e-5F, 1e-30F, FLT_MIN, FLT_MAX, 1e-45F};
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
        float weights[128];
        size_t count = 0;
        static const float multiples[] = {0.0F, 0.25F, 0.5F, 1.0F, 1.5F, 2.0F, 2.5F, 3.5F};
        for (size_t m = 0; m < sizeof multiples / sizeof multiples[0]; m++) {
            const float value = fminf(multiples[m] * scales[s], FLT_MAX);
            const float values[] = {value, nextafterf(value, 0.0F), fminf(nextafterf(value, INFINITY), FLT_MAX)};
            for (size_t v = 0; v < 3; v++) {
                weights[count++] = values[v];
                weights[count++] = -values[v];
            }
        }
        static const float extremes[] = {FLT_MAX, FLT_MIN, 1e-45F, 0.0F, 1.0F};
        for (size_t e = 0; e < sizeof extremes / sizeof extremes[0]; e++) {
            weights[count++] = extremes[e];
            weights[count++] = -extremes[e];
        }
        compare((const uint8_t *)weights, WF_SOURCE_F32, 1, count, scales[s]);
    }

    /* The same written out, so that reference and code can't be wrong together. */
    const float ties[] = {0.5F, -0.5F, 0.50000006F, -0.50000006F, 1.5F, -1.5F, 0.49999997F, -0.0F};
    const uint32_t codes[] = {1, 1, 2, 0, 2, 0, 1, 1};
    uint8_t out[32];
    CHECK(wf_pack_rows(ties, WF_SOURCE_F32, 1, 8, 1.0F, out, NULL, 0) == 0, "ties");
    for (size_t i = 0; i < 8; i++) {
        CHECK((out[i] & 3U) == codes[i], "tie %zu: code %u", i, out[i] & 3U);
        CHECK(out[i] >> 2 == 0x15, "padding beside tie %zu: %u", i, out[i] >> 2);
    }
    for (size_t i = 8; i < 32; i++) {
        CHECK(out[i] == 0x55, "padding at byte %zu: %u", i, out[i]);
    }
}

/* Each of the 65536 halves and bfloat16s: packed like the reference when finite, refused otherwise. */
static void test_all_halves(void) {
    for (uint32_t source = WF_SOURCE_F16; source <= WF_SOURCE_BF16; source++) {
        uint16_t *finite = malloc(65536 * sizeof *finite);
        if (finite == NULL) {
            CHECK(false, "no memory");
            return;
        }
        size_t count = 0;
        for (uint32_t bits = 0; bits < 65536; bits++) {
            const uint16_t half = (uint16_t)bits;
            const float value = reference_weight((const uint8_t *)&half, source, 0);
            if (isfinite(value)) {
                finite[count++] = half;
                const double sum = wf_sum_of_magnitudes(&half, source, 1);
                CHECK(sum == (double)fabsf(value), "source %u, bits %04x: %g", source, bits, sum);
            } else {
                uint8_t out[32];
                char error[ERROR_BYTES] = "";
                CHECK(wf_pack_rows(&half, source, 1, 1, 1.0F, out, error, ERROR_BYTES) == -1, "bits %04x", bits);
                CHECK(strstr(error, isnan(value) ? "NaN" : "infinite") != NULL, "bits %04x: %s", bits, error);
            }
        }
        static const float scales[] = {1.0F, 0.02F, 6e-8F, 1e4F};
        for (size_t s = 0; s < 4; s++) {
            compare((const uint8_t *)finite, source, 1, count, scales[s]);
        }
        free(finite);
    }
}

/* A fault is found at every place and named. */
static void test_faults(void) {
    enum { ROWS = 2, COLUMNS = 130 };
    static const float faults[] = {INFINITY, -INFINITY, NAN};
    float weights[ROWS * COLUMNS] = {0};
    uint8_t codes[ROWS * COLUMNS] = {0};
    uint8_t out[ROWS * 64];
    char error[ERROR_BYTES];
    char place[64];
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        snprintf(place, sizeof place, "row %zu, column %zu ", i / COLUMNS, i % COLUMNS);
        for (size_t f = 0; f < 3; f++) {
            weights[i] = faults[f];
            CHECK(wf_pack_rows(weights, WF_SOURCE_F32, ROWS, COLUMNS, 1.0F, out, error, ERROR_BYTES) == -1, "weight %zu", i);
            CHECK(check_is_line(error, ERROR_BYTES) && strstr(error, place) != NULL, "weight %zu: %s", i, error);
        }
        weights[i] = 0.0F;
        codes[i] = i % 2 == 0 ? 3 : 255;
        CHECK(wf_pack_rows(codes, WF_SOURCE_CODES, ROWS, COLUMNS, 1.0F, out, error, ERROR_BYTES) == -1, "code %zu", i);
        CHECK(check_is_line(error, ERROR_BYTES) && strstr(error, place) != NULL, "code %zu: %s", i, error);
        codes[i] = 1;
    }
    static const float scales[] = {0.0F, -1.0F, NAN, INFINITY};
    for (size_t s = 0; s < 4; s++) {
        CHECK(wf_pack_rows(weights, WF_SOURCE_F32, ROWS, COLUMNS, scales[s], out, error, ERROR_BYTES) == -1, "scale %zu", s);
        CHECK(strstr(error, "scale") != NULL, "scale %zu: %s", s, error);
        CHECK(wf_pack_rows(codes, WF_SOURCE_CODES, ROWS, COLUMNS, scales[s], out, error, ERROR_BYTES) == 0, "codes need none");
    }
    CHECK(wf_pack_rows(weights, 7, ROWS, COLUMNS, 1.0F, out, error, ERROR_BYTES) == -1, "source 7");
    CHECK(strstr(error, "7 is no source") != NULL, "source 7: %s", error);
    CHECK(wf_pack_rows(weights, WF_SOURCE_TQ2_0, 1, 128, 1.0F, out, error, ERROR_BYTES) == -1, "half a block");
    CHECK(strstr(error, "no whole blocks of 256") != NULL, "half a block: %s", error);
    CHECK(wf_pack_rows(weights, WF_SOURCE_F32, UINT64_MAX, 3, 1.0F, out, error, ERROR_BYTES) == -1, "too many rows");
    CHECK(wf_pack_rows(NULL, WF_SOURCE_F32, 0, 5, 1.0F, NULL, error, ERROR_BYTES) == 0, "no rows");
    CHECK(wf_pack_rows(NULL, WF_SOURCE_F32, 5, 0, 1.0F, NULL, error, ERROR_BYTES) == 0, "no columns");
}

/* Encodes codes[count] as other programs' files have them, by their words; each block of TQ1_0 and TQ2_0 with the scale 1. Returns the
 * bytes. */
static size_t encode(const uint8_t *codes, uint32_t source, size_t count, uint8_t *out) {
    const uint8_t *const start = out;
    if (source == WF_SOURCE_I2_S) {
        memset(out, 0, (count + 127) / 128 * 32);
        for (size_t i = 0; i < count; i++)
            out[i / 128 * 32 + i % 32] |= (uint8_t)(codes[i] << (6 - i % 128 / 32 * 2));
        return (count + 127) / 128 * 32;
    }
    for (size_t block = 0; block < count; block += 256) {
        const uint8_t *from = codes + block;
        if (source == WF_SOURCE_TQ2_0) {
            memset(out, 0, 64);
            for (size_t i = 0; i < 256; i++)
                out[i / 128 * 32 + i % 32] |= (uint8_t)(from[i] << (i % 128 / 32 * 2));
            out += 64;
        } else {
            static const size_t first[] = {0, 160, 240}, bytes[] = {32, 16, 4}, digits[] = {5, 5, 4};
            for (size_t run = 0; run < 3; run++)
                for (size_t i = 0; i < bytes[run]; i++) {
                    uint32_t number = 0;
                    for (size_t digit = 0; digit < 5; digit++)
                        number = number * 3 + (digit < digits[run] ? from[first[run] + digit * bytes[run] + i] : 0U);
                    *out++ = (uint8_t)((number * 256 + 242) / 243);
                }
        }
        *out++ = 0x00;
        *out++ = 0x3C;
    }
    return (size_t)(out - start);
}

/* The blocks of other formats, at odd addresses and without a byte behind them: the same codes, and a fault is named with its place. */
static void test_blocks(void) {
    enum { MOST = 6 * 512 };
    struct check_random random = {.state = 5};
    uint8_t codes[MOST], encoded[MOST], out[MOST], expected[MOST];
    char error[ERROR_BYTES], place[64];
    for (uint32_t source = WF_SOURCE_I2_S; source <= WF_SOURCE_TQ2_0; source++)
        for (size_t columns = source == WF_SOURCE_I2_S ? 32 : 256; columns <= 512; columns += source == WF_SOURCE_I2_S ? 32 : 256) {
            const size_t rows = 4, count = rows * columns;
            for (size_t i = 0; i < count; i++)
                codes[i] = (uint8_t)(check_next(&random) % 3);
            const size_t bytes = encode(codes, source, count, encoded);
            uint8_t *memory = malloc(bytes + 1);
            if (memory == NULL) {
                CHECK(false, "no memory");
                return;
            }
            memcpy(memory + 1, encoded, bytes);
            reference_pack(codes, WF_SOURCE_CODES, rows, columns, 1.0F, expected);
            CHECK(wf_pack_rows(memory + 1, source, rows, columns, 0.0F, out, error, ERROR_BYTES) == 0, "source %u: %s", source,
                  error);
            CHECK(memcmp(out, expected, rows * wf_packed_row_bytes(columns)) == 0, "source %u, %zu columns", source, columns);
            for (size_t i = 0; source != WF_SOURCE_TQ1_0 && i < count; i += 1 + (size_t)(check_next(&random) % 64)) {
                const uint8_t code = codes[i];
                codes[i] = 3;
                memcpy(memory + 1, encoded, encode(codes, source, count, encoded));
                snprintf(place, sizeof place, "row %zu, column %zu is 3", i / columns, i % columns);
                CHECK(wf_pack_rows(memory + 1, source, rows, columns, 0.0F, out, error, ERROR_BYTES) == -1, "code %zu", i);
                CHECK(strstr(error, place) != NULL, "source %u, code %zu: %s", source, i, error);
                codes[i] = code;
            }
            free(memory);
        }
}

/* The magnitude that weights share. */
static void test_magnitudes(void) {
    float weights[300] = {0};
    CHECK(wf_ternary_magnitude(weights, WF_SOURCE_F32, 300) == 0.0F, "zeros");
    weights[299] = -0.25F;
    CHECK(wf_ternary_magnitude(weights, WF_SOURCE_F32, 300) == 0.25F, "one at the end");
    CHECK(wf_ternary_magnitude(weights, WF_SOURCE_F32, 299) == 0.0F, "not beyond the end");
    weights[0] = 0.25F;
    weights[7] = -0.0F;
    CHECK(wf_ternary_magnitude(weights, WF_SOURCE_F32, 300) == 0.25F, "both signs, and a negative zero");
    for (size_t i = 0; i < 300; i++) {
        static const float odd[] = {0.250001F, 1e-40F, INFINITY, NAN};
        for (size_t k = 0; k < 4; k++) {
            const float kept = weights[i];
            weights[i] = odd[k];
            CHECK(isnan(wf_ternary_magnitude(weights, WF_SOURCE_F32, 300)), "%g at %zu", (double)odd[k], i);
            weights[i] = kept;
        }
    }
    uint8_t codes[512] = {0}, blocks[2 * 66];
    for (uint32_t source = WF_SOURCE_TQ1_0; source <= WF_SOURCE_TQ2_0; source++) {
        const size_t bytes = encode(codes, source, 512, blocks) / 2;
        CHECK(wf_ternary_magnitude(blocks, source, 512) == 1.0F, "the same in both blocks");
        blocks[2 * bytes - 1] = 0;
        CHECK(wf_ternary_magnitude(blocks, source, 512) == 1.0F, "none in one of them");
        static const uint8_t odd[] = {0x38, 0xBC, 0x7C, 0x7E};
        for (size_t k = 0; k < 4; k++) {
            blocks[2 * bytes - 1] = odd[k];
            CHECK(isnan(wf_ternary_magnitude(blocks, source, 512)), "another one, negative, infinite, no number: %zu", k);
        }
    }
    CHECK(isnan(wf_ternary_magnitude(codes, WF_SOURCE_CODES, 1)), "codes have none");
}

static void test_row_bytes(void) {
    for (uint64_t columns = 0; columns < 1000; columns++) {
        CHECK(wf_packed_row_bytes(columns) == (columns + 127) / 128 * 32, "%llu columns", (unsigned long long)columns);
    }
    CHECK(wf_packed_row_bytes(UINT64_MAX) == (UINT64_MAX / 128 + 1) * 32, "the most columns");
}

static void test_sums(void) {
    struct check_random random = {.state = 42};
    for (uint32_t source = WF_SOURCE_F32; source <= WF_SOURCE_BF16; source++) {
        for (size_t count = 0; count <= 1000; count += 1 + count / 7) {
            uint8_t *memory = malloc(count * 4 + 1);
            if (memory == NULL) {
                CHECK(false, "no memory");
                return;
            }
            fill(memory + 1, source, count, 0.02F, &random);
            double expected = 0.0;
            for (size_t i = 0; i < count; i++) {
                expected += (double)fabsf(reference_weight(memory + 1, source, i));
            }
            const double sum = wf_sum_of_magnitudes(memory + 1, source, count);
            CHECK(fabs(sum - expected) <= 1e-12 * expected, "source %u, %zu weights: %g, not %g", source, count, sum, expected);
            free(memory);
        }
    }
    /* 2^24 ones: a sum in float would stop there. */
    const size_t many = (1U << 24) + 1000;
    uint16_t *ones = malloc(many * sizeof *ones);
    if (ones != NULL) {
        for (size_t i = 0; i < many; i++) {
            ones[i] = i % 2 == 0 ? 0x3F80 : 0xBF80;
        }
        CHECK(wf_sum_of_magnitudes(ones, WF_SOURCE_BF16, many) == (double)many, "2^24 + 1000 ones");
        free(ones);
    }
    const float odd[] = {1.0F, NAN, 2.0F};
    CHECK(isnan(wf_sum_of_magnitudes(odd, WF_SOURCE_F32, 3)), "a NaN shows in the sum");
    CHECK(isnan(wf_sum_of_magnitudes(odd, WF_SOURCE_CODES, 3)), "codes have no sum");
    CHECK(isnan(wf_sum_of_magnitudes(odd, 77, 3)), "an unknown source has no sum");
}

int main(void) {
    test_row_bytes();
    test_shapes();
    test_boundaries();
    test_all_halves();
    test_faults();
    test_blocks();
    test_magnitudes();
    test_sums();
    return check_report();
}
