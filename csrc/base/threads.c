/*
 * threads.c: the worker pool.
 *
 * A decode step of a 2B model is some 200 short phases in 20 ms, or in 7 with many threads, so handing out work must cost well under a
 * microsecond: workers spin for a while between phases and park only when none comes.
 *
 * Every thread begins with a share of its own: neighbouring units, so that it streams through a region of memory that nobody else reads. (When
 * all threads took the next unit from one queue, two cores reached half of the bandwidth: each one's prefetcher ran on into
 * what the other was about to read.) Who has finished takes from the ends of others' shares.
 *
 * What threads tell each other are cache lines that travel between cores, some 100 ns each time, one after the other where several
 * write to one. So a phase is one line that the caller writes and all others read: its number and size in one word, and the work
 * beside it. Each thread has a line for its share, which others touch only to take from it, and one for how much it ran,
 * which only the caller reads. Nobody sets shares up: a share that was last claimed from in an earlier phase is whole in this one.
 *
 * A claim takes a parcel of a share by compare-and-swap. It fails for a worker that was put aside in an earlier phase: either the word
 * tells a later phase, or, if nobody has touched it since, the share was empty in that phase. After a claim the work is safe to read: a
 * phase can't end, and so its line can't change, before the claimed units are reported. The caller waits for units, never for
 * workers, so a worker that the operating system has put aside holds nobody up unless it holds a unit.
 */
#include "base/threads.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "base/cpu.h"
#include "wrinklefree.h"

/* Rounds of a pause instruction before a worker parks: some 50 to 100 µs. */
#define SPINS_BEFORE_PARKING 2000

/* Rounds before the caller, whose last units are with others, offers its core to them. */
#define SPINS_BEFORE_YIELDING 10000

/* Units are handed out in parcels: one unit each, more when there are more than a share can number. */
#define SHARE_BITS 12
#define PARCELS_MAX ((1U << SHARE_BITS) - 1)

/* A phase's number stands above the number of its parcels, and above the first and the end of those of a share that are unclaimed. */
#define NUMBER_SHIFT 24
_Static_assert(2 * SHARE_BITS == NUMBER_SHIFT && (uint64_t)PARCELS_MAX * WF_THREADS_MAX < 1 << NUMBER_SHIFT,
               "a word holds what it is to");

/* What one thread tells the others. */
struct thread {
    _Alignas(WF_CACHE_LINE) atomic_uint_least64_t share; /* as of the phase whose number it has */
    _Alignas(WF_CACHE_LINE) atomic_uint_least64_t ran;   /* units since the pool began */
};

struct wf_pool {
    /* The phase. */
    _Alignas(WF_CACHE_LINE) atomic_uint_least64_t phase; /* number and parcels; changes when what follows is there */
    wf_work work;
    void *context;
    uint32_t units;
    uint32_t parcel; /* units in one */

    _Alignas(WF_CACHE_LINE) uint64_t wanted; /* units that have run when the phase is over; the caller's */
    atomic_uint_least32_t runs;              /* of work, finished ones included */

