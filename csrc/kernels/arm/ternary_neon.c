/*
 * ternary_neon.c: ternary products for every arm64 processor: those of ternary_neon.h, and of columns.
 *
 * Columns are bound by memory, each being a stream of its own. The sums of a step stay in 16 bits:
 * WF_COLUMNS_TOGETHER · 2 · 128 < 2^15.
 */
#include "kernels/arm/ternary_neon.h"

static void ternary_columns(const uint8_t *columns, size_t column_bytes, const uint32_t *indices, const int8_t *values,
                            uint32_t count, int32_t *sums) {
    for (uint32_t first = 0; first < count; first += WF_COLUMNS_TOGETHER) {
        wf_columns_step step;
        wf_begin_columns_step(&step, columns, column_bytes, indices, values, count, first);
        for (size_t byte = 0; byte < column_bytes; byte += 16) {
            int16x8_t low[4], high[4];
            for (uint32_t quarter = 0; quarter < 4; quarter++)
                low[quarter] = high[quarter] = vdupq_n_s16(0);
            for (uint32_t i = 0; i < WF_COLUMNS_TOGETHER; i++) {
                const uint8x16_t codes = vld1q_u8(step.columns[i] + byte);
                const int8x8_t factor = vdup_n_s8(step.values[i]);
                for (uint32_t quarter = 0; quarter < 4; quarter++) {
                    const int8x16_t weights = quarter_of(codes, quarter);
                    low[quarter] = vmlal_s8(low[quarter], vget_low_s8(weights), factor);
                    high[quarter] = vmlal_s8(high[quarter], vget_high_s8(weights), factor);
                }
            }
            int32_t *out = sums + byte / WF_BLOCK_BYTES * WF_BLOCK_WEIGHTS + byte % WF_BLOCK_BYTES;
            for (uint32_t quarter = 0; quarter < 4; quarter++, out += WF_BLOCK_BYTES) {
                vst1q_s32(out, vaddw_s16(vld1q_s32(out), vget_low_s16(low[quarter])));
                vst1q_s32(out + 4, vaddw_s16(vld1q_s32(out + 4), vget_high_s16(low[quarter])));
                vst1q_s32(out + 8, vaddw_s16(vld1q_s32(out + 8), vget_low_s16(high[quarter])));
                vst1q_s32(out + 12, vaddw_s16(vld1q_s32(out + 12), vget_high_s16(high[quarter])));
            }
        }
    }
}

void wf_ternary_neon(wf_kernels *kernels) {
    kernels->ternary_matmul = ternary_matmul;
    kernels->ternary_columns = ternary_columns;
    kernels->multiply_add_peak = multiply_add_peak;
}
