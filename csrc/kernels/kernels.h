/*
 * kernels.h: the table of functions that do nearly all of the arithmetic, one instance per instruction set.
 *
 * scalar.c is the specification. Every other file must give the same bits for every input, which is possible because each
 * function here fixes the order of its floating-point operations in terms that suit any vector width:
 *   - sums over a row run in WF_LANES independent lanes: element e goes to lane e % WF_LANES with a fused multiply-add, and the
 *     lanes are then added in halves (lane j to lane j + 16, then + 8, + 4, + 2, + 1);
 *   - sums over positions run one position after the other;
 *   - wf_exp is one polynomial with a fixed sequence of fused operations.
 * So a result does not depend on the processor, the number of threads, the batch or how a prompt was cut into chunks.
 */
#ifndef WF_KERNELS_H
#define WF_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lanes of a row sum: two 16-float vectors with AVX-512, four of eight with AVX2, eight of four with NEON. */
#define WF_LANES 32

/* Weights per packed block, and its bytes. */
#define WF_BLOCK_WEIGHTS 128U
#define WF_BLOCK_BYTES 32U

/* Positions in one block of the KV cache. Attention works through a sequence in these, whatever its chunking. */
#define WF_KV_BLOCK 32

/* Positions that are attended to by themselves, before what several such chunks give is joined in their order. So the chunks of one sequence
 * can be shared out to several threads, without a bit depending on that. */
#define WF_KV_CHUNK 128U

/* Value rows in the KV cache are padded to a multiple of this many elements. */
#define WF_VALUE_ALIGN 16

/* The largest head dimension; model.c refuses models beyond it. */
#define WF_HEAD_DIM_MAX 1024

/* Activations of one or several tokens, quantised for a ternary product. */
typedef struct wf_activations {
    const int8_t *values; /* [tokens][stride], zero past the inputs */
    size_t stride;        /* bytes from one token to the next: the inputs rounded up to WF_BLOCK_WEIGHTS or more */
    const int8_t
        *arranged;        /* the same as wf_kernels.arrange leaves them, tile by tile; looked at where the tier has that function */
    const int32_t *sums;  /* [tokens] sum of a token's values */
    const float *factors; /* [tokens] weight_scale / s: turns an integer sum into the product's value */
    uint32_t tokens;
} wf_activations;

/* Tokens whose activations are arranged together, and bytes that each of them takes then, for inputs rounded up to WF_BLOCK_WEIGHTS. */
#define WF_ARRANGED_TOKENS 32U
static inline size_t wf_arranged_bytes(uint32_t padded) { return ((size_t)padded + 255) / 256 * 256; }

/* Rows of the head's sketch: 8 bits a weight in two parts. A block's coarse part has the upper six bits: byte i those of weight i, and above
 * them two bits of the weight that is 96 + i % 32 (byte i's, 32 + i's and 64 + i's, from the lowest on). Its fine part has the lower two, as
 * packed ternary codes lie: byte i those of the weights i, 32 + i, 64 + i and 96 + i. */
#define WF_COARSE_BYTES 96U
#define WF_FINE_BYTES 32U

typedef struct wf_sketch_rows {
    const uint8_t *coarse; /* [rows][blocks][WF_COARSE_BYTES] */
    const uint8_t *fine;   /* [rows][blocks][WF_FINE_BYTES]; NULL where the coarse part does */
    const float *scales;   /* [rows] */
    uint32_t blocks;       /* of WF_BLOCK_WEIGHTS weights, in a row */
} wf_sketch_rows;

/* Activations of one or several tokens in 16 bits, for a product with the sketch's rows. */
typedef struct wf_wide_activations {
    const int16_t *values; /* [tokens][stride], each where wf_wide_index says, and zero past the inputs; 32-byte aligned */
    size_t stride;         /* elements from one token to the next: the inputs rounded up to WF_BLOCK_WEIGHTS */
    const int32_t *sums;   /* [tokens] sum of a token's values */
    const float *factors;  /* [tokens] turns an integer sum, times the row's scale, into the product's value */
    uint32_t tokens;
} wf_wide_activations;

/* Where the activation of an input lies: of each 64 first those with even numbers, then those with odd ones, because these are the
 * lower and upper bytes of 16-bit words of weights. */
static inline size_t wf_wide_index(size_t input) { return input / 64 * 64 + input % 2 * 32 + input % 64 / 2; }

/* The product of a row of the sketch and a token, from Σ bits · value, which may have gone around in 32 bits. Eight bits u stand for u − 128.
 * Six bits c, without the lower two, are taken for the middle of what those can make of them, 4 c − 126.5. */
static inline float wf_sketched_product(const wf_sketch_rows *rows, uint32_t row, const wf_wide_activations *x, uint32_t token,
                                        uint32_t sum) {
    const int32_t sum_of_values = x->sums[token];
    const uint32_t values = (uint32_t)sum_of_values;
    const float product = rows->fine != NULL ? (float)(int32_t)(sum - 128 * values)
                                             : (float)(int32_t)(4 * sum - 126 * values) - 0.5f * (float)sum_of_values;
    return product * (rows->scales[row] * x->factors[token]);
}

