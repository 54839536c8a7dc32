/*
 * scheduler.c: the engine: one thread that owns all inference state, and the queue through which others reach it.
 *
 * Each step of the thread is: admit waiting requests while there is a place and KV blocks for them; build a batch of one decode token
 * for every request that is answering plus chunks of the prompts of those that are not, up to the token budget; run the model once
 * over it; choose a token for each request whose last token was in the batch; report. Requests join and leave between any two steps.
 *
 * What others touch (the waiting list, the running list, cancellations, events) is guarded by one lock that is held for
 * memory copies only. A request's KV blocks for prompt and longest answer are taken on admission, so a running request always
 * finishes; one that does not fit yet waits, first come first served.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"
#include "error.h"
#include "forward.h"
#include "kv_cache.h"
#include "model.h"
#include "sampler.h"
#include "threads.h"
#include "wrinklefree.h"

#define DEFAULT_BATCH_TOKENS 256
#define SEQUENCES_MAX 256
#define BATCH_TOKENS_MAX 4096
/* Requests that wait at once; the server's own queue limit is far lower. */
#define WAITING_MAX 65536
/* Events that wait to be drained. The engine pauses rather than lose one. */
#define EVENTS_MAX 16384

struct sequence {
    struct sequence *next; /* in the waiting list */
    uint32_t id;
    bool cancelled;
    double submitted_ms;
    wf_sampling sampling;

    uint32_t *tokens; /* [limit] prompt, then answer */
    uint32_t prompt_count;
    uint32_t count;    /* tokens known */
    uint32_t computed; /* tokens whose keys and values are in the cache */
    uint32_t limit;    /* prompt_count + the longest answer, at most the context */

    uint32_t *table; /* [blocks_needed] KV blocks, once running */
    uint32_t blocks_needed;

    uint32_t *stop_ids; /* [stop_count] the request's own, then the model's unless ignored; any of them ends the answer */
    uint32_t stop_count;
    uint32_t *bias_ids; /* [bias_count] */
    float *bias_values; /* [bias_count] */
    uint32_t bias_count;

    /* Only when a penalty needs them: */
    uint8_t *seen_bits;    /* [vocabulary / 8] */
    uint32_t *seen_ids;    /* [limit] distinct ids of prompt and answer, seen_count of them */
    uint32_t *seen_counts; /* [limit] occurrences in the answer */
    uint32_t seen_count;
};

struct wf_engine {
    const wf_model *model;
    const wf_kernels *kernels;
    uint32_t max_sequences, context, batch_tokens;
    uint32_t first_core; /* to pin the engine's thread to, or UINT32_MAX */

    pthread_t thread;
    bool thread_started;
    int bell; /* the engine's end of the doorbell */
    int doorbell;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something was submitted, cancelled or drained, or the engine is to stop */
    bool stopping;
    uint32_t last_id;
    struct sequence *waiting_first, *waiting_last;
    uint32_t waiting_count;
    struct sequence **running; /* [max_sequences], running_count of them, oldest first */
    uint32_t running_count;
    wf_event *events; /* [EVENTS_MAX] a ring */
    uint32_t events_first, events_count;
    bool bell_rung; /* since the last drain */

    /* The engine thread's own: */
    wf_pool *pool;
    wf_kv_cache cache;
    wf_forward *forward;
    wf_row *rows;              /* [batch_tokens] */
    uint32_t *logit_rows;      /* [max_sequences] indices into rows */
    struct sequence **answers; /* [max_sequences] whose logits logit_rows are */
    uint32_t *chosen;          /* [max_sequences] */
    wf_sampler_scratch *scratch; /* [max_sequences] */
};

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static void free_sequence(struct sequence *sequence) {
    if (sequence == NULL)
        return;
    free(sequence->tokens);
    free(sequence->table);
    free(sequence->stop_ids);
    free(sequence->bias_ids);
    free(sequence->bias_values);
    free(sequence->seen_bits);
    free(sequence->seen_ids);
    free(sequence->seen_counts);
    free(sequence);
}

/* ---- Events; the lock is held ---- */

/* In one step each running request has at most one token and one end. */
static bool has_room_for_a_step(const wf_engine *engine) {
    return EVENTS_MAX - engine->events_count >= 2 * engine->max_sequences;
}

