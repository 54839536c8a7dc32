/* ternary_avx2_vnni.c: the products of ternary_avx2.h for x86-64 processors with AVX-VNNI, which have no AVX-512 as a rule. */
#include "kernels/x86/ternary_avx2.h"

void wf_ternary_avx2_vnni(wf_kernels *kernels) {
    kernels->ternary_matmul = ternary_matmul;
    kernels->multiply_add_peak = multiply_add_peak;
}
