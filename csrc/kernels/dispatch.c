/*
 * dispatch.c: the tiers that this build has and this processor can run, best first, and the one in use.
 *
 * The binary runs on any x86-64 or arm64; each tier's file is compiled with its own flags and entered only when the processor has
 * what it needs. The scalar tier is always there, as the specification and for tests.
 */
#include "kernels/dispatch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/tiers.h"
#include "wrinklefree.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static wf_kernels tables[WF_TIERS_MAX];
static const wf_kernels *supported[WF_TIERS_MAX];
static uint32_t supported_count;
static const wf_kernels *active;
static char names[128];  /* of those that are supported */
static char reason[256]; /* why `active` is no better one; empty where there is none */

static void choose(void) {
    wf_asks_far_ahead = wf_cpu_is_amd();
    wf_cpu_features features = wf_find_cpu_features();
#if defined(WF_HAS_AMX)
    if (features.lacking[WF_CPU_AVX512] == NULL && features.lacking[WF_CPU_AMX] == NULL && !wf_amx_computes())
        features.lacking[WF_CPU_AMX] = "their products are wrong";
#endif
    const char *forced = getenv("WRINKLEFREE_CPU");
    const bool is_forced = forced != NULL && *forced != '\0';
    for (uint32_t i = 0; i < wf_tier_count; i++) {
        const wf_tier *tier = wf_tiers[i];
        if (!wf_tier_is_usable(tier, &features))
            continue;
        wf_kernels *table = &tables[supported_count];
        wf_fill_table(tier, table);
        supported[supported_count++] = table;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? "," : "", tier->name);
        if (active != NULL || (is_forced && strcmp(forced, tier->name) != 0))
            continue;
        active = table;
        if (supported_count > 1)
            snprintf(reason, sizeof reason, "WRINKLEFREE_CPU asks for it");
        else
            wf_explain_tier(tier, &features, reason, sizeof reason);
    }
}

const wf_kernels *wf_kernels_active(void) {
    pthread_once(&once, choose);
    return active;
}

const wf_kernels *const *wf_kernels_supported(uint32_t *count) {
    pthread_once(&once, choose);
    *count = supported_count;
    return supported;
}

const char *wf_cpu_tier(void) {
    const wf_kernels *kernels = wf_kernels_active();
    return kernels == NULL ? NULL : kernels->name;
}

const char *wf_cpu_tiers(void) {
    (void)wf_kernels_active();
    return names;
}

const char *wf_cpu_tier_reason(void) {
    (void)wf_kernels_active();
    return *reason == '\0' ? NULL : reason;
}
