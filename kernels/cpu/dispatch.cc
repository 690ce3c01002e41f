// The one place that decides which instruction set the CPU kernels use.

#include <cstdlib>
#include <string_view>

#include "kernels/cpu/vector_loops.h"

namespace sluice::kernels {

static bool machine_has_avx2() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

static const VectorLoops& choose_vector_loops() {
  const char* forced = std::getenv("SLUICE_ISA");
  const bool wants_baseline = forced != nullptr && std::string_view(forced) == "reference";
#if defined(__x86_64__)
  if (machine_has_avx2() && !wants_baseline) return kVectorLoopsAvx2;
#endif
  return kVectorLoopsBaseline;
}

const VectorLoops& vector_loops() {
  static const VectorLoops& chosen = choose_vector_loops();
  return chosen;
}

}  // namespace sluice::kernels
