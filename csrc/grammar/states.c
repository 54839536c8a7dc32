/*
 * states.c: equal frames and equal states are made once and have numbers; all of them together take bounded memory.
 *
 * Arrays are as long as a power of two that what is in them needs, so what fits beside other things fits by itself.
 */
#include "grammar/states.h"

#include <stdlib.h>
#include <string.h>

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
    if (wanted >= WF_STATE_FULL || automaton->memory + more > automaton->memory_max)
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
    wf_frame *frames =
        reserve(automaton, automaton->frames, &automaton->frame_capacity, automaton->frame_count + 1, sizeof *frames);
    if (frames == NULL)
        return false;
    automaton->frames = frames;
    return true;
}

/* Makes room for one more state with `count` places. */
static bool reserve_state(wf_automaton *automaton, uint32_t count) {
    wf_state *states =
        reserve(automaton, automaton->states, &automaton->state_capacity, automaton->state_count + 1, sizeof *states);
    if (states == NULL)
        return false;
    automaton->states = states;
    wf_place *places = reserve(automaton, automaton->places, &automaton->place_capacity,
                               (uint64_t)automaton->place_count + count + 1, sizeof *places);
    if (places == NULL)
        return false;
    automaton->places = places;
    wf_transition *transitions =
        reserve(automaton, automaton->transitions, &automaton->transition_capacity,
                (uint64_t)(automaton->state_count + 1) * automaton->grammar.class_count, sizeof *transitions);
    if (transitions == NULL)
        return false;
    automaton->transitions = transitions;
    return true;
}

void wf_states_drop(wf_automaton *automaton) {
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
    automaton->frame_table = automaton->state_table = (wf_table){0};
    automaton->frame_count = automaton->state_count = automaton->place_count = 0;
    automaton->frame_capacity = automaton->state_capacity = automaton->place_capacity = automaton->transition_capacity = 0;
    automaton->memory = 0;
    for (uint32_t i = 0; i < automaton->mask_count; i++)
        automaton->masks[i].state = WF_STATE_UNKNOWN;
}

/* ---- Frames and states by what they are ---- */

static uint64_t hash_call(uint32_t edge, uint32_t count, uint32_t parent) { return wf_mix(wf_mix(edge, count), parent); }

static uint64_t hash_frame(const wf_automaton *automaton, uint32_t index) {
    const wf_frame *at = &automaton->frames[index];
    return hash_call(at->edge, at->count, at->parent);
}

static uint64_t hash_places(bool is_complete, const wf_place *places, uint32_t count) {
    uint64_t hash = is_complete;
    for (uint32_t i = 0; i < count; i++)
        hash = wf_mix(hash, (uint64_t)places[i].node << 32 | places[i].frame);
    return hash;
}

static uint64_t hash_state(const wf_automaton *automaton, uint32_t index) {
    const wf_state *at = &automaton->states[index];
    return hash_places(at->is_complete, automaton->places + at->first, at->count);
}

static void enter(wf_table *entered, uint64_t hash, uint32_t index) {
    uint32_t slot = (uint32_t)hash & (entered->slot_count - 1);
    while (entered->slots[slot] != 0)
        slot = (slot + 1) & (entered->slot_count - 1);
    entered->slots[slot] = index + 1;
}

/* Makes a table at least twice as large as what is in it. */
static bool widen(wf_automaton *automaton, wf_table *entered, uint32_t count, uint64_t (*hash)(const wf_automaton *, uint32_t)) {
    if (entered->slot_count >= 2 * (uint64_t)(count + 1))
        return true;
    const uint32_t before = entered->slot_count, after = before < 64 ? 64 : before * 2;
    const size_t more = (size_t)(after - before) * sizeof *entered->slots;
    uint32_t *slots = automaton->memory + more > automaton->memory_max ? NULL : calloc(after, sizeof *slots);
    if (slots == NULL)
        return false;
    free(entered->slots);
    *entered = (wf_table){slots, after};
    automaton->memory += more;
    for (uint32_t i = 0; i < count; i++)
        enter(entered, hash(automaton, i), i);
    return true;
}

bool wf_states_make_bottom(wf_automaton *automaton) {
    if (!reserve_frame(automaton))
        return false;
    automaton->frames[WF_BOTTOM] = (wf_frame){UINT32_MAX, 0, 0, 0};
    automaton->frame_count = 1;
    return widen(automaton, &automaton->frame_table, 1, hash_frame);
}

uint32_t wf_frame_of(wf_automaton *automaton, uint32_t edge, uint32_t count, uint32_t parent) {
    const uint64_t hash = hash_call(edge, count, parent);
    const uint32_t last = automaton->frame_table.slot_count - 1;
    for (uint32_t slot = (uint32_t)hash & last; automaton->frame_table.slots[slot] != 0; slot = (slot + 1) & last) {
        const uint32_t index = automaton->frame_table.slots[slot] - 1;
        const wf_frame *at = &automaton->frames[index];
        if (at->edge == edge && at->count == count && at->parent == parent)
            return index;
    }
    if (!reserve_frame(automaton) || !widen(automaton, &automaton->frame_table, automaton->frame_count, hash_frame))
        return WF_STATE_FULL;
    automaton->frames[automaton->frame_count] = (wf_frame){edge, count, parent, automaton->frames[parent].depth + 1};
    enter(&automaton->frame_table, hash, automaton->frame_count);
    return automaton->frame_count++;
}

static int by_place(const void *left, const void *right) {
    const wf_place *a = left, *b = right;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return a->frame < b->frame ? -1 : a->frame > b->frame;
}

uint32_t wf_state_found(wf_automaton *automaton) {
    const uint32_t count = automaton->found_count;
    if (count == 0 && !automaton->found_end)
        return WF_STATE_DEAD;
    qsort(automaton->found, count, sizeof *automaton->found, by_place);
    const uint64_t hash = hash_places(automaton->found_end, automaton->found, count);
    const uint32_t last = automaton->state_table.slot_count - 1;
    for (uint32_t slot = (uint32_t)hash & last; automaton->state_table.slots != NULL && automaton->state_table.slots[slot] != 0;
         slot = (slot + 1) & last) {
        const uint32_t index = automaton->state_table.slots[slot] - 1;
        const wf_state *at = &automaton->states[index];
        if (at->count == count && at->is_complete == automaton->found_end &&
            (count == 0 || memcmp(automaton->places + at->first, automaton->found, count * sizeof(wf_place)) == 0))
            return index;
    }
    const uint32_t classes = automaton->grammar.class_count;
    if (!reserve_state(automaton, count) || !widen(automaton, &automaton->state_table, automaton->state_count, hash_state))
        return WF_STATE_FULL;
    automaton->states[automaton->state_count] = (wf_state){automaton->place_count, count, WF_NO_MASK, automaton->found_end};
    if (count > 0)
        memcpy(automaton->places + automaton->place_count, automaton->found, count * sizeof(wf_place));
    automaton->place_count += count;
    for (uint32_t i = 0; i < classes; i++)
        automaton->transitions[(size_t)automaton->state_count * classes + i] = (wf_transition){.to = WF_STATE_UNKNOWN};
    enter(&automaton->state_table, hash, automaton->state_count);
    return automaton->state_count++;
}
