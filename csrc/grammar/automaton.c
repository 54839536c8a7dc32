/*
 * automaton.c: a grammar made deterministic as far as answers get in it.
 *
 * Grammars call rules from within rules, so where an answer is in its grammar is a node and the calls that are not finished: a place,
 * with its frames as a list that other places share. Since grammars leave choices open, an answer is at several places at once. A
 * state is the set of them. Equal frames and equal states are made once and have numbers; where a byte leads from a state
 * is found out when it is asked for the first time and then remembered. So is the set of tokens that may follow in a state: a walk
 * through the trie of the vocabulary, which costs a millisecond for a hundred thousand tokens when nearly all are allowed, and
 * nothing the second time.
 *
 * Everything is bounded. States, frames and transitions may take so much memory; when that is used up all is forgotten but the state of
 * the answer at hand, and every other answer finds its state again by reading its tokens from the first one on. Deeper nesting than
 * DEPTH_MAX and more places at once than VISITED_MAX are not followed, as if the grammar didn't allow them: an answer may come to nothing
 * then, but it never leaves its grammar.
 *
 * Where a bound ends an answer, it does so whatever others had the automaton find out before. Work counts as if nothing were known: who
 * uses a transition is charged with what finding it took, once in a walk. And arrays are as long as a power of two that what is in them needs,
 * so what fits beside other things fits by itself.
 */
#include "grammar/automaton.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "grammar/grammar.h"

/* Calls within calls. */
#define DEPTH_MAX 1024U
/* Places that one byte can lead to, those between which nothing is read included. */
#define VISITED_MAX 8192U
/* Slots of the table of visited places: a power of two. */
#define VISITED_SLOTS (2 * VISITED_MAX)
/* Places and edges that may be looked at to find one set of tokens, or to read one token, before it is given up: some tenths of a second. */
#define WORK_MAX (8U << 20)
/* What a closure of more than VISITED_MAX places counts as: where it was given up depends on the order of its places. */
#define WORK_TOO_WIDE (8 * VISITED_MAX)
/* Walks that can be told apart. */
#define WALKS_MAX 255U
/* Token sets that are kept, at least. */
#define MASKS_MIN 2U

/* Numbers of states that are none: not looked for yet; nothing may follow; more than WORK_MAX to find out; no memory for it. Only the first
 * two are remembered. */
#define UNKNOWN UINT32_MAX
#define DEAD (UINT32_MAX - 1)
#define EXHAUSTED (UINT32_MAX - 2)
#define FULL (UINT32_MAX - 3)
#define NO_MASK UINT32_MAX

/* Frame 0 is below all others: the end of rule 0 there is the end of the answer. */
#define BOTTOM 0U

typedef struct place {
    uint32_t node;
    uint32_t frame;
} place;

/* A call that is not finished. */
typedef struct frame {
    uint32_t edge;   /* that called */
    uint32_t count;  /* times so far, the one that runs included; no larger than it matters */
    uint32_t parent; /* the frame around it */
    uint32_t depth;
} frame;

typedef struct state {
    uint32_t first; /* in places */
    uint32_t count;
    uint32_t mask; /* its set of tokens, or NO_MASK */
    bool is_complete;
} state;

/* Where a byte of some class leads from a state. */
typedef struct transition {
    uint32_t to;
    uint32_t work : 24; /* that finding it took */
    uint32_t walk : 8;  /* the last one that was charged with it */
} transition;

/* A set of tokens. */
typedef struct mask {
    uint32_t state;
    int32_t count;
    uint64_t used; /* when, for the least recently used one to go */
    uint64_t *words;
} mask;

/* A growing array of numbered things and a table that finds them by what they are. */
typedef struct table {
    uint32_t *slots; /* [slot_count] number + 1, or 0 */
    uint32_t slot_count;
} table;

struct wf_automaton {
    atomic_uint references;
    const wf_vocabulary *vocabulary;
    wf_grammar grammar;
    size_t memory_max;

    pthread_mutex_t lock; /* guards the rest */
    uint64_t epoch;       /* raised when everything is forgotten */
    size_t memory;        /* bytes of the arrays that follow */
    frame *frames;
    uint32_t frame_count, frame_capacity;
    table frame_table;
    state *states; /* state 0 is the beginning */
    uint32_t state_count, state_capacity;
    table state_table;
    place *places; /* those of the states, each state's in order */
    uint32_t place_count, place_capacity;
    transition *transitions; /* [state_count][class_count] */
    uint32_t transition_capacity;

