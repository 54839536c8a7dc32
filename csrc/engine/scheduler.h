/*
 * scheduler.h: continuous batching: who runs, what the next step computes, and what becomes of the results.
 *
 * On the engine's thread, without its lock.
 */
#ifndef WF_SCHEDULER_H
#define WF_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/events.h"
#include "engine/pace.h"
#include "engine/sequence.h"
#include "engine/step.h"
#include "layers/kv_cache.h"

typedef struct wf_scheduler {
    wf_kv_cache *cache;
    wf_events *events;
    uint32_t max_sequences;
    wf_pace pace;

    wf_sequence *waiting, *waiting_last; /* in the order in which they are to run */
    uint32_t waiting_count;
    wf_sequence **running; /* [max_sequences], running_count of them, oldest first */
    uint32_t running_count;
    wf_sequence *ended;  /* to be forgotten and freed when their ends are published */
    bool ends_cancelled; /* some of the waiting or running were cancelled */

    /* Since the beginning: */
    uint64_t prompt_tokens, cached_tokens; /* of admitted requests; of those, found in the prefix cache */
    uint64_t generated_tokens;
    uint64_t pauses;
} wf_scheduler;

/* A scheduler of up to `max_sequences` running sequences, whose keys and values are in `cache` and whose events go into `events`; both
 * must outlive it. Returns 0, or -1 without memory. */
int wf_scheduler_create(wf_scheduler *scheduler, uint32_t max_sequences, wf_kv_cache *cache, wf_events *events);

/* Frees all sequences. What was never made, and is all zero, is allowed. */
void wf_scheduler_destroy(wf_scheduler *scheduler);

/* Takes over a list of `count` sequences, first to last. */
void wf_scheduler_queue(wf_scheduler *scheduler, wf_sequence *first, wf_sequence *last, uint32_t count);

/* Ends cancelled requests, and admits waiting ones while there is a place and memory for them. */
void wf_scheduler_admit(wf_scheduler *scheduler);

/* Decides what the coming step computes. */
void wf_scheduler_plan(wf_scheduler *scheduler, wf_step *step);

/* Appends and reports what came out. */
void wf_scheduler_deliver(wf_scheduler *scheduler, const wf_step *step);

/* Frees a list of sequences. */
void wf_sequences_destroy(wf_sequence *first);

/* Frees the sequences that have ended. */
void wf_scheduler_forget_ended(wf_scheduler *scheduler);

#endif
