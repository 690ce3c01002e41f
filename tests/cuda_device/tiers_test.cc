// Three tiers of experts: some in VRAM, others in slots of RAM, and where both do not hold the model, the disk.

#include <cerrno>
#include <cstring>
#include <map>

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/placement/plan.h"
#include "engine/session/session_memory.h"
#include "engine/store/loader.h"
#include "tests/cuda_device/fixture.h"
#include "tests/engine/store_fixtures.h"

using namespace sluice;
using engine::DeviceKind;
using engine::GroupRole;

namespace {

constexpr const char* kModels[] = {"qwen3moe", "deepseek2-kimi-k2"};

// How much RAM beside a VRAM that holds half of the experts: slots for so many of those that it does not hold, and further ones of each class.
struct Ram {
  const char* name;
  double share;
  uint64_t n_spare;
  bool holds_the_rest;
};
constexpr Ram kAmple{"the rest and more", 1, 12, true};
constexpr Ram kTight{"the rest and two", 1, 2, true};
constexpr Ram kShort{"less than the rest", 0.6, 0, false};

engine::ModelOptions gpu_options(uint64_t vram_bytes) {
  engine::ModelOptions options = tests::options_for(DeviceKind::Cuda);
  options.vram_bytes = vram_bytes;
  options.promotion.must_pay = false;    // what is tested is how they come, not whether
  options.promotion.has_thread = false;  // so that each run is like the other
  options.sharing.reads_host = false;    // and the store tells nobody else what has moved
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

// VRAM for all but half of the experts.
uint64_t half_of_vram(const char* name) {
  tests::fresh_gpu();
  const auto model = engine::Model::open(tests::fixture_path(name), tests::options_for(DeviceKind::Cuda));
  const engine::ForwardContext& context = model->forward_context();
  const engine::SessionMemory session = engine::session_memory(model->spec(), context.weights, context.latent_attention,
                                                               tests::options_for(DeviceKind::Cuda).session);
  uint64_t experts = 0, n_experts = 0, one = 0;
  for (const engine::WeightGroup& group : model->work().groups) {
    if (group.role != GroupRole::RoutedExperts) continue;
    experts += group.unit_file_bytes() * group.n_units;
    n_experts += group.n_units;
    one = std::max(one, group.unit_file_bytes());
  }
  // What a slot is larger than its expert, and the table of places.
  return model->device_memory().device_bytes + session.shared_bytes() - experts + n_experts / 2 * (one + 3 * 255) +
         24 * n_experts + 512;
}

uint64_t store_bytes(const char* name, const Ram& ram, const engine::ModelOptions& on_gpu) {
  const auto model = engine::Model::open(tests::fixture_path(name), on_gpu);
  const engine::DiskFiles files(model->file().shard_paths());
  const auto padded = [&](const engine::LinearStack& stack) {
    return engine::LoadPart::most_padded_bytes(stack.stride_bytes, files.block_bytes());
  };
  struct Class {
    uint64_t slot_bytes = 0, n_rest = 0, n_experts = 0;
  };
  std::map<std::array<uint64_t, 3>, Class> classes;
  const auto& context = model->forward_context();
  for (uint32_t layer = 0; layer < context.weights.layers.size(); ++layer) {
    const auto* experts = std::get_if<engine::ExpertsWeights>(&context.weights.layers[layer].ffn);
    if (experts == nullptr) continue;
    const std::array<uint64_t, 3> parts = {padded(experts->gate), padded(experts->up), padded(experts->down)};
    Class& of_layer = classes[parts];
    of_layer.slot_bytes = parts[0] + parts[1] + parts[2];
    of_layer.n_experts += static_cast<uint64_t>(experts->gate.count);
    for (int32_t id = 0; id < experts->gate.count; ++id)
      of_layer.n_rest += context.host->tier()->holds(layer, id) ? 0 : 1;
  }
  uint64_t bytes = 0;
  for (const auto& [parts, of_class] : classes) {
    const auto n = static_cast<uint64_t>(ram.share * static_cast<double>(of_class.n_rest)) + ram.n_spare;
    bytes += std::min(std::max<uint64_t>(3, n), of_class.n_experts) * of_class.slot_bytes;
  }
  return bytes;
}

engine::ModelOptions options_for(const char* name, const Ram& ram) {
  engine::ModelOptions options = gpu_options(half_of_vram(name));
  tests::fresh_gpu();
  const uint64_t bytes = store_bytes(name, ram, options);
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = bytes;
  return options;
}

// What the store says of its experts, held against the file, pass by pass.
class Watch {
 public:
  explicit Watch(const engine::Model& model)
      : context_(model.forward_context()), file_(engine::Model::open(model_path(model), cpu_options())) {
    for_each([&](uint32_t layer, int32_t id) { was_in_vram_[{layer, id}] = tier().holds(layer, id); });
    at_first_ = was_in_vram_;
    look();
  }

  // After every pass; after some, `is_next` is false: experts may have come to VRAM and gone since.
  void look(bool is_next = true) {
    if (!is_next) was_complete_ = false;
    engine::WeightStore& store = *context_.store;
    for (const auto& [layer, id] : store.take_moved()) known_[{layer, id}] = address(layer, id);
    const bool is_complete = store.is_complete();
    for_each([&](uint32_t layer, int32_t id) {
      const auto held = store.hold(layer, id);
      const std::byte* const now = held ? held->handles.gate.data : nullptr;
      CHECK(known_[{layer, id}] == now);
      const bool is_in_vram = tier().holds(layer, id), was_in_vram = was_in_vram_[{layer, id}];
      const std::byte* const before = before_[{layer, id}];
      if (is_complete && was_complete_ && !is_in_vram && !was_in_vram && before != nullptr) CHECK(now == before);
      was_in_vram_[{layer, id}] = is_in_vram;
      before_[{layer, id}] = now;
      if (!held) return;
      ++n_compared;
      const auto& stacks = std::get<engine::ExpertsWeights>(file_->forward_context().weights.layers[layer].ffn);
      CHECK(is_equal(held->handles.gate, stacks.gate.at(id)));
      CHECK(is_equal(held->handles.up, stacks.up.at(id)));
      CHECK(is_equal(held->handles.down, stacks.down.at(id)));
      if (at_first_[{layer, id}] && !is_in_vram) ++n_came_back;
    });
    was_complete_ = is_complete;
  }

  uint64_t n_compared = 0;
  uint64_t n_came_back = 0;  // times that one was found in RAM that was in VRAM at first and is not any more

 private:
  using Key = std::pair<uint32_t, int32_t>;
  static std::filesystem::path model_path(const engine::Model& model) { return model.file().shard_paths()[0]; }
  static engine::ModelOptions cpu_options() {
    engine::ModelOptions options = tests::options_for(DeviceKind::Cpu);
    options.residency = engine::Residency::File;
    return options;
  }
  const engine::VramTier& tier() const { return *context_.host->tier(); }
  template <class Do>
  void for_each(Do what) {
    for (uint32_t layer = 0; layer < context_.weights.layers.size(); ++layer)
      if (const auto* experts = std::get_if<engine::ExpertsWeights>(&context_.weights.layers[layer].ffn))
        for (int32_t id = 0; id < experts->gate.count; ++id) what(layer, id);
  }
  const std::byte* address(uint32_t layer, int32_t id) {
    const auto held = context_.store->hold(layer, id);
    return held ? held->handles.gate.data : nullptr;
  }
  static bool is_equal(const engine::Linear& a, const engine::Linear& b) {
    simt::host_touches(a.data, a.bytes(), false);  // a finding where a copy to it is still under way
    return a.bytes() == b.bytes() && std::memcmp(a.data, b.data, a.bytes()) == 0;
  }

  const engine::ForwardContext& context_;
  std::shared_ptr<const engine::Model> file_;
  std::map<Key, bool> was_in_vram_, at_first_;
  std::map<Key, const std::byte*> known_, before_;
  bool was_complete_ = false;
};

struct Run {
  tests::Answer answer;
  engine::VramStatistics vram;
  engine::StoreStatistics opened, ended;
  uint64_t n_compared = 0, n_came_back = 0;
  bool is_complete = false;
};

Run run(const char* name, const engine::ModelOptions& options, std::span<const int32_t> tokens, size_t rows_a_pass,
        size_t n_generated) {
  const auto model = engine::Model::open(tests::fixture_path(name), options);
  Run run;
  run.opened = model->store_statistics();
  {
    Watch watch(*model);
    engine::Session session(model, options.session);
    run.answer = tests::answer(session, tokens, 0, rows_a_pass);
    while (run.answer.greedy.size() < n_generated) {
      const std::span<const float> logits = session.logits();
      const auto best = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
      run.answer.greedy.push_back(best);
      session.append(std::span(&best, 1));
      run.answer.logits.insert(run.answer.logits.end(), session.logits().begin(), session.logits().end());
      watch.look();
    }
    run.n_compared = watch.n_compared;
    run.n_came_back = watch.n_came_back;
  }
  run.vram = model->vram_statistics();
  run.ended = model->store_statistics();
  run.is_complete = model->forward_context().store->is_complete();
  return run;
}

}  // namespace

TEST_CASE(
    "with half of the experts in VRAM and all others, all and two, or fewer in RAM a model gives the CPU's logits "
    "while "
    "experts come and go, and reads nothing once both hold it") {
  for (const char* name : kModels) {
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(10);
    const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 20, 3);
    for (const Ram& ram : {kAmple, kTight, kShort}) {
      const engine::ModelOptions options = options_for(name, ram);
      tests::fresh_gpu();
      const Run told = run(name, options, tokens, 3, 20);
      CAPTURE(std::string(name));
      CAPTURE(std::string(ram.name));
      CAPTURE(told.vram.n_slots);
      CAPTURE(told.ended.n_expert_slots);
      tests::check_same(cpu, told.answer, golden.n_vocabulary);
      CHECK(told.ended.reads_disk);
      CHECK(told.opened.bytes_read > 0);
      CHECK(told.vram.n_slots > 0);
      CHECK(told.vram.n_promotions >= 8);
      CHECK(told.vram.n_failed_copies == 0);
      CHECK(told.n_compared > 60);
      MESSAGE(std::string(name) << ", " << std::string(ram.name) << ": " << told.vram.n_slots << " slots in VRAM, "
                                << told.ended.n_expert_slots << " in RAM, " << told.vram.n_promotions << " promotions, "
                                << told.vram.n_copied_back << " copied back, "
                                << told.ended.bytes_read - told.opened.bytes_read << " bytes read");
      if (ram.holds_the_rest) {
        CHECK(told.is_complete);
        CHECK(told.ended.n_misses == 0);
        CHECK(told.ended.bytes_read == told.opened.bytes_read);
        CHECK(told.vram.n_copied_back > 0);
        CHECK(told.n_came_back > 0);
      } else {
        CHECK(told.ended.bytes_read > told.opened.bytes_read);
      }
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
  CHECK(simt::take_performance_notes() == std::vector<std::string>());
}

TEST_CASE("copies on a thread of their own bring the same logits, and read nothing either") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(6);
  engine::ModelOptions options = options_for(name, kTight);
  options.promotion.has_thread = true;
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 60, 3);
  tests::fresh_gpu();
  const Run told = run(name, options, tokens, 3, 60);
  tests::check_same(cpu, told.answer, golden.n_vocabulary);
  CHECK(told.vram.n_promotions > 0);
  CHECK(told.ended.bytes_read == told.opened.bytes_read);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("copies that come as late as is legal, or at odd moments, race with nothing") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(4);
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 8, 2);
  struct Schedule {
    simt::Effects effects;
    uint64_t seed;
  };
  for (const Ram& ram : {kTight, kShort})
    for (const bool has_thread : {false, true})
      for (const auto& [effects, seed] : {Schedule{simt::Effects::Lazy, 1}, Schedule{simt::Effects::Seeded, 1},
                                          Schedule{simt::Effects::Seeded, 2}, Schedule{simt::Effects::Seeded, 3}}) {
        CAPTURE(std::string(ram.name));
        CAPTURE(has_thread);
        CAPTURE(seed);
        engine::ModelOptions options = options_for(name, ram);
        options.promotion.has_thread = has_thread;
        // Gives up experts that the pass has just used.
        if (seed == 3) options.store.policy = engine::PolicyKind::Lfu;
        // Reads write the memory of slots, which the search for races is told.
        options.store.wrap_disk = [](std::unique_ptr<engine::Disk> disk) {
          return std::make_unique<tests::MeddlingDisk>(std::move(disk),
                                                       [](const engine::DiskRead& read, int64_t result) {
                                                         for (const iovec& part : read.to)
                                                           simt::host_touches(part.iov_base, part.iov_len, true);
                                                         return result;
                                                       });
        };
        simt::GpuOptions gpu;
        gpu.effects = effects;
        gpu.seed = seed;
        tests::fresh_gpu(gpu, true);
        const Run told = run(name, options, tokens, 2, 8);
        tests::check_same(cpu, told.answer, golden.n_vocabulary);
        if (!has_thread) CHECK(told.vram.n_promotions > 3);
        if (ram.holds_the_rest) CHECK(told.ended.bytes_read == told.opened.bytes_read);
        CHECK(simt::take_findings() == std::vector<std::string>());
      }
}