/* Columns that ternary_columns works on together, in every tier but the scalar one: their sums stay in 16 bits, in registers. */
#define WF_COLUMNS_TOGETHER 16U

/* The columns of one step of ternary_columns. Where there are fewer, the others are the step's first one, times zero. */
typedef struct wf_columns_step {
    const uint8_t *columns[WF_COLUMNS_TOGETHER];
    const uint8_t *later[WF_COLUMNS_TOGETHER]; /* those of the next step, to be asked for in time */
    int8_t values[WF_COLUMNS_TOGETHER];
} wf_columns_step;

/* The step that begins with the column at indices[first]; the others are ternary_columns' parameters. */
static inline void wf_begin_columns_step(wf_columns_step *step, const uint8_t *columns, size_t column_bytes,
                                         const uint32_t *indices, const int8_t *values, uint32_t count, uint32_t first) {
    for (uint32_t i = 0; i < WF_COLUMNS_TOGETHER; i++) {
        const uint32_t this = first + i, later = this + WF_COLUMNS_TOGETHER;
        step->columns[i] = columns + indices[this < count ? this : first] * column_bytes;
        step->later[i] = columns + indices[later < count ? later : first] * column_bytes;
        step->values[i] = this < count ? values[this] : 0;
    }
}

/* How the KV cache stores keys and values. */
enum wf_kv_kind {
    WF_KV_F32, /* float */
    WF_KV_F16, /* IEEE half, as uint16_t */
    WF_KV_Q8,  /* int8 with one scale for each head and position: value = integer * scale */
};

/* The most query tokens of one wf_attention. */
#define WF_ATTENTION_ROWS 8U

/* The most query heads that go through a sequence's blocks together, each block being read from memory once for all of them. */
#define WF_HEADS_TOGETHER 8U

/* What some consecutive query tokens of a sequence attend to in one chunk, with some of the heads that share a KV head. The pointers are
 * those of block 0; block b's are b * block_bytes further. A block's values lie behind its keys. */
typedef struct wf_attention {
    const float *query; /* [rows][group][head_dim], rotated; a row is row_stride elements from the next, as in the output */
    size_t row_stride;
    uint32_t rows;             /* query tokens, 1 to WF_ATTENTION_ROWS */
    const void *keys;          /* [head_dim][WF_KV_BLOCK] of float, uint16_t or int8_t */
    const void *values;        /* [WF_KV_BLOCK][value_stride] of the same */
    const float *key_scales;   /* [WF_KV_BLOCK]; WF_KV_Q8 only */
    const float *value_scales; /* [WF_KV_BLOCK]; WF_KV_Q8 only */
    size_t block_bytes;        /* from one block to the next */
    const uint32_t *table;     /* [positions / WF_KV_BLOCK rounded up] the sequence's blocks in order */
    enum wf_kv_kind kind;
    uint32_t start;     /* the chunk's first position */
    uint32_t positions; /* that the first token sees in all, its own included; at least 1. Each further one sees one more */
    uint32_t group;     /* query heads, 1 to WF_HEADS_TOGETHER */
    uint32_t head_dim;
    uint32_t value_stride; /* head_dim rounded up to WF_VALUE_ALIGN */
    float scale;           /* 1 / sqrt(head_dim) */
} wf_attention;

/* The softmax of one token and query head over some positions: the largest score, −∞ where no position is seen, and the sum of all
 * exp(score − largest). */
typedef struct wf_softmax {
    float largest, total;
} wf_softmax;

/* Where the number at `pointer` of block 0 lies in another block. */
static inline const void *wf_in_block(const wf_attention *input, const void *pointer, uint32_t start) {
    return (const uint8_t *)pointer + input->table[start / WF_KV_BLOCK] * input->block_bytes;
}

/* Bytes of a key's or value's element. */
static inline size_t wf_element_bytes(enum wf_kv_kind kind) {
    return kind == WF_KV_F32 ? sizeof(float) : kind == WF_KV_F16 ? sizeof(uint16_t) : sizeof(int8_t);
}

/* What is to be asked for, a line at a time, while something else is computed: no processor foresees the next block. */
typedef struct wf_lines_ahead {
    const char *at, *end;
} wf_lines_ahead;

static inline void wf_ask_for_line(wf_lines_ahead *ahead) {
    if (ahead->at < ahead->end) {
        __builtin_prefetch(ahead->at, 0, 2); /* into the second-level cache */
        ahead->at += 64;
    }
}

