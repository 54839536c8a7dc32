/*
 * machine.c: what this machine can do at most, so that a speed can be stated as a share of it.
 *
 * Two numbers bound everything here: how fast weights can be read from memory, and how fast they can be multiplied once
 * they are in registers. Both are measured the way the engine works: by a pool of threads that take pieces of equal
 * size as they finish, so that a core that is slower or disturbed does less and holds nobody up.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "base/pages.h"
#include "base/threads.h"
#include "kernels/dispatch.h"
#include "layers/product.h"
#include "wrinklefree.h"

/* A result is the median of so many passes. */
#define PASSES 11

/* What one thread reads in one go: long enough that starting anew does not count. */
#define PIECE_BYTES ((size_t)1 << 20)

/* The least that is read in one pass, … */
#define BUFFER_BYTES_MIN ((size_t)256 << 20)
/* … so many times the last-level cache if that is more, … */
#define BUFFER_CACHES 2
/* … but no more than this part of the memory. */
#define BUFFER_MEMORY_PARTS 4

/* The multiply-adds of one pass come in so many pieces for each thread, each of at least so many seconds. */
#define PIECES_PER_THREAD 8U
#define PIECE_SECONDS 2e-3

static double now_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int compare_doubles(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median time of PASSES runs of work(context, 0 … units − 1). */
static double median_seconds(wf_pool *pool, wf_work work, void *context, uint32_t units) {
    double seconds[PASSES];
    for (uint32_t pass = 0; pass < PASSES; pass++) {
        const double start = now_seconds();
        wf_pool_run(pool, work, context, units);
        seconds[pass] = now_seconds() - start;
    }
    qsort(seconds, PASSES, sizeof *seconds, compare_doubles);
    return seconds[PASSES / 2];
}

/* A pool of `threads`, or NULL with `error`. */
static wf_pool *create_pool(uint32_t threads, char *error, uint32_t error_size) {
    if (threads < 1 || threads > WF_THREADS_MAX) {
        wf_fail(error, error_size, "%u threads asked for; 1 to %u can be measured", threads, WF_THREADS_MAX);
        return NULL;
    }
    wf_pool *pool = wf_pool_create(threads, NULL, 0);
    if (pool == NULL)
        wf_fail(error, error_size, "%u threads can't be started", threads);
    return pool;
}

/* ---- Reading ---- */

struct read_job {
    uint8_t *buffer;
    atomic_uint_least64_t sum; /* of all that was read, so that no read can be left out */
};

static void fill_piece(void *context, uint32_t piece) {
    const struct read_job *job = context;
    memset(job->buffer + piece * PIECE_BYTES, (int)piece & 0xff, PIECE_BYTES);
}

/* Eight sums, which a compiler makes vectors of. */
static void read_piece(void *context, uint32_t piece) {
    struct read_job *job = context;
    const uint64_t *words = (const uint64_t *)(const void *)(job->buffer + piece * PIECE_BYTES);
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < PIECE_BYTES / sizeof *words; i += 8)
        for (uint32_t lane = 0; lane < 8; lane++)
            sums[lane] += words[i + lane];
    for (uint32_t lane = 1; lane < 8; lane++)
        sums[0] += sums[lane];
    atomic_fetch_add_explicit(&job->sum, sums[0], memory_order_relaxed);
}

/* Far more than the last-level cache holds, in whole pieces. */
static size_t buffer_bytes(void) {
    size_t bytes = BUFFER_BYTES_MIN;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0 && (size_t)cache * BUFFER_CACHES > bytes)
        bytes = (size_t)cache * BUFFER_CACHES;
#endif
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && bytes > (size_t)pages * (size_t)page / BUFFER_MEMORY_PARTS)
        bytes = (size_t)pages * (size_t)page / BUFFER_MEMORY_PARTS;
    return (bytes / PIECE_BYTES + 1) * PIECE_BYTES;
}

