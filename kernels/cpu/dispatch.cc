// The one place that decides which instruction set the CPU kernels use.

#include <cstdlib>
#include <string_view>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/vector_loops.h"

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

static bool machine_has_avx2() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && machine_has_f16c();
#else
  return false;
#endif
}

static Isa choose_isa() {
  const char* forced = std::getenv("SLUICE_ISA");
  const bool wants_reference = forced != nullptr && std::string_view(forced) == "reference";
  return machine_has_avx2() && !wants_reference ? Isa::Avx2 : Isa::Reference;
}

Isa chosen_isa() {
  static const Isa chosen = choose_isa();
  return chosen;
}

const VectorLoops& vector_loops() {
#if defined(__x86_64__)
  if (chosen_isa() == Isa::Avx2) return kVectorLoopsAvx2;
#endif
  return kVectorLoopsBaseline;
}

const RowOperations& row_operations() {
#if defined(__x86_64__)
  if (chosen_isa() == Isa::Avx2) return kRowOperationsAvx2;
#endif
  return kRowOperationsBaseline;
}

AttendTile* attend_tile() {
#if defined(__x86_64__)
  if (chosen_isa() == Isa::Avx2) return attend_tile_avx2;
#endif
  return attend_tile_baseline;
}

}  // namespace sluice::kernels