static void report(wf_engine *engine, const struct sequence *sequence, uint32_t kind, uint32_t token, uint32_t reason) {
    engine->events[(engine->events_first + engine->events_count++) % EVENTS_MAX] = (wf_event){
        .request = sequence->id,
        .kind = kind,
        .token = token,
        .reason = reason,
        .elapsed_ms = now_ms() - sequence->submitted_ms,
    };
}

static void ring(wf_engine *engine) {
    if (engine->events_count == 0 || engine->bell_rung)
        return;
    engine->bell_rung = true;
    /* A full or closed socket is no fault: the other end has a byte to read, or has left. */
    ssize_t ignored = send(engine->bell, "!", 1, MSG_NOSIGNAL);
    (void)ignored;
}

/* ---- One step, on the engine's thread ---- */

static void release_blocks(wf_engine *engine, struct sequence *sequence) {
    for (uint32_t i = 0; i < sequence->blocks_needed; i++)
        wf_kv_release(&engine->cache, sequence->table[i]);
}

/* Removes running[index]; the lock is held. */
static void finish(wf_engine *engine, uint32_t index, uint32_t reason) {
    struct sequence *sequence = engine->running[index];
    report(engine, sequence, WF_EVENT_DONE, 0, reason);
    release_blocks(engine, sequence);
    free_sequence(sequence);
    engine->running_count--;
    memmove(engine->running + index, engine->running + index + 1, (engine->running_count - index) * sizeof *engine->running);
}

/* Ends the requests that were cancelled, as far as there is room for their events; the lock is held. */
static void drop_cancelled(wf_engine *engine) {
    for (uint32_t i = 0; i < engine->running_count;) {
        if (engine->running[i]->cancelled)
            finish(engine, i, WF_REASON_CANCELLED);
        else
            i++;
    }
    struct sequence **link = &engine->waiting_first, *last = NULL;
    while (*link != NULL) {
        struct sequence *sequence = *link;
        if (sequence->cancelled && has_room_for_a_step(engine)) {
            *link = sequence->next;
            engine->waiting_count--;
            report(engine, sequence, WF_EVENT_DONE, 0, WF_REASON_CANCELLED);
            free_sequence(sequence);
        } else {
            last = sequence;
            link = &sequence->next;
        }
    }
    engine->waiting_last = last;
}

/* Moves waiting requests to the running list, first come first served; the lock is held. */
static void admit(wf_engine *engine) {
    while (engine->waiting_first != NULL && engine->running_count < engine->max_sequences) {
        struct sequence *sequence = engine->waiting_first;
        if (sequence->blocks_needed > engine->cache.free_count)
            return;
        for (uint32_t i = 0; i < sequence->blocks_needed; i++)
            sequence->table[i] = wf_kv_take(&engine->cache);
        engine->waiting_first = sequence->next;
        engine->waiting_last = engine->waiting_first == NULL ? NULL : engine->waiting_last;
        engine->waiting_count--;
        engine->running[engine->running_count++] = sequence;
    }
}

/* Adds rows for tokens computed … computed + count − 1 of a sequence, and asks for logits when the last known token is among them. */
static void add_rows(wf_engine *engine, struct sequence *sequence, uint32_t count, uint32_t *rows, uint32_t *answers) {
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t position = sequence->computed + i;
        engine->rows[(*rows)++] = (wf_row){sequence->tokens[position], position, sequence->table};
    }
    sequence->computed += count;
    if (sequence->computed == sequence->count) {
        engine->logit_rows[*answers] = *rows - 1;
        engine->answers[(*answers)++] = sequence;
    }
}

/* Fills the batch: answering requests first, one token each, so that a long prompt never stalls them; then prompts, oldest first. */
static void build_batch(wf_engine *engine, uint32_t *rows, uint32_t *answers) {
    *rows = *answers = 0;
    for (uint32_t i = 0; i < engine->running_count; i++)
        if (engine->running[i]->count - engine->running[i]->computed == 1)
            add_rows(engine, engine->running[i], 1, rows, answers);
    for (uint32_t i = 0; i < engine->running_count; i++) {
        struct sequence *sequence = engine->running[i];
        const uint32_t wanted = sequence->count - sequence->computed, room = engine->batch_tokens - *rows;
        if (wanted > 0)
            add_rows(engine, sequence, wanted < room ? wanted : room, rows, answers);
    }
}

