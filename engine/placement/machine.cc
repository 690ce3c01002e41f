#include "engine/placement/machine.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace sluice::engine {

static double bits_a_weight(gguf::TensorType type) {
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  return 8.0 * static_cast<double>(layout.block_bytes) / static_cast<double>(layout.block_values);
}

const Gpu& gpu_of(const Machine& machine, uint32_t number) {
  return machine.gpus[std::min<size_t>(number, machine.gpus.size() - 1)];
}

KernelRates rates_for(const Machine& machine, gguf::TensorType type) {
  if (machine.kernels.empty())
    throw Error(Error::Kind::Usage,
                "The machine '" + machine.name +
                    "' has no rates of kernels; expected one a tensor type; measure it with `sluice "
                    "doctor --measure`.");
  if (const auto found = machine.kernels.find(type); found != machine.kernels.end()) return found->second;
  const KernelRates* nearest = nullptr;
  double least = INFINITY;
  for (const auto& [known, rates] : machine.kernels) {
    const double distance = std::abs(bits_a_weight(known) - bits_a_weight(type));
    if (distance >= least) continue;
    least = distance;
    nearest = &rates;
  }
  return *nearest;
}

}  // namespace sluice::engine
