/*
 * measure_phases.c: what it costs to hand out work to the threads of a pool and to wait for all of it.
 *
 * Units without work would all be done by the caller before another thread has noticed. So each takes some 100 ns, and phases with so many
 * units are compared with those that have twice as many: what these take longer is the work of the first.
 */
#include "bench/measure.h"

/* Pairs of passes, phases of a pass, and units of a phase for each thread: as many as a matrix is cut into. */
#define PAIRS 101U
#define PHASES 500U
#define UNITS_PER_THREAD 8U

/* Multiplications of a unit, each of which waits for the one before. */
#define ROUNDS 100U

/* The least that is told, in seconds: what is measured twice can differ by more. */
#define SECONDS_MIN 1e-9

static void work_briefly(void *context, uint32_t unit) {
    (void)context;
    uint32_t value = unit | 1;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        value *= value;
        __asm__ volatile("" : "+r"(value)); /* so that it is computed */
    }
}

/* The time of one phase of so many units. */
static double phase_seconds(wf_pool *pool, uint32_t units) {
    const double start = wf_now_seconds();
    for (uint32_t i = 0; i < PHASES; i++)
        wf_pool_run(pool, work_briefly, NULL, units);
    return (wf_now_seconds() - start) / PHASES;
}

double wf_measure_phases(const wf_measurement *measurement) {
    wf_pool *pool = wf_measuring_pool(measurement);
    if (pool == NULL)
        return 0;
    const uint32_t units = measurement->threads * UNITS_PER_THREAD;
    double differences[PAIRS];
    for (uint32_t i = 0; i < PAIRS; i++)
        differences[i] = 2 * phase_seconds(pool, units) - phase_seconds(pool, 2 * units);
    wf_pool_destroy(pool);
    const double seconds = wf_median(differences, PAIRS);
    return (seconds > SECONDS_MIN ? seconds : SECONDS_MIN) * 1e6;
}
