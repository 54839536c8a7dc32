/*
 * dispatch.c: the tiers that this build has and this processor can run, best first, and the one in use.
 *
 * The binary runs on any x86-64 or arm64; each tier's file is compiled with its own flags and entered only when the processor has
 * what it needs. The scalar tier is always there, as the specification and for tests.
 */
#include "kernels/dispatch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "wrinklefree.h"

/* The tiers of one architecture, at most. */
#define TIERS_MAX 6

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const wf_kernels *supported[TIERS_MAX];
static uint32_t supported_count;
static const wf_kernels *active;

static void support(const wf_kernels *tier) { supported[supported_count++] = tier; }

static void choose(void) {
    const wf_cpu_features has = wf_find_cpu_features();
#if defined(__x86_64__)
#if defined(WF_HAS_AMX)
    if (has.amx && has.avx512 && wf_allow_amx() && wf_amx_computes())
        support(wf_kernels_amx());
#endif
    if (has.avx512)
        support(&wf_kernels_avx512);
#if defined(WF_HAS_AVX_VNNI)
    if (has.avx_vnni)
        support(&wf_kernels_avx2_vnni);
#endif
    if (has.avx2)
        support(&wf_kernels_avx2);
#elif defined(__aarch64__)
    if (has.dot_products)
        support(&wf_kernels_neon_dotprod);
    support(&wf_kernels_neon);
#else
    (void)has;
#endif
    support(&wf_kernels_scalar);

    const char *forced = getenv("WRINKLEFREE_CPU");
    if (forced == NULL || *forced == '\0') {
        active = supported[0];
        return;
    }
    for (uint32_t i = 0; i < supported_count; i++)
        if (strcmp(forced, supported[i]->name) == 0)
            active = supported[i];
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
