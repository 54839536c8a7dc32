/*
 * threads.c: the worker pool.
 *
 * A decode step of a 2B model is some 270 short phases in 20 ms, so handing out work must cost well under a microsecond: workers
 * spin for a while between phases and park only when none comes.
 *
 * Every thread begins with a share of its own: neighbouring units, so that it streams through a region of memory that nobody else reads. (When
 * all threads took the next unit from one queue, two cores reached half of the bandwidth: each one's prefetcher ran on into
 * what the other was about to read.) Who has finished takes from the ends of others' shares.
 *
 * A share is one 64-bit word: the phase's number and the units in it not yet claimed. A claim takes one by compare-and-swap. Work is
 * described by plain fields beside it, which are safe to read after a claim: a phase can't end, and so its fields can't change,
 * before the claimed unit is reported done. The caller waits for units, never for workers, so a worker that the operating system
 * has put aside holds nobody up unless it holds a unit.
 */
#include "base/threads.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cpu.h"

/* Rounds of a pause instruction before a worker parks: some 50 to 100 µs. */
#define SPINS_BEFORE_PARKING 2000

/* Rounds before the caller, whose last units are with others, offers its core to them. */
#define SPINS_BEFORE_YIELDING 10000

/* Units are handed out in parcels: one unit each, more when there are more than a share can number. */
#define PARCELS_MAX 0xffffU

/* number of the phase << 32 | first << 16 | end: the parcels first … end − 1 of a thread's own are unclaimed. */
struct share {
    _Alignas(64) atomic_uint_least64_t word;
};

struct wf_pool {
    _Alignas(64) atomic_uint_least32_t number; /* of the phase; changes when its shares are there to be claimed */
    _Alignas(64) atomic_uint_least32_t done;   /* units of this phase that have run */
    _Alignas(64) atomic_uint_least32_t parked;
    atomic_uint_least32_t runs; /* of work, finished ones included */
    atomic_bool stopping;
    struct share *shares; /* [threads] */
    wf_work work;
    void *context;
    uint32_t units;
    uint32_t parcel;  /* units in one */
    uint32_t parcels; /* of the phase */
    uint32_t threads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t *handles; /* [threads - 1] */
    uint32_t started;
};

