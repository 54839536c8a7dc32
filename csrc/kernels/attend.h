/*
 * attend.h: how every vector tier goes through a chunk of a sequence: one block after the other for all heads and tokens, so that
 * it comes from a cache for all but the first. A tier includes this once it has defined
 *   running        the softmax of one query head so far, with `largest` and `total` among its fields;
 *   attend_group   which adds one block to `count` heads of one token: query[count][head_dim], states[count],
 *                  sums[count][value_stride]; meanwhile it may ask for the lines ahead.
 */
/* `kind` is a constant at each call. */
ALWAYS_INLINE void attend_kind(const wf_attention *input, enum wf_kv_kind kind, float *sums, wf_softmax *softmaxes) {
    running states[WF_ATTENTION_ROWS][WF_HEADS_TOGETHER];
    const size_t row_sums = (size_t)input->group * input->value_stride;
    memset(sums, 0, input->rows * row_sums * sizeof *sums);
    for (uint32_t row = 0; row < input->rows; row++)
        for (uint32_t head = 0; head < input->group; head++)
            states[row][head] = (running){.largest = -INFINITY, .total = 0.0f};

    const uint32_t all = input->positions + input->rows - 1, chunk_end = input->start + WF_KV_CHUNK;
    const uint32_t end = all < chunk_end ? all : chunk_end;
    for (uint32_t start = input->start; start < end; start += WF_KV_BLOCK) {
        wf_lines_ahead ahead = {NULL, NULL};
        if (start + WF_KV_BLOCK < all) {
            ahead.at = wf_in_block(input, input->keys, start + WF_KV_BLOCK);
            ahead.end = (const char *)wf_in_block(input, input->values, start + WF_KV_BLOCK) +
                        (size_t)WF_KV_BLOCK * input->value_stride * wf_element_bytes(kind);
        }
        for (uint32_t row = 0; row < input->rows; row++)
            if (start < input->positions + row)
                attend_group(input, kind, input->query + row * input->row_stride, input->group, start, input->positions + row,
                             &ahead, states[row], sums + row * row_sums);
    }

    for (uint32_t row = 0; row < input->rows; row++)
        for (uint32_t head = 0; head < input->group; head++)
            softmaxes[row * input->group + head] = (wf_softmax){states[row][head].largest, states[row][head].total};
}

static void attend(const wf_attention *input, float *sums, wf_softmax *softmaxes) {
    if (input->kind == WF_KV_F32)
        attend_kind(input, WF_KV_F32, sums, softmaxes);
    else if (input->kind == WF_KV_F16)
        attend_kind(input, WF_KV_F16, sums, softmaxes);
    else
        attend_kind(input, WF_KV_Q8, sums, softmaxes);
}
