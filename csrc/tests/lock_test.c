/*
 * lock_test.c: the engine's lock is held for copies only. Every call of the work that requests cost beside their steps (prompts looked for
 * and compared, blocks copied, answers read against their grammars, requests freed) is held up here until another thread has drained,
 * read the figures, submitted and cancelled; if that thread needed a lock that the work holds, neither would get on.
 *
 * The linker puts the functions named __wrap_… in the place of those that they wrap.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "engine/sequence.h"
#include "grammar/automaton.h"
#include "grammar/grammar.h"
#include "image.h"
#include "kernels/dispatch.h"
#include "layers/kv_cache.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U
/* Work that is held up for longer has a lock that others wait for. */
#define PATIENCE_S 10

static const struct recipe tiny = {32, 32, 32, 1, 2, 1, 10, true, false, false, NULL, NULL};
static const wf_sampling greedy = {.top_p = 1.0f, .repetition_penalty = 1.0f, .max_tokens = 8, .ignore_eos = 1};

enum kind { FIND, ENTER, COPY, ALLOW, IS_FINISHED, FREE, KINDS };
static const char *const names[KINDS] = {
    "wf_kv_find", "wf_kv_enter", "wf_kv_copy", "wf_matcher_allow", "wf_matcher_is_finished", "wf_sequence_destroy"};

static atomic_uint calls[KINDS], held[KINDS], stuck[KINDS];
static atomic_bool is_holding;
static sem_t entered, released;
static pthread_t client;

/* Waits until the client has been served. */
static void hold(enum kind kind) {
    atomic_fetch_add(&calls[kind], 1);
    if (!atomic_load(&is_holding) || pthread_equal(pthread_self(), client))
        return;
    atomic_fetch_add(&held[kind], 1);
    sem_post(&entered);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    int result;
    while ((result = sem_timedwait(&released, &until)) != 0 && errno == EINTR)
        continue;
    if (result != 0) {
        atomic_fetch_add(&stuck[kind], 1);
        atomic_store(&is_holding, false);
    }
}

uint32_t __real_wf_kv_find(const wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens);
uint32_t __wrap_wf_kv_find(const wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens);
uint32_t __wrap_wf_kv_find(const wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens) {
    hold(FIND);
    return __real_wf_kv_find(cache, parent, tokens);
}

uint64_t __real_wf_kv_enter(wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens, uint32_t block);
uint64_t __wrap_wf_kv_enter(wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens, uint32_t block);
uint64_t __wrap_wf_kv_enter(wf_kv_cache *cache, uint64_t parent, const uint32_t *tokens, uint32_t block) {
    hold(ENTER);
    return __real_wf_kv_enter(cache, parent, tokens, block);
}

void __real_wf_kv_copy(wf_kv_cache *cache, uint32_t from, uint32_t to);
void __wrap_wf_kv_copy(wf_kv_cache *cache, uint32_t from, uint32_t to);
void __wrap_wf_kv_copy(wf_kv_cache *cache, uint32_t from, uint32_t to) {
    hold(COPY);
    __real_wf_kv_copy(cache, from, to);
}

int32_t __real_wf_matcher_allow(wf_matcher *matcher, const uint32_t *answer, uint32_t count, uint64_t *allowed, bool *is_complete);
int32_t __wrap_wf_matcher_allow(wf_matcher *matcher, const uint32_t *answer, uint32_t count, uint64_t *allowed, bool *is_complete);
int32_t __wrap_wf_matcher_allow(wf_matcher *matcher, const uint32_t *answer, uint32_t count, uint64_t *allowed, bool *is_complete) {
    hold(ALLOW);
    return __real_wf_matcher_allow(matcher, answer, count, allowed, is_complete);
}

bool __real_wf_matcher_is_finished(wf_matcher *matcher, const uint32_t *answer, uint32_t count);
bool __wrap_wf_matcher_is_finished(wf_matcher *matcher, const uint32_t *answer, uint32_t count);
bool __wrap_wf_matcher_is_finished(wf_matcher *matcher, const uint32_t *answer, uint32_t count) {
    hold(IS_FINISHED);
    return __real_wf_matcher_is_finished(matcher, answer, count);
}

void __real_wf_sequence_destroy(wf_sequence *sequence);
void __wrap_wf_sequence_destroy(wf_sequence *sequence);
void __wrap_wf_sequence_destroy(wf_sequence *sequence) {
    hold(FREE);
    __real_wf_sequence_destroy(sequence);
}

/* Words of two letters a to m and one of n to z, any number of them. */
static const uint32_t grammar[] = {WF_GRAMMAR_MAGIC, 1, 3,        3, 0,        0, WF_GRAMMAR_FINAL | 0, 1, 2,
                                   0x6d6100,         1, 0x6d6100, 2, 0x7a6e00, 0};

static struct check_random source = {.state = 0x2545F4914F6CDD1DU};

