/*
 * cpu.c: processor features, kernel dispatch and cores.
 *
 * The binary runs on any x86-64 or arm64; each tier's file is compiled with its own flags and entered only when the processor has
 * what it needs. The scalar tier is always there, as the specification and for tests.
 */
#include "cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "wrinklefree.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const wf_kernels *supported[6];
static uint32_t supported_count;
static const wf_kernels *active;

#if defined(__aarch64__)
static bool has_dot_products(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true; /* every Apple processor with arm64 that runs a current system */
#endif
}
#endif

#if defined(WF_HAS_AVX_VNNI)
/* Asked of the processor itself, since compilers that know the instructions may not know the name. The system's part is AVX2's. */
static bool has_avx_vnni(void) {
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1U << 4) != 0;
}
#endif

#if defined(WF_HAS_AMX)
/* Linux's number for the state of tiles, and the call that asks for the permission to use it. */
#define XFEATURE_TILE_DATA 18
#define REQUEST_PERMISSION 0x1023 /* ARCH_REQ_XCOMP_PERM, since Linux 5.16 */

/* Why tiles are not used, or NULL. The permission holds for the process. It is not given by systems that don't know tiles, nor where a
 * thread's stack for signals is too small for their state. */
static const char *refuse_amx(void) {
    uint32_t a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 3) != 3)
        return "the processor has no tiles";
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, XFEATURE_TILE_DATA) != 0)
        return "the system does not allow tiles";
    return wf_amx_computes() ? NULL : "tiles compute a wrong product";
}
#endif

static void choose(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512vnni");
#if defined(WF_HAS_AMX)
    if (has_avx512 && refuse_amx() == NULL)
        supported[supported_count++] = wf_kernels_amx();
#endif
    if (has_avx512)
        supported[supported_count++] = &wf_kernels_avx512;
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#if defined(WF_HAS_AVX_VNNI)
    if (has_avx2 && has_avx_vnni())
        supported[supported_count++] = &wf_kernels_avx2_vnni;
#endif
    if (has_avx2)
        supported[supported_count++] = &wf_kernels_avx2;
#elif defined(__aarch64__)
    if (has_dot_products())
        supported[supported_count++] = &wf_kernels_neon_dotprod;
    supported[supported_count++] = &wf_kernels_neon;
#endif
    supported[supported_count++] = &wf_kernels_scalar;

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

uint32_t wf_abi_version(void) { return WF_ABI_VERSION; }

const char *wf_cpu_tier(void) {
    const wf_kernels *kernels = wf_kernels_active();
    return kernels == NULL ? NULL : kernels->name;
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
