/*
 * machine.c: what this machine can do at most, so that a speed can be stated as a share of it, and what kernels reach by themselves.
 *
 * Two numbers bound everything here: how fast weights can be read from memory, and how fast they can be multiplied once
 * they are in registers. With many threads a third one matters: what it costs to hand out work to them.
 */
#include <string.h>

#include "base/error.h"
#include "bench/measure.h"
#include "kernels/dispatch.h"
#include "wrinklefree.h"

#define TOKENS_MAX 1024U

/* The kernels of the tier that is named, or of the one in use; NULL where there are none. */
static const wf_kernels *kernels_of(const char *tier) {
    if (tier == NULL)
        return wf_kernels_active();
    uint32_t count;
    const wf_kernels *const *supported = wf_kernels_supported(&count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(supported[i]->name, tier) == 0)
            return supported[i];
    return NULL;
}

double wf_machine_measure(uint32_t kind, const char *tier, uint32_t threads, uint32_t tokens, char *error, uint32_t error_size) {
    const wf_measurement measurement = {kernels_of(tier), threads, tokens, error, error_size};
    const wf_kernels *kernels = measurement.kernels;
    if (kernels == NULL) {
        wf_fail(error, error_size, "this processor has no kernel tier %s", tier == NULL ? "that WRINKLEFREE_CPU names" : tier);
        return 0;
    }
    if (kind > WF_MACHINE_PHASE && (tokens < 1 || tokens > TOKENS_MAX)) {
        wf_fail(error, error_size, "%u tokens can't be measured; use 1 to %u", tokens, TOKENS_MAX);
        return 0;
    }
    switch (kind) {
    case WF_MACHINE_READ_BANDWIDTH:
        return wf_measure_reads(&measurement);
    case WF_MACHINE_MULTIPLY_ADDS:
        return wf_measure_multiply_adds(&measurement, kernels->multiply_add_peak);
    case WF_MACHINE_FLOAT_MULTIPLY_ADDS:
        return wf_measure_multiply_adds(&measurement, kernels->float_multiply_add_peak);
    case WF_MACHINE_PHASE:
        return wf_measure_phases(&measurement);
    case WF_MACHINE_TERNARY:
    case WF_MACHINE_SKETCH:
        return wf_measure_product(&measurement, kind == WF_MACHINE_TERNARY);
    case WF_MACHINE_ATTENTION_F32:
        return wf_measure_attention(&measurement, WF_KV_F32);
    case WF_MACHINE_ATTENTION_F16:
        return wf_measure_attention(&measurement, WF_KV_F16);
    case WF_MACHINE_ATTENTION_Q8:
        return wf_measure_attention(&measurement, WF_KV_Q8);
    default:
        wf_fail(error, error_size, "%u is nothing that can be measured; use one of WF_MACHINE_…", kind);
        return 0;
    }
}
