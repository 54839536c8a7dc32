/*
 * closure.h: from places in a grammar to all places that they lead to without reading a byte.
 */
#ifndef WF_CLOSURE_H
#define WF_CLOSURE_H

#include <stdint.h>

#include "grammar/states.h"

/* Begins with no place. */
void wf_closure_begin(wf_automaton *automaton);

/* Adds a place: a node in a frame, or WF_STATE_FULL where there was no memory for the frame. */
void wf_closure_visit(wf_automaton *automaton, uint32_t node, uint32_t in_frame);

/* Follows all places that were added. Returns the state of all where a byte is read, or WF_STATE_DEAD, WF_STATE_EXHAUSTED or
 * WF_STATE_FULL. */
uint32_t wf_closure_finish(wf_automaton *automaton);

#endif
