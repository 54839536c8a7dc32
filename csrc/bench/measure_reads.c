/*
 * measure_reads.c: how fast memory can be read, by the best way of reading that is known here. Weights are read in order, so the yardstick
 * is reading in order: with one stream of loads or four, and with asking ahead as little or as far as processors want it.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/pages.h"
#include "bench/measure.h"

/* A way of reading. */
struct way {
    size_t ahead;     /* bytes that lines are asked for before they are read; 0: not at all */
    bool is_far;      /* into the second-level cache instead of the first */
    uint32_t streams; /* that a piece is read in, side by side */
};

static const struct way ways[] = {{0, false, 1}, {4096, false, 1}, {16384, true, 1}, {0, false, 4}, {2048, false, 4}};

#define WAYS (sizeof ways / sizeof *ways)
#define LINE_WORDS 8

struct read_job {
    uint8_t *buffer;
    struct way way;
    atomic_uint_least64_t sum; /* of all that was read, so that no read can be left out */
};

static void fill_piece(void *context, uint32_t piece) {
    const struct read_job *job = context;
    memset(job->buffer + piece * WF_PIECE_BYTES, (int)piece & 0xff, WF_PIECE_BYTES);
}

/* Reads a part of a piece in `streams` streams; all but the buffer are constants at each call. */
static inline __attribute__((always_inline)) uint64_t read_lines(const uint64_t *words, struct way way) {
    uint64_t sums[LINE_WORDS] = {0}; /* which a compiler makes vectors of */
    const size_t stream_words = WF_PIECE_BYTES / sizeof *words / way.streams;
    for (size_t i = 0; i < stream_words; i += LINE_WORDS)
        for (uint32_t stream = 0; stream < way.streams; stream++) {
            const uint64_t *line = words + stream * stream_words + i;
            if (way.ahead > 0 && way.is_far)
                __builtin_prefetch((const char *)line + way.ahead, 0, 2);
            else if (way.ahead > 0)
                __builtin_prefetch((const char *)line + way.ahead, 0, 3);
            for (uint32_t lane = 0; lane < LINE_WORDS; lane++)
                sums[lane] += line[lane];
        }
    for (uint32_t lane = 1; lane < LINE_WORDS; lane++)
        sums[0] += sums[lane];
    return sums[0];
}

static void read_piece(void *context, uint32_t piece) {
    struct read_job *job = context;
    const uint64_t *words = (const uint64_t *)(const void *)(job->buffer + piece * WF_PIECE_BYTES);
    uint64_t sum = 0;
    if (job->way.streams > 1)
        sum = read_lines(words, (struct way){job->way.ahead, false, 4});
    else if (job->way.ahead == 0)
        sum = read_lines(words, (struct way){0, false, 1});
    else
        sum = read_lines(words, (struct way){job->way.ahead, job->way.is_far, 1});
    atomic_fetch_add_explicit(&job->sum, sum, memory_order_relaxed);
}

double wf_measure_reads(const wf_measurement *measurement) {
    wf_pool *pool = wf_measuring_pool(measurement);
    if (pool == NULL)
        return 0;
    const size_t bytes = wf_uncached_bytes();
    struct read_job job = {.buffer = wf_map_huge_pages(bytes)};
    if (job.buffer == NULL) {
        wf_pool_destroy(pool);
        wf_fail(measurement->error, measurement->error_size, "no memory for the %zu MB that measuring reads takes", bytes >> 20);
        return 0;
    }
    const uint32_t pieces = (uint32_t)(bytes / WF_PIECE_BYTES);
    wf_pool_run(pool, fill_piece, &job, pieces);
    double best = 0;
    for (size_t i = 0; i < WAYS; i++) {
        job.way = ways[i];
        const double seconds = wf_median_work_seconds(pool, read_piece, &job, pieces);
        best = best == 0 || seconds < best ? seconds : best;
    }
    wf_unmap_pages(job.buffer, bytes);
    wf_pool_destroy(pool);
    return (double)bytes / best * 1e-9;
}
