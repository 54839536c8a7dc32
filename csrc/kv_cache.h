/*
 * kv_cache.h: keys and values of all sequences, in blocks of WF_KV_BLOCK positions from one pool.
 *
 * A block holds WF_KV_BLOCK positions of every layer and KV head. A sequence is a table of block numbers; blocks carry a reference
 * count, so that sequences can share the ones that hold the same tokens.
 */
#ifndef WF_KV_CACHE_H
#define WF_KV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model.h"

/* wf_kv_take's answer when no block is free. */
#define WF_NO_BLOCK UINT32_MAX

typedef struct wf_kv_cache {
    float *memory; /* [layers][blocks][kv_heads][keys: head_dim * 32, values: 32 * value_stride] */
    size_t memory_bytes;
    uint32_t blocks;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t value_stride;  /* head_dim rounded up to WF_VALUE_ALIGN */
    size_t head_elements;   /* of one KV head in one block */
    size_t block_elements;  /* of all KV heads in one block of one layer */
    uint32_t *free_blocks;  /* [blocks], a stack of free_count */
    uint32_t free_count;
    uint32_t *references; /* [blocks] */
} wf_kv_cache;

/* A pool of `blocks` blocks. Its memory is reserved now and filled by the system as it is first written. Returns 0, or -1 with
 * `error`. */
int wf_kv_create(wf_kv_cache *cache, const wf_config *config, uint32_t blocks, char *error, uint32_t error_size);

void wf_kv_destroy(wf_kv_cache *cache);

/* A free block with one reference, or WF_NO_BLOCK. */
uint32_t wf_kv_take(wf_kv_cache *cache);

/* Drops one reference; a block without any is free. */
void wf_kv_release(wf_kv_cache *cache, uint32_t block);

/* Writes one position of one layer: key and value [kv_heads][head_dim], the key rotated. `table` is the sequence's. */
void wf_kv_store(wf_kv_cache *cache, uint32_t layer, const uint32_t *table, uint32_t position, const float *key,
                 const float *value);

/* Where the keys of one KV head of one layer lie in one block; the values follow head_dim * WF_KV_BLOCK elements further. */
static inline float *wf_kv_at(const wf_kv_cache *cache, uint32_t layer, uint32_t block, uint32_t head) {
    return cache->memory + ((size_t)layer * cache->blocks + block) * cache->block_elements + head * cache->head_elements;
}

#endif
