/*
 * cpu.h: which instructions this processor has, and which cores this process may run on.
 */
#ifndef WF_CPU_H
#define WF_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* Instructions that a kernel tier needs. */
enum wf_cpu_feature {
    WF_CPU_AVX2,         /* x86-64: AVX2, FMA and F16C */
    WF_CPU_AVX_VNNI,     /* x86-64: AVX-VNNI, with registers of 256 bits */
    WF_CPU_AVX512,       /* x86-64: AVX-512 F, BW, DQ, VL and VNNI */
    WF_CPU_AMX,          /* x86-64: AMX tiles of bytes */
    WF_CPU_NEON,         /* arm64: what every such processor has */
    WF_CPU_DOT_PRODUCTS, /* arm64: SDOT and UDOT */
    WF_CPU_FEATURES,
};

/* lacking[feature]: why this process can't use such instructions, static: "the processor has none", …; NULL where it can. */
typedef struct wf_cpu_features {
    const char *lacking[WF_CPU_FEATURES];
} wf_cpu_features;

/* Asks the processor, and the system for the permission to use tiles, which then holds for the process. */
wf_cpu_features wf_find_cpu_features(void);

/* Whether AMD made the processor. */
bool wf_cpu_is_amd(void);

/* Pins the calling thread to one core. Failure is no error: pinning is advice that some systems do not take. */
void wf_pin_thread(uint32_t core);

#endif
