/*
 * sketched.h: how AVX2 and NEON share out the tokens of a product with the head's sketch: four at a time, whose values stay in
 * the first-level cache while rows stream through it, then what is left. A tier includes this once it has defined
 *   sketch_row    one of `row_count` rows by `count` tokens, 4, 2 or 1; `count` and `is_fine` are constants at each call.
 */
ALWAYS_INLINE void sketch_rows(const wf_sketch_rows *rows, uint32_t row_count, bool is_fine, const wf_wide_activations *x,
                               float *out, size_t out_stride) {
    uint32_t token = 0;
    for (; token + 4 <= x->tokens; token += 4)
        for (uint32_t row = 0; row < row_count; row++)
            sketch_row(rows, row_count, row, is_fine, x, token, 4, out, out_stride);
    for (; token + 2 <= x->tokens; token += 2)
        for (uint32_t row = 0; row < row_count; row++)
            sketch_row(rows, row_count, row, is_fine, x, token, 2, out, out_stride);
    for (uint32_t row = 0; row < row_count && token < x->tokens; row++)
        sketch_row(rows, row_count, row, is_fine, x, token, 1, out, out_stride);
}

static void sketch_matmul(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, float *out,
                          size_t out_stride) {
    if (rows->fine != NULL)
        sketch_rows(rows, row_count, true, x, out, out_stride);
    else
        sketch_rows(rows, row_count, false, x, out, out_stride);
}
