// Which expert to give up when another one needs its place.
//
// A policy is a number for every expert, its worth; the one of least worth goes first. It changes when the expert is used, and once
// more where a policy favours what was used in the last passes. That is enough for all the usual ones, and it keeps the choice of a
// victim cheap and the same on every machine.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/options.h"

namespace sluice::engine {

// An expert's number in a model: layer * experts of a layer + expert.
using ExpertNumber = uint32_t;

inline constexpr PolicyKind kPolicies[] = {PolicyKind::Lru, PolicyKind::Lfu, PolicyKind::StaticHeat,
                                           PolicyKind::Hybrid};
std::string_view policy_name(PolicyKind kind);  // "lru", "lfu", "static", "hybrid"

class Policy {
 public:
  virtual ~Policy() = default;
  // A forward pass begins, of so many rows. Returns the experts whose worth has fallen since, because they have not been used for a
  // while; valid until the next call.
  virtual std::span<const ExpertNumber> begin_pass(int64_t n_rows) = 0;
  // An expert was chosen by so many rows of the pass; its new worth.
  virtual double use(ExpertNumber expert, int64_t n_rows) = 0;
  // The worth of an expert that has not been used by now.
  virtual double worth(ExpertNumber expert) const = 0;
};

// The passes for which Hybrid keeps what was used before anything else.
inline constexpr uint32_t kRecentPasses = 2;

// heat: uses a token as learned in earlier runs, one number for each expert; empty when nothing is known.
std::unique_ptr<Policy> make_policy(PolicyKind kind, size_t n_experts, std::span<const float> heat);

}  // namespace sluice::engine