    mask *masks;
    uint32_t mask_count, mask_max;
    uint64_t clock;

    /* Scratch of one closure: */
    uint64_t *visited;       /* [VISITED_SLOTS] places that were seen: node << 32 | frame */
    uint32_t *visited_stamp; /* [VISITED_SLOTS] in which closure */
    uint32_t stamp, visited_count;
    place *pending; /* [VISITED_MAX] seen and not looked at */
    uint32_t pending_count;
    place *found; /* [VISITED_MAX] of those seen, where a byte is read */
    uint32_t found_count;
    bool found_end; /* the answer may end */
    bool is_too_wide;
    bool is_full; /* memory is used up */
    uint32_t closure_work;

    uint32_t walk; /* the one that is under way, 1 to WALKS_MAX */
    uint32_t work; /* that it is charged with */
};

/* ---- Memory ---- */

/* The array with room for `needed` elements, at least 1, moved if need be. NULL when the memory that it may have, or all memory, is used
 * up; then it is as it was. */
static void *reserve(wf_automaton *automaton, void *array, uint32_t *capacity, uint64_t needed, size_t element) {
    if (needed <= *capacity)
        return array;
    uint64_t wanted = 64;
    while (wanted < needed)
        wanted *= 2;
    const size_t more = (wanted - *capacity) * element;
    if (wanted >= FULL || automaton->memory + more > automaton->memory_max)
        return NULL;
    void *moved = realloc(array, wanted * element);
    if (moved == NULL)
        return NULL;
    *capacity = (uint32_t)wanted;
    automaton->memory += more;
    return moved;
}

/* Makes room for one more frame. */
static bool reserve_frame(wf_automaton *automaton) {
    frame *frames = reserve(automaton, automaton->frames, &automaton->frame_capacity, automaton->frame_count + 1, sizeof *frames);
    if (frames == NULL)
        return false;
    automaton->frames = frames;
    return true;
}

/* Makes room for one more state with `count` places. */
static bool reserve_state(wf_automaton *automaton, uint32_t count) {
    state *states = reserve(automaton, automaton->states, &automaton->state_capacity, automaton->state_count + 1, sizeof *states);
    if (states == NULL)
        return false;
    automaton->states = states;
    place *places = reserve(automaton, automaton->places, &automaton->place_capacity, (uint64_t)automaton->place_count + count + 1,
                            sizeof *places);
    if (places == NULL)
        return false;
    automaton->places = places;
    transition *transitions = reserve(automaton, automaton->transitions, &automaton->transition_capacity,
                                      (uint64_t)(automaton->state_count + 1) * automaton->grammar.class_count, sizeof *transitions);
    if (transitions == NULL)
        return false;
    automaton->transitions = transitions;
    return true;
}

static void drop_states(wf_automaton *automaton) {
    free(automaton->frames);
    free(automaton->frame_table.slots);
    free(automaton->states);
    free(automaton->state_table.slots);
    free(automaton->places);
    free(automaton->transitions);
    automaton->frames = NULL;
    automaton->states = NULL;
    automaton->places = NULL;
    automaton->transitions = NULL;
    automaton->frame_table = automaton->state_table = (table){0};
    automaton->frame_count = automaton->state_count = automaton->place_count = 0;
    automaton->frame_capacity = automaton->state_capacity = automaton->place_capacity = automaton->transition_capacity = 0;
    automaton->memory = 0;
    for (uint32_t i = 0; i < automaton->mask_count; i++)
        automaton->masks[i].state = UNKNOWN;
}

/* ---- Frames and states by what they are ---- */

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15U;
    return hash ^ hash >> 29;
}

static uint64_t hash_frame(const wf_automaton *automaton, uint32_t index) {
    const frame *at = &automaton->frames[index];
    return mix(mix(at->edge, at->count), at->parent);
}

static uint64_t hash_state(const wf_automaton *automaton, uint32_t index) {
    const state *at = &automaton->states[index];
    uint64_t hash = at->is_complete;
    for (uint32_t i = 0; i < at->count; i++)
        hash = mix(hash, (uint64_t)automaton->places[at->first + i].node << 32 | automaton->places[at->first + i].frame);
    return hash;
}

