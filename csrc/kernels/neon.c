/* neon.c: the kernels of neon.h for every arm64 processor. */
#define WF_TIER wf_kernels_neon
#define WF_TIER_NAME "neon"
#include "neon.h"
