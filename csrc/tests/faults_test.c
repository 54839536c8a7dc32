/*
 * faults_test.c: every call for memory, files and threads fails once, and then from one call on all of them do. Whatever fails, the library
 * says so in a line or does without; what is asked for again is had, with the same tokens; and nothing is left behind.
 *
 * The linker puts the functions named __wrap_… in the place of those that they wrap. They count the calls that can fail and let those fail
 * that a test has chosen. A test goes through all of them: it makes call 0 fail, then call 1, until a life passes in which none did. They
 * count what is taken and given back as well, so that leaks are found without a sanitizer.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "grammar/grammar.h"
#include "image.h"
#include "kernels/dispatch.h"
#include "process.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U
/* A life that takes longer hangs. */
#define PATIENCE_S 120U

/* ---- Calls that can fail ---- */

enum call {
    MALLOC,
    CALLOC,
    REALLOC,
    ALIGNED_ALLOC,
    STRDUP,
    OPEN,
    FSTAT,
    MMAP,
    MPROTECT,
    MADVISE,
    SOCKETPAIR,
    PTHREAD_CREATE,
    CALLS
};
static const char *const names[CALLS] = {"malloc", "calloc", "realloc",  "aligned_alloc", "strdup",     "open",
                                         "fstat",  "mmap",   "mprotect", "madvise",       "socketpair", "pthread_create"};

static atomic_uint_least32_t calls;      /* so far in this life */
static atomic_uint_least32_t first, end; /* the calls that fail, the end not included */
static atomic_uint_least32_t failures;   /* in all lives */
static atomic_uint_least32_t failures_of[CALLS];

static bool fails(enum call call) {
    const uint32_t number = atomic_fetch_add(&calls, 1);
    if (number < atomic_load(&first) || number >= atomic_load(&end))
        return false;
    atomic_fetch_add(&failures, 1);
    atomic_fetch_add(&failures_of[call], 1);
    return true;
}

/* ---- What is taken and not given back ---- */

static atomic_int_least64_t blocks, pages, threads;

static void *count_block(void *block) {
    atomic_fetch_add(&blocks, block != NULL);
    return block;
}

static int64_t pages_of(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (int64_t)((bytes + page - 1) / page);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) { return fails(MALLOC) ? NULL : count_block(__real_malloc(size)); }

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) { return fails(CALLOC) ? NULL : count_block(__real_calloc(count, size)); }

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size) {
    if (fails(REALLOC))
        return NULL;
    const bool is_fresh = block == NULL;
    void *moved = __real_realloc(block, size);
    return is_fresh ? count_block(moved) : moved;
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails(ALIGNED_ALLOC) ? NULL : count_block(__real_aligned_alloc(alignment, size));
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text) { return fails(STRDUP) ? NULL : count_block(__real_strdup(text)); }

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block) {
    atomic_fetch_sub(&blocks, block != NULL);
    __real_free(block);
}

/* The result of a call that failed for `reason`. */
static int failed(int reason) {
    errno = reason;
    return -1;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) { return fails(OPEN) ? failed(EMFILE) : __real_open(path, flags); }

int __real_fstat(int file, struct stat *status);
int __wrap_fstat(int file, struct stat *status);
int __wrap_fstat(int file, struct stat *status) { return fails(FSTAT) ? failed(EIO) : __real_fstat(file, status); }

void *__real_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    if (fails(MMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *mapping = __real_mmap(address, size, protection, flags, file, offset);
    /* A fixed one takes the place of what was there. */
    if (mapping != MAP_FAILED && (flags & MAP_FIXED) == 0)
        atomic_fetch_add(&pages, pages_of(size));
    return mapping;
}

int __real_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size) {
    atomic_fetch_sub(&pages, pages_of(size));
    return __real_munmap(address, size);
}

int __real_mprotect(void *address, size_t size, int protection);
int __wrap_mprotect(void *address, size_t size, int protection);
int __wrap_mprotect(void *address, size_t size, int protection) {
    return fails(MPROTECT) ? failed(ENOMEM) : __real_mprotect(address, size, protection);
}

int __real_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice) {
    return fails(MADVISE) ? failed(EINVAL) : __real_madvise(address, size, advice);
}

int __real_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]) {
    return fails(SOCKETPAIR) ? failed(EMFILE) : __real_socketpair(domain, type, protocol, ends);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    const int result = fails(PTHREAD_CREATE) ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
    atomic_fetch_add(&threads, result == 0);
    return result;
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result) {
    atomic_fetch_sub(&threads, 1);
    return __real_pthread_join(thread, result);
}

/* ---- What is asked of the library ---- */

#define TOKENS 32U
#define PROMPT 40U
#define ANSWER 8U
/* The last one comes when the others have ended, with the grammar of WITH_GRAMMAR. */
#define REQUESTS 4U
#define WITH_GRAMMAR 1U
#define LATE 3U

