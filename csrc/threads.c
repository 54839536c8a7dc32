/*
 * threads.c: the worker pool.
 *
 * A decode step of a 2B model is some 270 short phases in 20 ms, so handing out work must cost well under a microsecond: workers
 * spin for a while between phases and park only when none comes.
 *
 * The heart is one 64-bit word: the phase's number in the upper half, the units not yet claimed in the lower. A claim takes one by
 * compare-and-swap. Work is described by plain fields beside it, which are safe to read after a claim: a phase can't end, and so its
 * fields can't change, before the claimed unit is reported done. The caller waits for units, never for workers, so a worker that
 * the operating system has put aside holds nobody up unless it holds a unit.
 */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "cpu.h"

/* Rounds of a pause instruction before a worker parks: some 50 to 100 µs. */
#define SPINS_BEFORE_PARKING 2000

/* Rounds before the caller, whose last units are with others, offers its core to them. */
#define SPINS_BEFORE_YIELDING 10000

struct wf_pool {
    _Alignas(64) atomic_uint_least64_t phase; /* number << 32 | unclaimed units */
    _Alignas(64) atomic_uint_least32_t done;  /* units of this phase that have run */
    _Alignas(64) atomic_uint_least32_t parked;
    atomic_bool stopping;
    wf_work work;
    void *context;
    uint32_t units;
    uint32_t threads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t *handles; /* [threads - 1] */
    uint32_t started;
};

struct start {
    wf_pool *pool;
    uint32_t core;
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Claims and runs units until none is left. */
static void run_units(wf_pool *pool) {
    uint64_t phase = atomic_load_explicit(&pool->phase, memory_order_acquire);
    while ((uint32_t)phase != 0) {
        if (!atomic_compare_exchange_weak_explicit(&pool->phase, &phase, phase - 1, memory_order_acq_rel, memory_order_acquire))
            continue;
        pool->work(pool->context, pool->units - (uint32_t)phase);
        atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
        phase = atomic_load_explicit(&pool->phase, memory_order_acquire);
    }
}

static bool has_units(wf_pool *pool) { return (uint32_t)atomic_load(&pool->phase) != 0; }

static void *worker(void *argument) {
    struct start *start = argument;
    wf_pool *pool = start->pool;
    if (start->core != UINT32_MAX)
        wf_pin_thread(start->core);
    free(start);
    while (!atomic_load(&pool->stopping)) {
        run_units(pool);
        uint32_t spins = 0;
        while (!has_units(pool) && !atomic_load_explicit(&pool->stopping, memory_order_relaxed) && spins++ < SPINS_BEFORE_PARKING)
            pause_briefly();
        if (spins > SPINS_BEFORE_PARKING) {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->parked, 1);
            while (!has_units(pool) && !atomic_load(&pool->stopping))
                pthread_cond_wait(&pool->wake, &pool->lock);
            atomic_fetch_sub(&pool->parked, 1);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    return NULL;
}

wf_pool *wf_pool_create(uint32_t threads, const uint32_t *cpus, uint32_t cpu_count) {
    wf_pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool == NULL)
        return NULL;
    *pool = (wf_pool){.threads = threads};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->handles = calloc(threads, sizeof *pool->handles);
    bool complete = pool->handles != NULL;

    /* Signals are the host program's business: none may be delivered to a worker. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 1; complete && i < threads; i++) {
        struct start *start = malloc(sizeof *start);
        if (start != NULL)
            *start = (struct start){pool, cpu_count > 0 ? cpus[i % cpu_count] : UINT32_MAX};
        if (start == NULL || pthread_create(&pool->handles[pool->started], NULL, worker, start) != 0) {
            free(start);
            complete = false;
        } else {
            pool->started++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
    free(pool);
}

void wf_pool_run(wf_pool *pool, wf_work work, void *context, uint32_t units) {
    if (pool->threads == 1 || units <= 1) {
        for (uint32_t unit = 0; unit < units; unit++)
            work(context, unit);
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->units = units;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    const uint64_t number = (atomic_load_explicit(&pool->phase, memory_order_relaxed) >> 32) + 1;
    atomic_store(&pool->phase, number << 32 | units);
    if (atomic_load(&pool->parked) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    run_units(pool);
    uint32_t spins = 0;
    while (atomic_load_explicit(&pool->done, memory_order_acquire) != units) {
        if (spins++ < SPINS_BEFORE_YIELDING)
            pause_briefly();
        else
            sched_yield();
    }
}

uint32_t wf_pool_threads(const wf_pool *pool) { return pool->threads; }
