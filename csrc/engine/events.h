/*
 * events.h: what happened to requests, on its way from the engine's thread to whoever drains it: a ring.
 *
 * The engine's thread puts events in, which nobody sees until they are published. What is published is guarded by the engine's lock; the
 * functions that touch it are called with that held.
 */
#ifndef WF_EVENTS_H
#define WF_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/sequence.h"
#include "wrinklefree.h"

typedef struct wf_events {
    wf_event *slots; /* [capacity] written where they are not published, read where they are */
    uint32_t capacity;
    uint32_t step_max; /* events of one step */

    uint32_t first, count; /* what is published */

    /* The engine thread's own: */
    uint32_t next;    /* slot of the next event */
    uint32_t pending; /* events that are not published */
    uint32_t room;    /* slots that are surely free */
} wf_events;

/* A ring for steps of up to `max_rows` rows of up to `max_sequences` sequences. Returns 0, or -1 without memory. */
int wf_events_create(wf_events *events, uint32_t max_sequences, uint32_t max_rows);

/* What was never made, and is all zero, is allowed. */
void wf_events_destroy(wf_events *events);

/* Whether the events of one step fit in, whatever they are. */
bool wf_events_fit(const wf_events *events);

/* Puts in an event of a sequence; its request and time are filled in. */
void wf_events_put(wf_events *events, const wf_sequence *sequence, wf_event event);

/* Publishes all that was put in. The lock is held. */
void wf_events_publish(wf_events *events);

/* Finds the room that draining has made. The lock is held. */
void wf_events_find_room(wf_events *events);

/* Moves up to `capacity` published events to out[] and returns their number. The lock is held. */
uint32_t wf_events_drain(wf_events *events, wf_event *out, uint32_t capacity);

#endif
