// What a session records of its routing is what the routers chose, whatever runs the model.

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "engine/device/cpu_device.h"
#include "engine/forward/forward.h"
#include "engine/model/architecture.h"
#include "engine/traces/trace_file.h"
#include "tests/engine/fixtures.h"
#include "tests/engine/reference_device.h"
#include "tests/engine/store_fixtures.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using engine::traces::Pass;
using engine::traces::TraceHeader;

namespace {

constexpr const char* kWithExperts[] = {"llama-mixtral", "deepseek2-v2-lite", "deepseek2-v3-groups",
                                        "deepseek2-kimi-k2", "deepseek2-r1-ud"};

// The tokens in two passes of a prompt, and then one by one.
constexpr uint32_t kBatch = 5;
std::vector<std::vector<int32_t>> passes_of(const std::vector<int32_t>& tokens) {
  std::vector<std::vector<int32_t>> passes = {{tokens.begin(), tokens.begin() + kBatch},
                                              {tokens.begin() + kBatch, tokens.begin() + 8}};
  for (size_t i = 8; i < tokens.size(); ++i) passes.push_back({tokens[i]});
  return passes;
}

// What a session makes of them when it evaluates eight tokens at once, in batches, and then one by one.
std::vector<Pass> record(std::shared_ptr<const engine::Model> model, const std::vector<int32_t>& tokens) {
  engine::SessionOptions options;
  options.n_context = 64;
  options.n_batch = kBatch;
  engine::Session session(std::move(model), options);
  std::vector<Pass> passes;
  session.record_routing([&](const Pass& pass) { passes.push_back(pass); });
  session.append(std::span(tokens).first(8));
  for (const int32_t& token : std::span(tokens).subspan(8)) session.append({&token, 1});
  return passes;
}

// The routes of the same passes, computed by kernels/reference: [passes * layers with experts][rows * used].
std::vector<std::vector<int32_t>> reference_routes(const std::string& name, const std::vector<int32_t>& tokens) {
  const gguf::File file = gguf::File::open(tests::fixture_path(name));
  const engine::ModelSpec spec = engine::describe_model(file);
  const engine::ModelWeights weights = engine::bind_weights(file, spec);
  const auto evaluate = [&](std::unique_ptr<engine::Device> device) {
    engine::ForwardContext context(std::move(device), spec, weights, engine::LatentAttention::Automatic);
    engine::SequenceState state(context.device, spec, kernels::CacheType::F16);
    engine::SequenceState* const sequences[] = {&state};
    std::vector<float> logits(static_cast<size_t>(spec.n_vocabulary));
    for (const std::vector<int32_t>& pass : passes_of(tokens)) {
      std::vector<engine::BatchRow> rows;
      for (const int32_t token : pass) rows.push_back({token, 0, rows.size() + 1 == pass.size()});
      engine::forward(context, rows, sequences, logits.data());
    }
  };
  tests::PassLog fast, reference;
  tests::Agreement agreement;
  evaluate(std::make_unique<tests::RecordingDevice>(engine::make_cpu_device(1, false, true), fast));
  evaluate(std::make_unique<tests::RecordingDevice>(
      std::make_unique<tests::ReferenceDevice>(engine::make_cpu_device(1, false, true), &fast, true, agreement),
      reference));
  return reference.routes;
}

engine::ModelOptions with_threads(uint32_t n_threads) {
  engine::ModelOptions options;
  options.n_threads = n_threads;
  return options;
}

}  // namespace

TEST_CASE("a session records what the reference's routers choose") {
  for (const std::string name : kWithExperts) {
    CAPTURE(name);
    const std::vector<int32_t> tokens = tests::read_golden(name).tokens;
    REQUIRE(tokens.size() >= 10);
    const auto model = tests::open_fixture(name);
    const TraceHeader header = model->trace_header();
    const std::vector<Pass> passes = record(model, tokens);
    const auto routes = reference_routes(name, tokens);
    const auto expected_passes = passes_of(tokens);
    const size_t n_layers = header.expert_layers.size();
    REQUIRE(passes.size() == expected_passes.size());
    REQUIRE(routes.size() == passes.size() * n_layers);
    uint32_t position = 0;
    for (size_t p = 0; p < passes.size(); ++p) {
      const Pass& pass = passes[p];
      CHECK(pass.tokens == expected_passes[p]);
      CHECK(pass.first_position == position);
      position += static_cast<uint32_t>(pass.n_rows());
      REQUIRE(pass.expert_ids.size() == pass.n_rows() * header.n_choices());
      REQUIRE(pass.weights.size() == pass.expert_ids.size());
      for (size_t layer = 0; layer < n_layers; ++layer)
        for (size_t row = 0; row < pass.n_rows(); ++row) {
          const auto recorded = pass.experts(header, row, layer);
          const auto expected = std::span(routes[p * n_layers + layer]).subspan(row * header.n_used, header.n_used);
          CHECK(std::ranges::equal(recorded, expected));
        }
      for (const float weight : pass.weights) CHECK(weight > 0);
    }
  }
}

