// The generate loop: what ends it, what it reports, and that it does not depend on how the work was divided.

#include <doctest/doctest.h>

#include "engine/model/spec.h"
#include "tests/engine/fixtures.h"

using namespace sluice;
using engine::GenerateCallbacks;
using engine::GenerateOptions;
using engine::Generation;
using engine::Session;
using engine::StopReason;
using engine::TokenId;

namespace {

const std::vector<TokenId> kPrompt = {1, 70, 80, 90};

Generation run(const char* name, const GenerateOptions& options, const GenerateCallbacks& callbacks = {},
               uint32_t n_threads = 2, uint32_t n_context = 64) {
  engine::ModelOptions model_options;
  model_options.n_threads = n_threads;
  engine::SessionOptions session_options;
  session_options.n_context = n_context;
  Session session(tests::open_fixture(name, model_options), session_options);
  return engine::generate(session, kPrompt, options, callbacks);
}

GenerateOptions warm(int64_t max_tokens) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.ignore_end = true;
  options.sampling.temperature = 1;
  options.sampling.seed = 5;
  return options;
}

}  // namespace

TEST_CASE("the same seed gives the same text whatever the thread count, and the callback hears all of it") {
  for (const char* name : {"llama", "llama-mixtral", "deepseek2-v3-q8_0"}) {
    std::string heard;
    GenerateCallbacks callbacks;
    callbacks.on_text = [&](std::string_view text) { heard += text; };
    const Generation one = run(name, warm(30), callbacks, 1);
    CHECK(one.tokens == run(name, warm(30), {}, 3).tokens);
    CHECK(heard == one.text);
    GenerateOptions other = warm(30);
    other.sampling.seed = 6;
    CHECK(one.tokens != run(name, other).tokens);
  }
}

TEST_CASE("a generation stops for the reason it says") {
  SUBCASE("length") {
    const Generation result = run("llama", warm(7));
    CHECK(result.stop == StopReason::Length);
    CHECK(result.tokens.size() == 7);
    CHECK(result.statistics.generated_tokens == 7);
    CHECK(result.statistics.prompt_tokens == 4);
    CHECK(result.statistics.cached_tokens == 0);
    CHECK(run("llama", warm(0)).tokens.empty());
  }
  SUBCASE("the context is full") {
    const Generation result = run("llama", warm(-1), {}, 2, 10);
    CHECK(result.stop == StopReason::Context);
    CHECK(result.tokens.size() == 7);  // the last needs no room: nothing follows it
  }
  SUBCASE("cancelled during decode, and before the prefill") {
    GenerateCallbacks callbacks;
    const size_t n_layers = tests::open_fixture("llama")->spec().layers.size();
    const size_t n_prefill = n_layers, n_step = 1 + n_layers;  // questions: before a token, and before every layer
    for (const size_t last_no : {n_prefill + 3 * n_step, n_prefill + 3 * n_step - 1}) {
      size_t asked = 0;
      callbacks.cancelled = [&] { return ++asked > last_no; };
      const Generation result = run("llama", warm(-1), callbacks);
      CHECK(result.stop == StopReason::Cancelled);
      CHECK(result.tokens.size() == 3);
    }
    callbacks.cancelled = [] { return true; };
    CHECK(run("llama", warm(-1), callbacks).stop == StopReason::Cancelled);
  }
  SUBCASE("an end-of-text token, which is not part of the text") {
    GenerateOptions options = warm(50);
    options.ignore_end = false;
    const auto eos = tests::open_fixture("llama")->tokenizer().eos();
    REQUIRE(eos.has_value());
    options.sampling.logit_bias = {{*eos, 1000.0f}};
    const Generation result = run("llama", options);
    CHECK(result.stop == StopReason::EndOfText);
    CHECK(result.tokens.empty());
    options.ignore_end = true;
    CHECK(run("llama", options).stop == StopReason::Length);
  }
  SUBCASE("a prompt that does not fit is refused") {
    CHECK_THROWS_AS(run("llama", warm(1), {}, 2, 3), engine::Error);
  }
}

TEST_CASE("a stop string ends the text before it, even when it comes in several tokens") {
  const std::string all = run("llama", warm(40)).text;
  REQUIRE(all.size() > 20);
  GenerateOptions options = warm(40);
  const std::string stop = all.substr(10, 5);
  options.stop_strings = {"never in the text", stop};
  std::string heard;
  GenerateCallbacks callbacks;
  callbacks.on_text = [&](std::string_view text) { heard += text; };
  const Generation result = run("llama", options, callbacks);
  CHECK(result.stop == StopReason::StopString);
  CHECK(result.text == all.substr(0, all.find(stop)));
  CHECK(heard == result.text);
}

TEST_CASE("a second generation reuses what the session already has") {
  Session session(tests::open_fixture("deepseek2-v3"), {});
  const Generation first = engine::generate(session, kPrompt, warm(5), {});
  std::vector<TokenId> longer = kPrompt;
  longer.insert(longer.end(), first.tokens.begin(), first.tokens.end());
  longer.push_back(99);
  const Generation second = engine::generate(session, longer, warm(2), {});
  // The last token of the first answer was sampled but never evaluated.
  CHECK(second.statistics.cached_tokens == kPrompt.size() + first.tokens.size() - 1);
  CHECK(second.statistics.prompt_tokens == longer.size());
}

TEST_CASE("thinking is counted apart") {
  GenerateOptions options = warm(12);
  options.starts_thinking = true;
  options.thinking_end = "";  // never ends
  CHECK(run("llama", options).statistics.thinking_tokens == 12);
  options.starts_thinking = false;
  options.thinking_begin = "";
  CHECK(run("llama", options).statistics.thinking_tokens == 0);
}

TEST_CASE("the statistics hold together") {
  const Generation result = run("llama", warm(20));
  const engine::Statistics& s = result.statistics;
  CHECK(s.time_to_first_token_seconds >= s.prefill_seconds);
  CHECK(s.prefill_seconds > 0);
  CHECK(s.decode_tokens_per_second() == doctest::Approx(19 / s.decode_seconds));
  CHECK(s.prefill_tokens_per_second() == doctest::Approx(4 / s.prefill_seconds));
  CHECK(s.characters >= 1);
}
