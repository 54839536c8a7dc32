/*
 * kv_cache.c: the pool of KV blocks.
 *
 * Keys lie with their positions side by side ([head_dim][32]), so that attention computes 32 scores at once without adding across
 * a vector; values lie row by row ([32][head_dim]), so that it adds 32 weighted rows. Storing a key scatters it, which costs far less
 * than it saves: each key is stored once and read at every later step.
 *
 * Both are f32. 16 bits would halve the memory, but the product that follows attention rounds its input to 8 bits, and each element
 * that a small error tips over a rounding boundary moves the logits visibly: on the trained tiny model the median difference from the
 * reference, in units of the logits' deviation, is 7e-7 with f32, 2.2e-3 with 16-bit integers under one scale a head and position,
 * and 3.0e-3 with f16; its goldens allow 1e-3.
 */
#include "kv_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"

int wf_kv_create(wf_kv_cache *cache, const wf_config *config, uint32_t blocks, char *error, uint32_t error_size) {
    const uint32_t value_stride = (config->head_dim + WF_VALUE_ALIGN - 1) / WF_VALUE_ALIGN * WF_VALUE_ALIGN;
    const size_t head_elements = (size_t)WF_KV_BLOCK * (config->head_dim + value_stride);
    const size_t block_elements = head_elements * config->kv_heads;
    *cache = (wf_kv_cache){
        .blocks = blocks,
        .kv_heads = config->kv_heads,
        .head_dim = config->head_dim,
        .value_stride = value_stride,
        .head_elements = head_elements,
        .block_elements = block_elements,
    };
    if (__builtin_mul_overflow((size_t)config->layers * block_elements, blocks * sizeof(float), &cache->memory_bytes))
        return wf_fail(error, error_size, "a KV cache of %u blocks is beyond the address space; lower the context", blocks);
    void *memory = mmap(NULL, cache->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cache->memory = memory == MAP_FAILED ? NULL : memory;
    cache->free_blocks = calloc(blocks, sizeof *cache->free_blocks);
    cache->references = calloc(blocks, sizeof *cache->references);
    if (cache->memory == NULL || cache->free_blocks == NULL || cache->references == NULL) {
        const double gigabytes = (double)cache->memory_bytes / 1e9;
        wf_kv_destroy(cache);
        return wf_fail(error, error_size, "no memory for a KV cache of %.1f GB; lower the context or the number of sequences",
                       gigabytes);
    }
    /* Low numbers on top of the stack: a short conversation touches little memory. */
    for (uint32_t block = 0; block < blocks; block++)
        cache->free_blocks[block] = blocks - 1 - block;
    cache->free_count = blocks;
    return 0;
}

void wf_kv_destroy(wf_kv_cache *cache) {
    if (cache->memory != NULL)
        munmap(cache->memory, cache->memory_bytes);
    free(cache->free_blocks);
    free(cache->references);
    *cache = (wf_kv_cache){0};
}

uint32_t wf_kv_take(wf_kv_cache *cache) {
    if (cache->free_count == 0)
        return WF_NO_BLOCK;
    const uint32_t block = cache->free_blocks[--cache->free_count];
    cache->references[block] = 1;
    return block;
}

void wf_kv_release(wf_kv_cache *cache, uint32_t block) {
    if (--cache->references[block] == 0)
        cache->free_blocks[cache->free_count++] = block;
}

void wf_kv_store(wf_kv_cache *cache, uint32_t layer, const uint32_t *table, uint32_t position, const float *key,
                 const float *value) {
    const uint32_t head_dim = cache->head_dim, slot = position % WF_KV_BLOCK;
    for (uint32_t head = 0; head < cache->kv_heads; head++) {
        float *keys = wf_kv_at(cache, layer, table[position / WF_KV_BLOCK], head);
        float *values = keys + (size_t)head_dim * WF_KV_BLOCK;
        for (uint32_t d = 0; d < head_dim; d++)
            keys[d * WF_KV_BLOCK + slot] = key[head * head_dim + d];
        memcpy(values + (size_t)slot * cache->value_stride, value + (size_t)head * head_dim, head_dim * sizeof *value);
    }
}
