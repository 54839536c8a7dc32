/*
 * cpu.h: which instructions this processor has, and which cores this process may run on.
 */
#ifndef WF_CPU_H
#define WF_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* The instructions that a kernel tier needs, as far as the processor and the system offer them. */
typedef struct wf_cpu_features {
    bool avx2;         /* x86-64: AVX2, FMA and F16C */
    bool avx_vnni;     /* those, and AVX-VNNI */
    bool avx512;       /* AVX-512 F, BW, DQ, VL and VNNI */
    bool amx;          /* AMX tiles of bytes; wf_allow_amx must have answered true before one is used */
    bool dot_products; /* arm64: SDOT and UDOT */
} wf_cpu_features;

wf_cpu_features wf_find_cpu_features(void);

/* Asks the system to let this process use AMX tiles, which holds for good. False where it doesn't know tiles, or where a thread's stack
 * for signals is too small for their state. */
bool wf_allow_amx(void);

/* Pins the calling thread to one core. Failure is no error: pinning is advice that some systems do not take. */
void wf_pin_thread(uint32_t core);

#endif
