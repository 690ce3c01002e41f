// The vector loops for AVX2 with F16C; built with -mavx2 -mf16c.
#if defined(__x86_64__)
#define SLUICE_VECTOR_LOOPS kVectorLoopsAvx2
#define SLUICE_HARDWARE_HALF
#include "kernels/cpu/vector_loops.inc"
#endif
