/*
 * token_sets.c: walks through the trie of the vocabulary, which costs a millisecond for a hundred thousand tokens when nearly all are
 * allowed, and nothing the second time.
 */
#include "grammar/token_sets.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/walk.h"

/* The place for a new set: a fresh one, or the least recently used. NULL when memory is lacking. */
static wf_mask *take_mask(wf_automaton *automaton) {
    const uint32_t words = wf_mask_words(automaton->vocabulary->count);
    if (automaton->mask_count < automaton->mask_max) {
        wf_mask *fresh = &automaton->masks[automaton->mask_count];
        *fresh = (wf_mask){.state = WF_STATE_UNKNOWN, .words = malloc(words * sizeof *fresh->words)};
        if (fresh->words != NULL) {
            automaton->mask_count++;
            return fresh;
        }
    }
    wf_mask *oldest = NULL;
    for (uint32_t i = 0; i < automaton->mask_count; i++) {
        wf_mask *at = &automaton->masks[i];
        if (at->state == WF_STATE_UNKNOWN)
            return at;
        if (oldest == NULL || at->used < oldest->used)
            oldest = at;
    }
    if (oldest != NULL) {
        automaton->states[oldest->state].mask = WF_NO_MASK;
        oldest->state = WF_STATE_UNKNOWN;
    }
    return oldest;
}

/* Finds the tokens that may follow in a state. Returns that state, WF_STATE_EXHAUSTED or WF_STATE_FULL. */
static uint32_t find_tokens(wf_automaton *automaton, uint32_t from, wf_mask *set) {
    const wf_vocabulary *vocabulary = automaton->vocabulary;
    uint32_t path[WF_TOKEN_BYTES_MAX + 1]; /* states after each byte of the prefix */
    path[0] = from;
    wf_walk_begin(automaton);
    set->count = 0;
    memset(set->words, 0, wf_mask_words(vocabulary->count) * sizeof *set->words);
    for (uint32_t i = 0; i < vocabulary->node_count;) {
        const wf_trie_node *node = &vocabulary->nodes[i];
        const uint32_t to = wf_walk_step(automaton, path[node->depth - 1], node->byte);
        if (to == WF_STATE_FULL || to == WF_STATE_EXHAUSTED)
            return to;
        if (to == WF_STATE_DEAD) {
            i = node->end;
            continue;
        }
        path[node->depth] = to;
        for (uint32_t k = node->first; k < node[1].first; k++, set->count++)
            set->words[vocabulary->sorted[k] / 64] |= (uint64_t)1 << vocabulary->sorted[k] % 64;
        i++;
    }
    return from;
}

uint32_t wf_mask_find(wf_automaton *automaton, uint32_t state) {
    if (automaton->states[state].mask != WF_NO_MASK)
        return state;
    wf_mask *set = take_mask(automaton);
    const uint32_t found = set == NULL ? WF_STATE_FULL : find_tokens(automaton, state, set);
    if (found != state)
        return found;
    set->state = state;
    automaton->states[state].mask = (uint32_t)(set - automaton->masks);
    return found;
}
