/*
 * measure_products.c: products by themselves, with rows that come from memory.
 */
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "base/error.h"
#include "base/pages.h"
#include "bench/measure.h"
#include "layers/product.h"

/* Weights in a row, as in the 2B. */
#define ROW_WEIGHTS 2560U

/* With more tokens than this the time is the multiply-adds', and a part of the buffer will do. */
#define TOKENS_FROM_MEMORY 8U
#define BUFFER_PARTS 8U

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

double wf_measure_product(const wf_measurement *measurement, bool is_ternary) {
    const uint32_t tokens = measurement->tokens;
    struct product_job job = {.kernels = measurement->kernels, .is_ternary = is_ternary};
    wf_pool *pool = wf_measuring_pool(measurement);
    if (pool == NULL)
        return 0;
    const size_t bytes = wf_uncached_bytes() / (tokens > TOKENS_FROM_MEMORY ? BUFFER_PARTS : 1) / WF_PIECE_BYTES * WF_PIECE_BYTES;
    job.row_bytes = ROW_WEIGHTS / WF_BLOCK_WEIGHTS * (is_ternary ? WF_BLOCK_BYTES : WF_COARSE_BYTES);
    job.row_count = (uint32_t)(bytes / job.row_bytes);
    const uint32_t together = job.kernels->rows_together;
    job.slice = (uint32_t)(WF_SLICE_BYTES_MAX / job.row_bytes / together * together);
    const uint32_t units = (job.row_count + job.slice - 1) / job.slice;
    uint8_t *rows = wf_map_huge_pages(bytes);
    const size_t value_bytes = (size_t)tokens * ROW_WEIGHTS * (is_ternary ? sizeof(int8_t) : sizeof(int16_t));
    void *values = wf_allocate(value_bytes, 1);
    void *arranged = wf_allocate(tokens + WF_ARRANGED_TOKENS, sizeof(int16_t) * wf_arranged_bytes(ROW_WEIGHTS));
    int32_t *sums = calloc(tokens, sizeof *sums);
    float *factors = calloc(tokens, sizeof *factors);
    job.scales = calloc(job.slice, sizeof *job.scales);
    job.out = calloc((size_t)units * tokens * job.slice, sizeof *job.out);
    double result = 0;
    if (rows == NULL || values == NULL || arranged == NULL || sums == NULL || factors == NULL || job.scales == NULL ||
        job.out == NULL) {
        wf_fail(measurement->error, measurement->error_size, "no memory for the %zu MB that measuring products takes", bytes >> 20);
    } else {
        memset(rows, 0x15, bytes); /* four codes: 1, 1, 1, 0 */
        memset(values, 3, value_bytes);
        job.rows = rows;
        if (is_ternary && job.kernels->arrange != NULL)
            for (uint32_t token = 0; token < tokens; token += WF_ARRANGED_TOKENS)
                job.kernels->arrange((const int8_t *)values + (size_t)token * ROW_WEIGHTS, ROW_WEIGHTS, tokens,
                                     tokens - token < WF_ARRANGED_TOKENS ? tokens - token : WF_ARRANGED_TOKENS, ROW_WEIGHTS,
                                     (int8_t *)arranged + token * wf_arranged_bytes(ROW_WEIGHTS));
        if (!is_ternary && job.kernels->arrange_wide != NULL)
            job.kernels->arrange_wide(values, ROW_WEIGHTS, tokens, arranged);
        job.x = (wf_activations){values, ROW_WEIGHTS, arranged, sums, factors, tokens};
        job.wide = (wf_wide_activations){values, ROW_WEIGHTS, arranged, sums, factors, tokens};
        const double seconds = wf_median_work_seconds(pool, multiply_rows, &job, units);
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
