// Takes the place of kernels/cpu/isa_features.cc in the test program whose AVX-512 is simulated: a machine with AVX2 has it all.
#include "kernels/cpu/isa_features.h"

namespace sluice::kernels {

std::vector<IsaFeature> isa_features() {
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;  // and so F16C, on every CPU there is
  return {{Isa::Avx2, "avx2", has_avx2},
          {Isa::Avx512, "simulated avx512", has_avx2},
          {Isa::Avx512Vnni, "simulated avx512-vnni", has_avx2}};
}

}  // namespace sluice::kernels