static void enter(table *entered, uint64_t hash, uint32_t index) {
    uint32_t slot = (uint32_t)hash & (entered->slot_count - 1);
    while (entered->slots[slot] != 0)
        slot = (slot + 1) & (entered->slot_count - 1);
    entered->slots[slot] = index + 1;
}

/* Makes a table at least twice as large as what is in it. */
static bool widen(wf_automaton *automaton, table *entered, uint32_t count, uint64_t (*hash)(const wf_automaton *, uint32_t)) {
    if (entered->slot_count >= 2 * (uint64_t)(count + 1))
        return true;
    const uint32_t before = entered->slot_count, after = before < 64 ? 64 : before * 2;
    const size_t more = (size_t)(after - before) * sizeof *entered->slots;
    uint32_t *slots = automaton->memory + more > automaton->memory_max ? NULL : calloc(after, sizeof *slots);
    if (slots == NULL)
        return false;
    free(entered->slots);
    *entered = (table){slots, after};
    automaton->memory += more;
    for (uint32_t i = 0; i < count; i++)
        enter(entered, hash(automaton, i), i);
    return true;
}

/* The number of a frame; FULL when there is no memory for it. */
static uint32_t frame_of(wf_automaton *automaton, uint32_t edge, uint32_t count, uint32_t parent) {
    const uint64_t hash = mix(mix(edge, count), parent);
    const uint32_t last = automaton->frame_table.slot_count - 1;
    for (uint32_t slot = (uint32_t)hash & last; automaton->frame_table.slots[slot] != 0; slot = (slot + 1) & last) {
        const uint32_t index = automaton->frame_table.slots[slot] - 1;
        const frame *at = &automaton->frames[index];
        if (at->edge == edge && at->count == count && at->parent == parent)
            return index;
    }
    if (!reserve_frame(automaton) || !widen(automaton, &automaton->frame_table, automaton->frame_count, hash_frame))
        return FULL;
    automaton->frames[automaton->frame_count] = (frame){edge, count, parent, automaton->frames[parent].depth + 1};
    enter(&automaton->frame_table, hash, automaton->frame_count);
    return automaton->frame_count++;
}

static int by_place(const void *left, const void *right) {
    const place *a = left, *b = right;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return a->frame < b->frame ? -1 : a->frame > b->frame;
}

/* The number of the state that the last closure found; DEAD or FULL. */
static uint32_t state_found(wf_automaton *automaton) {
    const uint32_t count = automaton->found_count;
    if (count == 0 && !automaton->found_end)
        return DEAD;
    qsort(automaton->found, count, sizeof *automaton->found, by_place);
    uint64_t hash = automaton->found_end;
    for (uint32_t i = 0; i < count; i++)
        hash = mix(hash, (uint64_t)automaton->found[i].node << 32 | automaton->found[i].frame);
    const uint32_t last = automaton->state_table.slot_count - 1;
    for (uint32_t slot = (uint32_t)hash & last; automaton->state_table.slots != NULL && automaton->state_table.slots[slot] != 0;
         slot = (slot + 1) & last) {
        const uint32_t index = automaton->state_table.slots[slot] - 1;
        const state *at = &automaton->states[index];
        if (at->count == count && at->is_complete == automaton->found_end &&
            (count == 0 || memcmp(automaton->places + at->first, automaton->found, count * sizeof(place)) == 0))
            return index;
    }
    const uint32_t classes = automaton->grammar.class_count;
    if (!reserve_state(automaton, count) || !widen(automaton, &automaton->state_table, automaton->state_count, hash_state))
        return FULL;
    automaton->states[automaton->state_count] = (state){automaton->place_count, count, NO_MASK, automaton->found_end};
    if (count > 0)
        memcpy(automaton->places + automaton->place_count, automaton->found, count * sizeof(place));
    automaton->place_count += count;
    for (uint32_t i = 0; i < classes; i++)
        automaton->transitions[(size_t)automaton->state_count * classes + i] = (transition){.to = UNKNOWN};
    enter(&automaton->state_table, hash, automaton->state_count);
    return automaton->state_count++;
}

/* ---- From places to all places that they lead to without reading ---- */

static void begin_closure(wf_automaton *automaton) {
    if (++automaton->stamp == 0) {
        memset(automaton->visited_stamp, 0, VISITED_SLOTS * sizeof *automaton->visited_stamp);
        automaton->stamp = 1;
    }
    automaton->visited_count = automaton->pending_count = automaton->found_count = automaton->closure_work = 0;
    automaton->found_end = automaton->is_too_wide = automaton->is_full = false;
}

