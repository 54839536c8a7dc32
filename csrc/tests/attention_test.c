/*
 * attention_test.c: attention to long sequences: close to what the formula says in double precision, and the same bits with one thread and
 * with several, alone and beside others, as the last token of a prompt's piece and as a decoded one.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "kernels/dispatch.h"
#include "layers/attention.h"

enum {
    HEADS = 22,
    KV_HEADS = 2,
    HEAD_DIM = 24,
    CONTEXT = 704,
    SEQUENCES = 3,
    BLOCKS = SEQUENCES * CONTEXT / WF_KV_BLOCK,
    ROWS = 37
};

static struct check_random source = {.state = 0x853c49e6748fea9bu};

/* All that is attended to: [SEQUENCES][CONTEXT][KV_HEADS][HEAD_DIM], and a query for each position. */
static float keys[SEQUENCES * CONTEXT * KV_HEADS * HEAD_DIM], values[SEQUENCES * CONTEXT * KV_HEADS * HEAD_DIM];
static float queries[SEQUENCES * CONTEXT * HEADS * HEAD_DIM];

static void fill(float *numbers, size_t count, float scale) {
    for (size_t i = 0; i < count; i++)
        numbers[i] = scale * ((float)check_below(&source, 2000001) / 1e6f - 1.0f);
}

/* Positions that a token sees; 0: all. */
static uint32_t window;

static uint32_t tables[SEQUENCES][CONTEXT / WF_KV_BLOCK];

static void store_all(wf_kv_cache *cache, const wf_kernels *kernels, enum wf_kv_kind kind) {
    const wf_config config = {.layers = 1, .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    char error[256] = "";
    CHECK(wf_kv_create(cache, &config, kind, BLOCKS, error, sizeof error) == 0, "%s", error);
    for (uint32_t block = 0; block < CONTEXT / WF_KV_BLOCK; block++)
        for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++)
            tables[sequence][block] = wf_kv_take(cache);
    for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++)
        for (uint32_t position = 0; position < CONTEXT; position++)
            for (uint32_t head = 0; head < KV_HEADS; head++) {
                const size_t at = ((size_t)(sequence * CONTEXT + position) * KV_HEADS + head) * HEAD_DIM;
                wf_kv_store(cache, kernels, (wf_kv_place){0, head, tables[sequence], position}, keys + at, values + at);
            }
}

static double by_formula(uint32_t sequence, uint32_t position, uint32_t head, uint32_t d) {
    const float *query = queries + ((size_t)(sequence * CONTEXT + position) * HEADS + head) * HEAD_DIM;
    double largest = -INFINITY, total = 0, sum = 0;
    static double scores[CONTEXT];
    for (uint32_t seen = window > 0 && position >= window ? position - window + 1 : 0; seen <= position; seen++) {
        const size_t at = ((size_t)(sequence * CONTEXT + seen) * KV_HEADS + head / (HEADS / KV_HEADS)) * HEAD_DIM;
        scores[seen] = 0;
        for (uint32_t i = 0; i < HEAD_DIM; i++)
            scores[seen] += (double)query[i] * (double)keys[at + i] / sqrt(HEAD_DIM);
        largest = fmax(largest, scores[seen]);
    }
    for (uint32_t seen = window > 0 && position >= window ? position - window + 1 : 0; seen <= position; seen++) {
        const size_t at = ((size_t)(sequence * CONTEXT + seen) * KV_HEADS + head / (HEADS / KV_HEADS)) * HEAD_DIM;
        total += exp(scores[seen] - largest);
        sum += exp(scores[seen] - largest) * (double)values[at + d];
    }
    return sum / total;
}