static double measure_read_bandwidth(uint32_t threads, char *error, uint32_t error_size) {
    wf_pool *pool = create_pool(threads, error, error_size);
    if (pool == NULL)
        return 0;
    const size_t bytes = buffer_bytes();
    struct read_job job = {.buffer = wf_map_huge_pages(bytes)};
    if (job.buffer == NULL) {
        wf_pool_destroy(pool);
        wf_fail(error, error_size, "no memory for the %zu MB that measuring reads takes", bytes >> 20);
        return 0;
    }
    const uint32_t pieces = (uint32_t)(bytes / PIECE_BYTES);
    wf_pool_run(pool, fill_piece, &job, pieces);
    const double seconds = median_seconds(pool, read_piece, &job, pieces);
    wf_unmap_pages(job.buffer, bytes);
    wf_pool_destroy(pool);
    return (double)bytes / seconds * 1e-9;
}

/* ---- Multiply-adds ---- */

struct multiply_job {
    const wf_kernels *kernels;
    uint64_t rounds;
    atomic_uint_least64_t count; /* multiply-adds done */
};

static void multiply_piece(void *context, uint32_t piece) {
    struct multiply_job *job = context;
    (void)piece;
    atomic_fetch_add_explicit(&job->count, job->kernels->multiply_add_peak(job->rounds), memory_order_relaxed);
}

static double measure_multiply_adds(uint32_t threads, char *error, uint32_t error_size) {
    struct multiply_job job = {.kernels = wf_kernels_active(), .rounds = 1};
    if (job.kernels == NULL) {
        wf_fail(error, error_size, "WRINKLEFREE_CPU=%s names no kernel tier that this processor can run",
                getenv("WRINKLEFREE_CPU"));
        return 0;
    }
    wf_pool *pool = create_pool(threads, error, error_size);
    if (pool == NULL)
        return 0;
    for (double seconds = 0; seconds < PIECE_SECONDS; job.rounds *= 2) {
        const double start = now_seconds();
        multiply_piece(&job, 0);
        seconds = now_seconds() - start;
    }
    atomic_store(&job.count, 0);
    const double seconds = median_seconds(pool, multiply_piece, &job, threads * PIECES_PER_THREAD);
    wf_pool_destroy(pool);
    return (double)atomic_load(&job.count) / PASSES / seconds * 1e-9;
}

/* ---- Products ---- */

/* Weights in a row, as in the 2B. */
#define ROW_WEIGHTS 2560U

/* With more tokens than this the time is the multiply-adds', and a part of the buffer will do. */
#define TOKENS_FROM_MEMORY 8U
#define BUFFER_PARTS 8U

#define TOKENS_MAX 1024U

struct product_job {
    const wf_kernels *kernels;
    bool is_ternary; /* or the coarse rows of a sketch */
    const uint8_t *rows;
    size_t row_bytes;
    uint32_t row_count;
    uint32_t slice;           /* rows in one unit */
    wf_activations x;         /* of a ternary product */
    wf_wide_activations wide; /* of one with a sketch */
    float *scales;            /* [slice] */
    float *out;               /* [units][tokens][slice] */
};

static void multiply_rows(void *context, uint32_t unit) {
    const struct product_job *job = context;
    const uint32_t first = unit * job->slice;
    const uint32_t count = job->row_count - first < job->slice ? job->row_count - first : job->slice;
    const uint8_t *rows = job->rows + first * job->row_bytes;
    float *out = job->out + (size_t)unit * job->x.tokens * job->slice;
    const wf_sketch_rows sketch = {.coarse = rows, .scales = job->scales, .blocks = ROW_WEIGHTS / WF_BLOCK_WEIGHTS};
    if (job->is_ternary)
        job->kernels->ternary_matmul(rows, job->row_bytes, count, &job->x, out, job->slice);
    else
        job->kernels->sketch_matmul(&sketch, count, &job->wide, out, job->slice);
}

