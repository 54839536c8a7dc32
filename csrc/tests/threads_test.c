/*
 * threads_test.c: every unit of every phase runs exactly once, whatever their number, and is over when wf_pool_run returns.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/threads.h"
#include "check.h"

/* Units that are handed out one by one, for each thread; of more, several are handed out at once. */
#define SINGLE_UNITS 4095U

#define UNITS_MAX 300000U

struct job {
    atomic_uchar *runs; /* [UNITS_MAX] how often each unit ran */
    atomic_uint total;
};

static void count(void *context, uint32_t unit) {
    struct job *job = context;
    atomic_fetch_add_explicit(&job->runs[unit], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->total, 1, memory_order_relaxed);
}

/* Runs one phase of `units` and checks that each ran once. */
static void check_phase(wf_pool *pool, struct job *job, uint32_t units) {
    for (uint32_t unit = 0; unit < units; unit++)
        atomic_store_explicit(&job->runs[unit], 0, memory_order_relaxed);
    atomic_store(&job->total, 0);
    wf_pool_run(pool, count, job, units);
    CHECK(atomic_load(&job->total) == units, "%u threads: %u of %u units ran", wf_pool_threads(pool), atomic_load(&job->total),
          units);
    uint32_t wrong = 0;
    for (uint32_t unit = 0; unit < units; unit++)
        wrong += atomic_load_explicit(&job->runs[unit], memory_order_relaxed) != 1;
    CHECK(wrong == 0, "%u threads: %u of %u units ran not once", wf_pool_threads(pool), wrong, units);
}

int main(void) {
    struct job job = {.runs = calloc(UNITS_MAX, sizeof(atomic_uchar))};
    static const uint32_t threads[] = {1, 2, 3, 8};
    for (uint32_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        wf_pool *pool = wf_pool_create(threads[i], NULL, 0);
        if (job.runs == NULL || pool == NULL)
            return 1;
        for (uint32_t units = 0; units < 40; units++)
            check_phase(pool, &job, units);
        const uint32_t single = SINGLE_UNITS * threads[i];
        const uint32_t many[] = {1000, single, single + 1, single + threads[i], 2 * single, 2 * single + 1, 65536, UNITS_MAX};
        for (uint32_t k = 0; k < sizeof many / sizeof *many; k++)
            check_phase(pool, &job, many[k]);
        /* Short phases follow each other at once, as in a forward pass: some threads have no share in many of them, and some are put aside
         * for several. */
        for (uint32_t k = 0; k < 5000; k++)
            check_phase(pool, &job, k % 7 + 1);
        for (uint32_t k = 0; k < 5000; k++)
            check_phase(pool, &job, k * 7919 % 61 + 1);
        wf_pool_destroy(pool);
    }
    free(job.runs);
    return check_report();
}