/* out[count][HEADS * HEAD_DIM] for tokens of sequences at positions. */
static void attend(const wf_kv_cache *cache, const wf_kernels *kernels, uint32_t threads, const uint32_t *sequences,
                   const uint32_t *positions, uint32_t count, float *out) {
    wf_row rows[ROWS];
    wf_span spans[ROWS];
    float asked[ROWS * HEADS * HEAD_DIM];
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (wf_row){.position = positions[i], .table = tables[sequences[i]]};
        memcpy(asked + (size_t)i * HEADS * HEAD_DIM, queries + (size_t)(sequences[i] * CONTEXT + positions[i]) * HEADS * HEAD_DIM,
               HEADS * HEAD_DIM * sizeof *asked);
    }
    wf_pool *pool = need(wf_pool_create(threads, NULL, 0));
    wf_chunks chunks;
    CHECK(wf_chunks_create(&chunks, cache, HEADS, threads, CONTEXT) == 0, "no memory");
    const wf_attention_batch batch = {
        .kernels = kernels,
        .cache = cache,
        .chunks = &chunks,
        .heads = HEADS,
        .scale = 1.0f / sqrtf(HEAD_DIM),
        .rows = rows,
        .row_count = count,
        .spans = spans,
        .span_count = wf_find_spans(cache, HEADS, rows, count, spans),
        .queries = asked,
        .out = out,
    };
    wf_attention_run(pool, &batch, 0, window);
    wf_chunks_destroy(&chunks);
    wf_pool_destroy(pool);
}

static void test_positions(const wf_kernels *kernels, enum wf_kv_kind kind) {
    wf_kv_cache cache;
    store_all(&cache, kernels, kind);
    static const uint32_t lengths[] = {1, 2, 32, 33, 127, 128, 129, 255, 256, 257, 384, 500, CONTEXT};
    const size_t bytes = HEADS * HEAD_DIM * sizeof(float);
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        const uint32_t last = lengths[l] - 1;
        float alone[HEADS * HEAD_DIM], others[ROWS * HEADS * HEAD_DIM];
        attend(&cache, kernels, 1, (uint32_t[]){1}, &last, 1, alone);
        for (uint32_t i = 0; i < HEADS * HEAD_DIM && kind == WF_KV_F32; i++) {
            const double expected = by_formula(1, last, i / HEAD_DIM, i % HEAD_DIM);
            CHECK(fabs((double)alone[i] - expected) < 2e-5, "%s, position %u: %g, not %g", kernels->name, last, (double)alone[i],
                  expected);
        }
        for (uint32_t threads = 2; threads <= 5; threads++) {
            attend(&cache, kernels, threads, (uint32_t[]){1}, &last, 1, others);
            CHECK(memcmp(alone, others, bytes) == 0, "%s kind %d, position %u: other bits with %u threads", kernels->name,
                  (int)kind, last, threads);
        }
        const uint32_t beside[] = {CONTEXT - 1, last, 130};
        attend(&cache, kernels, 2, (uint32_t[]){0, 1, 2}, beside, 3, others);
        CHECK(memcmp(alone, others + HEADS * HEAD_DIM, bytes) == 0, "%s kind %d, position %u: other bits beside others",
              kernels->name, (int)kind, last);
        uint32_t piece[ROWS], sequence[ROWS], count = 0;
        for (uint32_t position = last < ROWS ? 0 : last + 1 - ROWS; position <= last; position++, count++) {
            piece[count] = position;
            sequence[count] = 1;
        }
        attend(&cache, kernels, 2, sequence, piece, count, others);
        CHECK(memcmp(alone, others + (size_t)(count - 1) * HEADS * HEAD_DIM, bytes) == 0,
              "%s kind %d, position %u: other bits at the end of a piece", kernels->name, (int)kind, last);
    }
    wf_kv_destroy(&cache);
}

int main(void) {
    fill(keys, sizeof keys / sizeof *keys, 3.0f);
    fill(values, sizeof values / sizeof *values, 1.0f);
    fill(queries, sizeof queries / sizeof *queries, 3.0f);
    uint32_t tiers;
    const wf_kernels *const *supported = wf_kernels_supported(&tiers);
    for (uint32_t tier = 0; tier < tiers; tier++) {
        static const uint32_t windows[] = {0, 1, 16, 100, 128, 129, 200};
        for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
            window = windows[i];
            test_positions(supported[tier], WF_KV_F32);
            test_positions(supported[tier], WF_KV_F16);
            test_positions(supported[tier], WF_KV_Q8);
        }
    }
    return check_report();
}
