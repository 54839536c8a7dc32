/*
 * token_sets.h: the sets of tokens that may follow in a state.
 */
#ifndef WF_TOKEN_SETS_H
#define WF_TOKEN_SETS_H

#include <stdint.h>

#include "grammar/states.h"

/* Finds the set of a state, if it isn't known. Returns that state, WF_STATE_EXHAUSTED or WF_STATE_FULL. */
uint32_t wf_mask_find(wf_automaton *automaton, uint32_t state);

#endif