static void note_seen(struct sequence *sequence, uint32_t token, uint32_t occurrences) {
    if (sequence->seen_bits == NULL)
        return;
    uint32_t index = sequence->seen_count;
    if (sequence->seen_bits[token / 8] >> token % 8 & 1) {
        if (occurrences == 0)
            return;
        for (index = 0; sequence->seen_ids[index] != token;)
            index++;
    } else {
        sequence->seen_bits[token / 8] |= (uint8_t)(1u << token % 8);
        sequence->seen_ids[index] = token;
        sequence->seen_counts[index] = 0;
        sequence->seen_count++;
    }
    sequence->seen_counts[index] += occurrences;
}

struct choose_job {
    wf_engine *engine;
    float *logits; /* [answers][vocabulary] */
};

static void choose(void *context, uint32_t index) {
    const struct choose_job *job = context;
    wf_engine *engine = job->engine;
    const struct sequence *sequence = engine->answers[index];
    const uint32_t vocabulary = engine->model->config.vocabulary;
    const bool too_early = sequence->count - sequence->prompt_count < sequence->sampling.min_tokens;
    const wf_sampler_input input = {
        .sampling = &sequence->sampling,
        .bias_ids = sequence->bias_ids,
        .bias_values = sequence->bias_values,
        .bias_count = sequence->bias_count,
        .seen_ids = sequence->seen_ids,
        .seen_counts = sequence->seen_counts,
        .seen_count = sequence->seen_count,
        .banned_ids = sequence->stop_ids,
        .banned_count = too_early ? sequence->stop_count : 0,
        .position = sequence->count,
    };
    engine->chosen[index] =
        wf_sample(engine->kernels, job->logits + (size_t)index * vocabulary, vocabulary, &input, &engine->scratch[index]);
}

static bool is_stop(const struct sequence *sequence, uint32_t token) {
    for (uint32_t i = 0; i < sequence->stop_count; i++)
        if (sequence->stop_ids[i] == token)
            return true;
    return false;
}

/* Appends the chosen tokens and reports them; the lock is held. */
static void deliver(wf_engine *engine, uint32_t answers) {
    for (uint32_t i = 0; i < answers; i++) {
        struct sequence *sequence = engine->answers[i];
        const uint32_t token = engine->chosen[i];
        sequence->tokens[sequence->count++] = token;
        note_seen(sequence, token, 1);
        report(engine, sequence, WF_EVENT_TOKEN, token, 0);
        const uint32_t reason = is_stop(sequence, token)              ? WF_REASON_STOP
                                : sequence->count == sequence->limit ? WF_REASON_LENGTH
                                                                      : 0;
        if (reason == 0)
            continue;
        uint32_t index = 0;
        while (engine->running[index] != sequence)
            index++;
        finish(engine, index, reason);
    }
}