static void visit(wf_automaton *automaton, uint32_t node, uint32_t in_frame) {
    if (in_frame == FULL) {
        automaton->is_full = true;
        return;
    }
    const uint64_t key = (uint64_t)node << 32 | in_frame;
    uint32_t slot = (uint32_t)mix(key, key >> 32) & (VISITED_SLOTS - 1);
    for (; automaton->visited_stamp[slot] == automaton->stamp; slot = (slot + 1) & (VISITED_SLOTS - 1))
        if (automaton->visited[slot] == key)
            return;
    if (automaton->visited_count == VISITED_MAX) {
        automaton->is_too_wide = true;
        return;
    }
    automaton->visited_count++;
    automaton->visited_stamp[slot] = automaton->stamp;
    automaton->visited[slot] = key;
    automaton->pending[automaton->pending_count++] = (place){node, in_frame};
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
    if (call->most == 1 && only_ends(grammar, grammar->edges[edge].next)) {
        visit(automaton, start, parent);
        return;
    }
    if (automaton->frames[parent].depth >= DEPTH_MAX)
        return;
    count++;
    /* Where there is no end, counting stops when enough were had. */
    if (call->most == WF_GRAMMAR_NO_END && count > call->least)
        count = call->least > 0 ? call->least : 1;
    visit(automaton, start, frame_of(automaton, edge, count, parent));
}

/* Ends a rule that was called by a frame. */
static void return_from(wf_automaton *automaton, uint32_t in_frame) {
    if (in_frame == BOTTOM) {
        automaton->found_end = true;
        return;
    }
    const frame from = automaton->frames[in_frame];
    const wf_edge *edge = &automaton->grammar.edges[from.edge];
    const wf_call *call = &automaton->grammar.calls[edge->call];
    if (call->most == WF_GRAMMAR_NO_END || from.count < call->most)
        call_again(automaton, from.edge, from.count, from.parent);
    if (from.count >= call->least)
        visit(automaton, edge->next, from.parent);
}

static uint32_t finish_closure(wf_automaton *automaton) {
    const wf_grammar *grammar = &automaton->grammar;
    while (automaton->pending_count > 0 && !automaton->is_full && !automaton->is_too_wide && automaton->closure_work <= WORK_MAX) {
        const place at = automaton->pending[--automaton->pending_count];
        bool reads = false;
        automaton->closure_work++;
        for (uint32_t i = grammar->first[at.node]; i < grammar->first[at.node + 1]; i++) {
            const wf_edge *edge = &grammar->edges[i];
            automaton->closure_work++;
            if (edge->kind == WF_EDGE_BYTES) {
                reads = true;
            } else if (edge->kind == WF_EDGE_EMPTY) {
                visit(automaton, edge->next, at.frame);
            } else {
                if (grammar->calls[edge->call].least == 0)
                    visit(automaton, edge->next, at.frame);
                call_again(automaton, i, 0, at.frame);
            }
        }
        if (grammar->is_final[at.node])
            return_from(automaton, at.frame);
        if (reads)
            automaton->found[automaton->found_count++] = at;
    }
    if (automaton->is_full)
        return FULL;
    if (automaton->closure_work > WORK_MAX)
        return EXHAUSTED;
    return automaton->is_too_wide ? DEAD : state_found(automaton);
}

/* ---- States ---- */

/* Makes state 0, if it isn't there. False when there is no memory for it. */
static bool begin(wf_automaton *automaton) {
    if (automaton->state_count > 0)
        return true;
    if (!reserve_frame(automaton))
        return false;
    automaton->frames[BOTTOM] = (frame){UINT32_MAX, 0, 0, 0};
    automaton->frame_count = 1;
    if (!widen(automaton, &automaton->frame_table, 1, hash_frame))
        return false;
    begin_closure(automaton);
    visit(automaton, automaton->grammar.rules[0], BOTTOM);
    return finish_closure(automaton) == 0;
}

/* Begins a walk: the reading of one token, or the search for all that may follow. */
static void begin_walk(wf_automaton *automaton) {
    automaton->work = 0;
    if (++automaton->walk <= WALKS_MAX)
        return;
    automaton->walk = 1;
    for (size_t i = 0; i < (size_t)automaton->state_count * automaton->grammar.class_count; i++)
        automaton->transitions[i].walk = 0;
}

