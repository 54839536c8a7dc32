/* neon_dotprod.c: the kernels of neon.h for arm64 processors with the dot product instructions. */
#define WF_TIER wf_kernels_neon_dotprod
#define WF_TIER_NAME "neon_dotprod"
#include "neon.h"