static void *run_engine(void *argument) {
    wf_engine *engine = argument;
    if (engine->first_core != UINT32_MAX)
        wf_pin_thread(engine->first_core);
    pthread_mutex_lock(&engine->lock);
    for (;;) {
        while (!engine->stopping) {
            if (has_room_for_a_step(engine))
                drop_cancelled(engine);
            /* Asked again: the ends of cancelled requests have taken room. */
            if (has_room_for_a_step(engine)) {
                admit(engine);
                if (engine->running_count > 0)
                    break;
            }
            ring(engine);
            pthread_cond_wait(&engine->wake, &engine->lock);
        }
        if (engine->stopping)
            break;
        uint32_t rows, answers;
        build_batch(engine, &rows, &answers);
        ring(engine);
        pthread_mutex_unlock(&engine->lock);

        wf_forward_run(engine->forward, engine->rows, rows);
        if (answers > 0) {
            struct choose_job job = {engine, wf_forward_logits(engine->forward, engine->logit_rows, answers)};
            wf_pool_run(engine->pool, choose, &job, answers);
        }

        pthread_mutex_lock(&engine->lock);
        deliver(engine, answers);
        ring(engine);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* ---- The contract ---- */

static int open_doorbell(wf_engine *engine, char *error, uint32_t error_size) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return wf_fail(error, error_size, "no socket pair for the engine's events: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
        (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    engine->doorbell = ends[0];
    engine->bell = ends[1];
    return 0;
}

static int check_options(const wf_config *config, wf_engine_options *options, char *error, uint32_t error_size) {
    if (options->threads < 1 || options->threads > WF_THREADS_MAX)
        return wf_fail(error, error_size, "%u threads asked for; 1 to %u can be had", options->threads, WF_THREADS_MAX);
    if (options->max_sequences < 1 || options->max_sequences > SEQUENCES_MAX)
        return wf_fail(error, error_size, "%u sequences asked for; 1 to %u can run together", options->max_sequences, SEQUENCES_MAX);
    if (options->context == 0)
        options->context = config->context;
    if (options->context < 2 || options->context > config->context)
        return wf_fail(error, error_size, "a context of %u tokens asked for; this model has 2 to %u", options->context,
                       config->context);
    if (options->batch_tokens == 0)
        options->batch_tokens = DEFAULT_BATCH_TOKENS;
    if (options->batch_tokens > BATCH_TOKENS_MAX)
        return wf_fail(error, error_size, "batches of %u tokens asked for; at most %u", options->batch_tokens, BATCH_TOKENS_MAX);
    if (options->batch_tokens < options->max_sequences)
        options->batch_tokens = options->max_sequences;
    const uint64_t all = (uint64_t)options->context * options->max_sequences;
    if (options->kv_tokens == 0)
        options->kv_tokens = all < UINT32_MAX - WF_KV_BLOCK ? (uint32_t)all : UINT32_MAX - WF_KV_BLOCK;
    if (options->kv_tokens < options->context)
        return wf_fail(error, error_size, "a KV cache of %u tokens can't hold one context of %u", options->kv_tokens,
                       options->context);
    if (options->reserved != 0)
        return wf_fail(error, error_size, "the engine's reserved option is %u; it must be 0", options->reserved);
    return 0;
}

wf_engine *wf_engine_create(const wf_model *model, const wf_engine_options *given, const uint32_t *cpus, uint32_t cpu_count,
                            char *error, uint32_t error_size) {
    wf_engine_options options = *given;
    const wf_kernels *kernels = wf_kernels_active();
    if (kernels == NULL) {
        wf_fail(error, error_size, "WRINKLEFREE_CPU=%s names no kernel tier that this processor can run", getenv("WRINKLEFREE_CPU"));
        return NULL;
    }
    if (check_options(&model->config, &options, error, error_size) != 0)
        return NULL;

    wf_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        wf_fail(error, error_size, "no memory for the engine");
        return NULL;
    }
    engine->model = model;
    engine->kernels = kernels;
    engine->max_sequences = options.max_sequences;
    engine->context = options.context;
    engine->batch_tokens = options.batch_tokens;
    engine->first_core = cpu_count > 0 ? cpus[0] : UINT32_MAX;
    engine->doorbell = engine->bell = -1;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->wake, NULL);

    const uint32_t sequences = options.max_sequences, vocabulary = model->config.vocabulary;
    engine->running = calloc(sequences, sizeof *engine->running);
    engine->answers = calloc(sequences, sizeof *engine->answers);
    engine->logit_rows = calloc(sequences, sizeof *engine->logit_rows);
    engine->chosen = calloc(sequences, sizeof *engine->chosen);
    engine->scratch = calloc(sequences, sizeof *engine->scratch);
    engine->rows = calloc(options.batch_tokens, sizeof *engine->rows);
    engine->events = calloc(EVENTS_MAX, sizeof *engine->events);
    bool complete = engine->running && engine->answers && engine->logit_rows && engine->chosen && engine->scratch &&
                    engine->rows && engine->events;
    for (uint32_t i = 0; complete && i < sequences; i++) {
        engine->scratch[i].weights = calloc(vocabulary, sizeof(float));
        engine->scratch[i].candidates = calloc(vocabulary, sizeof(wf_candidate));
        complete = engine->scratch[i].weights != NULL && engine->scratch[i].candidates != NULL;
    }
    if (complete && (engine->pool = wf_pool_create(options.threads, cpus, cpu_count)) == NULL)
        complete = false;
    if (!complete) {
        wf_fail(error, error_size, "no memory or threads for an engine of %u sequences and %u threads", sequences, options.threads);
        goto failed;
    }
    /* Every sequence may leave its last block partly empty, so each gets one beside its share of the tokens. */
    const uint32_t blocks = options.kv_tokens / WF_KV_BLOCK + sequences;
    if (wf_kv_create(&engine->cache, &model->config, blocks, error, error_size) != 0)
        goto failed;
    engine->forward = wf_forward_create(model, kernels, engine->pool, &engine->cache, options.batch_tokens, sequences,
                                        options.context, error, error_size);
    if (engine->forward == NULL || open_doorbell(engine, error, error_size) != 0)
        goto failed;

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the host program's business */
    engine->thread_started = pthread_create(&engine->thread, NULL, run_engine, engine) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (engine->thread_started)
        return engine;
    close(engine->doorbell); /* its owner never learns of it */
    wf_fail(error, error_size, "the engine's thread can't be started");
failed:
    wf_engine_destroy(engine);
    return NULL;
}

int32_t wf_engine_doorbell(wf_engine *engine) { return engine->doorbell; }

void wf_engine_destroy(wf_engine *engine) {
    if (engine == NULL)
        return;
    if (engine->thread_started) {
        pthread_mutex_lock(&engine->lock);
        engine->stopping = true;
        pthread_cond_signal(&engine->wake);
        pthread_mutex_unlock(&engine->lock);
        pthread_join(engine->thread, NULL);
    }
    for (uint32_t i = 0; i < engine->running_count; i++)
        free_sequence(engine->running[i]);
    while (engine->waiting_first != NULL) {
        struct sequence *next = engine->waiting_first->next;
        free_sequence(engine->waiting_first);
        engine->waiting_first = next;
    }
    wf_forward_destroy(engine->forward);
    wf_kv_destroy(&engine->cache);
    wf_pool_destroy(engine->pool);
    for (uint32_t i = 0; engine->scratch != NULL && i < engine->max_sequences; i++) {
        free(engine->scratch[i].weights);
        free(engine->scratch[i].candidates);
    }
    if (engine->bell >= 0)
        close(engine->bell);
    free(engine->running);
    free(engine->answers);
    free(engine->logit_rows);
    free(engine->chosen);
    free(engine->scratch);
    free(engine->rows);
    free(engine->events);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

/* Copies of the caller's arrays; NULL only when memory is lacking. */
static void *copy_of(const void *source, size_t count, size_t size, size_t room) {
    void *copy = calloc(room > 0 ? room : 1, size);
    if (copy != NULL && count > 0)
        memcpy(copy, source, count * size);
    return copy;
}

static int check_request(const wf_engine *engine, const uint32_t *tokens, uint32_t count, const wf_sampling *sampling,
                         const uint32_t *stop_ids, uint32_t stop_count, const uint32_t *bias_ids, const float *bias_values,
                         uint32_t bias_count, char *error, uint32_t error_size) {
    const uint32_t vocabulary = engine->model->config.vocabulary;
    if (count < 1 || count >= engine->context)
        return wf_fail(error, error_size, "the prompt has %u tokens; 1 to %u fit into the context", count, engine->context - 1);
    if (stop_count > vocabulary || bias_count > vocabulary)
        return wf_fail(error, error_size, "more stop ids or biases than the vocabulary has tokens, %u", vocabulary);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] >= vocabulary)
            return wf_fail(error, error_size, "token %u of the prompt is %u; the vocabulary has %u", i, tokens[i], vocabulary);
    for (uint32_t i = 0; i < stop_count; i++)
        if (stop_ids[i] >= vocabulary)
            return wf_fail(error, error_size, "stop id %u is out of the vocabulary of %u", stop_ids[i], vocabulary);
    for (uint32_t i = 0; i < bias_count; i++)
        if (bias_ids[i] >= vocabulary || !isfinite(bias_values[i]))
            return wf_fail(error, error_size, "the bias of token %u is not finite or out of the vocabulary of %u", bias_ids[i],
                           vocabulary);
    return wf_check_sampling(sampling, error, error_size);
}

