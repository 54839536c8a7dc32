/*
 * cpu.c: processor features and cores.
 */
#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "wrinklefree.h"

#if defined(__x86_64__)

/* Asked of the processor itself, since compilers that know the instructions may not know the name. The system's part is AVX2's. */
static bool has_avx_vnni(void) {
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1U << 4) != 0;
}

static bool has_tiles(void) {
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 24 & 3) == 3;
}

/* Asks the system to let this process use tiles, which holds for good. False where it doesn't know tiles, or where a thread's stack for signals
 * is too small for their state. */
static bool may_use_tiles(void) {
#if defined(__linux__)
    /* Linux's number for the state of tiles, and the call that asks for the permission to use it: ARCH_REQ_XCOMP_PERM, since Linux 5.16. */
    enum { XFEATURE_TILE_DATA = 18, REQUEST_PERMISSION = 0x1023 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, XFEATURE_TILE_DATA) == 0;
#else
    return false;
#endif
}

#elif defined(__aarch64__)

static bool has_dot_products(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true; /* every Apple processor with arm64 that runs a current system */
#endif
}

#endif

wf_cpu_features wf_find_cpu_features(void) {
    static const char *const none = "the processor has none";
    wf_cpu_features features;
    for (uint32_t feature = 0; feature < WF_CPU_FEATURES; feature++)
        features.lacking[feature] = none;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
        features.lacking[WF_CPU_AVX2] = NULL;
    if (has_avx_vnni())
        features.lacking[WF_CPU_AVX_VNNI] = NULL;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        features.lacking[WF_CPU_AVX512] = NULL;
    if (has_tiles())
        features.lacking[WF_CPU_AMX] = may_use_tiles() ? NULL : "the system does not allow them";
#elif defined(__aarch64__)
    features.lacking[WF_CPU_NEON] = NULL;
    if (has_dot_products())
        features.lacking[WF_CPU_DOT_PRODUCTS] = NULL;
#endif
    return features;
}

uint32_t wf_cpu_cores(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int count = CPU_COUNT(&set);
        return count > 0 ? (uint32_t)count : 1;
    }
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}

bool wf_cpu_is_amd(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_is("amd");
#else
    return false;
#endif
}

void wf_pin_thread(uint32_t core) {
#if defined(__linux__)
    if (core >= CPU_SETSIZE)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
#else
    (void)core;
#endif
}
