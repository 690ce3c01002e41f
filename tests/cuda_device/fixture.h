// What the tests of models on the emulated GPU share.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/session/divergence.h"
#include "tests/engine/fixtures.h"
#include "tests/simt/cudart/emulated_gpu.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/kernels.h"

namespace sluice::tests {

// A fresh GPU, and kernels whose accesses are checked or not (which takes ten times as long).
inline void fresh_gpu(simt::GpuOptions options = {}, bool check_accesses = false) {
  simt::reset_emulated_gpu(std::move(options));
  simt::grid_options().check = check_accesses;
  simt::take_findings();
}

inline engine::ModelOptions options_for(engine::DeviceKind device, engine::CacheType cache = engine::CacheType::F16) {
  engine::ModelOptions options;
  options.n_threads = 2;
  options.device = device;
  options.session.cache = cache;
  options.session.n_context = 256;
  options.store.storage = engine::Storage::Mapped;               // tests of stores ask for one
  options.latent_attention = engine::LatentAttention::Absorbed;  // or each device takes the form that is cheaper there
  return options;
}

// Logits of a text, fed some rows at a time, and of the likeliest tokens after it.
struct Answer {
  std::vector<float> logits;
  std::vector<int32_t> greedy;
};

inline Answer answer(engine::Session& session, std::span<const int32_t> prompt, size_t n_generated,
                     size_t rows_a_pass) {
  Answer answer;
  engine::Session::Progress progress;
  progress.on_logits = [&](std::span<const float> logits) {
    answer.logits.insert(answer.logits.end(), logits.begin(), logits.end());
  };
  for (size_t at = 0; at < prompt.size(); at += rows_a_pass)
    session.append(prompt.subspan(at, std::min(rows_a_pass, prompt.size() - at)), progress);
  while (answer.greedy.size() < n_generated) {
    const std::span<const float> logits = session.logits();
    const auto best = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
    answer.greedy.push_back(best);
    session.append(std::span(&best, 1));
    answer.logits.insert(answer.logits.end(), session.logits().begin(), session.logits().end());
  }
  return answer;
}

inline Answer answer(const std::filesystem::path& path, const engine::ModelOptions& options,
                     std::span<const int32_t> prompt, size_t n_generated, size_t rows_a_pass) {
  const auto model = engine::Model::open(path, options);
  CHECK(model->is_on_gpu() == (options.device == engine::DeviceKind::Cuda));
  engine::Session session(model, options.session);
  return answer(session, prompt, n_generated, rows_a_pass);
}

inline engine::LogitsComparison compare(const Answer& a, const Answer& b, size_t n_vocabulary) {
  engine::LogitsComparison all;
  REQUIRE(a.logits.size() == b.logits.size());
  for (size_t at = 0; at < a.logits.size(); at += n_vocabulary)
    all.add(std::span(a.logits).subspan(at, n_vocabulary), std::span(b.logits).subspan(at, n_vocabulary));
  return all;
}

// Sums differ in the last places, and a rounding of the 8-bit forms may fall to the other side for it (models_test.cc).
inline void check_same(const Answer& cpu, const Answer& gpu, size_t n_vocabulary) {
  const engine::LogitsComparison all = compare(cpu, gpu, n_vocabulary);
  CHECK(all.mean_kl < 1e-4);
  CHECK(all.largest_kl < 1e-3);
  CHECK(all.n_same_choice == all.n_positions);
  CHECK(gpu.greedy == cpu.greedy);
}

}  // namespace sluice::tests
