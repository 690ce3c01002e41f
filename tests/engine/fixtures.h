// The tiny models of tests/data/models and their golden logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace sluice::tests {

// All of them that have golden logits.
inline constexpr const char* kFixtures[] = {
    "llama",
    "llama-factors-tied",
    "llama-linear",
    "llama-yarn",
    "llama-mixtral",
    "llama-q8_0",
    "llama-q4_1",
    "qwen3",
    "qwen3moe",
    "deepseek2-v2-lite",
    "deepseek2-v2-lite-split",
    "deepseek2-v2-lite-27",
    "deepseek2-v2",
    "deepseek2-v2-groups",
    "deepseek2-v3",
    "deepseek2-v3-split",
    "deepseek2-v3-groups",
    "deepseek2-kimi-k2",
    "deepseek2-v3-q8_0",
    "deepseek2-v3-split-q8_0",
    "deepseek2-r1-ud",
};

inline std::filesystem::path fixture_path(const std::string& name) {
  return std::filesystem::path(SLUICE_TEST_DATA) / "models" / (name + ".gguf");
}

inline std::shared_ptr<const engine::Model> open_fixture(const std::string& name, engine::ModelOptions options = {}) {
  if (options.n_threads == 0) options.n_threads = 2;
  return engine::Model::open(fixture_path(name), options);
}

// "SLLOGIT1", u32 tokens, u32 vocabulary, i32 ids, f32 logits [tokens, vocabulary].
struct Golden {
  std::vector<int32_t> tokens;
  uint32_t n_vocabulary = 0;
  std::vector<float> logits;

  std::vector<float> row(size_t i) const {
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(i * n_vocabulary);
    return {begin, begin + static_cast<std::ptrdiff_t>(n_vocabulary)};
  }
};

inline Golden read_golden(const std::string& name) {
  std::ifstream file(std::filesystem::path(SLUICE_TEST_DATA) / "models" / (name + ".logits"), std::ios::binary);
  char magic[8];
  uint32_t n_tokens = 0;
  Golden golden;
  file.read(magic, sizeof magic);
  file.read(reinterpret_cast<char*>(&n_tokens), 4);
  file.read(reinterpret_cast<char*>(&golden.n_vocabulary), 4);
  golden.tokens.resize(n_tokens);
  golden.logits.resize(size_t{n_tokens} * golden.n_vocabulary);
  file.read(reinterpret_cast<char*>(golden.tokens.data()), static_cast<std::streamsize>(golden.tokens.size() * 4));
  file.read(reinterpret_cast<char*>(golden.logits.data()), static_cast<std::streamsize>(golden.logits.size() * 4));
  if (!file || std::string(magic, 8) != "SLLOGIT1") throw std::runtime_error("bad golden file for " + name);
  return golden;
}

// max|a - b| / max|b|
inline double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return a.size() == b.size() ? difference / largest : 1e9;
}

// Logits of every position, one token at a time.
inline std::vector<float> logits_of_every_position(engine::Session& session, const std::vector<int32_t>& tokens) {
  std::vector<float> all;
  for (const int32_t token : tokens) {
    session.append(std::span(&token, 1));
    all.insert(all.end(), session.logits().begin(), session.logits().end());
  }
  return all;
}

}  // namespace sluice::tests