static struct sequence *make_sequence(const wf_engine *engine, const uint32_t *tokens, uint32_t count,
                                      const wf_sampling *sampling, const uint32_t *stop_ids, uint32_t stop_count,
                                      const uint32_t *bias_ids, const float *bias_values, uint32_t bias_count) {
    const wf_config *config = &engine->model->config;
    struct sequence *sequence = calloc(1, sizeof *sequence);
    if (sequence == NULL)
        return NULL;
    const uint32_t room = engine->context - count;
    sequence->sampling = *sampling;
    sequence->submitted_ms = now_ms();
    sequence->prompt_count = sequence->count = count;
    sequence->limit = count + (sampling->max_tokens < room ? sampling->max_tokens : room);
    sequence->blocks_needed = (sequence->limit + WF_KV_BLOCK - 1) / WF_KV_BLOCK;
    sequence->bias_count = bias_count;
    sequence->stop_count = stop_count;
    sequence->tokens = copy_of(tokens, count, sizeof *tokens, sequence->limit);
    sequence->table = calloc(sequence->blocks_needed, sizeof *sequence->table);
    sequence->stop_ids = copy_of(stop_ids, stop_count, sizeof *stop_ids, (size_t)stop_count + config->eos_count);
    sequence->bias_ids = copy_of(bias_ids, bias_count, sizeof *bias_ids, bias_count);
    sequence->bias_values = copy_of(bias_values, bias_count, sizeof *bias_values, bias_count);
    bool complete =
        sequence->tokens && sequence->table && sequence->stop_ids && sequence->bias_ids && sequence->bias_values;
    if (complete && !sampling->ignore_eos)
        for (uint32_t i = 0; i < config->eos_count; i++)
            sequence->stop_ids[sequence->stop_count++] = config->eos_token_ids[i];

    if (complete && (sampling->repetition_penalty != 1 || sampling->frequency_penalty != 0 || sampling->presence_penalty != 0)) {
        sequence->seen_bits = calloc((size_t)config->vocabulary / 8 + 1, 1);
        sequence->seen_ids = calloc(sequence->limit, sizeof *sequence->seen_ids);
        sequence->seen_counts = calloc(sequence->limit, sizeof *sequence->seen_counts);
        complete = sequence->seen_bits && sequence->seen_ids && sequence->seen_counts;
        for (uint32_t i = 0; complete && i < count; i++)
            note_seen(sequence, tokens[i], 0);
    }
    if (complete)
        return sequence;
    free_sequence(sequence);
    return NULL;
}

