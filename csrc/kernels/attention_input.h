/*
 * attention_input.h: what the kernels of attention take: blocks of the KV cache, the query tokens that go through a chunk of them.
 */
#ifndef WF_ATTENTION_INPUT_H
#define WF_ATTENTION_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "wrinklefree.h"

/* Positions that are attended to by themselves, before what several such chunks give is joined in their order. So the chunks of
 * one sequence can be shared out to several threads, without a bit depending on that. */
#define WF_KV_CHUNK 128U

/* Value rows in the KV cache are padded to a multiple of this many elements. */
#define WF_VALUE_ALIGN 16

/* How the KV cache stores keys and values. */
enum wf_kv_kind {
    WF_KV_F32 = WF_KV_KIND_F32, /* float */
    WF_KV_F16 = WF_KV_KIND_F16, /* IEEE half, as uint16_t */
    WF_KV_Q8 = WF_KV_KIND_Q8,   /* int8 with one scale for each head and position: value = integer * scale */
};

/* The most query tokens of one wf_attention. */
#define WF_ATTENTION_ROWS 16U

/* The most query heads that go through a sequence's blocks together, each block being read from memory once for all of them. */
#define WF_HEADS_TOGETHER 8U

/* What some consecutive query tokens of a sequence attend to in one chunk, with some of the heads that share a KV head. The
 * pointers are those of block 0; block b's are b * block_bytes further. A block's values lie behind its keys. */
typedef struct wf_attention {
    const float *query; /* [rows][group][head_dim], rotated; a row is row_stride elements from the next, as in the output */
    size_t row_stride;
    uint32_t rows;             /* query tokens, 1 to WF_ATTENTION_ROWS */
    const void *keys;          /* [head_dim][WF_KV_BLOCK] of float, uint16_t or int8_t */
    const void *values;        /* [WF_KV_BLOCK][value_stride] of the same */
    const float *key_scales;   /* [WF_KV_BLOCK]; WF_KV_Q8 only */
    const float *value_scales; /* [WF_KV_BLOCK]; WF_KV_Q8 only */
    size_t block_bytes;        /* from one block to the next */
    const uint32_t *table;     /* [positions / WF_KV_BLOCK rounded up] the sequence's blocks in order */
    enum wf_kv_kind kind;
    uint32_t start;     /* the chunk's first position */
    uint32_t positions; /* that the first token sees in all, its own included; at least 1. Each further one sees one more */
    uint32_t window;    /* positions that a token sees at most, its own and those before it; 0: all */
    uint32_t group;     /* query heads, 1 to WF_HEADS_TOGETHER */
    uint32_t head_dim;
    uint32_t value_stride; /* head_dim rounded up to WF_VALUE_ALIGN */
    float scale;           /* of scores */
} wf_attention;

/* The softmax of one token and query head over some positions: the largest score, −∞ where no position is seen, and the sum of all
 * exp(score − largest). */
typedef struct wf_softmax {
    float largest, total;
} wf_softmax;

/* The first position that the input's token number `row` sees. */
static inline uint32_t wf_first_seen(const wf_attention *input, uint32_t row) {
    const uint32_t positions = input->positions + row;
    return input->window != 0 && positions > input->window ? positions - input->window : 0;
}

/* Where the number at `pointer` of block 0 lies in another block. */
static inline const void *wf_in_block(const wf_attention *input, const void *pointer, uint32_t start) {
    return (const uint8_t *)pointer + input->table[start / WF_KV_BLOCK] * input->block_bytes;
}

/* Bytes of a key's or value's element. */
static inline size_t wf_element_bytes(enum wf_kv_kind kind) {
    return kind == WF_KV_F32 ? sizeof(float) : kind == WF_KV_F16 ? sizeof(uint16_t) : sizeof(int8_t);
}

/* What is to be asked for, a line or two at a time, while something else is computed: no processor foresees the next block. */
typedef struct wf_lines_ahead {
    const char *at, *end;
} wf_lines_ahead;

static inline void wf_ask_for_lines(wf_lines_ahead *ahead, uint32_t lines) {
    for (uint32_t line = 0; line < lines && ahead->at < ahead->end; line++) {
        __builtin_prefetch(ahead->at, 0, 2); /* into the second-level cache */
        ahead->at += 64;
    }
}

#endif
