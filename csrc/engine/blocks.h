/*
 * blocks.h: what a sequence has in the KV cache: a table of blocks, those of its prefix shared with other sequences.
 *
 * This is where a sequence's computed tokens grow and shrink. Today they shrink to none, when it is put aside or ends; who computes tokens
 * that may be taken back (speculation) needs a way here to give up some.
 */
#ifndef WF_BLOCKS_H
#define WF_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/sequence.h"
#include "layers/kv_cache.h"

/* The blocks that so many tokens take. */
static inline uint32_t wf_blocks_of(uint32_t tokens) { return (tokens + WF_KV_BLOCK - 1) / WF_KV_BLOCK; }

/* Takes references to the full blocks of a sequence's tokens that the prefix index has. The last token is always computed, for its
 * logits. */
void wf_blocks_reuse(wf_kv_cache *cache, wf_sequence *sequence);

/* Copies the block behind those that a sequence has from another one, with which it has `common` tokens in common. There must be a free block. */
void wf_blocks_copy(wf_kv_cache *cache, wf_sequence *sequence, const wf_sequence *from, uint32_t common);

/* Takes one more block. False when there is none. */
bool wf_blocks_extend(wf_kv_cache *cache, wf_sequence *sequence);

/* Notes that so many more tokens are computed, and enters the blocks that they filled into the prefix index. */
void wf_blocks_note_computed(wf_kv_cache *cache, wf_sequence *sequence, uint32_t tokens);

/* Gives up all blocks, the last first; nothing of the sequence is computed then. */
void wf_blocks_release(wf_kv_cache *cache, wf_sequence *sequence);

#endif