    _Alignas(WF_CACHE_LINE) atomic_uint_least32_t parked;
    atomic_bool stopping;
    uint32_t threads;
    struct thread *shared; /* [threads] */
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

/* The first parcel of a thread's share of so many; the end of its share is where the next one's begins. */
static uint32_t share_start(const wf_pool *pool, uint32_t parcels, uint32_t thread) {
    return parcels * thread / pool->threads; /* at most 2^28 by 2^8 */
}

/* Claims one parcel of a thread's share in a phase, the first that is left or the last, and runs it. Returns its units, 0 when none was left. */
static uint32_t run_parcel(wf_pool *pool, uint64_t phase, uint32_t thread, bool first) {
    const uint64_t number = phase >> NUMBER_SHIFT;
    const uint32_t parcels = phase & ((1U << NUMBER_SHIFT) - 1), start = share_start(pool, parcels, thread);
    atomic_uint_least64_t *share = &pool->shared[thread].share;
    uint64_t word = atomic_load_explicit(share, memory_order_relaxed), claimed;
    uint32_t index;
    do {
        uint32_t begin = word >> SHARE_BITS & PARCELS_MAX, end = word & PARCELS_MAX;
        const uint64_t ahead = (word >> NUMBER_SHIFT) - number;
        if (ahead != 0) {
            /* Numbers go round: one that is less than half of them ahead is of a later phase. */
            if (ahead << NUMBER_SHIFT < UINT64_C(1) << 63)
                return 0;
            begin = 0;
            end = share_start(pool, parcels, thread + 1) - start;
        }
        if (begin == end)
            return 0;
        index = first ? begin++ : --end;
        claimed = number << NUMBER_SHIFT | begin << SHARE_BITS | end;
    } while (!atomic_compare_exchange_weak_explicit(share, &word, claimed, memory_order_relaxed, memory_order_relaxed));
    const uint32_t from = (start + index) * pool->parcel;
    const uint32_t to = pool->units - from < pool->parcel ? pool->units : from + pool->parcel;
    for (uint32_t unit = from; unit < to; unit++)
        pool->work(pool->context, unit);
    return to - from;
}

/* Runs what is left of one thread's share in a phase, and reports it. */
static void run_share(wf_pool *pool, uint64_t phase, uint32_t of, uint32_t thread) {
    uint32_t units, all = 0;
    while ((units = run_parcel(pool, phase, of, of == thread)) != 0)
        all += units;
    atomic_uint_least64_t *ran = &pool->shared[thread].ran;
    if (all > 0)
        atomic_store_explicit(ran, atomic_load_explicit(ran, memory_order_relaxed) + all, memory_order_release);
}

/* Runs a thread's own share, then what is left of the others'. Its own is reported before it looks at theirs, which takes a while. */
static void run_units(wf_pool *pool, uint64_t phase, uint32_t thread) {
    for (uint32_t i = 0; i < pool->threads; i++)
        run_share(pool, phase, (thread + i) % pool->threads, thread);
}

/* Whether all units of the phase have run. */
static bool is_over(const wf_pool *pool) {
    uint64_t ran = 0;
    for (uint32_t i = 0; i < pool->threads; i++)
        ran += atomic_load_explicit(&pool->shared[i].ran, memory_order_acquire);
    return ran == pool->wanted;
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
        const uint64_t phase = atomic_load(&pool->phase);
        run_units(pool, phase, index);
        uint32_t spins = 0;
        while (atomic_load_explicit(&pool->phase, memory_order_acquire) == phase && spins++ < SPINS_BEFORE_PARKING)
            pause_briefly();
        if (spins > SPINS_BEFORE_PARKING) {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->parked, 1);
            while (atomic_load(&pool->phase) == phase && !atomic_load(&pool->stopping))
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
    wf_pool *pool = aligned_alloc(WF_CACHE_LINE, sizeof *pool);
    if (pool == NULL)
        return NULL;
    *pool = (wf_pool){.threads = threads};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->handles = calloc(threads, sizeof *pool->handles);
    pool->shared = wf_allocate(threads, sizeof *pool->shared);
    bool complete = pool->handles != NULL && pool->shared != NULL;
    if (pool->shared != NULL)
        memset(pool->shared, 0, threads * sizeof *pool->shared);

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
    free(pool->shared);
    free(pool);
}

void wf_pool_run(wf_pool *pool, wf_work work, void *context, uint32_t units) {
    /* Nobody else writes to it. */
    atomic_store_explicit(&pool->runs, atomic_load_explicit(&pool->runs, memory_order_relaxed) + 1, memory_order_relaxed);
    if (pool->threads == 1 || units <= 1) {
        for (uint32_t unit = 0; unit < units; unit++)
            work(context, unit);
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->units = units;
    pool->parcel = (units - 1) / (PARCELS_MAX * pool->threads) + 1;
    pool->wanted += units;
    const uint32_t parcels = (units - 1) / pool->parcel + 1;
    const uint64_t before = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    const uint64_t phase = ((before >> NUMBER_SHIFT) + 1) << NUMBER_SHIFT | parcels;
    atomic_store(&pool->phase, phase);
    if (atomic_load(&pool->parked) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    run_units(pool, phase, 0);
    uint32_t spins = 0;
    while (!is_over(pool)) {
        if (spins++ < SPINS_BEFORE_YIELDING)
            pause_briefly();
        else
            sched_yield();
    }
}

uint32_t wf_pool_threads(const wf_pool *pool) { return pool->threads; }

uint32_t wf_pool_runs(wf_pool *pool) { return atomic_load_explicit(&pool->runs, memory_order_relaxed); }
