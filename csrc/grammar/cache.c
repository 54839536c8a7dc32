/*
 * cache.c: a short list, the last used first. Grammars are compared byte by byte; most differ in their size already.
 */
#include "grammar/cache.h"

#include <string.h>

/* Makes room at the head of the list by moving its first `count` entries up. */
static void move_up(wf_grammar_cache *cache, uint32_t count) { memmove(cache->kept + 1, cache->kept, count * sizeof *cache->kept); }

wf_automaton *wf_grammar_cache_find(wf_grammar_cache *cache, const uint8_t *blob, uint32_t size) {
    for (uint32_t i = 0; i < cache->count; i++)
        if (wf_automaton_is_of(cache->kept[i], blob, size)) {
            wf_automaton *found = cache->kept[i];
            move_up(cache, i);
            cache->kept[0] = found;
            return wf_automaton_retain(found);
        }
    return NULL;
}

wf_automaton *wf_grammar_cache_keep(wf_grammar_cache *cache, wf_automaton *automaton) {
    wf_automaton *gone = cache->count == WF_GRAMMARS_KEPT ? cache->kept[--cache->count] : NULL;
    move_up(cache, cache->count++);
    cache->kept[0] = wf_automaton_retain(automaton);
    return gone;
}

void wf_grammar_cache_clear(wf_grammar_cache *cache) {
    while (cache->count > 0)
        wf_automaton_release(cache->kept[--cache->count]);
}
