/* groups_avx2.c: the products of groups_avx2.h for every x86-64 processor with AVX2. */
#include "kernels/x86/groups_avx2.h"

void wf_groups_avx2(wf_kernels *kernels) {
    kernels->arrange_groups = arrange_groups;
    kernels->ternary_groups_matmul = ternary_groups_matmul;
}
