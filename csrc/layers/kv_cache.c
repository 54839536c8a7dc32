/*
 * kv_cache.c: the pool of KV blocks.
 *
 * Keys lie with their positions side by side ([head_dim][32]), so that attention computes 32 scores at once without adding across
 * a vector; values lie row by row ([32][head_dim]), so that it adds 32 weighted rows. Storing a key scatters it, which costs far less
 * than it saves: each key is stored once and read at every later step.
 *
 * Both are f32 unless asked otherwise. Fewer bits save memory, but the product that follows attention rounds its input to 8 bits, and
 * each element that a small error tips over a rounding boundary moves the logits visibly: on the trained tiny model the median
 * difference from the reference, in units of the logits' deviation, is 7e-7 with f32 and 3e-3 with f16; its goldens allow 1e-3. So
 * f16, and 8-bit integers with one scale for each head and position, are there for those who need the memory.
 */
#include "layers/kv_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/pages.h"

/* Ends of lists. */
#define NONE UINT32_MAX

static uint32_t padded_values(uint32_t head_dim) { return (head_dim + WF_VALUE_ALIGN - 1) / WF_VALUE_ALIGN * WF_VALUE_ALIGN; }

/* Bytes of one KV head of one layer for one token: a key, a value, and a scale for each of both. */
static size_t head_token_bytes(uint32_t head_dim, enum wf_kv_kind kind) {
    return (head_dim + padded_values(head_dim)) * wf_element_bytes(kind) + 2 * sizeof(float);
}

uint64_t wf_kv_token_bytes(uint32_t layers, uint32_t kv_heads, uint32_t head_dim, uint32_t kv_kind) {
    if (kv_kind > WF_KV_KIND_F16)
        return 0;
    return (uint64_t)layers * kv_heads * head_token_bytes(head_dim, (enum wf_kv_kind)kv_kind);
}

int wf_kv_create(wf_kv_cache *cache, const wf_config *config, enum wf_kv_kind kind, uint32_t blocks, char *error,
                 uint32_t error_size) {
    const size_t head_bytes = WF_KV_BLOCK * head_token_bytes(config->head_dim, kind);
    const size_t block_bytes = head_bytes * config->kv_heads;
    uint32_t bucket_count = 1;
    while (bucket_count < blocks && bucket_count < UINT32_C(1) << 31)
        bucket_count *= 2;
    *cache = (wf_kv_cache){
        .kind = kind,
        .blocks = blocks,
        .layers = config->layers,
        .kv_heads = config->kv_heads,
        .head_dim = config->head_dim,
        .value_stride = padded_values(config->head_dim),
        .head_bytes = head_bytes,
        .block_bytes = block_bytes,
        .bucket_count = bucket_count,
        .least_recent = NONE,
        .most_recent = NONE,
    };
    if (__builtin_mul_overflow((size_t)config->layers * block_bytes, (size_t)blocks, &cache->memory_bytes))
        return wf_fail(error, error_size, "a KV cache of %u blocks is beyond the address space; lower the context", blocks);
    cache->memory = wf_reserve_pages(cache->memory_bytes);
    cache->entries = calloc(blocks, sizeof *cache->entries);
    cache->free_blocks = calloc(blocks, sizeof *cache->free_blocks);
    cache->buckets = calloc(bucket_count, sizeof *cache->buckets);
    if (cache->memory == NULL || cache->entries == NULL || cache->free_blocks == NULL || cache->buckets == NULL) {
        const double gigabytes = (double)cache->memory_bytes / 1e9;
        wf_kv_destroy(cache);
        return wf_fail(error, error_size, "no memory for a KV cache of %.1f GB; lower the context or the number of sequences",
                       gigabytes);
    }
    return 0;
}

void wf_kv_destroy(wf_kv_cache *cache) {
    wf_unmap_pages(cache->memory, cache->memory_bytes);
    free(cache->entries);
    free(cache->free_blocks);
    free(cache->buckets);
    *cache = (wf_kv_cache){0};
}

/* ---- The list of entered blocks that nobody uses ---- */

static void append_unused(wf_kv_cache *cache, uint32_t block) {
    wf_kv_entry *entry = &cache->entries[block];
    entry->less_recent = cache->most_recent;
    entry->more_recent = NONE;
    if (cache->most_recent != NONE)
        cache->entries[cache->most_recent].more_recent = block;
    else
        cache->least_recent = block;
    cache->most_recent = block;
    cache->unused_count++;
}

static void remove_unused(wf_kv_cache *cache, uint32_t block) {
    const wf_kv_entry *entry = &cache->entries[block];
    if (entry->less_recent != NONE)
        cache->entries[entry->less_recent].more_recent = entry->more_recent;
    else
        cache->least_recent = entry->more_recent;
    if (entry->more_recent != NONE)
        cache->entries[entry->more_recent].less_recent = entry->less_recent;
    else
        cache->most_recent = entry->less_recent;
    cache->unused_count--;
}

/* ---- The index ---- */

/* FNV-1a over the parent and the tokens. */
static uint32_t *bucket_of(const wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ parent;
    for (uint32_t i = 0; i < WF_KV_BLOCK; i++)
        hash = (hash ^ tokens[i]) * UINT64_C(0x100000001b3);
    return &cache->buckets[(hash ^ hash >> 32) & (cache->bucket_count - 1)];
}

