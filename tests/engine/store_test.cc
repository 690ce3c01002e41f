// A model whose weights come from the disk gives the same numbers as one in memory, whatever the store's size, and says so when
// the disk fails.

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "tests/engine/store_fixtures.h"
#include "tests/scratch_folder.h"

namespace sluice::tests {
namespace {

using engine::Error;
using engine::PolicyKind;

constexpr uint32_t kBatch = 64;

// A prompt in one pass, then tokens one by one.
std::vector<float> logits_of(const std::string& name, const engine::ModelOptions& options) {
  const Golden golden = read_golden(name);
  const auto model = open_fixture(name, options);
  engine::Session session(model, options.session);
  std::vector<float> all;
  const std::span tokens(golden.tokens);
  const size_t prompt = tokens.size() / 2;
  session.append(tokens.first(prompt));
  all.insert(all.end(), session.logits().begin(), session.logits().end());
  for (size_t i = prompt; i < tokens.size(); ++i) {
    session.append(tokens.subspan(i, 1));
    all.insert(all.end(), session.logits().begin(), session.logits().end());
  }
  return all;
}

std::vector<float> logits_in_memory(const std::string& name) {
  engine::ModelOptions options;
  options.residency = engine::Residency::File;
  options.session.n_batch = kBatch;
  return logits_of(name, options);
}

// Of the last token, when all come in one pass.
std::vector<float> last_logits_in_memory(const std::string& name) {
  engine::ModelOptions options;
  options.residency = engine::Residency::File;
  const auto model = open_fixture(name, options);
  engine::Session session(model, model->options().session);
  session.append(read_golden(name).tokens);
  return {session.logits().begin(), session.logits().end()};
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}
}  // namespace

TEST_CASE("every model gives the same logits, to the bit, from the smallest store to one that holds it all") {
  for (const char* name : kFixtures) {
    const StoreSizes sizes = store_sizes(fixture_path(name), kBatch);
    const std::vector<float> expected = logits_in_memory(name);
    const uint64_t budgets[] = {sizes.least, sizes.least + (sizes.all - sizes.least) / 8,
                                sizes.least + (sizes.all - sizes.least) / 2, sizes.all};
    size_t n = 0;
    for (const uint64_t bytes : budgets) {
      engine::ModelOptions options = disk_options(bytes, kBatch);
      options.store.policy =
          std::array{PolicyKind::Lru, PolicyKind::Lfu, PolicyKind::StaticHeat, PolicyKind::Hybrid}[n % 4];
      options.store.access = n % 2 == 0 ? engine::DiskAccess::Automatic : engine::DiskAccess::Pread;
      options.store.guesses = n != 1;
      options.store.prompt_bytes = n == 2 ? (sizes.all - sizes.least) / 4 : 0;  // the prompt takes it, tokens have it
      ++n;
      CAPTURE(name);
      CAPTURE(bytes);
      CHECK(same_bits(logits_of(name, options), expected));
    }
  }
}

TEST_CASE("a store that is too small is refused with what it would need") {
  const StoreSizes sizes = store_sizes(fixture_path("deepseek2-v3"), kBatch);
  try {
    open_fixture("deepseek2-v3", disk_options(sizes.least - 1, kBatch));
    FAIL("opened");
  } catch (const Error& error) {
    CHECK(error.kind() == Error::Kind::OutOfMemory);
    CHECK(std::string(error.what()).find("needs at least") != std::string::npos);
  }
}

TEST_CASE("a session that is larger than what was kept free for it is refused") {
  engine::ModelOptions options = disk_options(store_sizes(fixture_path("llama"), kBatch).least, kBatch);
  options.session.n_context = 128;
  const auto model = open_fixture("llama", options);
  engine::SessionOptions session = options.session;
  CHECK_NOTHROW(engine::Session(model, session));
  session.n_context = 1 << 16;
  CHECK_THROWS_WITH_AS(engine::Session(model, session), doctest::Contains("kept free"), Error);
}

TEST_CASE("a store that holds the whole model reads every weight once") {
  const char* name = "deepseek2-v3-q8_0";
  const auto model = open_fixture(name, disk_options(store_sizes(fixture_path(name), kBatch).all, kBatch));
  engine::Session session(model, model->options().session);
  const Golden golden = read_golden(name);
  for (int i = 0; i < 3; ++i) {
    session.truncate(0);
    session.append(golden.tokens);
  }
  const engine::StoreStatistics counts = model->store_statistics();
  CHECK(counts.n_misses + counts.n_guessed <= counts.n_experts);
  CHECK(counts.n_hits > 0);
  CHECK(counts.dense_read_bytes <= counts.dense_bytes);
  CHECK(counts.dense_kept_bytes == counts.dense_bytes);
}

TEST_CASE("a read that comes in parts, or has to be repeated, gives the same logits") {
  const char* name = "deepseek2-v3";
  const std::vector<float> expected = logits_in_memory(name);
  const uint64_t bytes = store_sizes(fixture_path(name), kBatch).least;
  auto n = std::make_shared<int>(0);
  const auto cut_short = [n](const engine::DiskRead&, int64_t result) -> int64_t {
    switch (++*n % 3) {
      case 0:
        return std::min<int64_t>(result, 4096);
      case 1:
        return *n % 6 == 1 ? -EINTR : -EAGAIN;
      default:
        return result;
    }
  };
  CHECK(same_bits(logits_of(name, disk_options(bytes, cut_short)), expected));
  CHECK(*n > 10);
}

TEST_CASE("whichever read fails, the sentence names the file and the session goes on when the disk is well again") {
  const char* name = "deepseek2-v3";
  const StoreSizes sizes = store_sizes(fixture_path(name), kBatch);
  const Golden golden = read_golden(name);
  const std::vector<float> expected = last_logits_in_memory(name);
  struct Fault {
    const char* what;
    int64_t result;
    const char* sentence;
  };
  for (const Fault& fault :
       {Fault{"the disk fails", -EIO, "Reading weights failed"}, Fault{"the file shrank", 0, "it has shrunk"}}) {
    for (const uint64_t bytes : {sizes.least, (sizes.least + sizes.all) / 2}) {
      int n_unnoticed = 0;
      for (int failing = 0; n_unnoticed < 3; ++failing) {
        CAPTURE(fault.what);
        CAPTURE(failing);
        auto n = std::make_shared<std::atomic<int>>(-1000000);
        const auto model =
            open_fixture(name, disk_options(bytes, [n, failing, &fault](const engine::DiskRead&, int64_t result) {
                           return (*n)++ == failing ? fault.result : result;
                         }));
        engine::Session session(model, model->options().session);
        *n = 0;
        bool has_failed = false;
        for (int attempt = 0; attempt < 2; ++attempt) {
          try {
            session.truncate(0);
            session.append(golden.tokens);
            break;
          } catch (const Error& error) {
            has_failed = true;
            CHECK(error.kind() == Error::Kind::BadFile);
            CHECK(std::string(error.what()).find(fault.sentence) != std::string::npos);
            CHECK(std::string(error.what()).find("deepseek2-v3.gguf") != std::string::npos);
          }
        }
        if (has_failed) CHECK(*n > failing);
        CHECK(same_bits(session.logits(), expected));
        // A read that nobody misses is one ahead for a next pass, which may come before this one ends or after, or there is none.
        if (!has_failed) ++n_unnoticed;
        if (n_unnoticed == 3) CHECK(failing > 12);
      }
    }
  }
}

TEST_CASE("a cancelled pass leaves a store that gives the same logits afterwards") {
  for (const char* name : {"deepseek2-v3", "llama"}) {
    const Golden golden = read_golden(name);
    const auto model = open_fixture(name, disk_options(store_sizes(fixture_path(name), kBatch).least, kBatch));
    engine::Session session(model, model->options().session);
    for (int layers = 0; layers < 2; ++layers) {
      int asked = 0;
      CHECK(!session.append(golden.tokens, {{}, [&] { return ++asked > layers; }, {}}));
    }
    session.append(golden.tokens);
    CHECK(same_bits(session.logits(), last_logits_in_memory(name)));
  }
}

TEST_CASE("a file that is cut after it was opened is an error and not a crash") {
  const ScratchFolder folder;
  const std::filesystem::path copy = folder / "deepseek2-v3.gguf";
  std::filesystem::copy_file(fixture_path("deepseek2-v3"), copy);
  engine::ModelOptions options = disk_options(store_sizes(copy, kBatch).least, kBatch);
  const auto model = engine::Model::open(copy, options);
  engine::Session session(model, model->options().session);
  std::filesystem::resize_file(copy, std::filesystem::file_size(copy) / 3);
  const Golden golden = read_golden("deepseek2-v3");
  try {
    session.append(golden.tokens);
    FAIL("read what is not there");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("it has shrunk") != std::string::npos);
  }
}

