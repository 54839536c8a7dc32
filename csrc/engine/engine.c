/*
 * engine.c: the engine's life: one thread that owns all inference state, and the ways in which others reach it.
 *
 * Clients queue requests, cancel them and drain events; each of these holds the lock for a memory copy. The thread goes round: take in
 * what arrived, plan a step, compute it, deliver, publish; it holds the lock only to take in and to publish. When there is nothing to do,
 * or no room for events because nobody drains them, it sleeps.
 */
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/doorbell.h"
#include "base/error.h"
#include "engine/plan.h"
#include "kernels/dispatch.h"

/* Requests that wait at once; the server's own queue limit is far lower. */
#define WAITING_MAX 65536U
/* The least and the most of WF_GRAMMAR_BYTES that one grammar gets. */
#define GRAMMAR_BYTES_MIN ((size_t)4 << 20)
#define GRAMMAR_BYTES_MAX ((size_t)16 << 20)

/* ---- Which engines there are: a call on one that was destroyed is an error, and destruction waits for calls under way ---- */

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_left = PTHREAD_COND_INITIALIZER;
static wf_engine *live_engines;

/* The link that leads to an engine, or the last one; the lock of live engines is held. */
static wf_engine **link_to(const wf_engine *engine) {
    wf_engine **link = &live_engines;
    while (*link != NULL && *link != engine)
        link = &(*link)->next_live;
    return link;
}

/* Begins a call on an engine, which leave() ends. False when there is no such engine. */
static bool enter(wf_engine *engine) {
    pthread_mutex_lock(&live_lock);
    const bool is_live = *link_to(engine) != NULL;
    if (is_live)
        engine->users++;
    pthread_mutex_unlock(&live_lock);
    return is_live;
}

static void leave(wf_engine *engine) {
    pthread_mutex_lock(&live_lock);
    if (--engine->users == 0)
        pthread_cond_broadcast(&all_left);
    pthread_mutex_unlock(&live_lock);
}

static int fail_closed(char *error, uint32_t error_size) { return wf_fail(error, error_size, "the engine is closed"); }

/* ---- The thread ---- */

/* The lock is held. */
static void ring_doorbell(wf_engine *engine) {
    if (engine->events.count == 0 || engine->bell_rung)
        return;
    engine->bell_rung = true;
    wf_doorbell_ring(engine->bell);
}

/* Takes in what others left for the thread, which holds the lock. */
static void take_in(wf_engine *engine) {
    wf_scheduler_queue(&engine->scheduler, engine->arrived, engine->arrived_last, engine->arrived_count);
    engine->published.waiting += engine->arrived_count;
    engine->arrived = engine->arrived_last = NULL;
    engine->arrived_count = 0;
    engine->scheduler.ends_cancelled |= engine->has_cancelled;
    engine->has_news = engine->has_cancelled = false;
    wf_events_find_room(&engine->events);
}

/* The chain in which a request is found; the lock is held. */
static wf_sequence **chain_of(wf_engine *engine, uint32_t request) { return &engine->known[request % WF_KNOWN_CHAINS]; }

static void forget_request(wf_engine *engine, const wf_sequence *sequence) {
    wf_sequence **link = chain_of(engine, sequence->id);
    while (*link != sequence)
        link = &(*link)->next_known;
    *link = sequence->next_known;
}

/* Keeps the embedding of a text that has ended whole; without memory it is lost, and whoever asks for it is told that there is none. The lock
 * is held. */
static void keep_embedding(wf_engine *engine, wf_sequence *sequence) {
    if (sequence->embedding == NULL || !sequence->embedding_is_whole)
        return;
    wf_embedding *embedding = malloc(sizeof *embedding);
    if (embedding == NULL)
        return;
    *embedding = (wf_embedding){engine->embeddings, sequence->id, sequence->hidden, sequence->embedding};
    sequence->embedding = NULL;
    engine->embeddings = embedding;
}

static void destroy_embedding(wf_embedding *embedding) {
    free(embedding->values);
    free(embedding);
}

