// Stands before the compiler's <immintrin.h> where kernels/cpu/avx512 is built to run without AVX-512: the real intrinsics up
// to AVX2, SIMDe's for AVX-512 (made of what the machine has), and ours for what SIMDe 0.7.4 does not have.
#pragma once
#pragma GCC system_header

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
// After the one above.
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include "tests/simde/intrinsics_512.h"
