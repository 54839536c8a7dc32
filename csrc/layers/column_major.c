/*
 * column_major.c: the copy of the down projections that lies column by column, and products with it.
 *
 * The copy is made when the engine starts, at memory speed: a tile of 128 rows by 128 columns is transposed byte by byte, and the
 * four codes of each byte are dealt out to four columns. A product splits the listed columns over the threads, each of which streams
 * through its own part of them; the integer sums of the parts are then added, so that the result is the same bits as row by row.
 */
#include "layers/column_major.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/pages.h"

/* Parts of a product for each thread: a thread that is slower does fewer. */
#define PARTS_PER_THREAD 2U

/* Outputs in one unit of the addition of the parts. */
#define OUTPUTS_TOGETHER 512U

/* Rows or columns of a tile, and bytes that hold as many codes. */
#define TILE WF_BLOCK_WEIGHTS
#define TILE_BYTES WF_BLOCK_BYTES

/* Blocks of inputs in one unit of the copying: what a cache line of a row holds, twice over. */
#define BLOCKS_TOGETHER 4U

struct copy_job {
    wf_column_major *columns;
    const wf_model *model;
    uint32_t units; /* of work, in a layer */
    const atomic_bool *stopping;
};

/* Transposes 8 by 8 bytes: byte j of out[i * 4] is byte i of in[j * 4] (in words of 8 bytes, in rows of 4). Halves of 4, 2 and 1 bytes of
 * rows so far apart change places. */
static void transpose(const uint64_t *in, uint64_t *out) {
    static const uint64_t low[3] = {UINT64_C(0x00000000ffffffff), UINT64_C(0x0000ffff0000ffff), UINT64_C(0x00ff00ff00ff00ff)};
    uint64_t rows[8];
    for (uint32_t i = 0; i < 8; i++)
        rows[i] = in[i * 4];
    for (uint32_t step = 0, apart = 4; step < 3; step++, apart /= 2)
        for (uint32_t i = 0; i < 8; i++) {
            if ((i & apart) != 0)
                continue;
            const uint64_t a = rows[i], b = rows[i + apart];
            rows[i] = (a & low[step]) | (b & low[step]) << 8 * apart;
            rows[i + apart] = (a >> 8 * apart & low[step]) | (b & ~low[step]);
        }
    for (uint32_t i = 0; i < 8; i++)
        out[i * 4] = rows[i];
}

/* Copies one block of inputs by one block of outputs: rows[row_count ≤ TILE] of row_bytes to the tile's part of TILE columns. Bytes are
 * handled eight at a time, the first one in the low bits of a word, as in all processors that this runs on. */
static void copy_tile(const uint8_t *rows, size_t row_bytes, uint32_t row_count, uint8_t *columns, size_t column_bytes) {
    uint64_t gathered[TILE][TILE_BYTES / 8];        /* [row][byte of its block] */
    uint64_t turned[4][TILE_BYTES][TILE_BYTES / 8]; /* [row / 32][byte of the block][row % 32] */
    for (uint32_t row = 0; row < TILE; row++) {
        if (row < row_count)
            memcpy(gathered[row], rows + row * row_bytes, TILE_BYTES);
        else
            memset(gathered[row], 0, TILE_BYTES);
    }
    for (uint32_t row = 0; row < TILE; row += 8)
        for (uint32_t word = 0; word < TILE_BYTES / 8; word++)
            transpose(&gathered[row][word], &turned[row / TILE_BYTES][8 * word][row % TILE_BYTES / 8]);
    for (uint32_t column = 0; column < TILE; column++) {
        const uint32_t byte = column % TILE_BYTES, shift = 2 * (column / TILE_BYTES);
        uint64_t codes[TILE_BYTES / 8] = {0};
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            for (uint32_t word = 0; word < TILE_BYTES / 8; word++)
                codes[word] |= (turned[quarter][byte][word] >> shift & UINT64_C(0x0303030303030303)) << 2 * quarter;
        memcpy(columns + column * column_bytes, codes, TILE_BYTES);
    }
}

static void copy_blocks(void *context, uint32_t unit) {
    const struct copy_job *job = context;
    const wf_column_major *columns = job->columns;
    if (atomic_load_explicit(job->stopping, memory_order_relaxed))
        return;
    const uint32_t layer = unit / job->units, first = unit % job->units * BLOCKS_TOGETHER;
    const wf_linear *down = &job->model->layers[layer].down;
    const uint32_t blocks = (down->inputs + TILE - 1) / TILE; /* fewer than the widest layer has, perhaps */
    const uint32_t end = blocks < first + BLOCKS_TOGETHER ? blocks : first + BLOCKS_TOGETHER;
    uint8_t *out = columns->bytes + layer * columns->layer_bytes;
    for (uint32_t row = 0; row < down->outputs; row += TILE) {
        const uint32_t left = down->outputs - row;
        for (uint32_t block = first; block < end; block++)
            copy_tile(down->rows + (size_t)row * down->row_bytes + block * TILE_BYTES, down->row_bytes, left < TILE ? left : TILE,
                      out + block * TILE * columns->column_bytes + row / TILE * TILE_BYTES, columns->column_bytes);
    }
}

static uint32_t input_blocks(const wf_config *config) { return (config->intermediate + TILE - 1) / TILE; }

static size_t column_bytes_of(const wf_config *config) { return (size_t)wf_linear_row_bytes(WF_LAYOUT_TERNARY, config->hidden, 0); }

uint64_t wf_column_major_bytes(const wf_config *config) {
    return (uint64_t)config->layers * input_blocks(config) * TILE * column_bytes_of(config);
}

