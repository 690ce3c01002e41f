#include "engine/store/policy.h"

#include <algorithm>
#include <cmath>

namespace sluice::engine {
namespace {

// Tokens after which a use counts half. Long enough to tell a favourite from chance (an expert of 256 with 8 chosen is due every
// 32 tokens), short enough to follow a change of subject.
constexpr double kHalfLife = 256;
// How many tokens' worth of evidence a learned heat is.
constexpr double kHeatTokens = 64;

class Lru : public Policy {
 public:
  explicit Lru(size_t n_experts) : last_use_(n_experts, 0) {}
  void begin_pass(int64_t) override {}
  double use(ExpertNumber expert, int64_t) override { return last_use_[expert] = ++clock_; }
  double worth(ExpertNumber expert) const override { return last_use_[expert]; }

 private:
  double clock_ = 0;
  std::vector<double> last_use_;
};

// Counts that fade, seen from a fixed moment: instead of making all counts smaller as time passes, a later use counts more. Only
// the order matters, so what is handed out is the logarithm, which does not overflow.
class Lfu : public Policy {
 public:
  Lfu(size_t n_experts, std::span<const float> heat) : logarithms_(n_experts, kNever) {
    for (size_t i = 0; i < std::min(n_experts, heat.size()); ++i)
      if (heat[i] > 0) logarithms_[i] = std::log2(static_cast<double>(heat[i]) * kHeatTokens);
  }
  // A prompt shows which experts its subject needs, but the answer has yet to need them: its rows count as the passes of a few
  // tokens, however many they are.
  void begin_pass(int64_t n_rows) override {
    weight_ = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, n_rows)));
    now_ += std::sqrt(static_cast<double>(n_rows)) / kHalfLife;
  }
  double use(ExpertNumber expert, int64_t n_rows) override {
    // log2(2^old + uses * 2^now)
    const double old = logarithms_[expert];
    const double added = now_ + std::log2(static_cast<double>(n_rows) * weight_);
    const double larger = std::max(old, added), smaller = std::min(old, added);
    return logarithms_[expert] = larger + std::log2(1 + std::exp2(smaller - larger));
  }
  double worth(ExpertNumber expert) const override { return logarithms_[expert]; }

 private:
  static constexpr double kNever = -1e9;
  double now_ = 0;  // half-lives since the beginning
  double weight_ = 1;
  std::vector<double> logarithms_;
};

class StaticHeat : public Policy {
 public:
  StaticHeat(size_t n_experts, std::span<const float> heat) : heat_(heat.begin(), heat.end()) {
    heat_.resize(n_experts, 0);
  }
  void begin_pass(int64_t) override {}
  double use(ExpertNumber expert, int64_t) override { return heat_[expert]; }
  double worth(ExpertNumber expert) const override { return heat_[expert]; }

 private:
  std::vector<double> heat_;
};

}  // namespace

std::string_view policy_name(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::Lru:
      return "lru";
    case PolicyKind::Lfu:
      return "lfu";
    case PolicyKind::StaticHeat:
      return "static";
    case PolicyKind::Hybrid:
      return "hybrid";
  }
  return "unknown";
}

std::unique_ptr<Policy> make_policy(PolicyKind kind, size_t n_experts, std::span<const float> heat) {
  switch (kind) {
    case PolicyKind::Lru:
      return std::make_unique<Lru>(n_experts);
    case PolicyKind::Lfu:
      return std::make_unique<Lfu>(n_experts, std::span<const float>());
    case PolicyKind::StaticHeat:
      return std::make_unique<StaticHeat>(n_experts, heat);
    case PolicyKind::Hybrid:
      return std::make_unique<Lfu>(n_experts, heat);
  }
  return nullptr;
}

}  // namespace sluice::engine