static const wf_engine_options options = {.threads = 2, .max_sequences = REQUESTS};
static const struct recipe tiny = {TOKENS, 32, 32, 1, 2, 1, 10, true, false, false, NULL, NULL};
static struct check_random source = {.state = 0x6a09e667f3bcc909U};
static char path[PATH_MAX];
static char error[ERROR_BYTES];
static uint32_t failures_seen;

/* Words of two letters a to m and one of n to z, any number of them. */
static const uint32_t grammar[] = {WF_GRAMMAR_MAGIC, 1, 3,        3, 0,        0, WF_GRAMMAR_FINAL | 0, 1, 2,
                                   0x6d6100,         1, 0x6d6100, 2, 0x7a6e00, 0};

static bool has_grammar(uint32_t which) { return which == WITH_GRAMMAR || which == LATE; }

/* What came of a life. */
struct outcome {
    struct {
        uint32_t tokens[ANSWER];
        uint32_t count, reason;
    } answers[REQUESTS];
    bool is_complete; /* nothing was given up */
};

static struct image *image;
static struct outcome expected;
static const uint32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6};
enum { COUNT = sizeof tokens / sizeof *tokens };
static float expected_logits[COUNT][TOKENS];

/* Prepares for a call that may fail. */
static void expect_error(void) { memset(error, 'x', sizeof error); }

/* What a call that did not succeed has to have said. Returns whether to make it again: not where all later calls fail as well. */
static bool may_try_again(const char *call) {
    const uint32_t now = atomic_load(&failures);
    CHECK(check_is_line(error, sizeof error), "%s, call %u: no line: %.80s", call, atomic_load(&first), error);
    CHECK(now > failures_seen, "%s, call %u: fails though nothing did before: %.80s", call, atomic_load(&first), error);
    const bool is_new = now > failures_seen;
    failures_seen = now;
    expect_error();
    return is_new && atomic_load(&calls) >= atomic_load(&end);
}

/* Makes `call` until it succeeds or must be given up. */
#define TRY(succeeds, call)                                                                                                        \
    do                                                                                                                             \
        expect_error();                                                                                                            \
    while (!(succeeds) && may_try_again(call))

static wf_model *open_beside(void) {
    wf_task *task = wf_model_open_begin(path, 0, error, sizeof error);
    return task == NULL ? NULL : wf_model_open_end(task, error, sizeof error);
}

static wf_engine *create_beside(const wf_model *model) {
    wf_task *task = wf_engine_create_begin(model, &options, NULL, 0, error, sizeof error);
    return task == NULL ? NULL : wf_engine_create_end(task, error, sizeof error);
}

static bool destroy_beside(wf_engine *engine) {
    wf_task *task = wf_engine_destroy_begin(engine, error, sizeof error);
    if (task != NULL)
        wf_engine_destroy_end(task);
    return task != NULL;
}

static uint32_t submit(wf_engine *engine, uint32_t which) {
    static const wf_sampling samplings[REQUESTS] = {
        {.top_p = 1,
         .repetition_penalty = 1.2f,
         .penalty_window = 3,
         .dry_multiplier = 1,
         .dry_base = 1.5f,
         .max_tokens = ANSWER,
         .ignore_eos = 1},
        {.top_p = 1, .repetition_penalty = 1, .max_tokens = ANSWER, .ignore_eos = 1},
        {.top_p = 1, .repetition_penalty = 1, .max_tokens = ANSWER, .ignore_eos = 1, .prompt_logprobs = 1, .top_logprobs = 2},
        {.top_p = 1, .repetition_penalty = 1, .max_tokens = ANSWER, .ignore_eos = 1},
    };
    uint32_t prompt[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++)
        prompt[i] = (i * 7 + (which == LATE ? WITH_GRAMMAR : which)) % TOKENS;
    static const uint32_t lists[] = {WF_LIST_ALLOWED, 4, 1, 2, 3, 5, WF_LIST_BAD_WORD, 2, 1, 2, WF_LIST_BREAKERS, 1, 7,
                                     WF_LIST_BREAKER, 2, 3, 5};
    const uint32_t stop = TOKENS - 1;
    const float bias = -100;
    return wf_engine_submit(engine, prompt, PROMPT, &samplings[which], &stop, 1, &stop, &bias, 1, lists,
                            which == 0 ? sizeof lists / sizeof *lists : 0, (const uint8_t *)grammar,
                            has_grammar(which) ? sizeof grammar : 0, error, sizeof error);
}

static bool set_vocabulary(wf_engine *engine) {
    uint8_t letters[TOKENS];
    uint32_t offsets[TOKENS + 1];
    for (uint32_t token = 0; token < TOKENS; token++)
        letters[token] = (uint8_t)('a' + token % 26);
    for (uint32_t token = 0; token <= TOKENS; token++)
        offsets[token] = token;
    return wf_engine_set_vocabulary(engine, letters, offsets, TOKENS, error, sizeof error) == 0;
}

