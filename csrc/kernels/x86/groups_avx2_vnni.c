/* groups_avx2_vnni.c: the products of groups_avx2.h for x86-64 processors with AVX-VNNI. */
#include "kernels/x86/groups_avx2.h"

void wf_groups_avx2_vnni(wf_kernels *kernels) {
    kernels->arrange_groups = arrange_groups;
    kernels->ternary_groups_matmul = ternary_groups_matmul;
}
