#include "kernels/cpu/isa_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sluice::kernels {

#if defined(__x86_64__)
// Clang 14 does not know the name in __builtin_cpu_supports().
static bool machine_has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

// __builtin_cpu_supports() also asks whether the system saves the registers that a feature uses (XCR0).
std::vector<IsaFeature> isa_features() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return {
      {Isa::Avx2, "avx2", __builtin_cpu_supports("avx2") != 0},
      {Isa::Avx2, "fma", __builtin_cpu_supports("fma") != 0},
      {Isa::Avx2, "f16c", machine_has_f16c()},
      {Isa::Avx512, "avx512f", __builtin_cpu_supports("avx512f") != 0},
      {Isa::Avx512, "avx512bw", __builtin_cpu_supports("avx512bw") != 0},
      {Isa::Avx512, "avx512dq", __builtin_cpu_supports("avx512dq") != 0},
      {Isa::Avx512, "avx512vl", __builtin_cpu_supports("avx512vl") != 0},
      {Isa::Avx512Vnni, "avx512vnni", __builtin_cpu_supports("avx512vnni") != 0},
      {Isa::Avx512Vnni, "avx512vbmi", __builtin_cpu_supports("avx512vbmi") != 0},
  };
#else
  return {{Isa::Avx2, "x86-64", false}};
#endif
}

}  // namespace sluice::kernels
