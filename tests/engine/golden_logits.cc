// The engine against oracles from outside: logits of tiny models (tests/data/models/README.md).

#include <doctest/doctest.h>

#include "tests/engine/fixtures.h"

using namespace sluice;
using engine::ActivationPrecision;
using engine::CacheType;
using engine::LatentAttention;
using engine::Session;

namespace {

std::vector<float> run(const char* name, ActivationPrecision activations, LatentAttention latent, CacheType cache) {
  engine::ModelOptions options;
  options.activations = activations;
  options.latent_attention = latent;
  engine::SessionOptions session_options;
  session_options.cache = cache;
  session_options.n_context = 64;
  Session session(tests::open_fixture(name, options), session_options);
  return tests::logits_of_every_position(session, tests::read_golden(name).tokens);
}

}  // namespace

TEST_CASE("logits of every position equal the golden ones with float activations, in every form of attention") {
  for (const char* name : tests::kFixtures)
    for (const LatentAttention latent :
         {LatentAttention::Automatic, LatentAttention::Expanded, LatentAttention::Absorbed}) {
      const auto logits = run(name, ActivationPrecision::Float32, latent, CacheType::F32);
      const double difference = tests::relative_difference(logits, tests::read_golden(name).logits);
      CAPTURE(std::string(name));
      CAPTURE(static_cast<int>(latent));
      CHECK(difference < 2e-5);
    }
}

TEST_CASE("caches of fewer bits stay as close to the golden logits as their rounding") {
  struct Tolerance {
    CacheType cache;
    double most;
  };
  // Half a unit of the last place is 2^-12 of a value in F16, 2^-9 in BF16 and 2^-8 of the largest of 32 in Q8_0.
  for (const Tolerance tolerance :
       {Tolerance{CacheType::F16, 3e-3}, Tolerance{CacheType::BF16, 2.4e-2}, Tolerance{CacheType::Q8_0, 6e-2}})
    for (const char* name : tests::kFixtures)
      for (const LatentAttention latent : {LatentAttention::Expanded, LatentAttention::Absorbed}) {
        const auto logits = run(name, ActivationPrecision::Float32, latent, tolerance.cache);
        const double difference = tests::relative_difference(logits, tests::read_golden(name).logits);
        CAPTURE(std::string(name));
        CAPTURE(static_cast<int>(tolerance.cache));
        const bool deep = std::string(name) == "deepseek2-v2-lite-27";  // 27 layers to round in, the others have 2 or 3
        CHECK(difference < tolerance.most * (deep ? 2 : 1));
        CHECK(difference > 0);  // it was rounded at all
      }
}

TEST_CASE("8-bit activations stay within their rounding of the golden logits") {
  for (const char* name : tests::kFixtures) {
    const auto logits = run(name, ActivationPrecision::Int8, LatentAttention::Automatic, CacheType::F32);
    CAPTURE(std::string(name));
    CHECK(tests::relative_difference(logits, tests::read_golden(name).logits) < 0.08);
  }
}

TEST_CASE("a prompt evaluated at once gives the logits of one evaluated token by token") {
  for (const char* name : tests::kFixtures)
    for (const uint32_t n_batch : {512u, 5u}) {
      const auto golden = tests::read_golden(name);
      engine::ModelOptions options;
      options.activations = ActivationPrecision::Float32;
      engine::SessionOptions session_options;
      session_options.cache = CacheType::F32;
      session_options.n_context = 64;
      session_options.n_batch = n_batch;
      Session session(tests::open_fixture(name, options), session_options);
      session.append(golden.tokens);
      const std::vector<float> last(session.logits().begin(), session.logits().end());
      CAPTURE(std::string(name));
      CHECK(tests::relative_difference(last, golden.row(golden.tokens.size() - 1)) < 2e-5);
    }
}
