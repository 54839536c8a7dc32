/*
 * engine.h: what an engine consists of, for the files that make it up: engine.c (its life, the queue and the events) and
 * scheduler.c (what it does in a step).
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

#include "layers/forward.h"
#include "grammar/cache.h"
#include "layers/kv_cache.h"
#include "engine/logprobs.h"
#include "engine/sampler.h"
#include "engine/pace.h"
#include "engine/sequence.h"
#include "base/threads.h"
#include "grammar/vocabulary.h"
#include "wrinklefree.h"

/* Chains in which requests are found by their ids: a power of two. */
#define WF_KNOWN_CHAINS 4096U

/* What a step found out about one row that wanted logits. */
typedef struct wf_answer {
    wf_sequence *sequence;
    uint32_t row;                 /* in the batch */
    uint32_t token;               /* chosen; for a prompt's row the prompt's own next token */
    bool has_no_token;            /* the sequence's grammar ends it here: nothing was chosen */
    wf_residual_mass residual;    /* of its logits */
    float logprob;                /* of that token */
    wf_distribution distribution; /* when the request asked for log-probabilities */
} wf_answer;

struct wf_engine {
    struct wf_engine *next_live; /* of all engines; users is guarded by their lock too */
    uint32_t users;              /* threads that are in one of this engine's functions */

    wf_model *model; /* a reference */
    const wf_kernels *kernels;
    uint32_t max_sequences, context;
    wf_pace pace;
    uint32_t max_rows;   /* of a batch: the most prompt tokens + max_sequences */
    uint32_t first_core; /* to pin the engine's thread to, or UINT32_MAX */

    pthread_t thread;
    bool thread_started;
    pthread_t copier; /* makes the copies of weights that steps can do without */
    bool copier_started;
    atomic_bool copier_stopping, has_copied;
    wf_pool *copier_pool;
    int bell;     /* the engine's end of the doorbell */
    int doorbell; /* -1 when the caller has it */

    pthread_mutex_t lock; /* guards what follows: */
    pthread_cond_t wake;  /* there is news, or the engine is to stop */
    bool stopping;
    bool has_news;      /* something was submitted, cancelled or drained since the engine's thread looked */
    bool has_cancelled; /* cancelled, that is */
    uint32_t last_id;
    wf_sequence *arrived, *arrived_last; /* submitted since then, in order */
    uint32_t arrived_count;
    wf_sequence *known[WF_KNOWN_CHAINS]; /* all requests whose end is not published, by their ids */
    uint32_t events_first, events_count; /* of the ring, what is published */
    bool bell_rung;                      /* since the last drain */
    wf_engine_stats published;
    wf_vocabulary *vocabulary; /* NULL until it is told */
    wf_grammar_cache grammars;

    /* Written by the engine's thread in slots that are not published, read by others in those that are: */
    wf_event *events; /* [event_capacity] a ring */
    uint32_t event_capacity;

    /* The engine thread's own: */
    wf_sequence *waiting, *waiting_last; /* in the order in which they are to run */
    uint32_t waiting_count;
    wf_sequence **running; /* [max_sequences], running_count of them, oldest first */
    uint32_t running_count;
    wf_sequence *ended;    /* to be forgotten and freed when their ends are published */
    bool ends_cancelled;   /* some of the waiting or running were cancelled */
    uint32_t event_next;   /* slot of the next event */
    uint32_t event_count;  /* not published */
    uint32_t event_room;   /* slots that are surely free */
    wf_engine_stats stats; /* but for what publishing fills in */
    wf_pool *pool;
    wf_kv_cache cache;
    wf_forward *forward;
    wf_row *rows; /* [max_rows], row_count of them, prompt_row_count of these of prompts */
    uint32_t row_count, prompt_row_count;
    wf_answer *answers; /* [max_sequences] tokens to be chosen, answer_count of them */
    uint32_t answer_count;
    wf_answer *scores; /* [max_rows] prompt tokens to be scored, score_count of them */
    uint32_t score_count;
    wf_sampler_scratch *scratch; /* [max_sequences] */
};

/* ---- scheduler.c: on the engine's thread, without the lock ---- */

/* Ends cancelled requests, and admits waiting ones while there is a place and memory for them. */
void wf_schedule_arrivals(wf_engine *engine);

/* Decides what the coming step computes, and fills rows, answers and scores. */
void wf_plan_step(wf_engine *engine);

/* Computes it. */
void wf_compute_step(wf_engine *engine);

/* Appends and reports what came out. */
void wf_deliver_step(wf_engine *engine);

/* ---- engine.c: the same ---- */

/* Whether the events of one step fit into the ring, whatever they are. */
bool wf_has_room_for_a_step(const wf_engine *engine);

/* Puts an event of a sequence into the ring, to be published with all others of the step; its request and time are filled in. */
void wf_report(wf_engine *engine, const wf_sequence *sequence, wf_event event);

#endif
