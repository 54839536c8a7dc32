/*
 * attention.c: hands each pair of a span of tokens and some heads that share a KV head to the attend kernel, one chunk of positions after
 * the other.
 *
 * A token sees its own position and those before it, and nothing of other sequences: its block table is all it can reach. A span is only
 * a way to read keys and values once for several tokens; each token is computed by itself, in the fixed order of blocks and chunks, so
 * neither the batch nor the cutting up of a prompt changes a bit.
 *
 * When few sequences are answered there are fewer pairs than threads could share out evenly, and in a long sequence a pair takes long.
 * Then the chunks of a pair are work by themselves. Whoever completes a pair joins what its chunks gave, in the order in which a single thread
 * would have, so that this takes no phase of its own.
 */
#include "layers/attention.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/aligned_memory.h"

/* With so many pairs for each thread they need not be split. */
#define PAIRS_PER_THREAD 8U

/* The most numbers in the sums of a pair's queries. */
#define SUMS_MAX (8 * WF_HEADS_TOGETHER * WF_HEAD_DIM_MAX)

/* The most memory for split pairs. */
#define CHUNKS_BYTES_MAX (UINT64_C(32) << 20)

struct attention_job {
    const wf_attention_batch *batch;
    uint32_t layer;
    uint32_t window; /* positions that a token sees; 0: all */
    uint32_t parts;  /* that the heads of a KV head go into, each of heads_together() or less */
    uint32_t split;  /* units that a pair is split into: the chunks of the longest sequence */
    bool prepares;   /* each pair begins with its own preparation */
};

static uint32_t chunks_of(uint32_t positions) { return (positions + WF_KV_CHUNK - 1) / WF_KV_CHUNK; }

/* Query heads of a pair, where `group` of them share a KV head. */
static uint32_t heads_together(uint32_t group) { return group < WF_HEADS_TOGETHER ? group : WF_HEADS_TOGETHER; }

int wf_chunks_create(wf_chunks *chunks, const wf_kv_cache *cache, uint32_t heads, uint32_t threads, uint32_t context) {
    const uint64_t together = heads_together(heads / cache->kv_heads);
    const uint64_t wanted = threads == 1 ? 0 : (uint64_t)PAIRS_PER_THREAD * threads * chunks_of(context);
    const uint64_t limit = CHUNKS_BYTES_MAX / (together * (cache->value_stride * sizeof(float) + sizeof(wf_softmax)));
    *chunks = (wf_chunks){.count = (uint32_t)(wanted < limit ? wanted : limit)};
    chunks->sums = wf_allocate(chunks->count * together * cache->value_stride, sizeof *chunks->sums);
    chunks->softmaxes = wf_allocate(chunks->count * together, sizeof *chunks->softmaxes);
    chunks->complete = calloc(chunks->count + 1, sizeof *chunks->complete);
    return chunks->sums == NULL || chunks->softmaxes == NULL || chunks->complete == NULL ? -1 : 0;
}

void wf_chunks_destroy(wf_chunks *chunks) {
    free(chunks->sums);
    free(chunks->softmaxes);
    free(chunks->complete);
    *chunks = (wf_chunks){0};
}

/* Rows of a span, so that what attend_pair keeps of them fits on a thread's stack. */
static uint32_t rows_together(const wf_kv_cache *cache, uint32_t heads) {
    const uint32_t rows = SUMS_MAX / (heads_together(heads / cache->kv_heads) * cache->value_stride);
    return rows < WF_ATTENTION_ROWS ? rows : WF_ATTENTION_ROWS;
}

uint32_t wf_find_spans(const wf_kv_cache *cache, uint32_t heads, const wf_row *rows, uint32_t count, wf_span *spans) {
    const uint32_t most = rows_together(cache, heads);
    uint32_t found = 0;
    for (uint32_t row = 0; row < count; row++) {
        wf_span *last = &spans[found - (found > 0)];
        const bool follows = found > 0 && last->count < most && rows[row].table == rows[row - 1].table &&
                             rows[row].position == rows[row - 1].position + 1;
        if (follows)
            last->count++;
        else
            spans[found++] = (wf_span){row, 1};
    }
    return found;
}

