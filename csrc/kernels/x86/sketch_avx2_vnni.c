/* sketch_avx2_vnni.c: the products of sketch_avx2.h for x86-64 processors with AVX-VNNI. */
#include "kernels/x86/sketch_avx2.h"

void wf_sketch_avx2_vnni(wf_kernels *kernels) { kernels->sketch_matmul = sketch_matmul; }