TEST_CASE("a file that is removed after it was opened is still read") {
  const ScratchFolder folder;
  const std::filesystem::path copy = folder / "llama-mixtral.gguf";
  std::filesystem::copy_file(fixture_path("llama-mixtral"), copy);
  const auto model = engine::Model::open(copy, disk_options(store_sizes(copy, kBatch).least, kBatch));
  std::filesystem::remove(copy);
  engine::Session session(model, model->options().session);
  const Golden golden = read_golden("llama-mixtral");
  session.append(golden.tokens);
  CHECK(same_bits(session.logits(), last_logits_in_memory("llama-mixtral")));
}

TEST_CASE("guesses of the next layer's experts are counted, and change nothing but the reads") {
  const char* name = "llama-mixtral";
  const StoreSizes sizes = store_sizes(fixture_path(name), kBatch);
  const auto model = open_fixture(name, disk_options((sizes.least + sizes.all) / 2, kBatch));
  engine::Session session(model, model->options().session);
  logits_of_every_position(session, read_golden(name).tokens);
  const engine::StoreStatistics counts = model->store_statistics();
  CHECK(counts.n_guesses > 0);
  CHECK(counts.n_right_guesses <= counts.n_guesses);
  CHECK(counts.n_right_guesses <= counts.n_guessable);
  CHECK(counts.guess_recall() > 0);
  CHECK(counts.n_hits + counts.n_guessed + counts.n_misses >= counts.n_guessable);
}

}  // namespace sluice::tests
