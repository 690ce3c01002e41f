#include "engine/session/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace sluice::engine {
namespace {

struct Candidate {
  TokenId token;
  float logit;
};

// Higher logits first; equal ones in token order, so that the result does not depend on the sorting algorithm.
bool comes_before(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

void apply_bias(const SamplerOptions& options, std::vector<float>& logits) {
  for (const LogitBias& bias : options.logit_bias)
    if (bias.token >= 0 && static_cast<size_t>(bias.token) < logits.size())
      logits[static_cast<size_t>(bias.token)] += bias.bias;
}

void apply_penalties(const SamplerOptions& options, std::span<const TokenId> history, std::vector<float>& logits) {
  if (options.repeat_penalty == 1.0f && options.presence_penalty == 0 && options.frequency_penalty == 0) return;
  size_t n = history.size();
  if (options.repeat_last_n >= 0) n = std::min(n, static_cast<size_t>(options.repeat_last_n));
  std::unordered_map<TokenId, int> counts;
  for (const TokenId token : history.last(n)) ++counts[token];
  for (const auto& [token, count] : counts) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / options.repeat_penalty : logit * options.repeat_penalty;
    logit -= options.presence_penalty + static_cast<float>(count) * options.frequency_penalty;
  }
}

// The best k in order.
void keep_top_k(std::vector<Candidate>& candidates, int32_t top_k) {
  const size_t k = top_k <= 0 ? candidates.size() : std::min(candidates.size(), static_cast<size_t>(top_k));
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k), candidates.end(),
                    comes_before);
  candidates.resize(k);
}

// exp(logit - best), not normalised.
std::vector<double> odds_of(const std::vector<Candidate>& candidates, double temperature) {
  std::vector<double> odds;
  odds.reserve(candidates.size());
  for (const Candidate& c : candidates)
    odds.push_back(std::exp((static_cast<double>(c.logit) - static_cast<double>(candidates[0].logit)) / temperature));
  return odds;
}

// The smallest beginning whose probability reaches top_p; at least one.
void keep_top_p(std::vector<Candidate>& candidates, float top_p) {
  if (top_p >= 1.0f) return;
  const std::vector<double> odds = odds_of(candidates, 1.0);
  const double needed = top_p * std::accumulate(odds.begin(), odds.end(), 0.0);
  double reached = 0;
  size_t n = 0;
  while (n < odds.size()) {
    reached += odds[n++];
    if (reached >= needed) break;
  }
  candidates.resize(std::max<size_t>(1, n));
}

// Those at least min_p times as likely as the best.
void keep_min_p(std::vector<Candidate>& candidates, float min_p) {
  if (min_p <= 0) return;
  const double lowest = static_cast<double>(candidates[0].logit) + std::log(std::min(1.0, static_cast<double>(min_p)));
  std::erase_if(candidates, [&](const Candidate& c) { return static_cast<double>(c.logit) < lowest; });
}

}  // namespace

Sampler::Sampler(SamplerOptions options) : options_(std::move(options)), state_(options_.seed) {}

// splitmix64 (Steele, Lea and Flood 2014).
uint64_t Sampler::next_random() {
  state_ += 0x9E3779B97F4A7C15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

TokenId Sampler::sample(std::span<const float> model_logits, std::span<const TokenId> history) {
  std::vector<float> logits(model_logits.begin(), model_logits.end());
  apply_bias(options_, logits);
  apply_penalties(options_, history, logits);
  if (options_.temperature <= 0)
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());

  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -INFINITY) candidates.push_back({static_cast<TokenId>(i), logits[i]});
  if (candidates.empty()) return 0;
  keep_top_k(candidates, options_.top_k);
  keep_top_p(candidates, options_.top_p);
  keep_min_p(candidates, options_.min_p);

  const std::vector<double> odds = odds_of(candidates, options_.temperature);
  const double total = std::accumulate(odds.begin(), odds.end(), 0.0);
  const double draw = static_cast<double>(next_random() >> 11) * 0x1p-53 * total;  // 53 random bits in [0, total)
  double reached = 0;
  for (size_t i = 0; i < odds.size(); ++i) {
    reached += odds[i];
    if (draw < reached) return candidates[i].token;
  }
  return candidates.back().token;
}

}  // namespace sluice::engine
