// Planning a run without running: what the verbs plan and simulate ask.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/placement/machine.h"
#include "engine/placement/plan.h"

namespace sluice::engine {

// An opened file of which only the directory is read, and what every plan for it needs.
class PlannedModel {
 public:
  // Throws gguf::Error or Error.
  explicit PlannedModel(const std::filesystem::path& path);
  ~PlannedModel();
  PlannedModel(PlannedModel&&) noexcept;

  // n_context 0: as a session without options has it. Throws Error.
  Plan plan(const Machine& machine, PlanOptions options) const;
  const ModelSpec& spec() const;
  const gguf::File& file() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What would make decode faster, most first: the same model on machines with more of one thing.
struct Improvement {
  std::string change;      // "twice the RAM bandwidth"
  double decode_gain = 1;  // new rate over old
};
std::vector<Improvement> improvements(const PlannedModel& model, const Machine& machine, const Plan& plan);

// Which hits decide how fast a plan decodes: of chosen experts that are found in memory at all where the disk is read, else in VRAM.
enum class HitTier { Memory, Vram };
HitTier hit_tier(const Plan& plan);
// Decode at rising shares of such hits. Empty for dense models, and where the tier holds all experts.
struct HitRate {
  double share = 0;
  bool is_uniform = false;  // what the plan gives when every expert is equally likely
  Prediction decode;
};
std::vector<HitRate> decode_by_hit_rate(const Machine& machine, const Plan& plan);

}  // namespace sluice::engine
