// The vector loops for any machine (SSE2 on x86-64).
#define SLUICE_VECTOR_LOOPS kVectorLoopsBaseline
#include "kernels/cpu/vector_loops.inc"
