/*
 * cpu.h: which processor this is, which kernels to use on it, and which cores this process may run on.
 */
#ifndef WF_CPU_H
#define WF_CPU_H

#include <stdint.h>

#include "kernels/kernels.h"

/* The kernels of the tier in use: chosen at the first call (see wf_cpu_tier in wrinklefree.h), the same ever after. NULL when
 * WRINKLEFREE_CPU names a tier that this build or processor lacks. */
const wf_kernels *wf_kernels_active(void);

/* The tiers of this build that this processor can run, best first: tiers[*count], static. */
const wf_kernels *const *wf_kernels_supported(uint32_t *count);

/* Pins the calling thread to one core. Failure is no error: pinning is advice that some systems do not take. */
void wf_pin_thread(uint32_t core);

#endif
