/* avx2_vnni.c: the kernels of avx2.h for x86-64 processors with AVX-VNNI, which have no AVX-512 as a rule. */
#define WF_TIER wf_kernels_avx2_vnni
#define WF_TIER_NAME "avx2_vnni"
#include "avx2.h"
