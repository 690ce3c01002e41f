// Rows as they lie in the file for AVX-512 with VNNI.
#if defined(__x86_64__)
#define SLUICE_LEVEL avx512_vnni
#define SLUICE_HAS_VNNI
#include "kernels/cpu/avx512/formats.h"
#include "kernels/cpu/avx512/iq1_m.inc"
#include "kernels/cpu/avx512/iq1_s.inc"
#include "kernels/cpu/avx512/iq2.inc"
#include "kernels/cpu/avx512/iq3.inc"
#include "kernels/cpu/avx512/iq4_nl.inc"
#include "kernels/cpu/avx512/iq4_xs.inc"
#include "kernels/cpu/avx512/mxfp4.inc"
#include "kernels/cpu/avx512/q2_k_q3_k.inc"
#include "kernels/cpu/avx512/q4_k_q5_k.inc"
#include "kernels/cpu/avx512/q4_q5.inc"
#include "kernels/cpu/avx512/q6_k.inc"
#include "kernels/cpu/avx512/q8_0.inc"
#include "kernels/cpu/avx512/q8_k_q1_0.inc"
#include "kernels/cpu/avx512/tq1_0_tq2_0.inc"
#endif
