#include "tools/comparison_report.h"

#include <nlohmann/json.hpp>

#include "tools/text_format.h"

namespace sluice::tools {

using engine::Assumption;
using engine::Comparison;

// The sentence that says which assumption was off.
static std::string off_text(const Comparison& comparison) {
  switch (comparison.off) {
    case Assumption::None:
      return {};
    case Assumption::ExpertHits:
      return format(
          "%.0f%% of the chosen experts were in memory, and %.0f%% were assumed, as if all were equally likely",
          100 * comparison.found, 100 * comparison.assumed);
    case Assumption::DiskRate:
      return format("the disk read at %.2f GB/s, and %.2f were assumed (`sluice doctor MODEL --measure` measures it)",
                    comparison.found / 1e9, comparison.assumed / 1e9);
    case Assumption::CpuRate:
      return format("the CPU and its memory multiplied at %.2f of the rate that was measured", comparison.found);
    case Assumption::OtherPrograms:
      return format("other programs had the cores: this one was busy for %.0f%% of the time", 100 * comparison.found);
  }
  return {};
}

static const char* assumption_name(Assumption assumption) {
  switch (assumption) {
    case Assumption::None:
      return "none";
    case Assumption::ExpertHits:
      return "expert_hits";
    case Assumption::DiskRate:
      return "disk_rate";
    case Assumption::CpuRate:
      return "cpu_rate";
    case Assumption::OtherPrograms:
      return "other_programs";
  }
  return "unknown";
}

static std::string phase_text(const char* phase, const Comparison& comparison) {
  const double rate = comparison.predicted.tokens_per_second();
  std::string text =
      format("%s %.*f tokens/s by %s, and %.2f times that came", phase, rate < 10 ? 2 : 1, rate,
             std::string(bound_name(comparison.predicted.bound)).c_str(), comparison.actual_over_predicted);
  if (!comparison.is_near()) text += ": " + off_text(comparison);
  return text;
}

std::string comparison_lines(const engine::RunComparison& comparison) {
  std::string lines;
  for (const auto& [phase, of_phase] : {std::pair{"decode", comparison.decode}, {"prompt", comparison.prefill}})
    if (of_phase.actual_over_predicted > 0)
      lines += (lines.empty() ? "\npredicted    " : "\n             ") + phase_text(phase, of_phase);
  return lines;
}

nlohmann::ordered_json comparison_json(const Comparison& comparison) {
  if (comparison.actual_over_predicted <= 0) return nullptr;
  return {{"tok_s", comparison.predicted.tokens_per_second()},
          {"bound", bound_name(comparison.predicted.bound)},
          {"actual_over_predicted", comparison.actual_over_predicted},
          {"is_near", comparison.is_near()},
          {"assumption_off", assumption_name(comparison.off)},
          {"assumed", comparison.assumed},
          {"found", comparison.found}};
}

}  // namespace sluice::tools
