/*
 * measure.h: how everything about the machine is measured: by a pool of threads that take pieces of equal size as they finish, as the
 * engine works, so that a core that is slower or disturbed does less and holds nobody up.
 */
#ifndef WF_MEASURE_H
#define WF_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"

/* What is measured, and where a failure is told. */
typedef struct wf_measurement {
    const wf_kernels *kernels;
    uint32_t threads;
    uint32_t tokens; /* of products and of attention */
    char *error;
    uint32_t error_size;
} wf_measurement;

/* A result is the median of so many passes at most, and of so many at least: what is slow is measured less often. */
#define WF_PASSES_MAX 11
#define WF_PASSES_MIN 1

/* What one thread reads in one go: long enough that starting anew does not count. */
#define WF_PIECE_BYTES ((size_t)1 << 20)

double wf_now_seconds(void);

/* A pool of threads, or NULL with the error. */
wf_pool *wf_measuring_pool(const wf_measurement *measurement);

/* The median of `count` values, which are put in order. */
double wf_median(double *values, uint32_t count);

/* The median time of pass(context), in seconds. */
double wf_median_seconds(void (*pass)(void *context), void *context);

/* The median time in which a pool does work(context, 0 … units − 1). */
double wf_median_work_seconds(wf_pool *pool, wf_work work, void *context, uint32_t units);

/* Far more than the last-level cache holds, in whole pieces. */
size_t wf_uncached_bytes(void);

/* What is measured, in the unit that wrinklefree.h states, or 0 with the error. */
double wf_measure_reads(const wf_measurement *measurement);
double wf_measure_multiply_adds(const wf_measurement *measurement, uint64_t (*peak)(uint64_t rounds));
double wf_measure_phases(const wf_measurement *measurement);
double wf_measure_product(const wf_measurement *measurement, bool is_ternary);
double wf_measure_attention(const wf_measurement *measurement, enum wf_kv_kind kind);

#endif
