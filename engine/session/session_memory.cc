#include "engine/session/session_memory.h"

#include <algorithm>
#include <vector>

#include "engine/device/counting_device.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/store/disk_store.h"

namespace sluice::engine {

static constexpr uint32_t kDefaultContext = 4096;
// Of a context, at which a pass is counted: latent attention takes other forms for long and short ones.
static constexpr int64_t kLengths = 6;

uint32_t session_context(const ModelSpec& spec, const SessionOptions& options) {
  if (options.n_context != 0) return options.n_context;
  return std::min(static_cast<uint32_t>(spec.n_context), kDefaultContext);
}

namespace {

struct Counted {
  uint64_t state_bytes = 0, pass_bytes = 0;
};

// Of passes of so many rows, at n_lengths + 1 lengths of the context, the last of them full.
Counted count(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention, CacheType cache,
              int64_t n_context, int64_t n_rows, int64_t n_lengths, bool of_gpu, LayerRange layers) {
  CountedMemory memory;
  memory.of_gpu = of_gpu;
  ForwardContext context(make_counting_device(memory), spec, weights, latent_attention, nullptr, layers);
  SequenceState state(context.layers_on(), spec, cache);
  SequenceState* const sequences[] = {&state};
  std::vector<BatchRow> rows(static_cast<size_t>(n_rows));
  rows.back().wants_logits = true;
  Counted counted;
  for (int64_t i = of_gpu ? n_lengths : 0; i <= n_lengths; ++i) {
    const int64_t wanted = (n_context - n_rows) * i / n_lengths;
    state.reserve(*context.stream, wanted - state.length());
    state.advance(wanted - state.length());
    memory.most = memory.now;
    forward(context, rows, sequences, nullptr);
    counted.state_bytes = state.bytes();
    counted.pass_bytes = std::max(counted.pass_bytes, memory.most - state.bytes());
    state.truncate(wanted);
  }
  return counted;
}

}  // namespace

uint64_t shared_pass_bytes(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                           CacheType cache, int64_t n_rows, int64_t n_positions, LayerRange layers) {
  return count(spec, weights, latent_attention, cache, n_positions, n_rows, 1, true, layers).pass_bytes;
}

std::vector<uint64_t> state_bytes_of_layers(const ModelSpec& spec, const SessionOptions& options) {
  CountedMemory memory;
  const auto device = make_counting_device(memory);
  const auto stream = device->make_stream();
  SequenceState state(*device, spec, options.cache);
  std::vector<uint64_t> bytes;
  for (uint32_t layer = 0; layer < spec.layers.size(); ++layer)
    bytes.push_back(state.reserve_bytes(session_context(spec, options), {layer, layer + 1}));
  return bytes;
}

SessionMemory session_memory(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                             const SessionOptions& options, LayerRange layers) {
  const int64_t n_context = session_context(spec, options);
  const int64_t most_rows = std::max<int64_t>(1, std::min<int64_t>(options.n_batch, n_context));
  const auto count_rows = [&](int64_t n_rows) {
    Counted counted = count(spec, weights, latent_attention, options.cache, n_context, n_rows, kLengths, false, layers);
    // The logits as the session keeps them, as it receives them, and as the sampler sorts them.
    constexpr uint64_t kLogitsCopies = 4;
    counted.pass_bytes += kLogitsCopies * static_cast<uint64_t>(spec.n_vocabulary) * sizeof(float);
    return counted;
  };
  const Counted large = count_rows(most_rows);
  const Counted small = count_rows(std::min(most_rows, kSmallPassRows));
  SessionMemory memory;
  memory.state_bytes = std::max(large.state_bytes, small.state_bytes);
  memory.pass_bytes = std::max(large.pass_bytes, small.pass_bytes);
  memory.small_pass_bytes = small.pass_bytes;
  const int64_t shared_rows = std::min<int64_t>(most_rows, kMostSharedRows);
  const int64_t n_first = std::clamp(kFirstPositions, shared_rows, std::max(n_context, shared_rows));
  const auto count_on_gpu = [&](int64_t n_positions, int64_t n_rows) {
    const auto count_rows_on_gpu = [&](int64_t n) {
      return count(spec, weights, latent_attention, options.cache, n_positions, n, 1, true, layers);
    };
    Counted counted = count_rows_on_gpu(n_rows);
    // A row that attends alone has what it finds in each page apart: behind a long context more than what many rows take.
    counted.pass_bytes = std::max(counted.pass_bytes, count_rows_on_gpu(1).pass_bytes);
    counted.pass_bytes += kCellBytes;
    return counted;
  };
  memory.gpu_pass_bytes = count_on_gpu(n_context, most_rows).pass_bytes;
  memory.shared_pass_bytes = count_on_gpu(n_context, shared_rows).pass_bytes;
  const Counted first = count_on_gpu(n_first, shared_rows);
  memory.first_pass_bytes = first.pass_bytes;
  memory.first_state_bytes = first.state_bytes;
  return memory;
}

}  // namespace sluice::engine
