/* groups_neon_dotprod.c: the products of groups_neon.h for arm64 processors with the dot product instructions. */
#include "kernels/arm/groups_neon.h"

void wf_groups_neon_dotprod(wf_kernels *kernels) {
    kernels->arrange_groups = arrange_groups;
    kernels->ternary_groups_matmul = ternary_groups_matmul;
}