typedef struct wf_kernels {
    const char *name;

    /* Rows that products work through together: slices of a matrix are best a multiple of it. */
    uint32_t rows_together;

    /* out = weight * (x * 1 / sqrt(mean(x²) + epsilon)); all [count]. */
    void (*rms_norm)(const float *x, const float *weight, uint32_t count, float epsilon, float *out);

    /* BitLinear's activations (formats.md §1): s = 127 / max(max|x|, 1e-5); values = clamp(round_half_even(x * s), -128, 127), then
     * zeros up to `padded`. Gives 1 / s as max(max|x|, 1e-5) / 127, and the sum of the values. */
    void (*quantize)(const float *x, uint32_t count, uint32_t padded, int8_t *values, float *inverse_scale, int32_t *sum);

    /* Puts the activations of `count` tokens, at most WF_ARRANGED_TOKENS of a batch of `batch` tokens, in the order in which this tier's ternary_matmul
     * reads those of such a batch: values[count][stride], of which `padded` bytes are the inputs', to the tile's
     * WF_ARRANGED_TOKENS * wf_arranged_bytes(padded) bytes, 64-byte aligned. NULL where it reads them as they are. */
    void (*arrange)(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded, int8_t *arranged);

    /* out[token][row] = (Σ code · value − sum of values) * factor, for `row_count` packed rows of `row_bytes` bytes.
     * out's tokens are out_stride elements apart. Codes are 0 to 2; a 3, which only a damaged file holds, gives some number and no fault. */
    void (*ternary_matmul)(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, float *out,
                           size_t out_stride);

    /* sums[output] += Σ code · value over the `count` columns that indices[count] lists, for one token's values[count] of them; a column
     * is column_bytes bytes of packed codes (whole blocks, as a row is), one for each of the column_bytes * 4 outputs. */
    void (*ternary_columns)(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums);

    /* out[token][row] = row · x[token] for `row_count` rows of bf16 weights [count]. x's tokens are x_stride elements apart. */
    void (*bf16_matmul)(const uint16_t *rows, uint32_t row_count, uint32_t count, const float *x, size_t x_stride, uint32_t tokens,
                        float *out, size_t out_stride);

    /* out[token][row] = (Σ weight · value) * (scale * factor) for `row_count` of the sketch's rows. The values are such that no sum is
     * beyond 32 bits: |value| * 128 * inputs < 2^31. */
    void (*sketch_matmul)(const wf_sketch_rows *rows, uint32_t row_count, const wf_wide_activations *x, float *out,
                          size_t out_stride);

    /* out = exp((x − offset) * scale), elementwise [count]; x may be out. */
    void (*exponentials)(const float *x, uint32_t count, float offset, float scale, float *out);

    /* gate = max(gate, 0)² * up, elementwise [count]. */
    void (*gate_relu_squared)(float *gate, const float *up, uint32_t count);

    /* gate = gate / (1 + exp(−gate)) * up, elementwise [count]. */
    void (*gate_silu)(float *gate, const float *up, uint32_t count);

    /* The softmax over a chunk's positions, block by block with a running maximum: softmaxes[rows][group], and sums[rows][group][value_stride] =
     * Σ exp(score − largest) · value, 64-byte aligned. score = query · key * scale. The scales of WF_KV_Q8 are applied to scores (times
     * `scale`, first) and to softmax weights, not to the elements. */
    void (*attend)(const wf_attention *input, float *sums, wf_softmax *softmaxes);

    /* Multiplies and adds 8-bit numbers as ternary_matmul does, but with all of them in registers or the first-level cache: `rounds`
     * times a fixed number of multiply-adds. Returns how many that were. It bounds ternary_matmul from above and computes nothing. */
    uint64_t (*multiply_add_peak)(uint64_t rounds);
} wf_kernels;

extern const wf_kernels wf_kernels_scalar;
#if defined(__x86_64__)
extern const wf_kernels wf_kernels_avx2;
#if defined(WF_HAS_AVX_VNNI)
extern const wf_kernels wf_kernels_avx2_vnni;
#endif
extern const wf_kernels wf_kernels_avx512;
#if defined(WF_HAS_AMX)
/* wf_kernels_avx512 with what tiles do better. To be called by one thread at a time. */
const wf_kernels *wf_kernels_amx(void);

/* Whether a product of tiles has the right result on this thread. Only where the system allows tiles: otherwise it faults. */
bool wf_amx_computes(void);
#endif
#elif defined(__aarch64__)
extern const wf_kernels wf_kernels_neon;
extern const wf_kernels wf_kernels_neon_dotprod;
#endif

/* wf_exp's constants: exp(x) = 2^n * p(r), n = round(x / ln 2), r = x − n ln 2, with ln 2 in two parts (Cody and Waite) and p the
 * Cephes library's minimax polynomial for expf. Inputs are clamped to [WF_EXP_LOW, WF_EXP_HIGH], so that the result is normal. */
#define WF_EXP_LOW (-87.0f)
#define WF_EXP_HIGH 88.0f
#define WF_EXP_LOG2E 1.44269504088896341f
#define WF_EXP_LN2_HIGH 0.693359375f
#define WF_EXP_LN2_LOW (-2.12194440e-4f)
#define WF_EXP_P0 1.9875691500e-4f
#define WF_EXP_P1 1.3981999507e-3f
#define WF_EXP_P2 8.3334519073e-3f
#define WF_EXP_P3 4.1665795894e-2f
#define WF_EXP_P4 1.6666665459e-1f
#define WF_EXP_P5 5.0000001201e-1f

#endif
