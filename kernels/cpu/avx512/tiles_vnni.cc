// The tiles for AVX-512 with VNNI.
#if defined(__x86_64__)
#define SLUICE_LEVEL avx512_vnni
#define SLUICE_HAS_VNNI
#include "kernels/cpu/avx512/tiles.inc"
#endif
