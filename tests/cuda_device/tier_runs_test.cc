// What a tier of VRAM means for whole runs: what one learns for the next, pages of the file, layers whose experts differ in size, deferral.

#include <fstream>
#include <map>
#include <set>

#include "engine/forward/host_side.h"
#include "engine/session/deferral_comparison.h"
#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "tests/cuda_device/vram_sizes.h"
#include "tests/engine/store_fixtures.h"
#include "tests/scratch_folder.h"
#include "tools/usage_report.h"

using namespace sluice;
using engine::DeviceKind;
using Expert = std::pair<uint32_t, int32_t>;

namespace {

engine::ModelOptions gpu_options(uint64_t vram_bytes) {
  engine::ModelOptions options = tests::options_for(DeviceKind::Cuda);
  options.vram_bytes = vram_bytes;
  options.promotion.has_thread = false;
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

template <class Do>
void for_each_expert(const engine::Model& model, Do what) {
  const engine::ForwardContext& context = model.forward_context();
  for (uint32_t layer = 0; layer < context.weights.layers.size(); ++layer)
    if (const auto* experts = std::get_if<engine::ExpertsWeights>(&context.weights.layers[layer].ffn))
      for (int32_t id = 0; id < experts->gate.count; ++id) what(layer, id);
}

bool is_in_vram(const engine::Model& model, const Expert& expert) {
  return model.forward_context().host->tier()->holds(expert.first, expert.second);
}

// Pages of the file that lie in this process's memory.
uint64_t resident_file_bytes(const std::filesystem::path& path) {
  std::ifstream maps("/proc/self/smaps");
  const std::string name = path.filename().string();
  uint64_t bytes = 0;
  bool is_of_file = false;
  for (std::string line; std::getline(maps, line);) {
    const size_t address_end = line.find_first_not_of("0123456789abcdef");
    if (address_end != 0 && address_end != std::string::npos && line[address_end] == '-')  // a stretch of memory begins
      is_of_file = line.ends_with("/" + name);
    else if (is_of_file && line.starts_with("Rss:"))
      bytes += std::stoull(line.substr(4)) * 1024;
  }
  return bytes;
}

}  // namespace

TEST_CASE(
    "a second run begins with those experts in VRAM that the first one used most, with and without a store beneath") {
  const auto path = tests::fixture_path("qwen3moe");
  const tests::Golden golden = tests::read_golden("qwen3moe");
  const uint64_t vram_bytes = tests::vram_without(path, 0.5);
  for (const engine::Storage storage : {engine::Storage::Mapped, engine::Storage::Disk}) {
    const tests::ScratchFolder folder;
    engine::ModelOptions options = gpu_options(vram_bytes);
    options.promotion.promotes = false;
    options.store.heat_folder = folder.path();
    options.store.storage = storage;
    std::map<Expert, int> n_uses;
    std::set<Expert> at_first;
    {
      tests::fresh_gpu();
      const auto model = engine::Model::open(path, options);
      for_each_expert(*model, [&](uint32_t layer, int32_t id) {
        n_uses[{layer, id}] = 0;
        if (is_in_vram(*model, {layer, id})) at_first.insert({layer, id});
      });
      const engine::traces::TraceHeader header = model->trace_header();
      engine::Session session(model, options.session);
      session.record_routing([&](const engine::traces::Pass& pass) {
        for (size_t row = 0; row < pass.n_rows(); ++row)
          for (size_t index = 0; index < header.expert_layers.size(); ++index)
            for (const uint16_t id : pass.experts(header, row, index))
              ++n_uses[{header.expert_layers[index], static_cast<int32_t>(id)}];
      });
      session.append(golden.tokens);
    }
    const auto check_hot = [&](const engine::Model& model) {
      int least_here = 1 << 30, most_elsewhere = 0;
      for (const auto& [expert, n] : n_uses)
        (is_in_vram(model, expert) ? least_here : most_elsewhere) =
            is_in_vram(model, expert) ? std::min(least_here, n) : std::max(most_elsewhere, n);
      CHECK(least_here >= most_elsewhere);
    };
    {
      tests::fresh_gpu();
      const auto second = engine::Model::open(path, options);
      check_hot(*second);
      std::set<Expert> now;
      for (const auto& [expert, n] : n_uses)
        if (is_in_vram(*second, expert)) now.insert(expert);
      CHECK(now != at_first);
      CHECK(now.size() >= at_first.size() - 2);
    }
    // The second one used nothing, and leaves what is known as it is.
    tests::fresh_gpu();
    check_hot(*engine::Model::open(path, options));
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("what VRAM holds of the file does not lie in the process's memory as well") {
  const auto path = tests::fixture_path("qwen3moe");
  const uint64_t file_bytes = std::filesystem::file_size(path);
  const uint64_t half = tests::vram_without(path, 0.5);
  {
    const auto on_cpu = engine::Model::open(path, tests::options_for(DeviceKind::Cpu));
    REQUIRE(resident_file_bytes(path) > 0);
  }
  tests::fresh_gpu();
  {
    const auto whole = engine::Model::open(path, gpu_options(0));
    CHECK(whole->forward_context().host == nullptr);
    CHECK(resident_file_bytes(path) < file_bytes / 4);
  }
  tests::fresh_gpu();
  engine::ModelOptions options = gpu_options(half);
  options.store.storage = engine::Storage::Disk;  // beneath which nothing is read through the mapping
  const auto part = engine::Model::open(path, options);
  CHECK(part->vram_statistics().n_slots > 0);
  CHECK(resident_file_bytes(path) < file_bytes / 4);
}

TEST_CASE(
    "layers whose experts differ in size and type share VRAM, and give the CPU's logits while experts come and go") {
  using namespace engine::synthetic;
  const tests::ScratchFolder folder;
  const std::filesystem::path path = folder.path() / "layers.gguf";
  Shape shape = find_preset("qwen3-30b-a3b")->shape;
  shape.n_vocabulary = 320;
  shape.n_embedding = shape.n_expert_hidden = 256;
  shape.n_layers = 4;
  shape.n_heads = 4;
  shape.n_kv_heads = 2;
  shape.head_size = 64;
  shape.n_experts = 8;
  shape.n_experts_used = 2;
  TypeRules types;
  for (const char* rule : {"all=Q8_0", "ffn_down_exps@1=Q6_K", "experts@2=Q4_K", "ffn_gate_exps@3=Q5_K"})
    types.add(rule);
  write_model(shape, plan_tensors(shape, types), 5, path, [](uint64_t) {});
  const int32_t tokens[] = {1, 260, 5, 319, 77, 280, 280, 3};
  const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), tokens, 10, 1);
  for (const double share : {0.3, 0.7}) {
    CAPTURE(share);
    engine::ModelOptions options = gpu_options(tests::vram_without(path, share));
    options.promotion.must_pay = false;
    tests::fresh_gpu();
    const auto model = engine::Model::open(path, options);
    std::map<uint64_t, int> n_by_size;  // bytes of an expert
    std::set<Expert> at_first;
    std::set<uint64_t> came;
    const auto bytes_of = [&](uint32_t layer) {
      const auto& experts = std::get<engine::ExpertsWeights>(model->forward_context().weights.layers[layer].ffn);
      return experts.gate.first.bytes() + experts.up.first.bytes() + experts.down.first.bytes();
    };
    for_each_expert(*model, [&](uint32_t layer, int32_t id) {
      n_by_size[bytes_of(layer)] += is_in_vram(*model, {layer, id});
      if (is_in_vram(*model, {layer, id})) at_first.insert({layer, id});
    });
    CHECK(n_by_size.size() == 4);
    for (const auto& [bytes, n] : n_by_size) {
      CAPTURE(bytes);
      CHECK(n > 0);
    }
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, tokens, 10, 1), 320);
    for_each_expert(*model, [&](uint32_t layer, int32_t id) {
      if (is_in_vram(*model, {layer, id}) && !at_first.contains({layer, id})) came.insert(bytes_of(layer));
    });
    CHECK(came.size() > 1);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("what deferral changes is measured side by side, and where nothing is deferred there is a sentence") {
  const auto path = tests::fixture_path("qwen3moe");
  const tests::Golden golden = tests::read_golden("qwen3moe");
  const engine::ModelOptions options = gpu_options(tests::vram_without(path, 0.6));
  tests::fresh_gpu();
  const auto model = engine::Model::open(path, options);
  engine::SessionOptions session_options = options.session;
  session_options.n_batch = 1;
  size_t n_told = 0;
  const engine::LogitsComparison all =
      engine::compare_deferral(model, golden.tokens, session_options, [&](size_t done, size_t total) {
        CHECK(done == ++n_told);
        CHECK(total == golden.tokens.size());
      });
  CHECK(all.n_positions == golden.tokens.size());
  CHECK(all.mean_kl > 1e-4);  // more than rounding
  CHECK(all.largest_difference > 0);
  CHECK(all.n_same_choice <= all.n_positions);
  // The reference is the model as it is, and it is that again.
  CHECK(!model->forward_context().host->defers());
  engine::Session session(model, session_options);
  std::vector<float> expected = tests::answer(session, golden.tokens, 0, 1).logits;
  engine::ModelOptions deferring = options;
  deferring.sharing.defers = true;
  tests::fresh_gpu();
  const auto deferring_model = engine::Model::open(path, deferring);
  engine::Session deferred(deferring_model, session_options);
  tests::Answer plain, changed = tests::answer(deferred, golden.tokens, 0, 1);
  plain.logits = std::move(expected);
  const engine::LogitsComparison apart = tests::compare(plain, changed, golden.n_vocabulary);
  CHECK(all.mean_kl == doctest::Approx(apart.mean_kl).epsilon(0.02));
  CHECK(all.n_same_choice == apart.n_same_choice);
  CHECK(simt::take_findings() == std::vector<std::string>());

  tests::fresh_gpu();
  for (const DeviceKind device : {DeviceKind::Cpu, DeviceKind::Cuda}) {
    try {
      engine::compare_deferral(engine::Model::open(path, tests::options_for(device)), golden.tokens, session_options,
                               {});
      FAIL("it was compared");
    } catch (const engine::Error& error) {
      CHECK(error.kind() == engine::Error::Kind::Usage);
      CHECK(std::string(error.what()).find("Nothing is deferred") != std::string::npos);
    }
  }
}

TEST_CASE(
    "the report of a run beside a GPU tells of the store's experts, and of no dense weights that it does not have") {
  const auto path = tests::fixture_path("qwen3moe");
  const tests::Golden golden = tests::read_golden("qwen3moe");
  engine::ModelOptions options = gpu_options(tests::vram_without(path, 0.5));
  options.store.storage = engine::Storage::Disk;
  tests::fresh_gpu();
  const auto model = engine::Model::open(path, options);
  engine::Session session(model, options.session);
  engine::GenerateOptions generate;
  generate.max_tokens = 3;
  generate.ignore_end = true;
  const engine::Generation told = engine::generate(session, golden.tokens, generate, {});
  const std::string lines = tools::usage_lines(told.statistics, 2);
  CAPTURE(lines);
  CHECK(lines.find("0 B of 0 B") == std::string::npos);
  CHECK(lines.find("dense weights") == std::string::npos);
  CHECK(lines.find(" experts (hybrid) have room in RAM") != std::string::npos);
  const tests::StoreSizes sizes = tests::store_sizes(path, 64);
  engine::ModelOptions cpu_options = tests::disk_options(sizes.least);
  cpu_options.device = DeviceKind::Cpu;
  engine::Session on_cpu(engine::Model::open(path, cpu_options), options.session);
  const std::string cpu_lines = tools::usage_lines(engine::generate(on_cpu, golden.tokens, generate, {}).statistics, 2);
  CAPTURE(cpu_lines);
  CHECK(cpu_lines.find("dense weights stay in memory, and ") != std::string::npos);
  CHECK(cpu_lines.find("for dense weights") != std::string::npos);
}
