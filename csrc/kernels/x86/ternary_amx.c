/*
 * ternary_amx.c: ternary products of batches on x86-64 processors with tiles (AMX): Intel servers since Sapphire Rapids. Everything
 * else, and batches of few tokens, is the tier's below.
 *
 * A tile register holds 16 rows of 64 bytes. One instruction multiplies 16 rows of 64 codes by 64 activations of 16 tokens and adds
 * fours into 16 by 16 sums of 32 bits, so sums are exact here too. It takes 16 cycles, in which the rest of the processor can bring
 * and unpack what comes next. Codes are the first operand: a row's bytes stay in their order. Activations are the second one: fours
 * of inputs, token beside token, in which `arrange` puts them once a phase.
 *
 * What limits it is what lies between the products: unpacking codes, and loading tiles. A line of codes is unpacked before it is
 * multiplied, for 32 rows by 32 tokens at a time, and again for the next tokens: a panel of unpacked codes that stays for all tokens
 * takes so much of the first-level cache that it was slower (Sapphire Rapids, 128 tokens: 34 % of the peak instead of 46 %).
 */
#include "kernels/x86/amx.h"

/* What batches of few tokens are left to: written once, when the table is put together. */
static wf_kernels below;

/* Rows that are multiplied together, and unpacked lines of them: one that is multiplied, one that is written. */
#define BLOCK_ROWS 32U
#define LINES_TOGETHER 2U

bool wf_amx_computes(void) {
    _Alignas(64) uint8_t codes[TILE_BYTES];
    _Alignas(64) int8_t values[TILE_BYTES];
    _Alignas(64) int32_t sums[TILE_ROWS][TILE_TOKENS];
    for (uint32_t i = 0; i < TILE_BYTES; i++) {
        codes[i] = (uint8_t)(i / 64 % 3);
        values[i] = (int8_t)(i / 4 % 16) - 8;
    }
    configure();
    WF_TILE_ZERO(0);
    WF_TILE_LOAD(4, codes);
    WF_TILE_LOAD(5, values);
    WF_TILE_MULTIPLY(0, 4, 5);
    WF_TILE_STORE(0, sums);
    for (int32_t row = 0; row < (int32_t)TILE_ROWS; row++)
        for (int32_t token = 0; token < (int32_t)TILE_TOKENS; token++)
            if (sums[row][token] != 64 * (row % 3) * (token - 8))
                return false;
    return true;
}

/* ---- Activations ---- */

/* Two tiles of activations for each 64 of the inputs, of 16 tokens each, in the order of a quarter of a line of codes: 32 of the
 * first block, 32 of the second. Of the tokens that are not there, and of a last single block's second half, zeros. */
static void arrange(const int8_t *values, size_t stride, uint32_t batch, uint32_t count, uint32_t padded, int8_t *arranged) {
    if (batch < TOKENS_MIN) {
        below.arrange(values, stride, batch, count, padded, arranged);
        return;
    }
    for (uint32_t input = 0; input < padded; input += LINE_WEIGHTS)
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            for (uint32_t tile = 0; tile < 2; tile++, arranged += TILE_BYTES) {
                const bool is_whole = padded - input >= LINE_WEIGHTS;
                __m512i tokens[TILE_TOKENS];
                for (uint32_t i = 0; i < TILE_TOKENS; i++) {
                    const uint32_t token = tile * TILE_TOKENS + i;
                    const int8_t *at = values + token * stride + input + quarter * WF_BLOCK_BYTES;
                    __m256i first = _mm256_setzero_si256(), second = first;
                    if (token < count) {
                        first = _mm256_loadu_si256((const __m256i *)at);
                        if (is_whole)
                            second = _mm256_loadu_si256((const __m256i *)(at + WF_BLOCK_WEIGHTS));
                    }
                    tokens[i] = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
                }
                if (tile * TILE_TOKENS < count)
                    transpose(tokens);
                for (uint32_t four = 0; four < 16; four++)
                    _mm512_store_si512(arranged + 64 * four, tokens[four]);
            }
}

/* The products of `rows` rows by `tokens` tokens from their sums[16][16], row by row, to out[token][row]. */
static void finish_tile(const int32_t *sums, uint32_t rows, const wf_activations *x, uint32_t token, float *out,
                        size_t out_stride) {
    const uint32_t tokens = tokens_of_tile(token, x->tokens);
    const __mmask16 present = lanes_below(tokens);
    const __m512i sums_of_values = _mm512_maskz_loadu_epi32(present, x->sums + token);
    const __m512 factors = _mm512_maskz_loadu_ps(present, x->factors + token);
    __m512i products[16];
    for (uint32_t row = 0; row < 16; row++) {
        const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(sums + 16 * row), sums_of_values);
        products[row] = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), factors));
    }
    store_products(products, rows, tokens, out + token * out_stride, out_stride);
}

/* ---- Unpacking ---- */