/* Charges the walk with a transition. Returns where it leads, or EXHAUSTED. */
static uint32_t charge(wf_automaton *automaton, transition *used) {
    used->walk = automaton->walk & WALKS_MAX;
    automaton->work += used->work;
    return automaton->work > WORK_MAX ? EXHAUSTED : used->to;
}

/* Where a byte of a class leads from a state: a state, DEAD, EXHAUSTED or FULL. */
static uint32_t find_transition(wf_automaton *automaton, uint32_t from, uint32_t class) {
    const wf_grammar *grammar = &automaton->grammar;
    const state at = automaton->states[from];
    begin_closure(automaton);
    for (uint32_t i = 0; i < at.count; i++) {
        if (automaton->closure_work > WORK_MAX)
            return EXHAUSTED;
        const place in = automaton->places[at.first + i];
        for (uint32_t e = grammar->first[in.node]; e < grammar->first[in.node + 1]; e++) {
            const wf_edge *edge = &grammar->edges[e];
            automaton->closure_work++;
            if (edge->kind == WF_EDGE_BYTES && grammar->classes[edge->low] <= class && class <= grammar->classes[edge->high])
                visit(automaton, edge->next, in.frame);
        }
    }
    const uint32_t to = finish_closure(automaton);
    if (to == FULL || to == EXHAUSTED)
        return to;
    transition *found = &automaton->transitions[(size_t)from * grammar->class_count + class];
    found->to = to;
    found->work = automaton->is_too_wide ? WORK_TOO_WIDE : automaton->closure_work;
    return charge(automaton, found);
}

static inline uint32_t step(wf_automaton *automaton, uint32_t from, uint8_t byte) {
    const uint32_t class = automaton->grammar.classes[byte];
    transition *known = &automaton->transitions[(size_t)from * automaton->grammar.class_count + class];
    if (known->to == UNKNOWN)
        return find_transition(automaton, from, class);
    return known->walk == automaton->walk ? known->to : charge(automaton, known);
}

/* Where a token leads. */
static uint32_t read_token(wf_automaton *automaton, uint32_t from, uint32_t token) {
    begin_walk(automaton);
    const wf_vocabulary *vocabulary = automaton->vocabulary;
    const uint32_t first = vocabulary->offsets[token], end = vocabulary->offsets[token + 1];
    uint32_t at = first < end ? from : DEAD;
    for (uint32_t i = first; i < end && at < FULL; i++)
        at = step(automaton, at, vocabulary->bytes[i]);
    return at;
}

/* Makes the frames and the state of `found` anew, from what they were: frames[count], of which a parent always comes before its children,
 * and automaton->found in terms of these. Returns the state's number or FULL. */
static uint32_t remake(wf_automaton *automaton, const frame *frames, uint32_t count) {
    const uint32_t found_count = automaton->found_count;
    const bool found_end = automaton->found_end;
    uint32_t *renamed = calloc(count, sizeof *renamed); /* UINT32_MAX where a frame is needed, then its new number */
    place *found = malloc((found_count + 1) * sizeof *found);
    uint32_t result = FULL;
    if (renamed != NULL && found != NULL && found_count > 0)
        memcpy(found, automaton->found, found_count * sizeof *found);
    if (renamed == NULL || found == NULL || !begin(automaton))
        goto done;
    for (uint32_t i = 0; i < found_count; i++)
        renamed[found[i].frame] = UINT32_MAX;
    for (uint32_t i = count - 1; i > 0; i--)
        if (renamed[i] != 0)
            renamed[frames[i].parent] = UINT32_MAX;
    renamed[BOTTOM] = BOTTOM;
    for (uint32_t i = 1; i < count; i++) {
        if (renamed[i] == 0)
            continue;
        renamed[i] = frame_of(automaton, frames[i].edge, frames[i].count, renamed[frames[i].parent]);
        if (renamed[i] == FULL)
            goto done;
    }
    for (uint32_t i = 0; i < found_count; i++)
        automaton->found[i] = (place){found[i].node, renamed[found[i].frame]};
    automaton->found_count = found_count;
    automaton->found_end = found_end;
    result = state_found(automaton);
done:
    free(renamed);
    free(found);
    return result;
}