int wf_column_major_create(wf_column_major *columns, const wf_model *model, uint32_t threads, uint32_t tokens_max, char *error,
                           uint32_t error_size) {
    const wf_config *config = &model->config;
    *columns = (wf_column_major){
        .column_bytes = column_bytes_of(config),
        .outputs = config->hidden,
        .parts = threads * PARTS_PER_THREAD,
    };
    columns->layer_bytes = columns->column_bytes * input_blocks(config) * TILE;
    columns->mapped = (size_t)wf_column_major_bytes(config);
    columns->bytes = wf_map_huge_pages(columns->mapped);
    columns->partials = calloc((size_t)tokens_max * columns->parts * columns->column_bytes * 4, sizeof(int32_t));
    if (columns->bytes == NULL || columns->partials == NULL) {
        const size_t megabytes = columns->mapped / 1000000;
        wf_column_major_destroy(columns);
        return wf_fail(error, error_size, "no memory for a second copy of the down projections, %zu MB; do without it", megabytes);
    }
    return 0;
}

void wf_column_major_fill(wf_column_major *columns, const wf_model *model, wf_pool *pool, const atomic_bool *stopping) {
    const uint32_t blocks = input_blocks(&model->config), units = (blocks + BLOCKS_TOGETHER - 1) / BLOCKS_TOGETHER;
    struct copy_job job = {columns, model, units, stopping};
    wf_pool_run(pool, copy_blocks, &job, units * model->config.layers);
}

void wf_column_major_destroy(wf_column_major *columns) {
    wf_unmap_pages(columns->bytes, columns->mapped);
    free(columns->partials);
    *columns = (wf_column_major){0};
}

/* A bit for each of eight bytes that is not zero, the first one's lowest. */
static uint64_t nonzero_bytes(const int8_t *bytes) {
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    /* The top bit of each byte says it; the multiplication moves bit 8i to bit 56 + i. */
    const uint64_t top = (((word & low) + low) | word) & ~low;
    return (top >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

void wf_list_nonzeros(const int8_t *values, uint32_t count, wf_nonzeros *nonzeros) {
    uint32_t *indices = nonzeros->indices, listed = 0;
    int8_t *listed_values = nonzeros->values;
    for (uint32_t first = 0; first < count; first += 64) {
        uint64_t bits = 0;
        for (uint32_t i = 0; i < 64; i += 8)
            bits |= nonzero_bytes(values + first + i) << i;
        for (; bits != 0; bits &= bits - 1, listed++) {
            const uint32_t index = first + (uint32_t)__builtin_ctzll(bits);
            indices[listed] = index;
            listed_values[listed] = values[index];
        }
    }
    nonzeros->count = listed;
}

struct product_job {
    wf_column_major *columns;
    const uint8_t *layer;
    const wf_kernels *kernels;
    const wf_sparse_inputs *x;
    float *residual; /* [tokens][outputs] */
    uint32_t slices; /* of the outputs */
};

static int32_t *partial_of(const wf_column_major *columns, uint32_t token, uint32_t part) {
    return columns->partials + ((size_t)token * columns->parts + part) * columns->column_bytes * 4;
}

static void multiply_part(void *context, uint32_t unit) {
    const struct product_job *job = context;
    const wf_column_major *columns = job->columns;
    const uint32_t token = unit / columns->parts, part = unit % columns->parts;
    const wf_nonzeros *nonzeros = &job->x->nonzeros[token];
    const uint32_t first = (uint32_t)((uint64_t)nonzeros->count * part / columns->parts);
    const uint32_t end = (uint32_t)((uint64_t)nonzeros->count * (part + 1) / columns->parts);
    int32_t *partial = partial_of(columns, token, part);
    memset(partial, 0, columns->column_bytes * 4 * sizeof *partial);
    job->kernels->ternary_columns(job->layer, columns->column_bytes, nonzeros->indices + first, nonzeros->values + first,
                                  end - first, partial);
}

static void add_parts(void *context, uint32_t unit) {
    const struct product_job *job = context;
    const uint32_t token = unit / job->slices, first = unit % job->slices * OUTPUTS_TOGETHER;
    const uint32_t left = job->columns->outputs - first, count = left < OUTPUTS_TOGETHER ? left : OUTPUTS_TOGETHER;
    int32_t totals[OUTPUTS_TOGETHER] = {0};
    for (uint32_t part = 0; part < job->columns->parts; part++) {
        const int32_t *partial = partial_of(job->columns, token, part) + first;
        for (uint32_t i = 0; i < count; i++)
            totals[i] += partial[i];
    }
    float *residual = job->residual + (size_t)token * job->columns->outputs + first;
    for (uint32_t i = 0; i < count; i++)
        residual[i] += (float)(totals[i] - job->x->sums[token]) * job->x->factors[token];
}

void wf_column_major_multiply(wf_column_major *columns, uint32_t layer, const wf_kernels *kernels, wf_pool *pool,
                              const wf_sparse_inputs *x, float *residual) {
    struct product_job job = {
        .columns = columns,
        .layer = columns->bytes + layer * columns->layer_bytes,
        .kernels = kernels,
        .x = x,
        .residual = residual,
        .slices = (columns->outputs + OUTPUTS_TOGETHER - 1) / OUTPUTS_TOGETHER,
    };
    wf_pool_run(pool, multiply_part, &job, x->tokens * columns->parts);
    wf_pool_run(pool, add_parts, &job, x->tokens * job.slices);
}
