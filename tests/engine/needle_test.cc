// The model that comes with the program finds a name again over its whole context of 512 tokens, four pages of the cache.
#include "tests/engine/needle.h"

#include <doctest/doctest.h>

#include <filesystem>

using namespace sluice;
using tests::find_needles;

TEST_CASE("a name at the begin of a text is found again across the whole context, in every cache type") {
  engine::ModelOptions options;
  options.device = engine::DeviceKind::Cpu;
  options.session.n_context = 512;
  const auto model = engine::Model::open(std::filesystem::path(SLUICE_SOURCE_DIR) / "models/tiny-tales.gguf", options);
  struct Row {
    size_t n_tokens, least;  // of ten: by chance it were one
    engine::CacheType cache;
  };
  for (const Row& row : {Row{160, 10, engine::CacheType::F16}, Row{500, 8, engine::CacheType::F16},
                         Row{500, 8, engine::CacheType::Q8_0}}) {
    CAPTURE(row.n_tokens);
    engine::SessionOptions session = options.session;
    session.cache = row.cache;
    const tests::NeedleResult result = find_needles(model, session, {.n_tokens = row.n_tokens});
    MESSAGE(result.n_tokens << " tokens: " << result.n_found << " of " << result.n_names << ", gain " << result.gain);
    CHECK(result.n_tokens > row.n_tokens - 16);
    CHECK(result.n_found >= row.least);
    CHECK(result.gain > 0.5);
  }
}
