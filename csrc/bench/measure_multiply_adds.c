/*
 * measure_multiply_adds.c: how many multiply-adds a tier's instructions can do when all numbers are there already.
 */
#include <stdatomic.h>

#include "bench/measure.h"

/* One pass comes in so many pieces for each thread, each of at least so many seconds. */
#define PIECES_PER_THREAD 8U
#define PIECE_SECONDS 2e-3

struct multiply_job {
    uint64_t (*peak)(uint64_t rounds);
    uint64_t rounds;
    atomic_uint_least64_t count; /* multiply-adds done */
};

static void multiply_piece(void *context, uint32_t piece) {
    struct multiply_job *job = context;
    (void)piece;
    atomic_fetch_add_explicit(&job->count, job->peak(job->rounds), memory_order_relaxed);
}

double wf_measure_multiply_adds(const wf_measurement *measurement, uint64_t (*peak)(uint64_t rounds)) {
    struct multiply_job job = {.peak = peak, .rounds = 1};
    wf_pool *pool = wf_measuring_pool(measurement);
    if (pool == NULL)
        return 0;
    for (double seconds = 0; seconds < PIECE_SECONDS; job.rounds *= 2) {
        const double start = wf_now_seconds();
        multiply_piece(&job, 0);
        seconds = wf_now_seconds() - start;
    }
    atomic_store(&job.count, 0);
    multiply_piece(&job, 0);
    const uint64_t piece = atomic_load(&job.count);
    const double seconds = wf_median_work_seconds(pool, multiply_piece, &job, measurement->threads * PIECES_PER_THREAD);
    wf_pool_destroy(pool);
    return (double)piece * measurement->threads * PIECES_PER_THREAD / seconds * 1e-9;
}
