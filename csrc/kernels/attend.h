/*
 * attend.h: how every vector tier goes through a chunk of a sequence: one block after the other for all heads and tokens, so that
 * it comes from a cache for all but the first. A query is one head of one token. A tier includes this once it has defined
 *   running          the softmax of one query so far, with `largest` and `total` among its fields;
 *   attend_queries   which adds the positions from `from` up to `visible` of one block, those before with a weight of zero, to `count` queries: queries[count] with [head_dim] each,
 *                    states[count], sums[count][value_stride]; meanwhile it may ask for the lines ahead.
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
        if (input->window != 0) {
            /* Each row sees a part of its own. */
            for (uint32_t i = 0; i < input->rows; i++) {
                const uint32_t seen = input->positions + i, first = wf_first_seen(input, i);
                if (seen > start && first < start + WF_KV_BLOCK)
                    attend_queries(input, kind, queries + (size_t)i * input->group, input->group, start,
                                   first > start ? first - start : 0, seen - start < WF_KV_BLOCK ? seen - start : WF_KV_BLOCK,
                                   &ahead, states + (size_t)i * input->group,
                                   sums + (size_t)i * input->group * input->value_stride);
            }
            continue;
        }
        /* The rows that see a part of the block, one after the other, and then all those that see it whole. */
        uint32_t row = start < input->positions ? 0 : start - input->positions + 1;
        for (; row < input->rows && input->positions + row < start + WF_KV_BLOCK; row++)
            attend_queries(input, kind, queries + (size_t)row * input->group, input->group, start, 0,
                           input->positions + row - start, &ahead, states + (size_t)row * input->group,
                           sums + (size_t)row * input->group * input->value_stride);
        if (row < input->rows)
            attend_queries(input, kind, queries + (size_t)row * input->group, (input->rows - row) * input->group, start, 0,
                           WF_KV_BLOCK, &ahead, states + (size_t)row * input->group,
                           sums + (size_t)row * input->group * input->value_stride);
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
