/*
 * kv_cache.h: keys and values of all sequences, in blocks of WF_KV_BLOCK positions from one pool, and which tokens they stand for.
 *
 * A block holds WF_KV_BLOCK positions of every layer and KV head. A sequence is a table of block numbers; blocks carry a reference
 * count, so that sequences share the ones that hold the same tokens.
 *
 * A full block can be entered into the prefix index. It is found again by what was computed: the tokens it holds, and the serial number
 * of the entry before it, which stands for all tokens from position 0 on. Both are compared, a hash only says where to look. An
 * entered block without references stays findable until its memory is needed; the one unused for longest goes first.
 */
#ifndef WF_KV_CACHE_H
#define WF_KV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model/model.h"

/* The answer of wf_kv_take and wf_kv_find when there is no block. */
#define WF_NO_BLOCK UINT32_MAX

/* What the prefix index knows of a block, and its place among the unused ones. */
typedef struct wf_kv_entry {
    uint64_t serial; /* of this entry, never used again; 0: not entered */
    uint64_t parent; /* serial of the block before, or the sequence's scope */
    uint32_t tokens[WF_KV_BLOCK];
    uint32_t next_in_bucket; /* a block's number + 1; 0: none */
    uint32_t references;
    uint32_t less_recent, more_recent; /* neighbours among the entered blocks without references */
} wf_kv_entry;

typedef struct wf_kv_cache {
    uint8_t *memory; /* [layers][blocks][kv_heads][head_bytes] */
    size_t memory_bytes;
    enum wf_kv_kind kind;
    uint32_t blocks;
    uint32_t layers;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t value_stride; /* head_dim rounded up to WF_VALUE_ALIGN */
    size_t head_bytes;     /* of one KV head in one block: keys, values, and the scales of both for WF_KV_Q8 */
    size_t block_bytes;    /* of all KV heads in one block of one layer */

    wf_kv_entry *entries;  /* [blocks] */
    uint32_t taken;        /* blocks from this one on were never in use: large pools cost nothing until then */
    uint32_t *free_blocks; /* [blocks], a stack of free_count among the others */
    uint32_t free_count;
    uint32_t *buckets; /* [bucket_count] the first block of each chain, as in next_in_bucket */
    uint32_t bucket_count;
    uint32_t least_recent, most_recent; /* ends of the list of entered blocks without references, unused_count long */
    uint32_t unused_count;
    uint64_t last_serial;
} wf_kv_cache;

/* One KV head of one layer in one block. */
typedef struct wf_kv_view {
    void *keys;          /* [head_dim][WF_KV_BLOCK] of float, uint16_t or int8_t */
    void *values;        /* [WF_KV_BLOCK][value_stride] of the same */
    float *key_scales;   /* [WF_KV_BLOCK]; meaningful for WF_KV_Q8 */
    float *value_scales; /* [WF_KV_BLOCK]; meaningful for WF_KV_Q8 */
} wf_kv_view;

/* A pool of `blocks` blocks. Its memory is reserved now and filled by the system as it is first written. Returns 0, or -1 with
 * `error`. */
int wf_kv_create(wf_kv_cache *cache, const wf_config *config, enum wf_kv_kind kind, uint32_t blocks, char *error,
                 uint32_t error_size);

void wf_kv_destroy(wf_kv_cache *cache);

/* Blocks that wf_kv_take can give: free ones, and entered ones that nobody uses. */
static inline uint32_t wf_kv_available(const wf_kv_cache *cache) {
    return cache->blocks - cache->taken + cache->free_count + cache->unused_count;
}

/* A block with one reference, or WF_NO_BLOCK. */
uint32_t wf_kv_take(wf_kv_cache *cache);

/* Adds a reference. */
void wf_kv_share(wf_kv_cache *cache, uint32_t block);

/* Drops a reference. Release a sequence's blocks from the last to the first: what goes first is forgotten first, and a block is of
 * no use without those before it. */
void wf_kv_release(wf_kv_cache *cache, uint32_t block);

/* The parent of a sequence's first block: sequences of different scopes share nothing. Scopes are below 2^63. */
static inline uint64_t wf_kv_root(uint64_t scope) { return scope | UINT64_C(1) << 63; }

/* The entered block that holds tokens[WF_KV_BLOCK] behind `parent`, or WF_NO_BLOCK. It gets no reference. */
uint32_t wf_kv_find(const wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens);

/* Enters a full block, which holds tokens[WF_KV_BLOCK] behind `parent`, and returns its serial. When the same is entered already with
 * another block, that one's serial is returned and this block stays out. */
uint64_t wf_kv_enter(wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens, uint32_t block);

/* Copies all layers of a block. */
void wf_kv_copy(wf_kv_cache *cache, uint32_t from, uint32_t to);

/* One position of one KV head of one layer. */
typedef struct wf_kv_place {
    uint32_t layer, kv_head;
    const uint32_t *table; /* the sequence's blocks */
    uint32_t position;
} wf_kv_place;

/* Writes a key and a value [head_dim], the key rotated. */
void wf_kv_store(wf_kv_cache *cache, const wf_kernels *kernels, wf_kv_place place, const float *key, const float *value);

/* Where one KV head of one layer lies in one block. */
wf_kv_view wf_kv_at(const wf_kv_cache *cache, uint32_t layer, uint32_t block, uint32_t head);

#endif