uint32_t wf_kv_find(const wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens) {
    for (uint32_t link = *bucket_of(cache, parent, tokens); link != 0; link = cache->entries[link - 1].next_in_bucket) {
        const wf_kv_entry *entry = &cache->entries[link - 1];
        if (entry->parent == parent && memcmp(entry->tokens, tokens, sizeof entry->tokens) == 0)
            return link - 1;
    }
    return WF_NO_BLOCK;
}

uint64_t wf_kv_enter(wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens, uint32_t block) {
    const uint32_t same = wf_kv_find(cache, parent, tokens);
    if (same != WF_NO_BLOCK)
        return cache->entries[same].serial;
    wf_kv_entry *entry = &cache->entries[block];
    uint32_t *bucket = bucket_of(cache, parent, tokens);
    entry->serial = ++cache->last_serial;
    entry->parent = parent;
    memcpy(entry->tokens, tokens, sizeof entry->tokens);
    entry->next_in_bucket = *bucket;
    *bucket = block + 1;
    return entry->serial;
}

static void leave_index(wf_kv_cache *cache, uint32_t block) {
    wf_kv_entry *entry = &cache->entries[block];
    uint32_t *link = bucket_of(cache, entry->parent, entry->tokens);
    while (*link != block + 1)
        link = &cache->entries[*link - 1].next_in_bucket;
    *link = entry->next_in_bucket;
    entry->serial = 0;
}

/* ---- References ---- */

uint32_t wf_kv_take(wf_kv_cache *cache) {
    uint32_t block;
    /* Low numbers first: a short conversation touches little memory. */
    if (cache->free_count > 0) {
        block = cache->free_blocks[--cache->free_count];
    } else if (cache->taken < cache->blocks) {
        block = cache->taken++;
    } else if (cache->least_recent != NONE) {
        block = cache->least_recent;
        remove_unused(cache, block);
        leave_index(cache, block);
    } else {
        return WF_NO_BLOCK;
    }
    cache->entries[block].references = 1;
    return block;
}

void wf_kv_share(wf_kv_cache *cache, uint32_t block) {
    if (cache->entries[block].references++ == 0)
        remove_unused(cache, block);
}

void wf_kv_release(wf_kv_cache *cache, uint32_t block) {
    wf_kv_entry *entry = &cache->entries[block];
    if (--entry->references > 0)
        return;
    if (entry->serial != 0)
        append_unused(cache, block);
    else
        cache->free_blocks[cache->free_count++] = block;
}

/* ---- Contents ---- */

wf_kv_view wf_kv_at(const wf_kv_cache *cache, uint32_t layer, uint32_t block, uint32_t head) {
    uint8_t *keys = cache->memory + ((size_t)layer * cache->blocks + block) * cache->block_bytes + head * cache->head_bytes;
    uint8_t *values = keys + (size_t)WF_KV_BLOCK * cache->head_dim * wf_element_bytes(cache->kind);
    float *scales = (float *)(void *)(values + (size_t)WF_KV_BLOCK * cache->value_stride * wf_element_bytes(cache->kind));
    return (wf_kv_view){keys, values, scales, scales + WF_KV_BLOCK};
}

void wf_kv_copy(wf_kv_cache *cache, uint32_t from, uint32_t to) {
    for (uint32_t layer = 0; layer < cache->layers; layer++)
        memcpy(wf_kv_at(cache, layer, to, 0).keys, wf_kv_at(cache, layer, from, 0).keys, cache->block_bytes);
}

static void store_f32(const wf_kv_cache *cache, wf_kv_view view, uint32_t slot, const float *key, const float *value) {
    float *keys = view.keys, *values = view.values;
    for (uint32_t d = 0; d < cache->head_dim; d++)
        keys[d * WF_KV_BLOCK + slot] = key[d];
    memcpy(values + (size_t)slot * cache->value_stride, value, cache->head_dim * sizeof *value);
}

static void store_f16(const wf_kv_cache *cache, wf_kv_view view, uint32_t slot, const float *key, const float *value) {
    uint16_t *keys = view.keys, *values = (uint16_t *)view.values + (size_t)slot * cache->value_stride;
    for (uint32_t d = 0; d < cache->head_dim; d++) {
        keys[d * WF_KV_BLOCK + slot] = wf_half_of_float(key[d]);
        values[d] = wf_half_of_float(value[d]);
    }
}

static void store_q8(const wf_kv_cache *cache, const wf_kernels *kernels, wf_kv_view view, uint32_t slot, const float *key,
                     const float *value) {
    int8_t *keys = view.keys, *values = view.values, integers[WF_HEAD_DIM_MAX];
    int32_t sum;
    kernels->quantize(key, cache->head_dim, cache->head_dim, integers, &view.key_scales[slot], &sum);
    for (uint32_t d = 0; d < cache->head_dim; d++)
        keys[d * WF_KV_BLOCK + slot] = integers[d];
    kernels->quantize(value, cache->head_dim, cache->head_dim, values + (size_t)slot * cache->value_stride,
                      &view.value_scales[slot], &sum);
}

void wf_kv_store(wf_kv_cache *cache, const wf_kernels *kernels, wf_kv_place place, const float *key, const float *value) {
    const uint32_t slot = place.position % WF_KV_BLOCK;
    const wf_kv_view view = wf_kv_at(cache, place.layer, place.table[place.position / WF_KV_BLOCK], place.kv_head);
    switch (cache->kind) {
    case WF_KV_F32:
        store_f32(cache, view, slot, key, value);
        break;
    case WF_KV_F16:
        store_f16(cache, view, slot, key, value);
        break;
    case WF_KV_Q8:
        store_q8(cache, kernels, view, slot, key, value);
        break;
    }
}
