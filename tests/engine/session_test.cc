// Sessions: the four verbs of sequence state, batches of several sequences, and what must not change the result.

#include <doctest/doctest.h>

#include "engine/model/spec.h"
#include "tests/engine/fixtures.h"

using namespace sluice;
using engine::Session;
using engine::SessionOptions;
using engine::TokenId;

namespace {

const char* const kKinds[] = {"llama", "llama-mixtral", "deepseek2-v3", "deepseek2-v3-split", "deepseek2-v3-q8_0"};

std::vector<float> logits_of(const Session& session) {
  return {session.logits().begin(), session.logits().end()};
}

// In one session, the parts one after the other: latent attention chooses its form by the length of a pass, so only the
// same passes give the same bits.
std::vector<float> evaluate(const std::shared_ptr<const engine::Model>& model,
                            std::initializer_list<std::vector<TokenId>> parts) {
  Session session(model, {});
  for (const std::vector<TokenId>& part : parts) session.append(part);
  return logits_of(session);
}

std::vector<TokenId> concatenated(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const std::vector<TokenId> kStart = {1, 70, 80, 90, 100, 110, 120}, kOne = {130, 131, 132}, kOther = {140, 150};

}  // namespace

TEST_CASE("truncating a sequence and going another way equals never having gone the first") {
  for (const char* name : kKinds) {
    const auto model = tests::open_fixture(name);
    Session session(model, {});
    session.append(concatenated(kStart, kOne));
    session.truncate(kStart.size());
    CHECK(session.tokens().size() == kStart.size());
    CHECK(session.logits().empty());
    session.append(kOther);
    CHECK_MESSAGE((logits_of(session) == evaluate(model, {kStart, kOther})), name);
  }
}

TEST_CASE("a fork goes its own way and leaves the original alone") {
  for (const char* name : kKinds) {
    const auto model = tests::open_fixture(name);
    Session session(model, {});
    session.append(kStart);
    Session fork = session.fork();
    CHECK(logits_of(fork) == logits_of(session));
    fork.append(kOther);
    session.append(kOne);
    CHECK_MESSAGE((logits_of(fork) == evaluate(model, {kStart, kOther})), name);
    CHECK_MESSAGE((logits_of(session) == evaluate(model, {kStart, kOne})), name);
  }
}

TEST_CASE("a fork taken in the middle of a long sequence shares pages without mixing them") {
  const auto model = tests::open_fixture("deepseek2-v3-split");
  std::vector<TokenId> prompt;
  for (int i = 0; i < 300; ++i) prompt.push_back(60 + i * 7 % 200);
  SessionOptions options;
  options.n_context = 400;
  Session session(model, options);
  session.append(prompt);
  Session fork = session.fork();
  fork.truncate(200);
  fork.append(kOther);  // overwrites a part of a page that the original still reads
  session.append(kOne);
  Session again(model, options);
  again.append(concatenated(prompt, kOne));
  // One pass of 303 rows chooses other sums than a pass of 300 and one of 3, so not bit for bit.
  CHECK(tests::relative_difference(logits_of(session), logits_of(again)) < 1e-2);
  Session same_steps(model, options);
  same_steps.append(prompt);
  same_steps.append(kOne);
  CHECK(logits_of(session) == logits_of(same_steps));
}

TEST_CASE("a snapshot brings a sequence back, and damaged or foreign ones are refused") {
  for (const char* name : kKinds) {
    const auto model = tests::open_fixture(name);
    Session session(model, {});
    session.append(kStart);
    const std::vector<std::byte> snapshot = session.snapshot();
    Session restored(model, {});
    restored.append(kOther);
    restored.restore(snapshot);
    CHECK(logits_of(restored) == logits_of(session));
    restored.append(kOne);
    session.append(kOne);
    CHECK_MESSAGE(logits_of(restored) == logits_of(session), name);

    for (const size_t n : {size_t{0}, size_t{7}, snapshot.size() / 2, snapshot.size() - 1})
      CHECK_THROWS_AS(restored.restore(std::span(snapshot).first(n)), engine::Error);
    std::vector<std::byte> wrong_magic = snapshot;
    wrong_magic[0] ^= std::byte{1};
    CHECK_THROWS_AS(restored.restore(wrong_magic), engine::Error);
    std::vector<std::byte> wrong_token = snapshot;
    wrong_token[40 + 3] = std::byte{0x7F};
    CHECK_THROWS_AS(restored.restore(wrong_token), engine::Error);
    SessionOptions other_cache;
    other_cache.cache = engine::CacheType::F32;
    Session wide(model, other_cache);
    CHECK_THROWS_AS(wide.restore(snapshot), engine::Error);
    CHECK(logits_of(restored) == logits_of(session));  // refused snapshots change nothing
  }
}

TEST_CASE("rewriting keeps the common beginning and evaluates at least one token") {
  const auto model = tests::open_fixture("llama");
  Session session(model, {});
  CHECK(session.rewrite(concatenated(kStart, kOne)) == 0);
  CHECK(session.rewrite(concatenated(kStart, kOther)) == kStart.size());
  CHECK(session.rewrite(concatenated(kStart, kOther)) == kStart.size() + kOther.size() - 1);
  CHECK(session.rewrite(kStart) == kStart.size() - 1);
  CHECK(std::ranges::equal(session.tokens(), kStart));
  CHECK_THROWS_AS(session.rewrite({}), engine::Error);
}

TEST_CASE("truncate, fork and snapshot keep every bit in every cache type") {
  std::vector<TokenId> prompt;
  for (int i = 0; i < 150; ++i) prompt.push_back(60 + i * 7 % 200);  // more than a page
  for (const engine::CacheType cache :
       {engine::CacheType::F16, engine::CacheType::BF16, engine::CacheType::Q8_0, engine::CacheType::F32})
    for (const char* name : {"llama", "deepseek2-v3-split"}) {
      SessionOptions options;
      options.cache = cache;
      options.n_context = 400;
      const auto model = tests::open_fixture(name);
      Session session(model, options);
      session.append(prompt);
      session.append(kOne);
      const std::vector<float> expected = logits_of(session);
      CAPTURE(std::string(name));
      CAPTURE(static_cast<int>(cache));

      Session fork = session.fork();
      session.truncate(prompt.size());
      fork.truncate(100);
      fork.append(kOther);
      session.append(kOne);
      CHECK(logits_of(session) == expected);

      session.truncate(prompt.size());
      const std::vector<std::byte> snapshot = session.snapshot();
      Session restored(model, options);
      restored.restore(snapshot);
      restored.append(kOne);
      CHECK(logits_of(restored) == expected);

      for (const engine::CacheType other :
           {engine::CacheType::F16, engine::CacheType::BF16, engine::CacheType::Q8_0, engine::CacheType::F32}) {
        if (other == cache) continue;
        options.cache = other;  // two of them have rows of the same size
        Session foreign(model, options);
        CHECK_THROWS_AS(foreign.restore(snapshot), engine::Error);
      }
    }
}

TEST_CASE("a cache of q8_0 takes 17/32 of the memory of one in f16") {
  const auto model =
      tests::open_fixture("deepseek2-v3-q8_0");  // latent rows of 96 + 16 values, three and a half blocks
  uint64_t bytes[2];
  for (const size_t i : {size_t{0}, size_t{1}}) {
    SessionOptions options;
    options.cache = i == 0 ? engine::CacheType::F16 : engine::CacheType::Q8_0;
    Session session(model, options);
    session.append(kStart);
    bytes[i] = session.state_bytes();
  }
  CHECK(bytes[1] * (112 * 2) == bytes[0] * (4 * 34));
}

TEST_CASE("several sequences in one batch give what each gives alone, at different lengths and with the same pages") {
  for (const char* name : kKinds) {
    const auto model = tests::open_fixture(name);
    Session a(model, {}), b(model, {}), c(model, {});
    a.append(kStart);
    b.append(kOther);
    Session a_alone = a.fork(), b_alone = b.fork(), c_alone = c.fork();
    Session* const sessions[] = {&a, &b, &c};
    const std::vector<std::vector<TokenId>> tokens = {kOne, {60}, kStart};
    engine::append_batch(sessions, tokens);
    a_alone.append(tokens[0]);
    b_alone.append(tokens[1]);
    c_alone.append(tokens[2]);
    CAPTURE(std::string(name));
    // Latent attention may choose another form for the whole batch than for a sequence alone.
    CHECK(tests::relative_difference(logits_of(a), logits_of(a_alone)) < 3e-2);
    CHECK(tests::relative_difference(logits_of(b), logits_of(b_alone)) < 3e-2);
    CHECK(tests::relative_difference(logits_of(c), logits_of(c_alone)) < 3e-2);
    CHECK(std::ranges::equal(a.tokens(), a_alone.tokens()));
  }
  SUBCASE("bit for bit where the form of attention is fixed") {
    engine::ModelOptions options;
    options.latent_attention = engine::LatentAttention::Absorbed;
    for (const char* name : kKinds) {
      const auto model = tests::open_fixture(name, options);
      Session a(model, {}), b(model, {});
      a.append(kStart);
      Session a_alone = a.fork(), b_alone = b.fork();
      Session* const sessions[] = {&a, &b};
      const std::vector<std::vector<TokenId>> tokens = {kOne, kStart};
      engine::append_batch(sessions, tokens);
      a_alone.append(tokens[0]);
      b_alone.append(tokens[1]);
      CHECK(logits_of(a) == logits_of(a_alone));
      CHECK(logits_of(b) == logits_of(b_alone));
    }
  }
  SUBCASE("one session twice is refused") {
    const auto model = tests::open_fixture("llama");
    Session a(model, {});
    Session* const twice[] = {&a, &a};
    const std::vector<std::vector<TokenId>> tokens = {kOne, kOne};
    CHECK_THROWS_AS(engine::append_batch(twice, tokens), engine::Error);
  }
}

TEST_CASE("the number of threads does not change a bit") {
  for (const char* name : kKinds) {
    std::vector<float> first;
    for (const uint32_t n_threads : {1u, 2u, 5u}) {
      engine::ModelOptions options;
      options.n_threads = n_threads;
      const auto logits = evaluate(tests::open_fixture(name, options), {kStart, kOne});
      if (first.empty()) first = logits;
      CHECK_MESSAGE(logits == first, name);
    }
  }
}

TEST_CASE("what a session cannot do is refused before anything is evaluated") {
  const auto model = tests::open_fixture("llama");
  SessionOptions options;
  options.n_context = 8;
  Session session(model, options);
  session.append(kStart);
  CHECK_THROWS_WITH_AS(
      session.append(kOne),
      "The prompt needs 10 tokens but the context holds 8; shorten the prompt or ask for a larger context "
      "(-c).",
      engine::Error);
  CHECK(session.tokens().size() == kStart.size());
  const TokenId unknown[] = {100000}, negative[] = {-1};
  CHECK_THROWS_AS(session.append(unknown), engine::Error);
  CHECK_THROWS_AS(session.append(negative), engine::Error);
  CHECK(session.append({}));
}

TEST_CASE("a cancelled evaluation keeps what was done and can go on") {
  const auto model = tests::open_fixture("deepseek2-v3");
  SessionOptions options;
  options.n_batch = 2;
  Session session(model, options);
  const size_t n_layers = model->spec().layers.size();
  size_t asked = 0;
  Session::Progress progress;
  progress.cancelled = [&] { return ++asked > 2 * n_layers; };
  CHECK_FALSE(session.append(kStart, progress));
  CHECK(session.tokens().size() == 4);
  CHECK(session.logits().empty());
  session.append(std::span(kStart).subspan(4));
  CHECK(std::ranges::equal(session.tokens(), kStart));
  CHECK(tests::relative_difference(logits_of(session), evaluate(model, {kStart})) < 3e-2);
}

TEST_CASE("a batch cancelled at any of its layers leaves nothing behind") {
  for (const char* name : kKinds) {
    const auto model = tests::open_fixture(name);
    const size_t n_layers = model->spec().layers.size();
    Session session(model, {});
    session.append(kStart);
    const std::vector<float> before = logits_of(session);
    const uint64_t bytes = session.state_bytes();
    const std::vector<TokenId> long_prompt(200, 77);  // needs pages that the sequence does not have yet
    for (size_t layer = 0; layer < n_layers; ++layer) {
      size_t asked = 0;
      Session::Progress progress;
      progress.cancelled = [&] { return asked++ == layer; };
      CHECK_FALSE(session.append(long_prompt, progress));
      CHECK(asked == layer + 1);
      CHECK(std::ranges::equal(session.tokens(), kStart));
      CHECK(logits_of(session) == before);
      CHECK(session.state_bytes() == bytes);
    }
    session.append(kOne);
    CHECK_MESSAGE((logits_of(session) == evaluate(model, {kStart, kOne})), name);
  }
}
