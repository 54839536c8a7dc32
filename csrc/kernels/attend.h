/*
 * attend.h: how every vector tier goes through a chunk of a sequence: one block after the other for all heads and tokens, so that
 * it comes from a cache for all but the first. A query is one head of one token. A tier includes this once it has defined
 *   running          the softmax of one query so far, with `largest` and `total` among its fields;
 *   attend_queries   which adds the positions from `from` up to `visible` of one block, those before with a weight of zero, to `count`
 *                    queries: queries[count] with [head_dim] each, states[count], sums[count][value_stride]; meanwhile it may ask
 *                    for the lines ahead.
 */
/* `kind` is a constant at each call. */
ALWAYS_INLINE void attend_kind(const wf_attention *input, enum wf_kv_kind kind, float *sums, wf_softmax *softmaxes) {
    running states[WF_ATTENTION_ROWS * WF_HEADS_TOGETHER];
    const float *queries[WF_ATTENTION_ROWS * WF_HEADS_TOGETHER];
    const uint32_t count = input->rows * input->group;
    memset(sums, 0, (size_t)count * input->value_stride * sizeof *sums);
    for (uint32_t i = 0; i < count; i++) {
        states[i] = (running){.largest = -INFINITY, .total = 0.0f};
        queries[i] = input->query + i / input->group * input->row_stride + (size_t)(i % input->group) * input->head_dim;
    }

    const uint32_t all = input->positions + input->rows - 1, chunk_end = input->start + WF_KV_CHUNK;
    const uint32_t end = all < chunk_end ? all : chunk_end;
    for (uint32_t start = input->start; start < end; start += WF_KV_BLOCK) {
        wf_lines_ahead ahead = {NULL, NULL};
        if (start + WF_KV_BLOCK < all) {
            ahead.at = wf_in_block(input, input->keys, start + WF_KV_BLOCK);
            ahead.end = (const char *)wf_in_block(input, input->values, start + WF_KV_BLOCK) +
                        (size_t)WF_KV_BLOCK * input->value_stride * wf_element_bytes(kind);
        }
        for (uint32_t row = 0, next; row < input->rows; row = next) {
            const uint32_t seen = input->positions + row, first = wf_first_seen(input, row);
            const float *const *of_row = queries + (size_t)row * input->group;
            running *states_of_row = states + (size_t)row * input->group;
            float *sums_of_row = sums + (size_t)row * input->group * input->value_stride;
            next = row + 1;
            if (seen <= start || first >= start + WF_KV_BLOCK)
                continue;
            if (first > start || seen < start + WF_KV_BLOCK) {
                attend_queries(input, kind, of_row, input->group, start, first > start ? first - start : 0,
                               seen - start < WF_KV_BLOCK ? seen - start : WF_KV_BLOCK, &ahead, states_of_row, sums_of_row);
                continue;
            }
            /* Those that see the block whole go through it together. */
            while (next < input->rows && wf_first_seen(input, next) <= start)
                next++;
            attend_queries(input, kind, of_row, (next - row) * input->group, start, 0, WF_KV_BLOCK, &ahead, states_of_row,
                           sums_of_row);
        }
    }

    for (uint32_t i = 0; i < count; i++)
        softmaxes[i] = (wf_softmax){states[i].largest, states[i].total};
}

static void attend(const wf_attention *input, float *sums, wf_softmax *softmaxes) {
    if (input->kind == WF_KV_F32)
        attend_kind(input, WF_KV_F32, sums, softmaxes);
    else if (input->kind == WF_KV_F16)
        attend_kind(input, WF_KV_F16, sums, softmaxes);
    else
        attend_kind(input, WF_KV_Q8, sums, softmaxes);
}
