/*
 * events.c: a ring of events with room for several steps.
 */
#include "engine/events.h"

#include <stdlib.h>

/* The ring holds at least so many events, and those of several steps. */
#define EVENTS_MIN 16384U
#define STEPS_OF_EVENTS 4U

int wf_events_create(wf_events *events, uint32_t max_sequences, uint32_t max_rows) {
    *events = (wf_events){0};
    /* A place of a sequence has its token and the alternatives; beside it a sequence has its beginning, its progress and its end. */
    events->step_max = (max_rows + max_sequences) * (1 + WF_TOP_LOGPROBS_MAX) + 4 * max_sequences;
    events->capacity = STEPS_OF_EVENTS * events->step_max > EVENTS_MIN ? STEPS_OF_EVENTS * events->step_max : EVENTS_MIN;
    events->slots = calloc(events->capacity, sizeof *events->slots);
    return events->slots == NULL ? -1 : 0;
}

void wf_events_destroy(wf_events *events) {
    free(events->slots);
    *events = (wf_events){0};
}

bool wf_events_fit(const wf_events *events) {
    /* Twice: once for the step, and once for the requests that come and go before it. */
    return events->room >= 2 * events->step_max;
}

void wf_events_put(wf_events *events, const wf_sequence *sequence, wf_event event) {
    event.request = sequence->id;
    event.elapsed_ms = wf_now_ms() - sequence->submitted_ms;
    events->slots[events->next] = event;
    events->next = (events->next + 1) % events->capacity;
    events->pending++;
    events->room--;
}

void wf_events_publish(wf_events *events) {
    events->count += events->pending;
    events->pending = 0;
}

void wf_events_find_room(wf_events *events) { events->room = events->capacity - events->count - events->pending; }

uint32_t wf_events_drain(wf_events *events, wf_event *out, uint32_t capacity) {
    const uint32_t count = events->count < capacity ? events->count : capacity;
    for (uint32_t i = 0; i < count; i++)
        out[i] = events->slots[(events->first + i) % events->capacity];
    events->first = (events->first + count) % events->capacity;
    events->count -= count;
    return count;
}
