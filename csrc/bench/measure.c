/*
 * measure.c: clock, threads and sizes of measurements.
 */
#include "bench/measure.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "wrinklefree.h"

/* The least that is read in one pass, … */
#define BUFFER_BYTES_MIN ((size_t)256 << 20)
/* … so many times the last-level cache if that is more, … */
#define BUFFER_CACHES 2
/* … but no more than this part of the memory. */
#define BUFFER_MEMORY_PARTS 4

/* After so long no further pass begins. */
#define SECONDS_MAX 1.0

double wf_now_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int compare_doubles(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double wf_median(double *values, uint32_t count) {
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

double wf_median_seconds(void (*pass)(void *context), void *context) {
    double seconds[WF_PASSES_MAX], all = 0;
    uint32_t passes = 0;
    while (passes < WF_PASSES_MIN || (passes < WF_PASSES_MAX && all < SECONDS_MAX)) {
        const double start = wf_now_seconds();
        pass(context);
        seconds[passes] = wf_now_seconds() - start;
        all += seconds[passes++];
    }
    return wf_median(seconds, passes);
}

struct pool_work {
    wf_pool *pool;
    wf_work work;
    void *context;
    uint32_t units;
};

static void run_work(void *context) {
    const struct pool_work *all = context;
    wf_pool_run(all->pool, all->work, all->context, all->units);
}

double wf_median_work_seconds(wf_pool *pool, wf_work work, void *context, uint32_t units) {
    struct pool_work all = {pool, work, context, units};
    return wf_median_seconds(run_work, &all);
}

wf_pool *wf_measuring_pool(const wf_measurement *measurement) {
    const uint32_t threads = measurement->threads;
    if (threads < 1 || threads > WF_THREADS_MAX) {
        wf_fail(measurement->error, measurement->error_size, "%u threads asked for; 1 to %u can be measured", threads,
                WF_THREADS_MAX);
        return NULL;
    }
    wf_pool *pool = wf_pool_create(threads, NULL, 0);
    if (pool == NULL)
        wf_fail(measurement->error, measurement->error_size, "%u threads can't be started", threads);
    return pool;
}

size_t wf_uncached_bytes(void) {
    size_t bytes = BUFFER_BYTES_MIN;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0 && (size_t)cache * BUFFER_CACHES > bytes)
        bytes = (size_t)cache * BUFFER_CACHES;
#endif
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && bytes > (size_t)pages * (size_t)page / BUFFER_MEMORY_PARTS)
        bytes = (size_t)pages * (size_t)page / BUFFER_MEMORY_PARTS;
    return (bytes / WF_PIECE_BYTES + 1) * WF_PIECE_BYTES;
}
