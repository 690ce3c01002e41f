// Whole models on the emulated GPU against the CPU: the same logits within the tolerance of float sums, the same greedy text.

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/session/divergence.h"
#include "tests/engine/fixtures.h"
#include "tests/simt/cudart/emulated_gpu.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/kernels.h"

using namespace sluice;

namespace {

// Logits of a text fed token by token, and of the likeliest tokens after it.
struct Answer {
  std::vector<float> logits;
  std::vector<int32_t> greedy;
};

Answer answer(const std::filesystem::path& path, const engine::ModelOptions& options, std::span<const int32_t> prompt,
              size_t n_generated, size_t rows_a_pass) {
  const auto model = engine::Model::open(path, options);
  CHECK(model->is_on_gpu() == (options.device == engine::DeviceKind::Cuda));
  engine::Session session(model, options.session);
  Answer answer;
  for (size_t at = 0; at < prompt.size(); at += rows_a_pass) {
    const auto part = prompt.subspan(at, std::min(rows_a_pass, prompt.size() - at));
    engine::Session::Progress progress;
    progress.on_logits = [&](std::span<const float> logits) {
      answer.logits.insert(answer.logits.end(), logits.begin(), logits.end());
    };
    REQUIRE(session.append(part, progress));
  }
  while (answer.greedy.size() < n_generated) {
    const std::span<const float> logits = session.logits();
    const auto best = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
    answer.greedy.push_back(best);
    session.append(std::span(&best, 1));
    answer.logits.insert(answer.logits.end(), session.logits().begin(), session.logits().end());
  }
  return answer;
}

engine::LogitsComparison compare(const Answer& a, const Answer& b, size_t n_vocabulary) {
  engine::LogitsComparison all;
  REQUIRE(a.logits.size() == b.logits.size());
  for (size_t at = 0; at < a.logits.size(); at += n_vocabulary)
    all.add(std::span(a.logits).subspan(at, n_vocabulary), std::span(b.logits).subspan(at, n_vocabulary));
  return all;
}

engine::ModelOptions options_for(engine::DeviceKind device, engine::CacheType cache = engine::CacheType::F16) {
  engine::ModelOptions options;
  options.n_threads = 2;
  options.device = device;
  options.session.cache = cache;
  options.session.n_context = 256;
  return options;
}

}  // namespace

TEST_CASE("every fixture gives the CPU's logits and its greedy text on the GPU") {
  simt::reset_emulated_gpu();
  simt::grid_options().check = false;
  for (const char* name : tests::kFixtures) {
    CAPTURE(name);
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> prompt = golden.tokens;
    const auto path = tests::fixture_path(name);
    const Answer cpu = answer(path, options_for(engine::DeviceKind::Cpu), prompt, 8, 1);
    for (const size_t rows_a_pass : {size_t{1}, size_t{5}}) {
      const Answer gpu = answer(path, options_for(engine::DeviceKind::Cuda), prompt, 8, rows_a_pass);
      const auto comparison = compare(cpu, gpu, golden.n_vocabulary);
      CHECK(comparison.largest_kl < 1e-5);
      CHECK(gpu.greedy == cpu.greedy);
    }
    CHECK(simt::take_findings() == std::vector<std::string>());
  }
}