uint32_t wf_engine_submit(wf_engine *engine, const uint32_t *tokens, uint32_t count, const wf_sampling *sampling,
                          const uint32_t *stop_ids, uint32_t stop_count, const uint32_t *bias_ids, const float *bias_values,
                          uint32_t bias_count, char *error, uint32_t error_size) {
    if (check_request(engine, tokens, count, sampling, stop_ids, stop_count, bias_ids, bias_values, bias_count, error,
                      error_size) != 0)
        return 0;
    struct sequence *sequence =
        make_sequence(engine, tokens, count, sampling, stop_ids, stop_count, bias_ids, bias_values, bias_count);
    if (sequence == NULL) {
        wf_fail(error, error_size, "no memory for another request");
        return 0;
    }
    pthread_mutex_lock(&engine->lock);
    if (engine->waiting_count >= WAITING_MAX) {
        pthread_mutex_unlock(&engine->lock);
        free_sequence(sequence);
        wf_fail(error, error_size, "%u requests wait already; try again later", WAITING_MAX);
        return 0;
    }
    engine->last_id = engine->last_id == UINT32_MAX ? 1 : engine->last_id + 1;
    const uint32_t id = sequence->id = engine->last_id;
    if (engine->waiting_last != NULL)
        engine->waiting_last->next = sequence;
    else
        engine->waiting_first = sequence;
    engine->waiting_last = sequence;
    engine->waiting_count++;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    return id;
}

void wf_engine_cancel(wf_engine *engine, uint32_t request) {
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < engine->running_count; i++)
        if (engine->running[i]->id == request)
            engine->running[i]->cancelled = true;
    for (struct sequence *waiting = engine->waiting_first; waiting != NULL; waiting = waiting->next)
        if (waiting->id == request)
            waiting->cancelled = true;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
}

uint32_t wf_engine_drain(wf_engine *engine, wf_event *events, uint32_t capacity) {
    pthread_mutex_lock(&engine->lock);
    const uint32_t count = engine->events_count < capacity ? engine->events_count : capacity;
    for (uint32_t i = 0; i < count; i++)
        events[i] = engine->events[(engine->events_first + i) % EVENTS_MAX];
    engine->events_first = (engine->events_first + count) % EVENTS_MAX;
    engine->events_count -= count;
    engine->bell_rung = false;
    ring(engine); /* when more wait than fitted */
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    return count;
}
