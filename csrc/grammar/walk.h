/*
 * walk.h: where bytes lead from a state.
 *
 * Where a bound ends an answer, it does so whatever others had the automaton find out before. Work counts as if nothing were known: who
 * uses a transition is charged with what finding it took, once in a walk.
 */
#ifndef WF_WALK_H
#define WF_WALK_H

#include <stdint.h>

#include "grammar/states.h"

/* Walks that can be told apart. */
#define WF_WALKS_MAX 255U

/* Begins a walk: the reading of one token, or the search for all that may follow. */
void wf_walk_begin(wf_automaton *automaton);

/* Charges the walk with a transition. Returns where it leads, or WF_STATE_EXHAUSTED. */
static inline uint32_t wf_walk_charge(wf_automaton *automaton, wf_transition *used) {
    used->walk = automaton->walk & WF_WALKS_MAX;
    automaton->work += used->work;
    return automaton->work > WF_WORK_MAX ? WF_STATE_EXHAUSTED : used->to;
}

/* Finds out where a byte of a class leads from a state: to a state, WF_STATE_DEAD, WF_STATE_EXHAUSTED or WF_STATE_FULL. */
uint32_t wf_walk_find(wf_automaton *automaton, uint32_t from, uint32_t class);

/* Where a byte leads, whether that is known or not. */
static inline uint32_t wf_walk_step(wf_automaton *automaton, uint32_t from, uint8_t byte) {
    const uint32_t class = automaton->grammar.classes[byte];
    wf_transition *known = &automaton->transitions[(size_t)from * automaton->grammar.class_count + class];
    if (known->to == WF_STATE_UNKNOWN)
        return wf_walk_find(automaton, from, class);
    return known->walk == automaton->walk ? known->to : wf_walk_charge(automaton, known);
}

/* Where a token leads, in a walk of its own. */
uint32_t wf_walk_token(wf_automaton *automaton, uint32_t from, uint32_t token);

#endif