/* Forgets everything but where a matcher is. False when even that doesn't fit into the memory. */
static bool forget(wf_matcher *matcher) {
    wf_automaton *automaton = matcher->automaton;
    const state at = automaton->states[matcher->state];
    automaton->found_count = at.count;
    automaton->found_end = at.is_complete;
    if (at.count > 0)
        memcpy(automaton->found, automaton->places + at.first, at.count * sizeof *automaton->found);
    frame *frames = automaton->frames;
    const uint32_t frame_count = automaton->frame_count;
    automaton->frames = NULL;
    drop_states(automaton);
    matcher->epoch = ++automaton->epoch;
    matcher->state = remake(automaton, frames, frame_count);
    free(frames);
    if (matcher->state != FULL)
        return true;
    /* Nothing half-made stays. */
    drop_states(automaton);
    automaton->epoch++;
    return false;
}

/* Brings a matcher to the end of answer[count]. False when the answer isn't of the grammar or memory is lacking. */
static bool follow(wf_matcher *matcher, const uint32_t *answer, uint32_t count) {
    wf_automaton *automaton = matcher->automaton;
    if (!begin(automaton)) {
        drop_states(automaton);
        return false;
    }
    if (matcher->epoch != automaton->epoch)
        *matcher = (wf_matcher){.automaton = automaton, .epoch = automaton->epoch};
    for (bool forgot = false; matcher->followed < count;) {
        const uint32_t to = read_token(automaton, matcher->state, answer[matcher->followed]);
        if (to == DEAD || to == EXHAUSTED || (to == FULL && (forgot || !forget(matcher))))
            return false;
        forgot = to == FULL;
        if (!forgot) {
            matcher->state = to;
            matcher->followed++;
        }
    }
    return true;
}

/* ---- Sets of tokens ---- */

/* The place for a new set: a fresh one, or the least recently used. NULL when memory is lacking. */
static mask *take_mask(wf_automaton *automaton) {
    const uint32_t words = wf_mask_words(automaton->vocabulary->count);
    if (automaton->mask_count < automaton->mask_max) {
        mask *fresh = &automaton->masks[automaton->mask_count];
        *fresh = (mask){.state = UNKNOWN, .words = malloc(words * sizeof *fresh->words)};
        if (fresh->words != NULL) {
            automaton->mask_count++;
            return fresh;
        }
    }
    mask *oldest = NULL;
    for (uint32_t i = 0; i < automaton->mask_count; i++) {
        mask *at = &automaton->masks[i];
        if (at->state == UNKNOWN)
            return at;
        if (oldest == NULL || at->used < oldest->used)
            oldest = at;
    }
    if (oldest != NULL) {
        automaton->states[oldest->state].mask = NO_MASK;
        oldest->state = UNKNOWN;
    }
    return oldest;
}

