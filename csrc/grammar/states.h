/*
 * states.h: what an automaton knows of its grammar: the states that answers have come to, and what is found out about them.
 *
 * Only for the files that make up an automaton: states.c (what it knows), closure.c (places from places), walk.c (states from bytes),
 * token_sets.c (tokens that may follow) and automaton.c (answers). The automaton's lock is held in all of them.
 */
#ifndef WF_STATES_H
#define WF_STATES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/grammar.h"
#include "grammar/vocabulary.h"

/* Places that one byte can lead to, those between which nothing is read included. */
#define WF_VISITED_MAX 8192U
/* Slots of the table of visited places: a power of two. */
#define WF_VISITED_SLOTS (2 * WF_VISITED_MAX)
/* Places and edges that may be looked at to find one set of tokens, or to read one token, before it is given up: some tenths of a second. */
#define WF_WORK_MAX (8U << 20)

/* Numbers of states that are none: not looked for yet; nothing may follow; more than WF_WORK_MAX to find out; no memory for it. Only the first
 * two are remembered. */
#define WF_STATE_UNKNOWN UINT32_MAX
#define WF_STATE_DEAD (UINT32_MAX - 1)
#define WF_STATE_EXHAUSTED (UINT32_MAX - 2)
#define WF_STATE_FULL (UINT32_MAX - 3)
#define WF_NO_MASK UINT32_MAX

/* Frame 0 is below all others: the end of rule 0 there is the end of the answer. */
#define WF_BOTTOM 0U

/* A node of the grammar, and the calls that are not finished there. */
typedef struct wf_place {
    uint32_t node;
    uint32_t frame;
} wf_place;

/* A call that is not finished. */
typedef struct wf_frame {
    uint32_t edge;   /* that called */
    uint32_t count;  /* times so far, the one that runs included; no larger than it matters */
    uint32_t parent; /* the frame around it */
    uint32_t depth;
} wf_frame;

typedef struct wf_state {
    uint32_t first; /* in places */
    uint32_t count;
    uint32_t mask; /* its set of tokens, or WF_NO_MASK */
    bool is_complete;
} wf_state;

/* Where a byte of some class leads from a state. */
typedef struct wf_transition {
    uint32_t to;
    uint32_t work : 24; /* that finding it took */
    uint32_t walk : 8;  /* the last one that was charged with it */
} wf_transition;

/* A set of tokens. */
typedef struct wf_mask {
    uint32_t state;
    int32_t count;
    uint64_t used; /* when, for the least recently used one to go */
    uint64_t *words;
} wf_mask;

/* A growing array of numbered things and a table that finds them by what they are. */
typedef struct wf_table {
    uint32_t *slots; /* [slot_count] number + 1, or 0 */
    uint32_t slot_count;
} wf_table;

/* automaton.h has it without its insides. */
typedef struct wf_automaton wf_automaton;

struct wf_automaton {
    atomic_uint references;
    const wf_vocabulary *vocabulary;
    wf_grammar grammar;
    size_t memory_max;

    pthread_mutex_t lock; /* guards the rest */
    uint64_t epoch;       /* raised when everything is forgotten */
    size_t memory;        /* bytes of the arrays that follow */
    wf_frame *frames;
    uint32_t frame_count, frame_capacity;
    wf_table frame_table;
    wf_state *states; /* state 0 is the beginning */
    uint32_t state_count, state_capacity;
    wf_table state_table;
    wf_place *places; /* those of the states, each state's in order */
    uint32_t place_count, place_capacity;
    wf_transition *transitions; /* [state_count][class_count] */
    uint32_t transition_capacity;

    wf_mask *masks;
    uint32_t mask_count, mask_max;
    uint64_t clock;

    /* Scratch of one closure: */
    uint64_t *visited;       /* [WF_VISITED_SLOTS] places that were seen: node << 32 | frame */
    uint32_t *visited_stamp; /* [WF_VISITED_SLOTS] in which closure */
    uint32_t stamp, visited_count;
    wf_place *pending; /* [WF_VISITED_MAX] seen and not looked at */
    uint32_t pending_count;
    wf_place *found; /* [WF_VISITED_MAX] of those seen, where a byte is read */
    uint32_t found_count;
    bool found_end; /* the answer may end */
    bool is_too_wide;
    bool is_full; /* memory is used up */
    uint32_t closure_work;

    uint32_t walk; /* the one that is under way, 1 to WF_WALKS_MAX */
    uint32_t work; /* that it is charged with */
};

/* Forgets all states. */
void wf_states_drop(wf_automaton *automaton);

/* Makes the frame below all others. False when there is no memory for it. */
bool wf_states_make_bottom(wf_automaton *automaton);

/* The number of a frame; WF_STATE_FULL when there is no memory for it. */
uint32_t wf_frame_of(wf_automaton *automaton, uint32_t edge, uint32_t count, uint32_t parent);

/* The number of the state of the places that the last closure found; WF_STATE_DEAD or WF_STATE_FULL. */
uint32_t wf_state_found(wf_automaton *automaton);

/* Mixes a value into a hash. */
static inline uint64_t wf_mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15U;
    return hash ^ hash >> 29;
}

#endif
