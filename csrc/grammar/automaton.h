/*
 * automaton.h: which tokens may come next in an answer that has a grammar.
 */
#ifndef WF_AUTOMATON_H
#define WF_AUTOMATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/vocabulary.h"

/* A grammar at work. Any number of answers may follow it, on any threads. */
typedef struct wf_automaton wf_automaton;

/* An automaton for a grammar in the form of grammar.h, with one reference. It keeps at most about `memory_max` bytes of what it
 * finds out, and as much again of token sets. The vocabulary must outlive it. NULL with `error`. */
wf_automaton *wf_automaton_create(const wf_vocabulary *vocabulary, const uint8_t *blob, uint32_t size, size_t memory_max,
                                  char *error, uint32_t error_size);

/* Whether its grammar is exactly this one. */
bool wf_automaton_is_of(const wf_automaton *automaton, const uint8_t *blob, uint32_t size);

wf_automaton *wf_automaton_retain(wf_automaton *automaton);

/* Gives up a reference; the last one frees it. NULL is allowed. */
void wf_automaton_release(wf_automaton *automaton);

/* Bytes that it holds now. */
size_t wf_automaton_memory(wf_automaton *automaton);

/* How far one answer is in its grammar; all zero but the automaton at its beginning. It only remembers what the answer's tokens say
 * anyway, so that the automaton may forget its states. */
typedef struct wf_matcher {
    wf_automaton *automaton; /* NULL: the answer is free */
    uint64_t epoch;          /* of the automaton's states */
    uint32_t state;
    uint32_t followed; /* tokens of the answer that led there */
} wf_matcher;

/* The set of tokens that may follow answer[count]: bit t of allowed[wf_mask_words(…)]. *is_complete says whether the answer may end
 * here. Returns their number, or -1 when the answer isn't of the grammar or the automaton's memory doesn't suffice for the next step. */
int32_t wf_matcher_allow(wf_matcher *matcher, const uint32_t *answer, uint32_t count, uint64_t *allowed, bool *is_complete);

/* Whether answer[count] is complete and nothing may follow it. */
bool wf_matcher_is_finished(wf_matcher *matcher, const uint32_t *answer, uint32_t count);

#endif
