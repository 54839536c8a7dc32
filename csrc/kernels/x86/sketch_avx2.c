/* sketch_avx2.c: the products of sketch_avx2.h for every x86-64 processor with AVX2. */
#include "kernels/x86/sketch_avx2.h"

void wf_sketch_avx2(wf_kernels *kernels) { kernels->sketch_matmul = sketch_matmul; }
