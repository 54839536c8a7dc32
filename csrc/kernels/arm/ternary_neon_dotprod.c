/* ternary_neon_dotprod.c: the products of ternary_neon.h for arm64 processors with the dot product instructions. */
#include "kernels/arm/ternary_neon.h"

void wf_ternary_neon_dotprod(wf_kernels *kernels) {
    kernels->ternary_matmul = ternary_matmul;
    kernels->multiply_add_peak = multiply_add_peak;
}
