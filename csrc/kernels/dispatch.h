/*
 * dispatch.h: which kernels to use on this processor.
 */
#ifndef WF_DISPATCH_H
#define WF_DISPATCH_H

#include <stdint.h>

#include "kernels/kernels.h"

/* The kernels of the tier in use: chosen at the first call (see wf_cpu_tier in wrinklefree.h), the same ever after. NULL when
 * WRINKLEFREE_CPU names a tier that this build or processor lacks. */
const wf_kernels *wf_kernels_active(void);

/* The tiers of this build that this processor can run, best first: tiers[*count], static. */
const wf_kernels *const *wf_kernels_supported(uint32_t *count);

#endif
