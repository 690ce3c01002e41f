// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::engine {

using TokenId = int32_t;

struct LogitBias {
  TokenId token = 0;
  float bias = 0;  // added to the logit; -infinity forbids the token
};

// The order of operations: bias, penalties, then (unless greedy) top-k, top-p, min-p, temperature, draw.
struct SamplerOptions {
  float temperature = 0.8f;     // 0 or less: greedy
  int32_t top_k = 40;           // 0 or less: all
  float top_p = 0.95f;          // 1: off
  float min_p = 0.05f;          // 0: off
  float repeat_penalty = 1.0f;  // 1: off; positive logits of recent tokens are divided by it, negative ones multiplied
  float presence_penalty = 0;
  float frequency_penalty = 0;
  int32_t repeat_last_n = 64;  // how many recent tokens the penalties look at; -1: all, 0: none
  uint64_t seed = 0;
  std::vector<LogitBias> logit_bias;
};

// Deterministic: the same options, history and logits give the same tokens on every machine. The random numbers come
// from a generator of our own (splitmix64), since the standard library's distributions differ between implementations.
class Sampler {
 public:
  explicit Sampler(SamplerOptions options);

  // Draws a token. `history` is the sequence so far, prompt included, oldest first.
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

  const SamplerOptions& options() const { return options_; }

 private:
  uint64_t next_random();

  SamplerOptions options_;
  uint64_t state_;
};

}  // namespace sluice::engine