/* Takes down what the engine says, until the requests `from` to `to` − 1 have ended. */
static void follow(wf_engine *engine, int doorbell, const uint32_t *ids, uint32_t from, uint32_t to, struct outcome *outcome) {
    uint32_t left = 0;
    for (uint32_t which = from; which < to; which++)
        left += ids[which] != 0;
    while (left > 0) {
        struct pollfd bell = {.fd = doorbell, .events = POLLIN};
        CHECK(poll(&bell, 1, (int)PATIENCE_S * 1000) == 1, "the doorbell is silent");
        uint8_t bytes[64];
        while (read(doorbell, bytes, sizeof bytes) > 0)
            continue;
        wf_event events[64];
        const uint32_t count = wf_engine_drain(engine, events, 64);
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t which = from; which < to; which++) {
                if (events[i].request != ids[which])
                    continue;
                if (events[i].kind == WF_EVENT_TOKEN && outcome->answers[which].count < ANSWER)
                    outcome->answers[which].tokens[outcome->answers[which].count++] = events[i].token;
                if (events[i].kind == WF_EVENT_DONE) {
                    outcome->answers[which].reason = events[i].reason;
                    left--;
                }
            }
    }
}

/* All requests are answered; what the engine copies beside that is complete. */
static void use(wf_engine *engine, struct outcome *outcome) {
    bool is_set;
    uint32_t ids[REQUESTS] = {0};
    const int doorbell = wf_engine_doorbell(engine);
    TRY(is_set = set_vocabulary(engine), "the vocabulary");
    for (uint32_t which = 0; which < REQUESTS; which++) {
        if (which == LATE)
            follow(engine, doorbell, ids, 0, LATE, outcome);
        if (!has_grammar(which) || is_set)
            TRY(ids[which] = submit(engine, which), "submitting");
        outcome->is_complete &= ids[which] != 0;
    }
    follow(engine, doorbell, ids, LATE, REQUESTS, outcome);
    close(doorbell);
    wf_engine_stats stats = {.copying = 1};
    while (stats.copying != 0) {
        wf_engine_read_stats(engine, &stats);
        usleep(100);
    }
}

/* An engine is made on a model, requests are answered, and all is given back. */
static struct outcome live_on(wf_model *model, bool beside) {
    struct outcome outcome = {0};
    wf_engine *engine = NULL;
    if (model != NULL)
        TRY(engine = beside ? create_beside(model) : wf_engine_create(model, &options, NULL, 0, error, sizeof error), "creating");
    if (engine != NULL) {
        outcome.is_complete = true;
        use(engine, &outcome);
        bool is_destroyed = false;
        if (beside)
            TRY(is_destroyed = destroy_beside(engine), "destroying");
        if (!is_destroyed)
            wf_engine_destroy(engine);
    }
    wf_model_close(model);
    return outcome;
}

/* Answers are those of a life without failures, but for one with a grammar: it may end where memory for the grammar was lacking. */
static void check_outcome(const struct outcome *outcome) {
    const bool is_lasting = atomic_load(&end) == UINT32_MAX;
    CHECK(outcome->is_complete || is_lasting, "call %u: given up", atomic_load(&first));
    for (uint32_t which = 0; which < REQUESTS; which++) {
        const uint32_t count = outcome->answers[which].count, reason = outcome->answers[which].reason;
        if (reason == 0)
            continue; /* was given up */
        CHECK(memcmp(outcome->answers[which].tokens, expected.answers[which].tokens, count * sizeof(uint32_t)) == 0,
              "call %u: request %u has other tokens", atomic_load(&first), which);
        CHECK((reason == WF_REASON_LENGTH && count == ANSWER) || (reason == WF_REASON_GRAMMAR && has_grammar(which)),
              "call %u: request %u ends after %u tokens for reason %u", atomic_load(&first), which, count, reason);
    }
    CHECK(is_lasting || outcome->answers[WITH_GRAMMAR].reason == WF_REASON_LENGTH ||
              outcome->answers[LATE].reason == WF_REASON_LENGTH,
          "call %u: the grammar is of no use any more", atomic_load(&first));
}

static void live_here(void) {
    wf_model *model;
    TRY(model = wf_model_open(path, error, sizeof error), "opening");
    const struct outcome outcome = live_on(model, false);
    check_outcome(&outcome);
}

/* The same with each long call on a thread of its own. */
static void live_beside(void) {
    wf_model *model;
    TRY(model = open_beside(), "opening");
    const struct outcome outcome = live_on(model, true);
    check_outcome(&outcome);
}

