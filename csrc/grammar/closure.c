/*
 * closure.c: calls rules, and returns from them, as long as that reads nothing.
 */
#include "grammar/closure.h"

#include <string.h>

/* Calls within calls. */
#define DEPTH_MAX 1024U

void wf_closure_begin(wf_automaton *automaton) {
    if (++automaton->stamp == 0) {
        memset(automaton->visited_stamp, 0, WF_VISITED_SLOTS * sizeof *automaton->visited_stamp);
        automaton->stamp = 1;
    }
    automaton->visited_count = automaton->pending_count = automaton->found_count = automaton->closure_work = 0;
    automaton->found_end = automaton->is_too_wide = automaton->is_full = false;
}

void wf_closure_visit(wf_automaton *automaton, uint32_t node, uint32_t in_frame) {
    if (in_frame == WF_STATE_FULL) {
        automaton->is_full = true;
        return;
    }
    const uint64_t key = (uint64_t)node << 32 | in_frame;
    uint32_t slot = (uint32_t)wf_mix(key, key >> 32) & (WF_VISITED_SLOTS - 1);
    for (; automaton->visited_stamp[slot] == automaton->stamp; slot = (slot + 1) & (WF_VISITED_SLOTS - 1))
        if (automaton->visited[slot] == key)
            return;
    if (automaton->visited_count == WF_VISITED_MAX) {
        automaton->is_too_wide = true;
        return;
    }
    automaton->visited_count++;
    automaton->visited_stamp[slot] = automaton->stamp;
    automaton->visited[slot] = key;
    automaton->pending[automaton->pending_count++] = (wf_place){node, in_frame};
}

static bool only_ends(const wf_grammar *grammar, uint32_t node) {
    return grammar->is_final[node] && grammar->first[node] == grammar->first[node + 1];
}

/* Begins run number `count` + 1 of a call. */
static void call_again(wf_automaton *automaton, uint32_t edge, uint32_t count, uint32_t parent) {
    const wf_grammar *grammar = &automaton->grammar;
    const wf_call *call = &grammar->calls[grammar->edges[edge].call];
    const uint32_t start = grammar->rules[call->rule];
    /* What only returns needs no frame: recursion at a rule's end takes no depth. */
    if (call->maximum == 1 && only_ends(grammar, grammar->edges[edge].next)) {
        wf_closure_visit(automaton, start, parent);
        return;
    }
    if (automaton->frames[parent].depth >= DEPTH_MAX)
        return;
    count++;
    /* Where there is no end, counting stops when enough were had. */
    if (call->maximum == WF_GRAMMAR_NO_END && count > call->minimum)
        count = call->minimum > 0 ? call->minimum : 1;
    wf_closure_visit(automaton, start, wf_frame_of(automaton, edge, count, parent));
}

/* Ends a rule that was called by a frame. */
static void return_from(wf_automaton *automaton, uint32_t in_frame) {
    if (in_frame == WF_BOTTOM) {
        automaton->found_end = true;
        return;
    }
    const wf_frame from = automaton->frames[in_frame];
    const wf_edge *edge = &automaton->grammar.edges[from.edge];
    const wf_call *call = &automaton->grammar.calls[edge->call];
    if (call->maximum == WF_GRAMMAR_NO_END || from.count < call->maximum)
        call_again(automaton, from.edge, from.count, from.parent);
    if (from.count >= call->minimum)
        wf_closure_visit(automaton, edge->next, from.parent);
}

uint32_t wf_closure_finish(wf_automaton *automaton) {
    const wf_grammar *grammar = &automaton->grammar;
    while (automaton->pending_count > 0 && !automaton->is_full && !automaton->is_too_wide &&
           automaton->closure_work <= WF_WORK_MAX) {
        const wf_place at = automaton->pending[--automaton->pending_count];
        bool reads = false;
        automaton->closure_work++;
        for (uint32_t i = grammar->first[at.node]; i < grammar->first[at.node + 1]; i++) {
            const wf_edge *edge = &grammar->edges[i];
            automaton->closure_work++;
            if (edge->kind == WF_EDGE_BYTES) {
                reads = true;
            } else if (edge->kind == WF_EDGE_EMPTY) {
                wf_closure_visit(automaton, edge->next, at.frame);
            } else {
                if (grammar->calls[edge->call].minimum == 0)
                    wf_closure_visit(automaton, edge->next, at.frame);
                call_again(automaton, i, 0, at.frame);
            }
        }
        if (grammar->is_final[at.node])
            return_from(automaton, at.frame);
        if (reads)
            automaton->found[automaton->found_count++] = at;
    }
    if (automaton->is_full)
        return WF_STATE_FULL;
    if (automaton->closure_work > WF_WORK_MAX)
        return WF_STATE_EXHAUSTED;
    return automaton->is_too_wide ? WF_STATE_DEAD : wf_state_found(automaton);
}