TEST_CASE("the header says which layers have experts") {
  const TraceHeader mixtral = tests::open_fixture("llama-mixtral")->trace_header();
  CHECK(mixtral.architecture == "llama");
  CHECK(mixtral.expert_layers.size() == mixtral.n_layers);
  const TraceHeader v3 = tests::open_fixture("deepseek2-v3")->trace_header();
  CHECK(v3.architecture == "deepseek2");
  CHECK(v3.expert_layers.size() < v3.n_layers);
  CHECK(v3.expert_layers.back() == v3.n_layers - 1);
}

TEST_CASE("the same run writes the same trace, whatever the threads and wherever the weights are") {
  const tests::ScratchFolder folder;
  const std::string name = "deepseek2-v3";
  const std::vector<int32_t> tokens = tests::read_golden(name).tokens;
  const auto trace = [&](engine::ModelOptions options) {
    const auto model = tests::open_fixture(name, std::move(options));
    {
      engine::traces::TraceWriter writer(folder / "t");
      writer.begin(model->trace_header());
      for (const Pass& pass : record(model, tokens)) writer.add(pass);
    }
    std::ifstream file(folder / "t", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string one = trace(with_threads(1));
  CHECK(engine::traces::read_trace(folder / "t").passes.size() == passes_of(tokens).size());
  CHECK(trace(with_threads(3)) == one);
  const tests::StoreSizes sizes = tests::store_sizes(tests::fixture_path(name), kBatch);
  engine::ModelOptions from_disk = tests::disk_options(sizes.least, kBatch);
  from_disk.session.n_context = 64;
  CHECK(trace(from_disk) == one);
}

TEST_CASE("only what a session evaluated itself is recorded, and only while it is asked to") {
  const auto model = tests::open_fixture("llama-mixtral");
  const std::vector<int32_t> tokens = tests::read_golden("llama-mixtral").tokens;
  engine::Session session(model, {.n_context = 64});
  std::vector<Pass> passes;
  const auto recorder = [&](const Pass& pass) { passes.push_back(pass); };
  session.append(std::span(tokens).first(2));
  session.record_routing(recorder);
  session.append(std::span(tokens).subspan(2, 1));
  CHECK(passes.size() == 1);

  engine::Session fork = session.fork();
  fork.append(std::span(tokens).subspan(3, 1));
  CHECK(passes.size() == 1);

  int asked = 0;  // before every layer: the first one has been routed when the second is not begun
  CHECK_FALSE(session.append(std::span(tokens).subspan(3, 4), {{}, [&] { return ++asked > 1; }, {}}));
  CHECK(passes.size() == 1);

  // Rows of several sessions in one pass: to each its own.
  std::vector<Pass> of_fork;
  fork.record_routing([&](const Pass& pass) { of_fork.push_back(pass); });
  engine::Session unheard(model, {.n_context = 64});
  engine::Session* const sessions[] = {&unheard, &session, &fork};
  engine::append_batch(sessions, std::vector<std::vector<int32_t>>{{tokens[0], tokens[1]}, {tokens[3]}, {tokens[4]}});
  REQUIRE(passes.size() == 2);
  REQUIRE(of_fork.size() == 1);
  CHECK(passes[1].first_position == 3);
  CHECK(passes[1].tokens == std::vector<int32_t>{tokens[3]});
  CHECK(of_fork[0].first_position == 4);
  engine::Session alone(model, {.n_context = 64});
  std::vector<Pass> of_alone;
  alone.append(std::span(tokens).first(3));
  alone.record_routing([&](const Pass& pass) { of_alone.push_back(pass); });
  alone.append(std::span(tokens).subspan(3, 1));
  CHECK(of_alone.at(0) == passes[1]);
  alone.append(std::span(tokens).subspan(4, 1));
  CHECK(of_alone.at(1) == of_fork[0]);

  session.record_routing({});
  session.append(std::span(tokens).subspan(4, 1));
  CHECK(passes.size() == 2);
}

TEST_CASE("a recorder that fails leaves a session that goes on") {
  const auto model = tests::open_fixture("llama-mixtral");
  const std::vector<int32_t> tokens = tests::read_golden("llama-mixtral").tokens;
  engine::Session session(model, {.n_context = 64}), other(model, {.n_context = 64});
  session.append(std::span(tokens).first(2));
  session.record_routing([](const Pass&) { throw engine::Error(engine::Error::Kind::Device, "The disk is full."); });
  CHECK_THROWS_WITH_AS(session.append(std::span(tokens).subspan(2, 2)), "The disk is full.", engine::Error);
  CHECK(std::ranges::equal(session.tokens(), std::span(tokens).first(4)));
  CHECK(session.logits().empty());
  session.record_routing({});
  session.append(std::span(tokens).subspan(4, 1));
  other.append(std::span(tokens).first(2));
  other.append(std::span(tokens).subspan(2, 2));
  other.append(std::span(tokens).subspan(4, 1));
  CHECK(std::ranges::equal(session.logits(), other.logits()));
}

TEST_CASE("a model without experts has no routing to record") {
  const auto model = tests::open_fixture("llama");
  CHECK_THROWS_WITH_AS(model->trace_header(), doctest::Contains("no layer of the model has experts"), engine::Error);
  engine::Session session(model, {.n_context = 64});
  CHECK_THROWS_AS(session.record_routing([](const Pass&) {}), engine::Error);
  session.record_routing({});
}
