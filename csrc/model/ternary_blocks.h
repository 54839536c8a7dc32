/*
 * ternary_blocks.h: the blocks of ternary weights in which other programs' files keep them, made into ours without changing a code.
 */
#ifndef WF_TERNARY_BLOCKS_H
#define WF_TERNARY_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wrinklefree.h"

/* Weights of one block of TQ1_0 and TQ2_0, and its bytes. The last two are its scale, a half. */
#define WF_TQ_WEIGHTS 256U
#define WF_TQ1_0_BYTES 54U
#define WF_TQ2_0_BYTES 66U

/* Whether weights are floating-point numbers. */
bool wf_is_master(uint32_t source);

/* The half that two bytes hold, the lower one first: a block's scale. */
float wf_half_at(const uint8_t bytes[2]);

/* Bytes whose digits n together are neighbours, and how many digits each has. */
typedef struct wf_digit_run {
    uint32_t bytes, digits;
} wf_digit_run;

/* Codes from base-3 digits: a byte is a fraction that is multiplied out digit by digit. Runs of bytes follow each other. */
void wf_codes_of_digits(const uint8_t *bytes, const wf_digit_run *runs, uint32_t run_count, uint8_t *codes);

/* The 256 weights of a block as two blocks of ours. Its codes may be anything. Returns false when one of them is 3. */
bool wf_pack_tq1_0(const uint8_t block[WF_TQ1_0_BYTES], uint8_t out[2 * WF_BLOCK_BYTES]);
bool wf_pack_tq2_0(const uint8_t block[WF_TQ2_0_BYTES], uint8_t out[2 * WF_BLOCK_BYTES]);

/* A block of 128 weights of I2_S as one of ours. Returns false when a code is 3. */
bool wf_pack_i2_s(const uint8_t block[WF_BLOCK_BYTES], uint8_t out[WF_BLOCK_BYTES]);

/* Codes `first` … `first + count - 1` of weights in I2_S, one a byte; those may begin and end within blocks. */
void wf_codes_of_i2_s(const uint8_t *weights, uint64_t first, size_t count, uint8_t *codes);

/* The codes of a block of ours, one a byte, in the order of the weights. */
void wf_codes_of_block(const uint8_t block[WF_BLOCK_BYTES], uint8_t codes[WF_BLOCK_WEIGHTS]);

/* Bytes of one weight of a master source; 1 for codes; 0 when there is no such source. */
uint64_t wf_source_width(uint32_t source);

/* Copies `count` (at most 128) master weights from `weights` into block[128] as float; the rest of the block becomes 0. */
void wf_load_block(const uint8_t *weights, uint32_t source, size_t count, float block[WF_BLOCK_WEIGHTS]);

/* Packs `count` (at most 128) codes into out[32]. Returns false when one of them is over 2. */
bool wf_pack_code_block(const uint8_t *codes, size_t count, uint8_t out[WF_BLOCK_BYTES]);

#endif
