// The tiles for AVX-512 without VNNI.
#if defined(__x86_64__)
#define SLUICE_LEVEL avx512
#include "kernels/cpu/avx512/tiles.inc"
#endif