/* A line of BLOCK_ROWS rows unpacked: [quarter][row][64]. */
#define QUARTER_BYTES (BLOCK_ROWS * 64U)
#define UNPACKED_BYTES (4U * QUARTER_BYTES)

/* Where rows are unpacked next: line by line through a block of them, once for each pair of tiles of tokens, then through the
 * next block. */
typedef struct unpacking {
    const uint8_t *rows;          /* the block's first */
    size_t row_bytes, byte;       /* the line's place in a row */
    uint32_t left;                /* rows of this block and later ones */
    uint32_t passes, pass;        /* through a block */
    uint32_t offsets[BLOCK_ROWS]; /* of the block's rows from the first one; those that are missing are taken for the last one */
    const uint8_t *later;         /* what is asked for meanwhile: as one stream, though rows are unpacked side by side */
} unpacking;

static void find_rows(unpacking *at) {
    for (uint32_t row = 0; row < BLOCK_ROWS; row++)
        at->offsets[row] = (row < at->left ? row : at->left - 1) * (uint32_t)at->row_bytes;
}

/* The line of a quarter of the block's rows. */
ALWAYS_INLINE void unpack_rows(unpacking *at, uint32_t part, uint8_t *line) {
    const __m512i mask = _mm512_set1_epi8(3);
    const __mmask64 present = at->row_bytes - at->byte >= LINE_BYTES ? ~UINT64_C(0) : UINT32_MAX;
    const uint8_t *rows = at->rows + at->byte;
    uint8_t *out = line + part * BLOCK_ROWS / 4 * 64;
#pragma GCC unroll 8
    for (uint32_t i = 0; i < BLOCK_ROWS / 4; i++, out += 64) {
        const __m512i codes = _mm512_maskz_loadu_epi8(present, rows + at->offsets[part * BLOCK_ROWS / 4 + i]);
        _mm512_store_si512(out, _mm512_and_si512(codes, mask));
        _mm512_store_si512(out + QUARTER_BYTES, _mm512_and_si512(_mm512_srli_epi16(codes, 2), mask));
        _mm512_store_si512(out + 2 * QUARTER_BYTES, _mm512_and_si512(_mm512_srli_epi16(codes, 4), mask));
        _mm512_store_si512(out + 3 * QUARTER_BYTES, _mm512_and_si512(_mm512_srli_epi16(codes, 6), mask));
    }
    if (at->pass > 0)
        return;
#pragma GCC unroll 8
    for (uint32_t i = 0; i < BLOCK_ROWS / 4; i++)
        _mm_prefetch((const char *)at->later + 64 * i, _MM_HINT_T1);
    at->later += BLOCK_ROWS / 4 * 64;
}

/* Behind the last block it is unpacked once more, for nobody. */
ALWAYS_INLINE void next_line(unpacking *at) {
    at->byte += LINE_BYTES;
    if (at->byte < at->row_bytes)
        return;
    at->byte = 0;
    if (++at->pass < at->passes || at->left <= BLOCK_ROWS)
        return;
    at->pass = 0;
    at->rows += BLOCK_ROWS * at->row_bytes;
    at->left -= BLOCK_ROWS;
    find_rows(at);
}

/* ---- Products ---- */

/* Sums of a block of rows by a pair of tiles of tokens, and what they are of: they are finished tile by tile while the next ones
 * are computed. */
typedef struct block_sums {
    _Alignas(64) int32_t sums[4][256]; /* [tile of rows, tile of tokens][row][token] */
    uint32_t row, rows, token;
    uint32_t finished; /* tiles */
} block_sums;

ALWAYS_INLINE void finish_next(block_sums *block, const wf_activations *x, float *out, size_t out_stride) {
    const uint32_t tile = block->finished++, row = tile / 2 * TILE_ROWS, token = block->token + tile % 2 * TILE_TOKENS;
    if (row < block->rows && token < x->tokens)
        finish_tile(block->sums[tile], block->rows - row < TILE_ROWS ? block->rows - row : TILE_ROWS, x, token,
                    out + block->row + row, out_stride);
}

/* One line of two tiles of rows by two of tokens, while a later one is unpacked. */
ALWAYS_INLINE void multiply_line(const uint8_t *codes, const int8_t *values, unpacking *at, uint8_t *later) {
#pragma GCC unroll 4
    for (uint32_t quarter = 0; quarter < 4; quarter++, codes += QUARTER_BYTES, values += 2 * TILE_BYTES) {
        WF_TILE_LOAD(4, codes);
        WF_TILE_LOAD(6, values);
        WF_TILE_MULTIPLY(0, 4, 6);
        WF_TILE_LOAD(7, values + TILE_BYTES);
        WF_TILE_MULTIPLY(1, 4, 7);
        unpack_rows(at, quarter, later);
        WF_TILE_LOAD(5, codes + TILE_BYTES);
        WF_TILE_MULTIPLY(2, 5, 6);
        WF_TILE_MULTIPLY(3, 5, 7);
    }
}

