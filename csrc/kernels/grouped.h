/*
 * grouped.h: how the vector tiers arrange and share out the tokens of a product by groups: in tiles, so that unpacking a panel serves all
 * tokens of one, then what is left. A file includes this once it has defined
 *   TILE_TOKENS       tokens of a whole tile, 4 or 8;
 *   multiply_panels   all panels by `count` tokens and with groups of `group`, both constants at each call.
 */

/* One token is read as it is. */
static void arrange_groups(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded, int8_t *arranged) {
    if (batch > 1)
        arrange_words(values, stride, count, padded, TILE_TOKENS, arranged);
}

/* Functions of their own, so that registers are given out for each by itself. */
typedef void tile_function(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, uint32_t token,
                           float *out, size_t out_stride);

#define TILE(count, group)                                                                                                         \
    static __attribute__((noinline)) void multiply_##count##_by_##group(const wf_grouped_rows *rows, uint32_t row_count,           \
                                                                        const wf_grouped_activations *x, uint32_t token,           \
                                                                        float *out, size_t out_stride) {                           \
        multiply_panels(rows, row_count, x, token, count, out, out_stride, group);                                                 \
    }
#define TILES(count) TILE(count, 16) TILE(count, 32) TILE(count, 64) TILE(count, 128)
#define BY_GROUP(count)                                                                                                            \
    { multiply_##count##_by_16, multiply_##count##_by_32, multiply_##count##_by_64, multiply_##count##_by_128 }

TILES(1)
TILES(2)
TILES(3)
TILES(4)
#if TILE_TOKENS == 8
TILES(8)
#endif

static void ternary_groups_matmul(const wf_grouped_rows *rows, uint32_t row_count, const wf_grouped_activations *x, float *out,
                                  size_t out_stride) {
    static tile_function *const tiles[TILE_TOKENS + 1][4] = {
        [1] = BY_GROUP(1),
        [2] = BY_GROUP(2),
        [3] = BY_GROUP(3),
        [4] = BY_GROUP(4),
#if TILE_TOKENS == 8
        [8] = BY_GROUP(8),
#endif
    };
    const uint32_t of_group = rows->group == 16 ? 0 : rows->group == 32 ? 1 : rows->group == 64 ? 2 : 3;
    for (uint32_t token = 0; token < x->tokens;) {
        const uint32_t left = x->tokens - token, count = left >= TILE_TOKENS ? TILE_TOKENS : left > 4 ? 4 : left;
        tiles[count][of_group](rows, row_count, x, token, out, out_stride);
        token += count;
    }
}
