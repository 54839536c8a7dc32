/* avx2.c: the kernels of avx2.h for every x86-64 processor with AVX2. */
#define WF_TIER wf_kernels_avx2
#define WF_TIER_NAME "avx2"
#include "avx2.h"
