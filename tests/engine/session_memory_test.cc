// What is counted of a session's memory before it exists is what it takes when it does.

#include "engine/session/session_memory.h"

#include <doctest/doctest.h>

#include "engine/forward/forward.h"
#include "engine/model/architecture.h"
#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "tests/engine/fixtures.h"
#include "tests/scratch_folder.h"

namespace sluice::tests {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;

engine::SessionMemory counted(const std::string& name, engine::LatentAttention latent,
                              const engine::SessionOptions& options) {
  const gguf::File file = gguf::File::open(fixture_path(name));
  const engine::ModelSpec spec = engine::describe_model(file);
  return engine::session_memory(spec, engine::bind_weights(file, spec), latent, options);
}

// A context filled with tokens, batch by batch.
struct Filled {
  uint64_t state_bytes = 0, workspace_bytes = 0;
};
Filled fill_context(const std::string& name, engine::LatentAttention latent, const engine::SessionOptions& options) {
  engine::ModelOptions model_options;
  model_options.residency = engine::Residency::File;
  model_options.latent_attention = latent;
  model_options.session = options;
  const auto model = open_fixture(name, model_options);
  engine::Session session(model, options);
  std::vector<int32_t> tokens(session.n_context());
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>((i * 7 + 3) % model->vocabulary_size());
  session.append(tokens);
  return {session.state_bytes(), model->forward_context().workspace.bytes()};
}

}  // namespace

TEST_CASE("the state that is counted is that of a full context, and the pass is enough and not much more") {
  struct Case {
    std::string what;
    engine::SessionOptions options;
    engine::LatentAttention latent;
  };
  using engine::CacheType;
  using engine::LatentAttention;
  const Case cases[] = {
      {"a short context", {130, CacheType::F16, 64}, LatentAttention::Automatic},
      {"one row at a time", {33, CacheType::F32, 1}, LatentAttention::Automatic},
      {"a batch larger than the context", {100, CacheType::Q8_0, 512}, LatentAttention::Expanded},
      {"absorbed", {257, CacheType::BF16, 31}, LatentAttention::Absorbed},
  };
  for (const std::string name : kFixtures) {
    for (const Case& test : cases) {
      CAPTURE(name);
      CAPTURE(test.what);
      const engine::SessionMemory needs = counted(name, test.latent, test.options);
      const Filled filled = fill_context(name, test.latent, test.options);
      CHECK(needs.state_bytes == filled.state_bytes);
      CHECK(needs.pass_bytes >= filled.workspace_bytes);
      CHECK(needs.pass_bytes <= filled.workspace_bytes * 3 / 2 + 2 * kMebibyte);
      CHECK(needs.bytes() == needs.state_bytes + needs.pass_bytes);
    }
  }
}

TEST_CASE("of heads that share a latent cache a pass of fewer rows takes no more of a GPU than what is counted") {
  const ScratchFolder folder;
  const std::filesystem::path path = folder.path() / "r1.gguf";
  const engine::synthetic::Preset& r1 = *engine::synthetic::find_preset("r1-ud-iq1s");
  engine::synthetic::Shape shape = r1.shape;
  shape.n_layers = 4;
  engine::synthetic::TypeRules types;
  for (const std::string_view rule : r1.types) types.add(rule);
  engine::synthetic::write_sparse_model(shape, engine::synthetic::plan_tensors(shape, types), path);
  const gguf::File file = gguf::File::open(path);
  const engine::ModelSpec spec = engine::describe_model(file);
  const engine::ModelWeights weights = engine::bind_weights(file, spec);
  engine::SessionOptions options;
  options.n_context = 32768;
  const engine::SessionMemory memory =
      engine::session_memory(spec, weights, engine::LatentAttention::Automatic, options);
  for (const int64_t n_positions : {512, 4096, 32768})
    for (int64_t n_rows = 1; n_rows <= 32; ++n_rows) {
      CAPTURE(n_rows);
      CHECK(engine::shared_pass_bytes(spec, weights, engine::LatentAttention::Automatic, options.cache, n_rows,
                                      n_positions) <= memory.shared_pass_bytes);
    }
}

TEST_CASE("the context of a session is what was asked for, or what the model was trained for up to 4096") {
  engine::ModelSpec spec;
  for (const auto& [trained, asked, expected] : {std::tuple(512, 0u, 512u), std::tuple(100000, 0u, 4096u),
                                                 std::tuple(512, 7u, 7u), std::tuple(512, 9000u, 9000u)}) {
    spec.n_context = trained;
    engine::SessionOptions options;
    options.n_context = asked;
    CHECK(engine::session_context(spec, options) == expected);
  }
}

}  // namespace sluice::tests
