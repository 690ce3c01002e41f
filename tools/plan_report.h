// A plan, told.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/session/planning.h"

namespace sluice::tools {

// What `sluice plan` shows of a model on a machine.
struct PlanReport {
  std::string model;  // its path
  uint64_t tensor_bytes = 0;
  engine::Machine machine;
  engine::Plan plan;
  std::vector<engine::HitRate> by_hit_rate;
  std::vector<engine::Improvement> improvements;
};

std::string plan_text(const PlanReport& report);
// The same as numbers, with what `run --plan` needs under "run" and "model".
nlohmann::ordered_json plan_json(const PlanReport& report);

// "42.1 tokens/s, bound by disk"
std::string prediction_text(const engine::Prediction& prediction);
nlohmann::ordered_json prediction_json(const engine::Prediction& prediction);

}  // namespace sluice::tools