/* Adds what a later chunk gave for one head to what those before it did. */
static void join(const wf_kernels *kernels, float *sums, wf_softmax *softmax, const float *later_sums, const wf_softmax *later,
                 uint32_t count) {
    const float scores[2] = {softmax->largest, later->largest}, largest = scores[0] > scores[1] ? scores[0] : scores[1];
    float factors[2];
    kernels->exponentials(scores, 2, largest, 1.0f, factors);
    *softmax = (wf_softmax){largest, softmax->total * factors[0] + later->total * factors[1]};
    for (uint32_t i = 0; i < count; i++)
        sums[i] = sums[i] * factors[0] + later_sums[i] * factors[1];
}

/* The chunk with the first position that the input's token number `row` sees, as the number of its first position. */
static uint32_t first_chunk(const wf_attention *input, uint32_t row) {
    return wf_first_seen(input, row) / WF_KV_CHUNK * WF_KV_CHUNK;
}

/* A pair, at its first chunk. */
static wf_attention input_of(const struct attention_job *job, uint32_t pair) {
    const wf_kv_cache *cache = job->batch->cache;
    const uint32_t group = job->batch->heads / cache->kv_heads, part = pair % job->parts,
                   kv_head = pair / job->parts % cache->kv_heads;
    const wf_span span = job->batch->spans[pair / job->parts / cache->kv_heads];
    const uint32_t head = part * WF_HEADS_TOGETHER; /* of the group */
    const wf_kv_view first = wf_kv_at(cache, job->layer, 0, kv_head);
    wf_attention input = {
        .query = job->batch->queries + ((size_t)span.first * job->batch->heads + kv_head * group + head) * cache->head_dim,
        .row_stride = (size_t)job->batch->heads * cache->head_dim,
        .rows = span.count,
        .keys = first.keys,
        .values = first.values,
        .key_scales = first.key_scales,
        .value_scales = first.value_scales,
        .block_bytes = cache->block_bytes,
        .kind = cache->kind,
        .table = job->batch->rows[span.first].table,
        .positions = job->batch->rows[span.first].position + 1,
        .window = job->window,
        .group = heads_together(group - head),
        .head_dim = cache->head_dim,
        .value_stride = cache->value_stride,
        .scale = job->batch->scale,
    };
    input.start = first_chunk(&input, 0);
    return input;
}

/* What the input's heads give as a whole: the sums of values by the sums of their weights. */
static void finish(const struct attention_job *job, const wf_attention *input, const float *sums, const wf_softmax *softmaxes) {
    float *out = job->batch->out + (input->query - job->batch->queries);
    for (uint32_t row = 0; row < input->rows; row++)
        for (uint32_t head = 0; head < input->group; head++)
            for (uint32_t d = 0; d < input->head_dim; d++) {
                const size_t index = (size_t)row * input->group + head;
                out[row * input->row_stride + (size_t)head * input->head_dim + d] =
                    sums[index * input->value_stride + d] / softmaxes[index].total;
            }
}

static void attend_pair(void *context, uint32_t pair) {
    const struct attention_job *job = context;
    _Alignas(64) float sums[2][SUMS_MAX];
    wf_softmax softmaxes[2][WF_ATTENTION_ROWS * WF_HEADS_TOGETHER];
    if (job->prepares)
        job->batch->prepare(job->batch->context, pair);
    wf_attention input = input_of(job, pair);
    job->batch->kernels->attend(&input, sums[0], softmaxes[0]);
    for (input.start += WF_KV_CHUNK; input.start < input.positions + input.rows - 1; input.start += WF_KV_CHUNK) {
        job->batch->kernels->attend(&input, sums[1], softmaxes[1]);
        for (uint32_t i = 0; i < input.rows * input.group; i++)
            if (input.start < input.positions + i / input.group && input.start >= first_chunk(&input, i / input.group))
                join(job->batch->kernels, sums[0] + (size_t)i * input.value_stride, &softmaxes[0][i],
                     sums[1] + (size_t)i * input.value_stride, &softmaxes[1][i], input.head_dim);
    }
    finish(job, &input, sums[0], softmaxes[0]);
}

