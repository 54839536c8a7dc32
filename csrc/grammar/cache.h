/*
 * cache.h: the grammars that were asked for last, at work. Clients send the same few schemas again and again, and what was
 * found out about one for one request serves the next.
 */
#ifndef WF_GRAMMAR_CACHE_H
#define WF_GRAMMAR_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "grammar/automaton.h"

#define WF_GRAMMARS_KEPT 16U

typedef struct wf_grammar_cache {
    wf_automaton *kept[WF_GRAMMARS_KEPT]; /* [count] the last used first */
    uint32_t count;
} wf_grammar_cache;

/* The kept automaton of exactly this grammar, with a reference for the caller; NULL when there is none. */
wf_automaton *wf_grammar_cache_find(wf_grammar_cache *cache, const uint8_t *blob, uint32_t size);

/* Keeps an automaton, of a grammar that isn't kept yet, with a reference of the cache's own. Returns the one that had to go for it, used
 * least recently, whose reference is the caller's to give up; NULL when there was room. */
wf_automaton *wf_grammar_cache_keep(wf_grammar_cache *cache, wf_automaton *automaton);

/* Gives up all references. */
void wf_grammar_cache_clear(wf_grammar_cache *cache);

#endif
