/*
 * automaton.c: a grammar made deterministic as far as answers get in it.
 *
 * Grammars call rules from within rules, so where an answer is in its grammar is a node and the calls that are not finished: a place,
 * with its frames as a list that other places share. Since grammars leave choices open, an answer is at several places at once. A
 * state is the set of them. Equal frames and equal states are made once and have numbers; where a byte leads from a state
 * is found out when it is asked for the first time and then remembered. So is the set of tokens that may follow in a state.
 *
 * Everything is bounded. States, frames and transitions may take so much memory; when that is used up all is forgotten but the state of
 * the answer at hand, and every other answer finds its state again by reading its tokens from the first one on. Deeper nesting than
 * DEPTH_MAX (closure.c) and more places at once than WF_VISITED_MAX are not followed, as if the grammar didn't allow them: an answer may come to nothing
 * then, but it never leaves its grammar.
 */
#include "grammar/automaton.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "grammar/closure.h"
#include "grammar/grammar.h"
#include "grammar/states.h"
#include "grammar/token_sets.h"
#include "grammar/walk.h"

/* Token sets that are kept, at least. */
#define MASKS_MIN 2U

/* Makes state 0, if it isn't there. False when there is no memory for it. */
static bool begin(wf_automaton *automaton) {
    if (automaton->state_count > 0)
        return true;
    if (!wf_states_make_bottom(automaton))
        return false;
    wf_closure_begin(automaton);
    wf_closure_visit(automaton, automaton->grammar.rules[0], WF_BOTTOM);
    return wf_closure_finish(automaton) == 0;
}

/* Makes the frames and the state of `found` anew, from what they were: frames[count], of which a parent always comes before its children,
 * and automaton->found in terms of these. Returns the state's number or WF_STATE_FULL. */
static uint32_t remake(wf_automaton *automaton, const wf_frame *frames, uint32_t count) {
    const uint32_t found_count = automaton->found_count;
    const bool found_end = automaton->found_end;
    uint32_t *renamed = calloc(count, sizeof *renamed); /* UINT32_MAX where a frame is needed, then its new number */
    wf_place *found = malloc((found_count + 1) * sizeof *found);
    uint32_t result = WF_STATE_FULL;
    if (renamed != NULL && found != NULL && found_count > 0)
        memcpy(found, automaton->found, found_count * sizeof *found);
    if (renamed == NULL || found == NULL || !begin(automaton))
        goto done;
    for (uint32_t i = 0; i < found_count; i++)
        renamed[found[i].frame] = UINT32_MAX;
    for (uint32_t i = count - 1; i > 0; i--)
        if (renamed[i] != 0)
            renamed[frames[i].parent] = UINT32_MAX;
    renamed[WF_BOTTOM] = WF_BOTTOM;
    for (uint32_t i = 1; i < count; i++) {
        if (renamed[i] == 0)
            continue;
        renamed[i] = wf_frame_of(automaton, frames[i].edge, frames[i].count, renamed[frames[i].parent]);
        if (renamed[i] == WF_STATE_FULL)
            goto done;
    }
    for (uint32_t i = 0; i < found_count; i++)
        automaton->found[i] = (wf_place){found[i].node, renamed[found[i].frame]};
    automaton->found_count = found_count;
    automaton->found_end = found_end;
    result = wf_state_found(automaton);
done:
    free(renamed);
    free(found);
    return result;
}

/* Forgets everything but where a matcher is. False when even that doesn't fit into the memory. */
static bool forget(wf_matcher *matcher) {
    wf_automaton *automaton = matcher->automaton;
    const wf_state at = automaton->states[matcher->state];
    automaton->found_count = at.count;
    automaton->found_end = at.is_complete;
    if (at.count > 0)
        memcpy(automaton->found, automaton->places + at.first, at.count * sizeof *automaton->found);
    wf_frame *frames = automaton->frames;
    const uint32_t frame_count = automaton->frame_count;
    automaton->frames = NULL;
    wf_states_drop(automaton);
    matcher->epoch = ++automaton->epoch;
    matcher->state = remake(automaton, frames, frame_count);
    free(frames);
    if (matcher->state != WF_STATE_FULL)
        return true;
    /* Nothing half-made stays. */
    wf_states_drop(automaton);
    automaton->epoch++;
    return false;
}

/* Brings a matcher to the end of answer[count]. False when the answer isn't of the grammar or memory is lacking. */
static bool follow(wf_matcher *matcher, const uint32_t *answer, uint32_t count) {
    wf_automaton *automaton = matcher->automaton;
    if (!begin(automaton)) {
        wf_states_drop(automaton);
        return false;
    }
    if (matcher->epoch != automaton->epoch)
        *matcher = (wf_matcher){.automaton = automaton, .epoch = automaton->epoch};
    for (bool forgot = false; matcher->followed < count;) {
        const uint32_t to = wf_walk_token(automaton, matcher->state, answer[matcher->followed]);
        if (to == WF_STATE_DEAD || to == WF_STATE_EXHAUSTED || (to == WF_STATE_FULL && (forgot || !forget(matcher))))
            return false;
        forgot = to == WF_STATE_FULL;
        if (!forgot) {
            matcher->state = to;
            matcher->followed++;
        }
    }
    return true;
}

int32_t wf_matcher_allow(wf_matcher *matcher, const uint32_t *answer, uint32_t count, uint64_t *allowed, bool *is_complete) {
    wf_automaton *automaton = matcher->automaton;
    int32_t result = -1;
    pthread_mutex_lock(&automaton->lock);
    if (follow(matcher, answer, count)) {
        uint32_t found = wf_mask_find(automaton, matcher->state);
        if (found == WF_STATE_FULL && forget(matcher))
            found = wf_mask_find(automaton, matcher->state);
        if (found < WF_STATE_FULL) {
            wf_mask *set = &automaton->masks[automaton->states[found].mask];
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
    automaton->visited = malloc(WF_VISITED_SLOTS * sizeof *automaton->visited);
    automaton->visited_stamp = calloc(WF_VISITED_SLOTS, sizeof *automaton->visited_stamp);
    automaton->pending = malloc(WF_VISITED_MAX * sizeof *automaton->pending);
    automaton->found = malloc(WF_VISITED_MAX * sizeof *automaton->found);
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
    wf_states_drop(automaton);
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