/* Finds the tokens that may follow in a state. Returns that state, EXHAUSTED or FULL. */
static uint32_t find_tokens(wf_automaton *automaton, uint32_t from, mask *set) {
    const wf_vocabulary *vocabulary = automaton->vocabulary;
    uint32_t path[WF_TOKEN_BYTES_MAX + 1]; /* states after each byte of the prefix */
    path[0] = from;
    begin_walk(automaton);
    set->count = 0;
    memset(set->words, 0, wf_mask_words(vocabulary->count) * sizeof *set->words);
    for (uint32_t i = 0; i < vocabulary->node_count;) {
        const wf_trie_node *node = &vocabulary->nodes[i];
        const uint32_t to = step(automaton, path[node->depth - 1], node->byte);
        if (to == FULL || to == EXHAUSTED)
            return to;
        if (to == DEAD) {
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

/* Finds the set of a matcher's state, if it isn't known. Returns that state, EXHAUSTED or FULL. */
static uint32_t find_mask(wf_matcher *matcher) {
    wf_automaton *automaton = matcher->automaton;
    if (automaton->states[matcher->state].mask != NO_MASK)
        return matcher->state;
    mask *set = take_mask(automaton);
    const uint32_t found = set == NULL ? FULL : find_tokens(automaton, matcher->state, set);
    if (found != matcher->state)
        return found;
    set->state = matcher->state;
    automaton->states[matcher->state].mask = (uint32_t)(set - automaton->masks);
    return found;
}

int32_t wf_matcher_allow(wf_matcher *matcher, const uint32_t *answer, uint32_t count, uint64_t *allowed, bool *is_complete) {
    wf_automaton *automaton = matcher->automaton;
    int32_t result = -1;
    pthread_mutex_lock(&automaton->lock);
    if (follow(matcher, answer, count)) {
        uint32_t found = find_mask(matcher);
        if (found == FULL && forget(matcher))
            found = find_mask(matcher);
        if (found < FULL) {
            mask *set = &automaton->masks[automaton->states[found].mask];
            set->used = ++automaton->clock;
            memcpy(allowed, set->words, wf_mask_words(automaton->vocabulary->count) * sizeof *allowed);
            *is_complete = automaton->states[matcher->state].is_complete;
            result = set->count;
        }
    }
    pthread_mutex_unlock(&automaton->lock);
    return result;
}

bool wf_matcher_is_finished(wf_matcher *matcher, const uint32_t *answer, uint32_t count) {
    wf_automaton *automaton = matcher->automaton;
    pthread_mutex_lock(&automaton->lock);
    const bool is_finished = follow(matcher, answer, count) && automaton->states[matcher->state].is_complete &&
                             automaton->states[matcher->state].count == 0;
    pthread_mutex_unlock(&automaton->lock);
    return is_finished;
}

/* ---- Life ---- */

wf_automaton *wf_automaton_create(const wf_vocabulary *vocabulary, const uint8_t *blob, uint32_t size, size_t memory_max,
                                  char *error, uint32_t error_size) {
    wf_automaton *automaton = calloc(1, sizeof *automaton);
    if (automaton == NULL) {
        wf_fail(error, error_size, "no memory for a grammar of %u bytes", size);
        return NULL;
    }
    if (wf_grammar_open(&automaton->grammar, blob, size, error, error_size) != 0) {
        free(automaton);
        return NULL;
    }
    automaton->vocabulary = vocabulary;
    automaton->memory_max = memory_max;
    automaton->epoch = 1;
    const size_t masks = memory_max / (wf_mask_words(vocabulary->count) * sizeof(uint64_t));
    automaton->mask_max = masks < MASKS_MIN ? MASKS_MIN : masks > 1024 ? 1024 : (uint32_t)masks;
    automaton->masks = calloc(automaton->mask_max, sizeof *automaton->masks);
    automaton->visited = malloc(VISITED_SLOTS * sizeof *automaton->visited);
    automaton->visited_stamp = calloc(VISITED_SLOTS, sizeof *automaton->visited_stamp);
    automaton->pending = malloc(VISITED_MAX * sizeof *automaton->pending);
    automaton->found = malloc(VISITED_MAX * sizeof *automaton->found);
    atomic_init(&automaton->references, 1);
    pthread_mutex_init(&automaton->lock, NULL);
    if (!automaton->masks || !automaton->visited || !automaton->visited_stamp || !automaton->pending || !automaton->found) {
        wf_automaton_release(automaton);
        wf_fail(error, error_size, "no memory for a grammar of %u bytes", size);
        return NULL;
    }
    return automaton;
}

bool wf_automaton_is_of(const wf_automaton *automaton, const uint8_t *blob, uint32_t size) {
    return automaton->grammar.size == size && memcmp(automaton->grammar.blob, blob, size) == 0;
}

wf_automaton *wf_automaton_retain(wf_automaton *automaton) {
    atomic_fetch_add(&automaton->references, 1);
    return automaton;
}

void wf_automaton_release(wf_automaton *automaton) {
    if (automaton == NULL || atomic_fetch_sub(&automaton->references, 1) > 1)
        return;
    drop_states(automaton);
    for (uint32_t i = 0; i < automaton->mask_count; i++)
        free(automaton->masks[i].words);
    free(automaton->masks);
    free(automaton->visited);
    free(automaton->visited_stamp);
    free(automaton->pending);
    free(automaton->found);
    wf_grammar_close(&automaton->grammar);
    pthread_mutex_destroy(&automaton->lock);
    free(automaton);
}

size_t wf_automaton_memory(wf_automaton *automaton) {
    pthread_mutex_lock(&automaton->lock);
    const size_t bytes = automaton->memory + (size_t)automaton->mask_count * wf_mask_words(automaton->vocabulary->count) * 8;
    pthread_mutex_unlock(&automaton->lock);
    return bytes;
}
