/*
 * walk.c: finds transitions, and charges walks with them.
 */
#include "grammar/walk.h"

#include "grammar/closure.h"

/* What a closure of more than WF_VISITED_MAX places counts as: where it was given up depends on the order of its places. */
#define WORK_TOO_WIDE (8 * WF_VISITED_MAX)

void wf_walk_begin(wf_automaton *automaton) {
    automaton->work = 0;
    if (++automaton->walk <= WF_WALKS_MAX)
        return;
    automaton->walk = 1;
    for (size_t i = 0; i < (size_t)automaton->state_count * automaton->grammar.class_count; i++)
        automaton->transitions[i].walk = 0;
}

uint32_t wf_walk_find(wf_automaton *automaton, uint32_t from, uint32_t class) {
    const wf_grammar *grammar = &automaton->grammar;
    const wf_state at = automaton->states[from];
    wf_closure_begin(automaton);
    for (uint32_t i = 0; i < at.count; i++) {
        if (automaton->closure_work > WF_WORK_MAX)
            return WF_STATE_EXHAUSTED;
        const wf_place in = automaton->places[at.first + i];
        for (uint32_t e = grammar->first[in.node]; e < grammar->first[in.node + 1]; e++) {
            const wf_edge *edge = &grammar->edges[e];
            automaton->closure_work++;
            if (edge->kind == WF_EDGE_BYTES && grammar->classes[edge->low] <= class && class <= grammar->classes[edge->high])
                wf_closure_visit(automaton, edge->next, in.frame);
        }
    }
    const uint32_t to = wf_closure_finish(automaton);
    if (to == WF_STATE_FULL || to == WF_STATE_EXHAUSTED)
        return to;
    wf_transition *found = &automaton->transitions[(size_t)from * grammar->class_count + class];
    found->to = to;
    found->work = automaton->is_too_wide ? WORK_TOO_WIDE : automaton->closure_work;
    return wf_walk_charge(automaton, found);
}

uint32_t wf_walk_token(wf_automaton *automaton, uint32_t from, uint32_t token) {
    wf_walk_begin(automaton);
    const wf_vocabulary *vocabulary = automaton->vocabulary;
    const uint32_t first = vocabulary->offsets[token], end = vocabulary->offsets[token + 1];
    uint32_t at = first < end ? from : WF_STATE_DEAD;
    for (uint32_t i = first; i < end && at < WF_STATE_FULL; i++)
        at = wf_walk_step(automaton, at, vocabulary->bytes[i]);
    return at;
}
