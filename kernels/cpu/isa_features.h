// What the CPU and the system say of the instruction sets.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/isa.h"

namespace sluice::kernels {

// Something that the kernels of a level use.
struct IsaFeature {
  Isa isa;
  std::string_view name;
  bool found;  // in the CPU, and the system keeps its registers
};

// All that any level uses, by level.
std::vector<IsaFeature> isa_features();

}  // namespace sluice::kernels