static wf_engine *start(wf_model **model, const wf_engine_options *options) {
    struct image *image = image_build(&tiny);
    image_randomise(image, &source);
    char error[ERROR_BYTES] = "";
    *model = wf_model_open_bytes(image->bytes, image->size, "random.wf", error, sizeof error);
    image_drop(image);
    wf_engine *engine = *model == NULL ? NULL : wf_engine_create(*model, options, NULL, 0, error, sizeof error);
    uint8_t letters[32];
    uint32_t offsets[33];
    for (uint32_t token = 0; token <= 32; token++) {
        offsets[token] = token;
        if (token < 32)
            letters[token] = (uint8_t)('a' + token % 26);
    }
    if (engine == NULL || wf_engine_set_vocabulary(engine, letters, offsets, 32, error, sizeof error) != 0) {
        printf("%s\n", error);
        exit(1);
    }
    return engine;
}

static void submit(wf_engine *engine, const uint32_t *prompt, uint32_t count, bool has_grammar) {
    char error[ERROR_BYTES] = "";
    const uint32_t id = wf_engine_submit(engine, prompt, count, &greedy, NULL, 0, NULL, NULL, 0, NULL, 0, (const uint8_t *)grammar,
                                         has_grammar ? sizeof grammar : 0, error, sizeof error);
    if (id == 0) {
        printf("%s\n", error);
        exit(1);
    }
}

/* Drains all that waits. Returns how many requests have ended. */
static uint32_t drain(wf_engine *engine) {
    wf_event events[256];
    uint32_t count, done = 0;
    while ((count = wf_engine_drain(engine, events, 256)) > 0)
        for (uint32_t i = 0; i < count; i++)
            done += events[i].kind == WF_EVENT_DONE;
    return done;
}

static void test_work_is_done_without_the_lock(void) {
    enum { REQUESTS = 24, PROMPT = 72 };
    wf_model *model;
    wf_engine *engine = start(&model, &(wf_engine_options){.threads = 2, .max_sequences = 3, .batch_tokens = 40});
    uint32_t prompt[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++)
        prompt[i] = (uint32_t)check_below(&source, 32);
    atomic_store(&is_holding, true);
    uint32_t done = 0, submitted = 0;
    wf_engine_stats stats;
    while (submitted < REQUESTS || done < submitted) {
        /* Prompts with a partial block in common, and half of the answers with a form. */
        if (submitted < REQUESTS) {
            prompt[PROMPT - 1] = submitted % 32;
            submit(engine, prompt, PROMPT, submitted % 2 == 0);
            submitted++;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        const bool is_held = sem_timedwait(&entered, &until) == 0;
        done += drain(engine);
        wf_engine_read_stats(engine, &stats);
        wf_engine_cancel(engine, UINT32_MAX);
        if (is_held)
            sem_post(&released);
    }
    atomic_store(&is_holding, false);
    /* Whoever began to wait meanwhile. */
    while (sem_trywait(&entered) == 0)
        sem_post(&released);
    wf_engine_destroy(engine);
    wf_model_close(model);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        CHECK(held[kind] > 0, "%s was never called", names[kind]);
        CHECK(stuck[kind] == 0, "%s is called with a lock that others wait for", names[kind]);
    }
}

/* Who waits for a prompt that another request is computing is looked for once, not in every step. */
static void test_waiting_prompts_are_not_looked_for_again(void) {
    enum { REQUESTS = 32, PROMPT = 200 };
    wf_model *model;
    wf_engine *engine = start(&model, &(wf_engine_options){.threads = 1, .max_sequences = 8, .batch_tokens = 1});
    uint32_t prompt[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++)
        prompt[i] = (uint32_t)check_below(&source, 32);
    const uint32_t before = atomic_load(&calls[FIND]);
    /* The engine looks for the first one's prompt until all others are there. */
    atomic_store(&is_holding, true);
    submit(engine, prompt, PROMPT, false);
    sem_wait(&entered);
    for (uint32_t i = 1; i < REQUESTS; i++)
        submit(engine, prompt, PROMPT, false);
    atomic_store(&is_holding, false);
    sem_post(&released);
    for (uint32_t done = 0; done < REQUESTS; done += drain(engine))
        usleep(500);
    wf_engine_stats stats;
    wf_engine_read_stats(engine, &stats);
    /* Each prompt has 6 full blocks; a request may be looked at when it comes, when the prompt is there and when places are free. */
    const uint32_t found = atomic_load(&calls[FIND]) - before;
    CHECK(stats.steps >= PROMPT, "%llu steps", (unsigned long long)stats.steps);
    CHECK(found <= REQUESTS * 7 * 4, "%u blocks looked for in %llu steps", found, (unsigned long long)stats.steps);
    wf_engine_destroy(engine);
    wf_model_close(model);
}

int main(void) {
    if (wf_kernels_active() == NULL) {
        printf("WRINKLEFREE_CPU names no kernel tier that this processor can run\n");
        return 1;
    }
    client = pthread_self();
    sem_init(&entered, 0, 0);
    sem_init(&released, 0, 0);
    test_work_is_done_without_the_lock();
    test_waiting_prompts_are_not_looked_for_again();
    return check_report();
}