/* The same by one tile of tokens. The sums of even and odd quarters are kept apart, as a product of tiles takes longer than two
 * steps. */
ALWAYS_INLINE void multiply_narrow_line(const uint8_t *codes, const int8_t *values, unpacking *at, uint8_t *later) {
#pragma GCC unroll 2
    for (uint32_t half = 0; half < 2; half++, codes += 2 * QUARTER_BYTES, values += 4 * TILE_BYTES) {
        WF_TILE_LOAD(6, values);
        WF_TILE_LOAD(4, codes);
        WF_TILE_MULTIPLY(0, 4, 6);
        unpack_rows(at, 2 * half, later);
        WF_TILE_LOAD(5, codes + TILE_BYTES);
        WF_TILE_MULTIPLY(2, 5, 6);
        WF_TILE_LOAD(7, values + 2 * TILE_BYTES);
        WF_TILE_LOAD(4, codes + QUARTER_BYTES);
        WF_TILE_MULTIPLY(1, 4, 7);
        unpack_rows(at, 2 * half + 1, later);
        WF_TILE_LOAD(5, codes + QUARTER_BYTES + TILE_BYTES);
        WF_TILE_MULTIPLY(3, 5, 7);
    }
}

static void ternary_matmul(const uint8_t *rows, size_t row_bytes, uint32_t row_count, const wf_activations *x, float *out,
                           size_t out_stride) {
    if (x->tokens < TOKENS_MIN) {
        below.ternary_matmul(rows, row_bytes, row_count, x, out, out_stride);
        return;
    }
    configure();
    _Alignas(64) uint8_t ring[LINES_TOGETHER][UNPACKED_BYTES];
    block_sums block = {.finished = 4};
    const bool is_narrow = x->tokens <= TILE_TOKENS;
    unpacking at = {.rows = rows, .row_bytes = row_bytes, .left = row_count, .later = rows + BLOCK_ROWS * row_bytes};
    at.passes = (x->tokens + 2 * TILE_TOKENS - 1) / (2 * TILE_TOKENS);
    find_rows(&at);
    uint32_t line = 0;
    for (; line + 1 < LINES_TOGETHER; line++, next_line(&at))
        for (uint32_t part = 0; part < 4; part++)
            unpack_rows(&at, part, ring[line]);
    for (uint32_t row = 0; row < row_count; row += BLOCK_ROWS)
        for (uint32_t token = 0; token < x->tokens; token += 2 * TILE_TOKENS) {
            const int8_t *values = x->arranged + token * wf_arranged_bytes((uint32_t)row_bytes * 4);
            zero_sums();
            for (size_t byte = 0; byte < row_bytes; byte += LINE_BYTES, values += 8 * TILE_BYTES) {
                const uint8_t *codes = ring[(line + 1) % LINES_TOGETHER];
                uint8_t *later = ring[line % LINES_TOGETHER];
                if (is_narrow)
                    multiply_narrow_line(codes, values, &at, later);
                else
                    multiply_line(codes, values, &at, later);
                next_line(&at);
                line++;
                if (block.finished < 4)
                    finish_next(&block, x, out, out_stride);
            }
            while (block.finished < 4) /* of short rows */
                finish_next(&block, x, out, out_stride);
            store_sums(block.sums);
            if (is_narrow)
                for (uint32_t i = 0; i < 256; i++) {
                    block.sums[0][i] += block.sums[1][i];
                    block.sums[2][i] += block.sums[3][i];
                }
            block.row = row;
            block.rows = row_count - row < BLOCK_ROWS ? row_count - row : BLOCK_ROWS;
            block.token = token;
            block.finished = 0;
        }
    while (block.finished < 4)
        finish_next(&block, x, out, out_stride);
}

/* ---- The peak ---- */

static uint64_t multiply_add_peak(uint64_t rounds) {
    static const _Alignas(64) uint8_t codes[TILE_BYTES];
    configure();
    zero_sums();
    WF_TILE_LOAD(4, codes);
    WF_TILE_LOAD(5, codes);
    WF_TILE_LOAD(6, codes);
    WF_TILE_LOAD(7, codes);
    for (uint64_t round = 0; round < rounds; round++) {
        WF_TILE_MULTIPLY(0, 4, 6);
        WF_TILE_MULTIPLY(1, 4, 7);
        WF_TILE_MULTIPLY(2, 5, 6);
        WF_TILE_MULTIPLY(3, 5, 7);
    }
    return rounds * 4 * TILE_ROWS * TILE_TOKENS * 64;
}

void wf_ternary_amx(wf_kernels *kernels) {
    below = *kernels;
    kernels->rows_together = BLOCK_ROWS;
    kernels->arrange = arrange;
    kernels->ternary_matmul = ternary_matmul;
    kernels->multiply_add_peak = multiply_add_peak;
}