struct start {
    wf_pool *pool;
    uint32_t index; /* of the thread; the caller's is 0 */
    uint32_t core;
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The first parcel of a thread's share; the end of its share is where the next one's begins. */
static uint32_t share_start(const wf_pool *pool, uint32_t thread) {
    return (uint32_t)((uint64_t)pool->parcels * thread / pool->threads);
}

/* Claims one parcel of a thread's share, the first that is left or the last, and runs it. Returns its units, 0 when none was left. */
static uint32_t run_parcel(wf_pool *pool, uint32_t thread, bool first) {
    atomic_uint_least64_t *share = &pool->shares[thread].word;
    uint64_t word = atomic_load_explicit(share, memory_order_acquire);
    uint32_t begin, end;
    do {
        begin = word >> 16 & 0xffff;
        end = word & 0xffff;
        if (begin == end)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(share, &word, first ? word + 0x10000 : word - 1, memory_order_acq_rel,
                                                    memory_order_acquire));
    const uint32_t from = (share_start(pool, thread) + (first ? begin : end - 1)) * pool->parcel;
    const uint32_t to = pool->units - from < pool->parcel ? pool->units : from + pool->parcel;
    for (uint32_t unit = from; unit < to; unit++)
        pool->work(pool->context, unit);
    return to - from;
}

/* Runs a thread's own share, then what is left of the others'. What ran is reported at the end: all threads write to that counter. */
static void run_units(wf_pool *pool, uint32_t thread) {
    uint32_t ran = 0;
    for (uint32_t i = 0; i < pool->threads; i++) {
        uint32_t units;
        while ((units = run_parcel(pool, (thread + i) % pool->threads, i == 0)) != 0)
            ran += units;
    }
    if (ran > 0)
        atomic_fetch_add_explicit(&pool->done, ran, memory_order_release);
}

static void *worker(void *argument) {
    struct start *start = argument;
    wf_pool *pool = start->pool;
    const uint32_t index = start->index;
    if (start->core != UINT32_MAX)
        wf_pin_thread(start->core);
    free(start);
    while (!atomic_load(&pool->stopping)) {
        /* Read before the shares: a phase that begins after they were found empty has another number. */
        const uint32_t number = atomic_load(&pool->number);
        run_units(pool, index);
        uint32_t spins = 0;
        while (atomic_load_explicit(&pool->number, memory_order_acquire) == number && spins++ < SPINS_BEFORE_PARKING)
            pause_briefly();
        if (spins > SPINS_BEFORE_PARKING) {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->parked, 1);
            while (atomic_load(&pool->number) == number && !atomic_load(&pool->stopping))
                pthread_cond_wait(&pool->wake, &pool->lock);
            atomic_fetch_sub(&pool->parked, 1);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    return NULL;
}

bool wf_start_thread(pthread_t *thread, void *(*run)(void *), void *argument) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const bool started = pthread_create(thread, NULL, run, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

wf_pool *wf_pool_create(uint32_t threads, const uint32_t *cpus, uint32_t cpu_count) {
    wf_pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool == NULL)
        return NULL;
    *pool = (wf_pool){.threads = threads};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->handles = calloc(threads, sizeof *pool->handles);
    pool->shares = aligned_alloc(64, threads * sizeof *pool->shares);
    bool complete = pool->handles != NULL && pool->shares != NULL;
    for (uint32_t i = 0; pool->shares != NULL && i < threads; i++)
        atomic_init(&pool->shares[i].word, 0);

    for (uint32_t i = 1; complete && i < threads; i++) {
        struct start *start = malloc(sizeof *start);
        if (start != NULL)
            *start = (struct start){pool, i, cpu_count > 0 ? cpus[i % cpu_count] : UINT32_MAX};
        if (start == NULL || !wf_start_thread(&pool->handles[pool->started], worker, start)) {
            free(start);
            complete = false;
        } else {
            pool->started++;
        }
    }
    if (!complete) {
        wf_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void wf_pool_destroy(wf_pool *pool) {
    if (pool == NULL)
        return;
    atomic_store(&pool->stopping, true);
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->handles[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->handles);
    free(pool->shares);
    free(pool);
}

void wf_pool_run(wf_pool *pool, wf_work work, void *context, uint32_t units) {
    atomic_fetch_add_explicit(&pool->runs, 1, memory_order_relaxed);
    if (pool->threads == 1 || units <= 1) {
        for (uint32_t unit = 0; unit < units; unit++)
            work(context, unit);
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->units = units;
    pool->parcel = (units - 1) / (PARCELS_MAX * pool->threads) + 1;
    pool->parcels = (units - 1) / pool->parcel + 1;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    const uint32_t number = atomic_load_explicit(&pool->number, memory_order_relaxed) + 1;
    for (uint32_t i = 0; i < pool->threads; i++)
        atomic_store_explicit(&pool->shares[i].word, (uint64_t)number << 32 | (share_start(pool, i + 1) - share_start(pool, i)),
                              memory_order_release);
    atomic_store(&pool->number, number);
    if (atomic_load(&pool->parked) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    run_units(pool, 0);
    uint32_t spins = 0;
    while (atomic_load_explicit(&pool->done, memory_order_acquire) != units) {
        if (spins++ < SPINS_BEFORE_YIELDING)
            pause_briefly();
        else
            sched_yield();
    }
}

uint32_t wf_pool_threads(const wf_pool *pool) { return pool->threads; }

uint32_t wf_pool_runs(wf_pool *pool) { return atomic_load_explicit(&pool->runs, memory_order_relaxed); }