/* What needs no engine, on models that are no files. */
static void live_without_an_engine(void) {
    static float logits[COUNT][TOKENS];
    memset(logits, 0, sizeof logits);
    wf_model *model;
    int32_t result = -1;
    TRY(model = wf_model_open_bytes(image->bytes, image->size, "tiny.wf", error, sizeof error), "opening bytes");
    if (model != NULL)
        TRY((result = wf_model_logits(model, 2, tokens, COUNT, logits[0], error, sizeof error)) == 0, "computing logits");
    CHECK(result != 0 || memcmp(logits, expected_logits, sizeof logits) == 0, "call %u: other logits", atomic_load(&first));
    wf_model_close(model);
    const uint64_t header_size = image->size - image->data_size;
    TRY(model = wf_model_open_random(image->bytes, header_size, image->size, 0.5, "random", error, sizeof error), "making");
    wf_model_close(model);
}

static void measure_reads(void) {
    expect_error();
    if (wf_machine_measure(WF_MACHINE_READ_BANDWIDTH, NULL, 2, 0, error, sizeof error) == 0)
        may_try_again("measuring reads");
}

static void measure_products(void) {
    expect_error();
    if (wf_machine_measure(WF_MACHINE_TERNARY, NULL, 2, 1, error, sizeof error) == 0)
        may_try_again("measuring products");
}

/* ---- The tests ---- */

/* What is there between lives. */
struct holdings {
    int64_t blocks, pages, threads;
    uint32_t files;
};

static struct holdings take_stock(void) {
    return (struct holdings){atomic_load(&blocks), atomic_load(&pages), atomic_load(&threads), process_files()};
}

/* Runs `life` with call 0 failing, then with call 1, until none fails; `lasting`: and with all that follow it. */
static void go_through(const char *name, void (*life)(void), bool lasting) {
    static bool has_entry; /* that the library keeps for the next file, once one was open */
    uint32_t count = 0;
    for (bool has_failed = true; has_failed; count++) {
        alarm(PATIENCE_S);
        const struct holdings before = take_stock();
        const uint32_t failures_before = failures_seen = atomic_load(&failures);
        atomic_store(&calls, 0);
        atomic_store(&first, count);
        atomic_store(&end, lasting ? UINT32_MAX : count + 1);
        life();
        has_failed = atomic_load(&failures) > failures_before;
        atomic_store(&first, UINT32_MAX);
        const struct holdings after = take_stock();
        const bool is_first_file = !has_entry && after.blocks == before.blocks + 1;
        has_entry |= is_first_file;
        CHECK(after.blocks == before.blocks + is_first_file, "%s, call %u: %lld blocks of memory stay", name, count,
              (long long)(after.blocks - before.blocks));
        CHECK(after.pages == before.pages, "%s, call %u: %lld pages stay mapped", name, count,
              (long long)(after.pages - before.pages));
        CHECK(after.threads == before.threads, "%s, call %u: %lld threads are not joined", name, count,
              (long long)(after.threads - before.threads));
        CHECK(after.files == before.files, "%s, call %u: %u open files, %u before", name, count, after.files, before.files);
    }
    alarm(0);
    CHECK(count > 1, "%s: nothing can fail", name);
    printf("%s, %s: %u calls\n", name, lasting ? "from each on all" : "each once", count - 1);
}

int main(void) {
    if (wf_kernels_active() == NULL) {
        printf("WRINKLEFREE_CPU names no kernel tier that this processor can run\n");
        return 1;
    }
    atomic_store(&first, UINT32_MAX);
    image = image_build(&tiny);
    image_randomise(image, &source);
    image_write(image, path);
    wf_model *model = wf_model_open_bytes(image->bytes, image->size, "tiny.wf", error, sizeof error);
    if (model == NULL || wf_model_logits(model, 2, tokens, COUNT, expected_logits[0], error, sizeof error) != 0) {
        printf("%s\n", error);
        return 1;
    }
    expected = live_on(model, false);
    CHECK(expected.is_complete && expected.answers[WITH_GRAMMAR].count == ANSWER, "a life without failures");

    /* First of all: the library keeps something of the first file, which is to be lacking once. */
    go_through("a life", live_here, true);
    go_through("a life", live_here, false);
    go_through("a life on threads", live_beside, true);
    go_through("a life on threads", live_beside, false);
    go_through("a life without an engine", live_without_an_engine, true);
    go_through("a life without an engine", live_without_an_engine, false);
    if (!WATCHES_MEMORY && !WATCHES_RACES) { /* what is measured at last takes long there */
        go_through("measuring reads", measure_reads, false);
        go_through("measuring products", measure_products, false);
    }
    unlink(path);
    image_drop(image);
    for (uint32_t call = 0; call < CALLS; call++)
        CHECK(atomic_load(&failures_of[call]) > 0, "%s never failed", names[call]);
    return check_report();
}
