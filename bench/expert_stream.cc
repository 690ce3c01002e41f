// How near a prompt's stream of experts comes to the disk's limit, where the host's memory holds a part of them:
//
//   expert_stream MODEL.gguf MEMORY [PASSES]
//
// MEMORY, say 1G, is what the store may have. Passes bring all experts by, as engine/forward/streamed_passes.cc has them brought, to a device that
// takes them without copying: what is timed is the disk, the store and the order of their reads. Beside each pass stands the same reads
// in the order of the file, as many at a time as the disk takes, and nothing else done. Prints a line of JSON for each pass.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <numeric>
#include <string>

#include "engine/engine.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/store/clock.h"
#include "engine/store/expert_stream.h"
#include "tests/engine/fake_gpu.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"

using namespace sluice;

namespace {

class TakesAll : public tests::FakeGpu {
 public:
  using FakeGpu::FakeGpu;
  void copy_to_device(Stream&, void*, const void*, uint64_t) override {}
};

struct Read {
  uint64_t bytes = 0;
  double seconds = 0;
  double rate() const { return static_cast<double>(bytes) / seconds; }
};

struct Bench {
  std::shared_ptr<const engine::Model> model;
  const engine::ModelWeights& weights() const { return model->forward_context().weights; }
  engine::WeightStore& store() const { return *model->forward_context().store; }

  template <class Do>
  void for_each_layer(Do what) const {
    for (uint32_t layer = 0; layer < weights().layers.size(); ++layer)
      if (const auto* experts = std::get_if<engine::ExpertsWeights>(&weights().layers[layer].ffn))
        what(layer, *experts);
  }
  template <class Do>
  Read time(Do what) const {
    const uint64_t before = store().statistics().bytes_read;
    const auto begin = engine::Clock::now();
    what();
    return {store().statistics().bytes_read - before, engine::seconds_since(begin)};
  }

  Read stream_pass(engine::ExpertStream& stream, engine::Stream& pass) const {
    std::vector<engine::ExpertStream::Expert> experts;
    for_each_layer([&](uint32_t layer, const engine::ExpertsWeights& of) {
      for (int32_t id = 0; id < of.gate.count; ++id)
        experts.push_back({layer, id, {of.gate.first, of.up.first, of.down.first}, store().hold(layer, id)});
    });
    if (!engine::leave_slots_to_fetch(store(), std::span(&experts, 1)))
      throw std::runtime_error("There are no slots to fetch experts to.");
    return time([&] {
      stream.begin(pass, std::move(experts));
      for_each_layer([&](uint32_t layer, const engine::ExpertsWeights&) {
        engine::ExpertParts& parts = stream.parts(layer);
        while (!parts.next().empty()) {
        }
      });
      stream.end();
    });
  }
  // As decode does.
  void fill_slots() const {
    for_each_layer([&](uint32_t layer, const engine::ExpertsWeights& of) {
      std::vector<int32_t> ids(static_cast<size_t>(of.gate.count));
      std::iota(ids.begin(), ids.end(), 0);
      const auto request = store().begin(layer, ids, std::vector<int64_t>(ids.size(), 1));
      while (!request->next().empty()) {
      }
    });
  }
  // What is not in memory, as far as slots are free for it, again and again: nobody waits for one before the next is asked for.
  Read plain_pass() const {
    return time([&] {
      for_each_layer([&](uint32_t layer, const engine::ExpertsWeights& of) {
        std::vector<std::unique_ptr<engine::ExpertHold>> coming;
        for (int32_t id = 0; id < of.gate.count; ++id) {
          if (store().has(layer, id)) continue;
          auto hold = store().fetch(layer, id);
          while (!hold && !coming.empty()) {
            coming.front()->wait();
            coming.erase(coming.begin());
            hold = store().fetch(layer, id);
          }
          coming.push_back(std::move(hold));
        }
        for (const auto& hold : coming) hold->wait();
      });
    });
  }
};

}  // namespace

int main(int n_arguments, char** arguments) try {
  if (n_arguments < 3) {
    std::fprintf(stderr, "usage: expert_stream MODEL.gguf MEMORY [PASSES]\n");
    return tools::kExitUsage;
  }
  engine::ModelOptions options;
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = tools::parse_bytes("MEMORY", arguments[2]);
  const int64_t n_passes = n_arguments > 3 ? tools::parse_integer("PASSES", arguments[3], 1, 1000) : 2;
  const Bench bench{engine::Model::open(arguments[1], options)};
  bench.store().begin_pass(1);
  bench.fill_slots();
  constexpr uint64_t kHalfRing = uint64_t{512} << 20;
  TakesAll gpu(2 * kHalfRing + (uint64_t{1} << 20));
  int64_t n_experts = 0;
  bench.for_each_layer(
      [&](uint32_t, const engine::ExpertsWeights& of) { n_experts = std::max<int64_t>(n_experts, of.gate.count); });
  engine::ExpertStream stream(gpu, bench.store(), n_experts);
  if (!stream.make_ring(kHalfRing)) throw std::runtime_error("There is no room for a ring.");
  const auto pass = gpu.make_stream();
  for (int64_t i = 0; i < n_passes; ++i) {
    const Read streamed = bench.stream_pass(stream, *pass);
    const Read plain = bench.plain_pass();
    std::printf(
        "{\"slots\": %llu, \"streamed_bytes\": %llu, \"streamed_bytes_per_second\": %.3e, \"plain_bytes\": %llu, "
        "\"plain_bytes_per_second\": %.3e, \"ratio\": %.2f}\n",
        static_cast<unsigned long long>(bench.store().statistics().n_expert_slots),
        static_cast<unsigned long long>(streamed.bytes), streamed.rate(), static_cast<unsigned long long>(plain.bytes),
        plain.rate(), streamed.rate() / plain.rate());
    std::fflush(stdout);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