static double measure_product(bool is_ternary, uint32_t threads, uint32_t tokens, char *error, uint32_t error_size) {
    struct product_job job = {.kernels = wf_kernels_active(), .is_ternary = is_ternary};
    if (job.kernels == NULL || tokens < 1 || tokens > TOKENS_MAX) {
        wf_fail(error, error_size,
                job.kernels == NULL ? "WRINKLEFREE_CPU names no kernel tier that this processor can run"
                                    : "a product of so many tokens can't be measured; use 1 to 1024");
        return 0;
    }
    wf_pool *pool = create_pool(threads, error, error_size);
    if (pool == NULL)
        return 0;
    const size_t bytes = buffer_bytes() / (tokens > TOKENS_FROM_MEMORY ? BUFFER_PARTS : 1) / PIECE_BYTES * PIECE_BYTES;
    job.row_bytes = ROW_WEIGHTS / WF_BLOCK_WEIGHTS * (is_ternary ? WF_BLOCK_BYTES : WF_COARSE_BYTES);
    job.row_count = (uint32_t)(bytes / job.row_bytes);
    job.slice = (uint32_t)(WF_SLICE_BYTES_MAX / job.row_bytes / 8 * 8);
    const uint32_t units = (job.row_count + job.slice - 1) / job.slice;
    uint8_t *rows = wf_map_huge_pages(bytes);
    const size_t value_bytes = (size_t)tokens * ROW_WEIGHTS * (is_ternary ? sizeof(int8_t) : sizeof(int16_t));
    void *values = wf_allocate(value_bytes, 1);
    int8_t *arranged = wf_allocate(tokens + WF_ARRANGED_TOKENS, wf_arranged_bytes(ROW_WEIGHTS));
    int32_t *sums = calloc(tokens, sizeof *sums);
    float *factors = calloc(tokens, sizeof *factors);
    job.scales = calloc(job.slice, sizeof *job.scales);
    job.out = calloc((size_t)units * tokens * job.slice, sizeof *job.out);
    double result = 0;
    if (rows == NULL || values == NULL || arranged == NULL || sums == NULL || factors == NULL || job.scales == NULL ||
        job.out == NULL) {
        wf_fail(error, error_size, "no memory for the %zu MB that measuring products takes", bytes >> 20);
    } else {
        memset(rows, 0x15, bytes); /* four codes: 1, 1, 1, 0 */
        memset(values, 3, value_bytes);
        job.rows = rows;
        if (is_ternary && job.kernels->arrange != NULL)
            for (uint32_t token = 0; token < tokens; token += WF_ARRANGED_TOKENS)
                job.kernels->arrange((const int8_t *)values + (size_t)token * ROW_WEIGHTS, ROW_WEIGHTS, tokens,
                                     tokens - token < WF_ARRANGED_TOKENS ? tokens - token : WF_ARRANGED_TOKENS, ROW_WEIGHTS,
                                     arranged + token * wf_arranged_bytes(ROW_WEIGHTS));
        job.x = (wf_activations){values, ROW_WEIGHTS, arranged, sums, factors, tokens};
        job.wide = (wf_wide_activations){values, ROW_WEIGHTS, sums, factors, tokens};
        const double seconds = median_seconds(pool, multiply_rows, &job, units);
        result = (double)job.row_count * ROW_WEIGHTS * tokens / seconds * 1e-9;
    }
    wf_unmap_pages(rows, bytes);
    free(values);
    free(arranged);
    free(sums);
    free(factors);
    free(job.scales);
    free(job.out);
    wf_pool_destroy(pool);
    return result;
}

double wf_machine_measure(uint32_t kind, uint32_t threads, uint32_t tokens, char *error, uint32_t error_size) {
    if (kind == WF_MACHINE_READ_BANDWIDTH)
        return measure_read_bandwidth(threads, error, error_size);
    if (kind == WF_MACHINE_MULTIPLY_ADDS)
        return measure_multiply_adds(threads, error, error_size);
    if (kind == WF_MACHINE_TERNARY || kind == WF_MACHINE_SKETCH)
        return measure_product(kind == WF_MACHINE_TERNARY, threads, tokens, error, error_size);
    wf_fail(error, error_size, "%u is nothing that can be measured; use one of WF_MACHINE_…", kind);
    return 0;
}