/* Shows others the events and where things stand, and frees what has ended. */
static void publish(wf_engine *engine) {
    const wf_scheduler *scheduler = &engine->scheduler;
    wf_engine_stats *stats = &engine->stats;
    stats->running = scheduler->running_count;
    stats->waiting = scheduler->waiting_count;
    stats->prompt_tokens = scheduler->prompt_tokens;
    stats->cached_tokens = scheduler->cached_tokens;
    stats->generated_tokens = scheduler->generated_tokens;
    stats->pauses = scheduler->pauses;
    stats->blocks_cached = engine->cache.unused_count;
    stats->blocks_used = engine->cache.blocks - wf_kv_available(&engine->cache);
    pthread_mutex_lock(&engine->lock);
    engine->published = *stats;
    wf_events_publish(&engine->events);
    for (wf_sequence *sequence = scheduler->ended; sequence != NULL; sequence = sequence->next) {
        forget_request(engine, sequence);
        keep_embedding(engine, sequence);
    }
    if (wf_forward_wants_copies(engine->forward)) {
        engine->copying = true;
        pthread_cond_signal(&engine->copies_wanted);
    }
    ring_doorbell(engine);
    pthread_mutex_unlock(&engine->lock);
    wf_scheduler_forget_ended(&engine->scheduler);
}

static void make_step(wf_engine *engine) {
    wf_scheduler_plan(&engine->scheduler, &engine->step);
    publish(engine);
    const double started_ms = wf_now_ms();
    wf_step_compute(&engine->step);
    /* Before anybody sees what was computed. */
    wf_mapped_file_check(engine->model->mapping.file);
    wf_engine_stats *stats = &engine->stats;
    stats->step_ms = wf_now_ms() - started_ms;
    wf_pace_note(&engine->scheduler.pace, engine->step.prompt_row_count, stats->step_ms);
    stats->busy_ms += stats->step_ms;
    stats->steps++;
    const wf_zeros zeros = wf_forward_zeros(engine->forward);
    stats->ffn_inputs = zeros.inputs;
    stats->ffn_zeros = zeros.zeros;
    stats->skipped_bytes = zeros.skipped_bytes;
    stats->head_bytes = wf_forward_head_bytes(engine->forward);
    wf_scheduler_deliver(&engine->scheduler, &engine->step);
}

