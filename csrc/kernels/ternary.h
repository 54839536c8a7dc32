/*
 * ternary.h: how AVX2 and NEON share out the tokens of a ternary product: four at a time, so that unpacking a row serves all of
 * them, then what is left. A file includes this once it has defined
 *   batch_rows    all rows by `count` tokens, 2 to 4, a constant at each call;
 *   decode_rows   all rows by one token.
 */
static void ternary_matmul(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, float *out,
                           size_t out_stride) {
    uint32_t token = 0;
    for (; token + 4 <= x->tokens; token += 4)
        batch_rows(rows, row_bytes, row_count, x, token, 4, out, out_stride);
    switch (x->tokens - token) {
    case 3:
        batch_rows(rows, row_bytes, row_count, x, token, 3, out, out_stride);
        break;
    case 2:
        batch_rows(rows, row_bytes, row_count, x, token, 2, out, out_stride);
        break;
    case 1:
        decode_rows(rows, row_bytes, row_count, x, token, out, out_stride);
        break;
    default:
        break;
    }
}
