/*
 * blocks.c: takes, shares, enters and gives up a sequence's KV blocks.
 */
#include "engine/blocks.h"

void wf_blocks_reuse(wf_kv_cache *cache, wf_sequence *sequence) {
    sequence->parent = wf_kv_root(sequence->sampling.scope);
    while (sequence->computed + WF_KV_BLOCK < sequence->count) {
        const uint32_t block = wf_kv_find(cache, sequence->parent, sequence->tokens + sequence->computed);
        if (block == WF_NO_BLOCK)
            return;
        wf_kv_share(cache, block);
        sequence->parent = cache->entries[block].serial;
        sequence->table[sequence->block_count++] = block;
        sequence->entered++;
        sequence->computed += WF_KV_BLOCK;
    }
}

void wf_blocks_copy(wf_kv_cache *cache, wf_sequence *sequence, const wf_sequence *from, uint32_t common) {
    const uint32_t block = wf_kv_take(cache);
    wf_kv_copy(cache, from->table[sequence->block_count], block);
    sequence->table[sequence->block_count++] = block;
    sequence->computed = common;
}

bool wf_blocks_extend(wf_kv_cache *cache, wf_sequence *sequence) {
    const uint32_t block = wf_kv_take(cache);
    if (block == WF_NO_BLOCK)
        return false;
    sequence->table[sequence->block_count++] = block;
    return true;
}

void wf_blocks_note_computed(wf_kv_cache *cache, wf_sequence *sequence, uint32_t tokens) {
    sequence->computed += tokens;
    /* Keys and values of texts that are embedded are of no further use. */
    if (sequence->embedding != NULL)
        return;
    for (; (sequence->entered + 1) * WF_KV_BLOCK <= sequence->computed; sequence->entered++)
        sequence->parent = wf_kv_enter(cache, sequence->parent, sequence->tokens + sequence->entered * WF_KV_BLOCK,
                                       sequence->table[sequence->entered]);
}

void wf_blocks_release(wf_kv_cache *cache, wf_sequence *sequence) {
    while (sequence->block_count > 0)
        wf_kv_release(cache, sequence->table[--sequence->block_count]);
    sequence->computed = sequence->entered = 0;
}
