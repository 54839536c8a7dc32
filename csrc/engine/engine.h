/*
 * engine.h: what an engine consists of.
 *
 * The engine's thread owns all that requests go through. The lock guards what others leave for it and what it has for them: arrivals,
 * cancellations, events, statistics. It is held for no longer than it takes to copy those; whatever is looked for, compared, computed or
 * freed is so without it.
 */
#ifndef WF_ENGINE_H
#define WF_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/threads.h"
#include "engine/events.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/step.h"
#include "grammar/cache.h"
#include "grammar/vocabulary.h"
#include "layers/forward.h"
#include "layers/kv_cache.h"
#include "wrinklefree.h"

/* Chains in which requests are found by their ids: a power of two. */
#define WF_KNOWN_CHAINS 4096U

/* The embedding of a text whose request has ended, until somebody takes it. */
typedef struct wf_embedding {
    struct wf_embedding *next;
    uint32_t request;
    uint32_t count;
    float *values; /* [count] */
} wf_embedding;

struct wf_engine {
    struct wf_engine *next_live; /* of all engines; users is guarded by their lock too */
    uint32_t users;              /* threads that are in one of this engine's functions */

    wf_model *model; /* a reference */
    uint32_t max_sequences, context;
    uint32_t first_core; /* to pin the engine's thread to, or UINT32_MAX */

    pthread_t thread;
    bool thread_started;
    pthread_t copier; /* makes the copies of weights that steps can do without */
    bool copier_started;
    atomic_bool copier_stopping;
    wf_pool *copier_pool;
    int bell;     /* the engine's end of the doorbell */
    int doorbell; /* -1 when the caller has it */

    pthread_mutex_t lock; /* guards what follows: */
    pthread_cond_t wake;  /* there is news, or the engine is to stop */
    pthread_cond_t copies_wanted;
    bool copying; /* copies are made, or are to be */
    bool stopping;
    bool has_news;      /* something was submitted, cancelled or drained since the engine's thread looked */
    bool has_cancelled; /* cancelled, that is */
    uint32_t last_id;
    wf_sequence *arrived, *arrived_last; /* submitted since then, in order */
    uint32_t arrived_count;
    wf_sequence *known[WF_KNOWN_CHAINS]; /* all requests whose end is not published, by their ids */
    wf_embedding *embeddings;            /* that nobody has taken yet */
    bool bell_rung;                      /* since the last drain */
    wf_engine_stats published;
    wf_vocabulary *vocabulary; /* NULL until it is told */
    wf_grammar_cache grammars;

    wf_events events; /* what is published is guarded by the lock */

    /* The engine thread's own: */
    wf_engine_stats stats; /* but for what publishing fills in */
    wf_pool *pool;
    wf_kv_cache cache;
    wf_forward *forward;
    wf_scheduler scheduler;
    wf_step step;
};

#endif
