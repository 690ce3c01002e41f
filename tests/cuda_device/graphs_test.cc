// Passes as graphs: the same list of launches is captured once and launched whole from then on.

#include "engine/device/cuda/graphs.h"
#include "engine/device/cuda_device.h"
#include "engine/forward/forward.h"
#include "engine/model/bound_model.h"
#include "engine/session/device_weights.h"
#include "kernels/cuda/rows.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::cuda::Graphs;
using engine::cuda::Memory;

namespace {

// x += y, n times.
kernels::cuda::Launches additions(const Memory& x, const Memory& y, int n) {
  kernels::cuda::Launches launches;
  for (int i = 0; i < n; ++i)
    kernels::cuda::add_rows(launches, {reinterpret_cast<float*>(x.device()), 1, 4, 4},
                            {reinterpret_cast<float*>(y.device()), 1, 4, 4});
  return launches;
}

}  // namespace

TEST_CASE("a list of launches is a graph from its second time on, and another list is another graph") {
  tests::fresh_gpu();
  engine::cuda::StreamHandle stream;
  Memory x = engine::cuda::pinned_memory(16), y = engine::cuda::pinned_memory(16);
  std::fill_n(reinterpret_cast<float*>(x.host()), 4, 0.0f);
  std::fill_n(reinterpret_cast<float*>(y.host()), 4, 1.0f);
  Graphs graphs(true);
  const auto expect = [&](uint64_t single, uint64_t whole, uint64_t made) {
    CHECK(graphs.counts().single_launches == single);
    CHECK(graphs.counts().graph_launches == whole);
    CHECK(graphs.counts().graphs_made == made);
  };
  const auto six = additions(x, y, 6), seven = additions(x, y, 7), two = additions(x, y, 2);
  graphs.start(six, stream.get());
  expect(6, 0, 0);
  graphs.start(six, stream.get());
  graphs.start(six, stream.get());
  expect(6, 2, 1);
  graphs.start(seven, stream.get());
  graphs.start(seven, stream.get());
  expect(13, 3, 2);
  graphs.start(two, stream.get());  // too few for a graph
  graphs.start(two, stream.get());
  expect(17, 3, 2);
  CHECK(cudaStreamSynchronize(stream.get()) == cudaSuccess);
  CHECK(reinterpret_cast<float*>(x.host())[3] == 6 * 3 + 7 * 2 + 2 * 2);
}

TEST_CASE("old graphs make room for new ones") {
  tests::fresh_gpu();
  engine::cuda::StreamHandle stream;
  const Memory x = engine::cuda::pinned_memory(16), y = engine::cuda::pinned_memory(16);
  Graphs graphs(true);
  for (int round = 0; round < 2; ++round)
    for (int n = 4; n < 44; ++n)
      for (int i = 0; i < 2; ++i) graphs.start(additions(x, y, n), stream.get());
  CHECK(graphs.counts().graphs_made == 80);
  CHECK(cudaStreamSynchronize(stream.get()) == cudaSuccess);
}

TEST_CASE("decode is one graph for every token, whichever experts it takes") {
  for (const char* name : {"qwen3moe", "deepseek2-v2-lite"}) {
    CAPTURE(name);
    const tests::Golden golden = tests::read_golden(name);
    const auto path = tests::fixture_path(name);
    gguf::File file = gguf::File::open(path);
    tests::Answer answers[2];
    double calls[2] = {};
    for (const bool with_graphs : {false, true}) {
      // Only calls take time, a second each: the clock counts them.
      simt::GpuOptions options;
      options.call_seconds = 1;
      options.copy_latency_seconds = options.launch_latency_seconds = options.graph_launch_seconds = 0;
      options.graph_node_seconds = options.host_function_seconds = options.default_kernel_seconds = 0;
      tests::fresh_gpu(options);
      auto [spec, weights] = engine::describe_and_bind(path, file);
      auto device = engine::make_cuda_device({0, with_graphs});
      const engine::DeviceWeights moved =
          engine::move_to_device(*device, *device->make_stream(), file, weights, {}, {});
      engine::ForwardContext context(std::move(device), spec, weights, engine::LatentAttention::Automatic);
      engine::SequenceState state(context.device, spec, kernels::CacheType::F16);
      engine::SequenceState* const sequences[] = {&state};
      std::vector<float>& logits = answers[with_graphs].logits;
      for (size_t i = 0; i < golden.tokens.size(); ++i) {
        const double begin = simt::host_seconds();
        const engine::BatchRow row{golden.tokens[i], 0, true};
        logits.resize(logits.size() + golden.n_vocabulary);
        engine::forward(context, std::span(&row, 1), sequences, logits.data() + i * golden.n_vocabulary);
        if (i >= 4) calls[with_graphs] = std::max(calls[with_graphs], simt::host_seconds() - begin);
      }
    }
    CAPTURE(calls[0]);
    CAPTURE(calls[1]);
    CHECK(calls[0] > 25);
    CHECK(calls[1] <= 8);  // copies of cells, a graph, the copy of the logits, waiting
    CHECK(answers[0].logits == answers[1].logits);
  }
}
