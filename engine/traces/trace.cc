#include "engine/traces/trace.h"

#include <algorithm>
#include <functional>

#include "engine/error.h"
#include "engine/traces/trace_file.h"

namespace sluice::engine::traces {

void check_header(const TraceHeader& header) {
  const auto refuse = [](const std::string& what) {
    throw Error(Error::Kind::BadFile, "The routing of this model cannot be kept in a trace: " + what + ".");
  };
  const auto number = [](uint64_t value) { return std::to_string(value); };
  const std::vector<uint32_t>& layers = header.expert_layers;
  if (layers.empty()) refuse("no layer has experts");
  if (header.n_layers > kMostLayers)
    refuse("there are " + number(header.n_layers) + " layers, but at most " + number(kMostLayers) + " are allowed");
  if (!std::ranges::is_sorted(layers, std::less_equal()) || layers.back() >= header.n_layers)
    refuse("the numbers of the layers with experts are not ascending, or not below " + number(header.n_layers));
  if (header.n_experts > kMostExperts)
    refuse("a layer has " + number(header.n_experts) + " experts, but at most " + number(kMostExperts) +
           " are allowed");
  if (header.n_used == 0 || header.n_used > header.n_experts)
    refuse("a token uses " + number(header.n_used) + " of " + number(header.n_experts) + " experts");
  if (header.n_choices() > kMostTokenBytes / 4)
    refuse("a token makes " + number(header.n_choices()) + " choices, but at most " + number(kMostTokenBytes / 4) +
           " are allowed");
}

}  // namespace sluice::engine::traces