TEST_CASE("copies that fail cost promotions or a sentence, and the next session works") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(4);
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 6, 2);
  size_t n_sentences = 0;
  uint64_t n_failed_copies = 0;
  engine::ModelOptions options = options_for(name, kTight);
  for (uint64_t nth = 1; nth < 60; nth += 3) {
    options.promotion.has_thread = nth % 2 == 0;
    CAPTURE(nth);
    tests::fresh_gpu();
    const auto model = engine::Model::open(tests::fixture_path(name), options);
    Watch watch(*model);
    simt::inject_fault({simt::FaultPoint::Copy, nth, 999, 1});
    // The fault may meet the second session, but no third.
    size_t n_right = 0, n_wrong = 0;
    while (n_right < 2 && n_wrong < 2) {
      try {
        engine::Session session(model, options.session);
        tests::check_same(cpu, tests::answer(session, tokens, 6, 2), golden.n_vocabulary);
        ++n_right;
      } catch (const engine::Error& error) {
        ++n_wrong;
        CHECK(error.kind() == engine::Error::Kind::Device);
        CHECK(std::string(error.what()).find("--device cpu") != std::string::npos);
      }
      watch.look(false);
    }
    CHECK(n_right == 2);
    n_sentences += n_wrong;
    n_failed_copies += model->vram_statistics().n_failed_copies;
  }
  CHECK(n_sentences > 3);
  CHECK(n_failed_copies > 3);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("memory that the system does not pin is copied from all the same") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(10);
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 20, 3);
  const engine::ModelOptions options = options_for(name, kTight);
  tests::fresh_gpu();
  simt::inject_fault({simt::FaultPoint::HostRegister, 1, 2, 1000});
  const Run told = run(name, options, tokens, 3, 20);
  tests::check_same(cpu, told.answer, golden.n_vocabulary);
  CHECK(told.vram.n_copied_back > 0);
  CHECK(told.ended.bytes_read == told.opened.bytes_read);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a disk that fails beside a GPU gives a sentence, at opening or later, and the session after it works") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(4);
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 10, 2);
  std::atomic<bool> fails = false;
  engine::ModelOptions options = options_for(name, kShort);
  options.store.wrap_disk = [&fails](std::unique_ptr<engine::Disk> disk) {
    return std::make_unique<tests::MeddlingDisk>(
        std::move(disk), [&fails](const engine::DiskRead&, int64_t result) { return fails ? int64_t{-EIO} : result; });
  };
  const auto check_sentence = [&](const engine::Error& error) {
    CHECK(error.kind() == engine::Error::Kind::BadFile);
    CHECK(std::string(error.what()).find("Reading weights failed") != std::string::npos);
  };
  tests::fresh_gpu();
  fails = true;
  try {
    engine::Model::open(tests::fixture_path(name), options);
    FAIL("it opened");
  } catch (const engine::Error& error) {
    check_sentence(error);
  }
  fails = false;
  const auto model = engine::Model::open(tests::fixture_path(name), options);
  Watch watch(*model);
  fails = true;
  try {
    engine::Session session(model, options.session);
    tests::answer(session, tokens, 10, 2);
    FAIL("it read nothing");
  } catch (const engine::Error& error) {
    check_sentence(error);
  }
  fails = false;
  engine::Session session(model, options.session);
  tests::check_same(cpu, tests::answer(session, tokens, 10, 2), golden.n_vocabulary);
  watch.look(false);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("VRAM that is given back goes to RAM where there is room for its experts") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(4);
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 10, 2);
  constexpr Ram kAll{"everything", 1, 1000, true};
  for (const Ram& ram : {kAll, kShort}) {
    CAPTURE(std::string(ram.name));
    const engine::ModelOptions options = options_for(name, ram);
    tests::fresh_gpu();
    const auto model = engine::Model::open(tests::fixture_path(name), options);
    Watch watch(*model);
    const uint64_t read_at_opening = model->store_statistics().bytes_read;
    engine::ForwardContext& context = model->forward_context();
    context.host->tier()->give_back(*context.stream, uint64_t{1} << 40);
    watch.look();
    CHECK(model->vram_statistics().n_slots == 0);
    CHECK(context.store->is_complete() == ram.holds_the_rest);
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, tokens, 10, 2), golden.n_vocabulary);
    CHECK((model->store_statistics().bytes_read == read_at_opening) == ram.holds_the_rest);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("giving VRAM back that fails midway leaves the rest where it is, and races with nothing") {
  const char* const name = kModels[0];
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(12);
  const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 0, 1);
  constexpr Ram kAll{"everything", 1, 1000, true};
  engine::ModelOptions options = options_for(name, kAll);
  // Reads write the memory of slots, which the search for races is told.
  options.store.wrap_disk = [](std::unique_ptr<engine::Disk> disk) {
    return std::make_unique<tests::MeddlingDisk>(std::move(disk), [](const engine::DiskRead& read, int64_t result) {
      for (const iovec& part : read.to) simt::host_touches(part.iov_base, part.iov_len, true);
      return result;
    });
  };
  size_t n_failed = 0;
  for (uint64_t nth = 1;; nth += nth < 5 ? 1 : 9) {
    CAPTURE(nth);
    simt::GpuOptions gpu;
    gpu.effects = simt::Effects::Lazy;  // what was asked for before the failure is still to come
    gpu.goes_on_after_seconds = 0.001;
    tests::fresh_gpu(gpu);
    const auto model = engine::Model::open(tests::fixture_path(name), options);
    engine::ForwardContext& context = model->forward_context();
    engine::VramTier& tier = *context.host->tier();
    engine::Session session(model, options.session);
    tests::Answer answer = tests::answer(session, tokens.first(2), 0, 1);
    const uint64_t n_slots = model->vram_statistics().n_slots;
    simt::inject_fault({simt::FaultPoint::Copy, nth, 999, 1});
    try {
      tier.give_back(*context.stream, uint64_t{1} << 40);
      break;  // there were no more copies than that
    } catch (const engine::Error& error) {
      ++n_failed;
      CHECK(error.kind() == engine::Error::Kind::Device);
      CHECK(model->vram_statistics().n_slots > 0);
      CHECK(model->vram_statistics().n_slots + model->vram_statistics().n_slots_given_back == n_slots);
    }
    // Passes as those before, for which nobody waits for the stream first.
    const tests::Answer after = tests::answer(session, tokens.subspan(2), 0, 1);
    answer.logits.insert(answer.logits.end(), after.logits.begin(), after.logits.end());
    tests::check_same(cpu, answer, golden.n_vocabulary);
    Watch watch(*model);
    tier.give_back(*context.stream, uint64_t{1} << 40);
    watch.look(false);
    CHECK(model->vram_statistics().n_slots == 0);
    CHECK(model->vram_statistics().n_slots_given_back == n_slots);
  }
  CHECK(n_failed > 5);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE(
    "a GPU beside too little RAM says how much is needed, and one with enough has all experts in memory that it can "
    "read") {
  const char* const name = kModels[0];
  engine::ModelOptions options = gpu_options(half_of_vram(name));
  tests::fresh_gpu();
  options.store.storage = engine::Storage::Disk;
  options.store.ram_bytes = uint64_t{1} << 20;
  try {
    engine::Model::open(tests::fixture_path(name), options);
    FAIL("it opened");
  } catch (const engine::Error& error) {
    CHECK(error.kind() == engine::Error::Kind::OutOfMemory);
    CHECK(std::string(error.what()).find("needs at least") != std::string::npos);
  }
  options.store.storage = engine::Storage::Automatic;
  options.store.ram_bytes = uint64_t{1} << 40;
  CHECK(engine::Model::open(tests::fixture_path(name), options)->forward_context().store->is_complete());
  CHECK(engine::Model::open(tests::fixture_path(name), options)->store_statistics().reads_disk);
  options.store.ram_bytes = uint64_t{1} << 20;  // the file does not fit that, and neither does anything else
  CHECK_THROWS_AS(engine::Model::open(tests::fixture_path(name), options), engine::Error);
  options.store.storage = engine::Storage::Mapped;
  CHECK(!engine::Model::open(tests::fixture_path(name), options)->store_statistics().reads_disk);
  options.store.storage = engine::Storage::Disk;
  options.store.ram_bytes = 0;  // what is free
  const auto model = engine::Model::open(tests::fixture_path(name), options);
  CHECK(model->store_statistics().reads_disk);
  CHECK(model->forward_context().store->is_complete());
  CHECK(model->ram_budget_bytes() > 0);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE(
    "experts that are read where the host has them give the CPU's logits, while others come to VRAM and go back") {
  for (const char* name : kModels) {
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(10);
    const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 8, 1);
    for (const Ram& ram : {kAmple, kTight, kShort}) {
      CAPTURE(name);
      CAPTURE(ram.name);
      engine::ModelOptions options = options_for(name, ram);
      options.sharing.reads_host = true;
      // The host takes so long for its part, by its clock, that all misses are left to the GPU.
      for (const uint64_t seed : {0, 1, 2}) {
        simt::GpuOptions gpu;
        gpu.effects = seed == 0 ? simt::Effects::Eager : simt::Effects::Seeded;
        gpu.seed = seed;
        tests::fresh_gpu(gpu, seed == 1);
        const auto model = engine::Model::open(tests::fixture_path(name), options);
        engine::Session session(model, options.session);
        const tests::Answer answer = tests::answer(session, tokens, 8, 1);
        tests::check_same(cpu, answer, golden.n_vocabulary);
        const engine::VramStatistics vram = model->vram_statistics();
        CHECK((vram.n_read_from_host > 10) == ram.holds_the_rest);
        CHECK(vram.n_hits > 0);
        CHECK(vram.n_misses > 0);
        CHECK(vram.n_promotions > 0);
      }
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}
