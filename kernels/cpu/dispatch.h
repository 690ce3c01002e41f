// The one place that decides which instruction set the CPU kernels use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/isa.h"

namespace sluice::kernels {

// The highest level that this machine has, or the one that SLUICE_ISA in the environment names (isa_name()). Kernels that
// a level does not have are those of the next lower one (ByIsa). Decided once. Throws std::invalid_argument, with a
// sentence for the user, when SLUICE_ISA names no level or one that this machine lacks.
Isa chosen_isa();

// Whether this machine has all that a level uses (kernels/cpu/isa_features.h).
bool machine_has(Isa isa);

// The level for a value of SLUICE_ISA, null for none; throws as chosen_isa().
Isa choose_isa(const char* forced);

// Which level serves a kernel on a machine that runs at a given one.
struct KernelLevel {
  std::string_view kind;  // "rows", "attention" ...
  std::string name;       // "Q4_K", "rms_norm" ...
  Isa isa;
};
// Of all kernels, those of a kind together.
std::vector<KernelLevel> kernel_levels(Isa most);

}  // namespace sluice::kernels
