/*
 * attend.h: how every vector tier goes through a sequence: one block after the other for all heads and tokens, so that it comes from a cache
 * for all but the first. A tier includes this once it has defined
 *   running        the softmax of one query head so far, with `largest` and `total` among its fields;
 *   attend_group   which adds one block to `count` heads of one token: query[count][head_dim], states[count], sums[count][value_stride];
 *                  meanwhile it may ask for the lines ahead.
 */
#define ATTEND_INLINE static inline __attribute__((always_inline))

/* `count` query heads from `first_head` on, at most WF_HEADS_TOGETHER. `kind` is a constant at each call. */
ATTEND_INLINE void attend_heads(const wf_attention *input, enum wf_kv_kind kind, uint32_t first_head, uint32_t count, float *out) {
    _Alignas(64) float sums[WF_ATTENTION_ROWS * WF_HEADS_TOGETHER * WF_HEAD_DIM_MAX]; /* [row][head][value_stride] */
    running states[WF_ATTENTION_ROWS][WF_HEADS_TOGETHER];
    const size_t row_sums = (size_t)count * input->value_stride;
    memset(sums, 0, input->rows * row_sums * sizeof *sums);
    for (uint32_t row = 0; row < input->rows; row++)
        for (uint32_t head = 0; head < count; head++)
            states[row][head] = (running){.largest = -INFINITY, .total = 0.0f};

    const size_t offset = (size_t)first_head * input->head_dim;
    const uint32_t end = input->positions + input->rows - 1;
    for (uint32_t start = 0; start < end; start += WF_KV_BLOCK) {
        wf_lines_ahead ahead = {NULL, NULL};
        if (start + WF_KV_BLOCK < end) {
            ahead.at = wf_in_block(input, input->keys, start + WF_KV_BLOCK);
            ahead.end = (const char *)wf_in_block(input, input->values, start + WF_KV_BLOCK) +
                        (size_t)WF_KV_BLOCK * input->value_stride * wf_element_bytes(kind);
        }
        for (uint32_t row = 0; row < input->rows; row++)
            if (start < input->positions + row)
                attend_group(input, kind, input->query + row * input->row_stride + offset, count, start, input->positions + row,
                             &ahead, states[row], sums + row * row_sums);
    }

    for (uint32_t row = 0; row < input->rows; row++)
        for (uint32_t head = 0; head < count; head++)
            for (uint32_t d = 0; d < input->head_dim; d++)
                out[row * input->row_stride + offset + (size_t)head * input->head_dim + d] =
                    sums[row * row_sums + (size_t)head * input->value_stride + d] / states[row][head].total;
}

ATTEND_INLINE void attend_kind(const wf_attention *input, enum wf_kv_kind kind, float *out) {
    for (uint32_t head = 0; head < input->group; head += WF_HEADS_TOGETHER) {
        const uint32_t left = input->group - head;
        attend_heads(input, kind, head, left < WF_HEADS_TOGETHER ? left : WF_HEADS_TOGETHER, out);
    }
}

static void attend(const wf_attention *input, float *out) {
    if (input->kind == WF_KV_F32)
        attend_kind(input, WF_KV_F32, out);
    else if (input->kind == WF_KV_F16)
        attend_kind(input, WF_KV_F16, out);
    else
        attend_kind(input, WF_KV_Q8, out);
}