/* Where a chunk of a split pair leaves what its first head gives. */
static size_t place_of(const struct attention_job *job, uint32_t pair, uint32_t chunk) {
    return ((size_t)pair * job->split + chunk) * heads_together(job->batch->heads / job->batch->cache->kv_heads);
}

/* One chunk of a split pair, if its token sees any of it. */
static void attend_to_chunk(const struct attention_job *job, uint32_t pair, uint32_t chunk) {
    wf_attention input = input_of(job, pair);
    if (chunk * WF_KV_CHUNK < input.start || chunk * WF_KV_CHUNK >= input.positions)
        return;
    input.start = chunk * WF_KV_CHUNK;
    const size_t place = place_of(job, pair, chunk);
    job->batch->kernels->attend(&input, job->batch->chunks->sums + place * input.value_stride,
                                job->batch->chunks->softmaxes + place);
}

/* Joins what the chunks of a split pair gave. */
static void join_chunks(const struct attention_job *job, uint32_t pair) {
    const wf_attention input = input_of(job, pair);
    const uint32_t first_seen = input.start / WF_KV_CHUNK;
    const size_t first = place_of(job, pair, first_seen);
    float *sums = job->batch->chunks->sums + first * input.value_stride;
    wf_softmax *softmaxes = job->batch->chunks->softmaxes + first;
    for (uint32_t chunk = first_seen + 1; chunk < chunks_of(input.positions); chunk++) {
        const size_t later = place_of(job, pair, chunk) - first;
        for (uint32_t i = 0; i < input.group; i++)
            join(job->batch->kernels, sums + (size_t)i * input.value_stride, &softmaxes[i], sums + (later + i) * input.value_stride,
                 &softmaxes[later + i], input.head_dim);
    }
    finish(job, &input, sums, softmaxes);
}

static void attend_split(void *context, uint32_t unit) {
    const struct attention_job *job = context;
    const uint32_t pair = unit / job->split;
    attend_to_chunk(job, pair, unit % job->split);
    atomic_uint_least32_t *complete = &job->batch->chunks->complete[pair];
    if (atomic_fetch_add_explicit(complete, 1, memory_order_acq_rel) + 1 < job->split)
        return;
    atomic_store_explicit(complete, 0, memory_order_relaxed); /* for the next phase */
    join_chunks(job, pair);
}

/* The units that pairs are best split into; 1 where they are not to be split. */
static uint32_t split_of(const struct attention_job *job, uint32_t pairs, uint32_t threads) {
    uint32_t longest = 0;
    for (uint32_t i = 0; i < job->batch->span_count; i++) {
        const uint32_t positions = job->batch->rows[job->batch->spans[i].first].position + 1;
        longest = positions > longest ? positions : longest;
        if (job->batch->spans[i].count > 1)
            return 1;
    }
    const uint32_t split = chunks_of(longest);
    return threads > 1 && pairs < PAIRS_PER_THREAD * threads && (uint64_t)pairs * split <= job->batch->chunks->count ? split : 1;
}

/* Whether no row sees the key of another one in the batch: consecutive rows of a sequence would be one span. A pair is a row and a KV head
 * then, unless those have several parts. */
static bool sees_no_other(const wf_attention_batch *batch) { return batch->span_count == batch->row_count; }

void wf_attention_run(wf_pool *pool, const wf_attention_batch *batch, uint32_t layer, uint32_t window) {
    const uint32_t kv_heads = batch->cache->kv_heads;
    struct attention_job job = {
        .batch = batch,
        .layer = layer,
        .window = window,
        .parts = (batch->heads / kv_heads + WF_HEADS_TOGETHER - 1) / WF_HEADS_TOGETHER,
    };
    const uint32_t pairs = batch->span_count * kv_heads * job.parts;
    job.split = split_of(&job, pairs, wf_pool_threads(pool));
    if (batch->prepare != NULL) {
        job.prepares = job.split == 1 && job.parts == 1 && sees_no_other(batch);
        if (!job.prepares)
            wf_pool_run(pool, batch->prepare, batch->context, batch->row_count * kv_heads);
    }
    if (job.split == 1)
        wf_pool_run(pool, attend_pair, &job, pairs);
    else
        wf_pool_run(pool, attend_split, &job, pairs * job.split);
}