static void *run_engine(void *argument) {
    wf_engine *engine = argument;
    if (engine->first_core != UINT32_MAX)
        wf_pin_thread(engine->first_core);
    pthread_mutex_lock(&engine->lock);
    while (!engine->stopping) {
        take_in(engine);
        pthread_mutex_unlock(&engine->lock);
        if (wf_events_fit(&engine->events))
            wf_scheduler_admit(&engine->scheduler);
        const bool has_work = engine->scheduler.running_count > 0 && wf_events_fit(&engine->events);
        if (has_work)
            make_step(engine);
        publish(engine);
        if (!has_work && engine->scheduler.running_count == 0)
            wf_forward_release(engine->forward);
        pthread_mutex_lock(&engine->lock);
        while (!has_work && !engine->has_news && !engine->stopping)
            pthread_cond_wait(&engine->wake, &engine->lock);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* ---- Making and ending an engine ---- */

/* Whoever serves from a large model should not wait for copies that only make steps faster. */
static void *make_copies(void *argument) {
    wf_engine *engine = argument;
    pthread_mutex_lock(&engine->lock);
    while (!atomic_load(&engine->copier_stopping)) {
        if (!engine->copying) {
            pthread_cond_wait(&engine->copies_wanted, &engine->lock);
            continue;
        }
        pthread_mutex_unlock(&engine->lock);
        wf_forward_make_copies(engine->forward, engine->copier_pool, &engine->copier_stopping);
        wf_forward_release(engine->forward);
        pthread_mutex_lock(&engine->lock);
        engine->copying = false;
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* Stops and frees an engine that is whole or half made, and that nobody uses. */
static void end_engine(wf_engine *engine) {
    if (engine->thread_started) {
        pthread_mutex_lock(&engine->lock);
        engine->stopping = true;
        pthread_cond_signal(&engine->wake);
        pthread_mutex_unlock(&engine->lock);
        pthread_join(engine->thread, NULL);
    }
    if (engine->copier_started) {
        pthread_mutex_lock(&engine->lock);
        atomic_store(&engine->copier_stopping, true);
        pthread_cond_signal(&engine->copies_wanted);
        pthread_mutex_unlock(&engine->lock);
        pthread_join(engine->copier, NULL);
    }
    wf_scheduler_destroy(&engine->scheduler);
    wf_sequences_destroy(engine->arrived);
    while (engine->embeddings != NULL) {
        wf_embedding *next = engine->embeddings->next;
        destroy_embedding(engine->embeddings);
        engine->embeddings = next;
    }
    wf_grammar_cache_clear(&engine->grammars);
    wf_vocabulary_destroy(engine->vocabulary);
    wf_step_destroy(&engine->step);
    wf_events_destroy(&engine->events);
    wf_forward_destroy(engine->forward);
    wf_kv_destroy(&engine->cache);
    wf_pool_destroy(engine->copier_pool);
    wf_pool_destroy(engine->pool);
    wf_doorbell_close(&engine->doorbell);
    wf_doorbell_close(&engine->bell);
    wf_model_close(engine->model);
    pthread_cond_destroy(&engine->wake);
    pthread_cond_destroy(&engine->copies_wanted);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

wf_engine *wf_engine_create(const wf_model *model, const wf_engine_options *given, const uint32_t *cpus, uint32_t cpu_count,
                            char *error, uint32_t error_size) {
    wf_engine_options options = *given;
    const wf_kernels *kernels = wf_kernels_active();
    if (kernels == NULL) {
        wf_fail(error, error_size, "WRINKLEFREE_CPU=%s names no kernel tier that this processor can run",
                getenv("WRINKLEFREE_CPU"));
        return NULL;
    }
    if (wf_check_engine_options(&model->config, &options, error, error_size) != 0)
        return NULL;

    wf_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        wf_fail(error, error_size, "no memory for the engine");
        return NULL;
    }
    const uint32_t max_rows = wf_batch_rows(&options);
    engine->model = wf_model_retain(model);
    engine->max_sequences = options.max_sequences;
    engine->context = options.context;
    engine->first_core = cpu_count > 0 ? cpus[0] : UINT32_MAX;
    engine->doorbell = engine->bell = -1;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->wake, NULL);
    pthread_cond_init(&engine->copies_wanted, NULL);
    engine->copying = true;
    if (wf_events_create(&engine->events, options.max_sequences, max_rows) != 0 ||
        wf_scheduler_create(&engine->scheduler, options.max_sequences, &engine->cache, &engine->events) != 0 ||
        wf_step_create(&engine->step, model->config.vocabulary, max_rows, options.max_sequences) != 0 ||
        (engine->pool = wf_pool_create(options.threads, cpus, cpu_count)) == NULL ||
        (engine->copier_pool = wf_pool_create(options.threads, cpus, cpu_count)) == NULL) {
        wf_fail(error, error_size, "no memory or threads for an engine of %u sequences and %u threads", options.max_sequences,
                options.threads);
        goto failed;
    }
    engine->scheduler.pace.fixed = options.batch_tokens;
    const uint32_t blocks = wf_pool_blocks(&options);
    engine->stats.blocks = engine->published.blocks = blocks;
    if (wf_kv_create(&engine->cache, &model->config, (enum wf_kv_kind)options.kv_kind, blocks, error, error_size) != 0)
        goto failed;
    const wf_forward_setup setup = {
        .model = model,
        .kernels = kernels,
        .pool = engine->pool,
        .cache = &engine->cache,
        .max_rows = max_rows,
        .max_logits = options.max_sequences,
        .context = options.context,
    };
    engine->forward = wf_forward_create(&setup, error, error_size);
    engine->step.kernels = kernels;
    engine->step.pool = engine->pool;
    engine->step.forward = engine->forward;
    if (engine->forward == NULL || wf_doorbell_open(&engine->doorbell, &engine->bell, error, error_size) != 0)
        goto failed;
    if (options.head == WF_HEAD_SCREENED && wf_forward_screen_head(engine->forward, error, error_size) != 0)
        goto failed;
    if (options.zeros == WF_ZEROS_SKIP && wf_forward_skip_zeros(engine->forward, error, error_size) != 0)
        goto failed;

    engine->thread_started = wf_start_thread(&engine->thread, run_engine, engine);
    engine->copier_started = engine->thread_started && wf_start_thread(&engine->copier, make_copies, engine);
    if (engine->copier_started) {
        pthread_mutex_lock(&live_lock);
        engine->next_live = live_engines;
        live_engines = engine;
        pthread_mutex_unlock(&live_lock);
        return engine;
    }
    wf_fail(error, error_size, "the engine's threads can't be started");
failed:
    end_engine(engine);
    return NULL;
}

int32_t wf_engine_doorbell(wf_engine *engine) {
    if (!enter(engine))
        return -1;
    pthread_mutex_lock(&engine->lock);
    const int doorbell = engine->doorbell;
    engine->doorbell = -1;
    pthread_mutex_unlock(&engine->lock);
    leave(engine);
    return doorbell;
}

void wf_engine_destroy(wf_engine *engine) {
    pthread_mutex_lock(&live_lock);
    wf_engine **link = link_to(engine);
    const bool is_live = *link != NULL;
    if (is_live)
        *link = engine->next_live;
    while (is_live && engine->users > 0)
        pthread_cond_wait(&all_left, &live_lock);
    pthread_mutex_unlock(&live_lock);
    if (is_live)
        end_engine(engine);
}

/* ---- Requests ---- */

/* Wakes the engine's thread; the lock is held. */
static void tell(wf_engine *engine) {
    engine->has_news = true;
    pthread_cond_signal(&engine->wake);
}

static int set_vocabulary(wf_engine *engine, const uint8_t *bytes, const uint32_t *offsets, uint32_t count, char *error,
                          uint32_t error_size) {
    wf_vocabulary *vocabulary = wf_vocabulary_create(engine->model->config.vocabulary, bytes, offsets, count, error, error_size);
    if (vocabulary == NULL)
        return -1;
    pthread_mutex_lock(&engine->lock);
    const bool is_first = engine->vocabulary == NULL;
    if (is_first)
        engine->vocabulary = vocabulary;
    pthread_mutex_unlock(&engine->lock);
    if (is_first)
        return 0;
    wf_vocabulary_destroy(vocabulary);
    return wf_fail(error, error_size, "the engine knows the bytes of its tokens already");
}

int32_t wf_engine_set_vocabulary(wf_engine *engine, const uint8_t *bytes, const uint32_t *offsets, uint32_t count, char *error,
                                 uint32_t error_size) {
    if (!enter(engine))
        return fail_closed(error, error_size);
    const int result = set_vocabulary(engine, bytes, offsets, count, error, error_size);
    leave(engine);
    return result;
}

/* The automaton of a grammar, one that is at work already if there is one of equal bytes. NULL with `error`. */
static wf_automaton *automaton_of(wf_engine *engine, const uint8_t *grammar, uint32_t size, char *error, uint32_t error_size) {
    pthread_mutex_lock(&engine->lock);
    const wf_vocabulary *vocabulary = engine->vocabulary;
    wf_automaton *automaton = wf_grammar_cache_find(&engine->grammars, grammar, size);
    pthread_mutex_unlock(&engine->lock);
    if (automaton != NULL)
        return automaton;
    if (vocabulary == NULL) {
        wf_fail(error, error_size, "the engine doesn't know the bytes of its tokens; call wf_engine_set_vocabulary first");
        return NULL;
    }
    size_t memory = WF_GRAMMAR_BYTES / (WF_GRAMMARS_KEPT + engine->max_sequences);
    memory = memory < GRAMMAR_BYTES_MIN ? GRAMMAR_BYTES_MIN : memory > GRAMMAR_BYTES_MAX ? GRAMMAR_BYTES_MAX : memory;
    /* Half of it for states, half for sets of tokens. */
    automaton = wf_automaton_create(vocabulary, grammar, size, memory / 2, error, error_size);
    if (automaton == NULL)
        return NULL;
    /* Another thread may have made an equal one meanwhile: both work, one after the other leaves the cache. */
    pthread_mutex_lock(&engine->lock);
    wf_automaton *gone = wf_grammar_cache_keep(&engine->grammars, automaton);
    pthread_mutex_unlock(&engine->lock);
    wf_automaton_release(gone);
    return automaton;
}

/* The request's id; 0 with `error`. */
static uint32_t submit(wf_engine *engine, const wf_request *request, const uint8_t *grammar, uint32_t grammar_size, char *error,
                       uint32_t error_size) {
    if (wf_check_request(&engine->model->config, engine->context, request, error, error_size) != 0)
        return 0;
    wf_automaton *automaton = NULL;
    if (grammar_size > 0 && (automaton = automaton_of(engine, grammar, grammar_size, error, error_size)) == NULL)
        return 0;
    wf_sequence *sequence = wf_sequence_create(&engine->model->config, engine->context, request);
    if (sequence == NULL) {
        wf_automaton_release(automaton);
        wf_fail(error, error_size, "no memory for another request");
        return 0;
    }
    sequence->matcher.automaton = automaton; /* the sequence's from now on */
    pthread_mutex_lock(&engine->lock);
    if (engine->published.waiting + engine->arrived_count >= WAITING_MAX) {
        pthread_mutex_unlock(&engine->lock);
        wf_sequence_destroy(sequence);
        wf_fail(error, error_size, "%u requests wait already; try again later", WAITING_MAX);
        return 0;
    }
    engine->last_id = engine->last_id == UINT32_MAX ? 1 : engine->last_id + 1;
    const uint32_t id = sequence->id = engine->last_id;
    wf_sequence **chain = chain_of(engine, id);
    sequence->next_known = *chain;
    *chain = sequence;
    *(engine->arrived_last == NULL ? &engine->arrived : &engine->arrived_last->next) = sequence;
    engine->arrived_last = sequence;
    engine->arrived_count++;
    tell(engine);
    pthread_mutex_unlock(&engine->lock);
    return id;
}

uint32_t wf_engine_submit(wf_engine *engine, const uint32_t *tokens, uint32_t count, const wf_sampling *sampling,
                          const uint32_t *stop_ids, uint32_t stop_count, const uint32_t *bias_ids, const float *bias_values,
                          uint32_t bias_count, const uint32_t *lists, uint32_t lists_size, const uint8_t *grammar,
                          uint32_t grammar_size, char *error, uint32_t error_size) {
    const wf_request request = {tokens,   count,       sampling,   stop_ids, stop_count,
                                bias_ids, bias_values, bias_count, lists,    lists_size};
    if (!enter(engine)) {
        fail_closed(error, error_size);
        return 0;
    }
    const uint32_t id = submit(engine, &request, grammar, grammar_size, error, error_size);
    leave(engine);
    return id;
}

void wf_engine_cancel(wf_engine *engine, uint32_t request) {
    if (!enter(engine))
        return;
    pthread_mutex_lock(&engine->lock);
    wf_sequence *sequence = *chain_of(engine, request);
    while (sequence != NULL && sequence->id != request)
        sequence = sequence->next_known;
    if (sequence != NULL) {
        atomic_store(&sequence->cancelled, true);
        engine->has_cancelled = true;
        tell(engine);
    }
    pthread_mutex_unlock(&engine->lock);
    leave(engine);
}

uint32_t wf_engine_take_embedding(wf_engine *engine, uint32_t request, float *values, uint32_t capacity) {
    if (!enter(engine))
        return 0;
    pthread_mutex_lock(&engine->lock);
    wf_embedding **link = &engine->embeddings;
    while (*link != NULL && (*link)->request != request)
        link = &(*link)->next;
    wf_embedding *embedding = *link;
    if (embedding != NULL)
        *link = embedding->next;
    pthread_mutex_unlock(&engine->lock);
    uint32_t count = 0;
    if (embedding != NULL && embedding->count <= capacity) {
        count = embedding->count;
        memcpy(values, embedding->values, count * sizeof *values);
    }
    if (embedding != NULL)
        destroy_embedding(embedding);
    leave(engine);
    return count;
}

uint32_t wf_engine_drain(wf_engine *engine, wf_event *events, uint32_t capacity) {
    if (!enter(engine))
        return 0;
    pthread_mutex_lock(&engine->lock);
    const uint32_t count = wf_events_drain(&engine->events, events, capacity);
    engine->bell_rung = false;
    ring_doorbell(engine); /* when more wait than fitted */
    if (count > 0)
        tell(engine);
    pthread_mutex_unlock(&engine->lock);
    leave(engine);
    return count;
}

void wf_engine_read_stats(wf_engine *engine, wf_engine_stats *stats) {
    *stats = (wf_engine_stats){0};
    if (!enter(engine))
        return;
    pthread_mutex_lock(&engine->lock);
    *stats = engine->published;
    stats->waiting += engine->arrived_count;
    stats->copying = engine->copying;
    pthread_mutex_unlock(&engine->lock);
    stats->phases = wf_pool_runs(engine->pool);
    leave(engine);
}
