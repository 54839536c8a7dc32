/* groups_neon.c: the products of groups_neon.h for every arm64 processor. */
#include "kernels/arm/groups_neon.h"

void wf_groups_neon(wf_kernels *kernels) {
    kernels->arrange_groups = arrange_groups;
    kernels->ternary_groups_matmul = ternary_groups_matmul;
}
