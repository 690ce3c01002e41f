#include "engine/store/policy.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

namespace sluice::engine {
namespace {

// Tokens after which a use counts half. Long enough to tell a favourite from chance (an expert of 256 with 8 chosen is due every
// 32 tokens), short enough to follow a change of subject.
constexpr double kHalfLife = 128;
// How many tokens' worth of evidence a learned heat is.
constexpr double kHeatTokens = 64;

class Lru : public Policy {
 public:
  explicit Lru(size_t n_experts) : last_use_(n_experts, 0) {}
  std::span<const ExpertNumber> begin_pass(int64_t) override { return {}; }
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
  std::span<const ExpertNumber> begin_pass(int64_t n_rows) override {
    weight_ = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, n_rows)));
    now_ += std::sqrt(static_cast<double>(n_rows)) / kHalfLife;
    return {};
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

// Lfu for what has not been used of late. What was used in the last passes goes only when nothing else is left: a token shares some
// experts with the one before it, whichever favourites a layer has.
class Hybrid : public Policy {
 public:
  Hybrid(size_t n_experts, std::span<const float> heat) : lfu_(n_experts, heat), last_pass_(n_experts, 0) {}
  std::span<const ExpertNumber> begin_pass(int64_t n_rows) override {
    lfu_.begin_pass(n_rows);
    ++pass_;
    recent_.emplace_back();
    cooled_.clear();
    if (recent_.size() <= kRecentPasses) return cooled_;
    for (const ExpertNumber expert : recent_.front())
      if (!is_recent(expert)) cooled_.push_back(expert);
    recent_.pop_front();
    return cooled_;
  }
  double use(ExpertNumber expert, int64_t n_rows) override {
    lfu_.use(expert, n_rows);
    if (std::exchange(last_pass_[expert], pass_) != pass_ && !recent_.empty()) recent_.back().push_back(expert);
    return worth(expert);
  }
  double worth(ExpertNumber expert) const override { return lfu_.worth(expert) + (is_recent(expert) ? kRecent : 0); }

 private:
  static constexpr double kRecent = 1e12;  // above all that Lfu gives
  bool is_recent(ExpertNumber expert) const {
    return last_pass_[expert] != 0 && last_pass_[expert] + kRecentPasses > pass_;
  }

  Lfu lfu_;
  uint64_t pass_ = 0;
  std::vector<uint64_t> last_pass_;               // that used an expert; 0: none
  std::deque<std::vector<ExpertNumber>> recent_;  // used in each of the last passes
  std::vector<ExpertNumber> cooled_;
};

class StaticHeat : public Policy {
 public:
  StaticHeat(size_t n_experts, std::span<const float> heat) : heat_(heat.begin(), heat.end()) {
    heat_.resize(n_experts, 0);
  }
  std::span<const ExpertNumber> begin_pass(int64_t) override { return {}; }
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
      return std::make_unique<Hybrid>(n_experts, heat);
  }
  return nullptr;
}

}  // namespace sluice::engine
