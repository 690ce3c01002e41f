#include "engine/session/session_memory.h"

#include <algorithm>
#include <vector>

#include "engine/device/counting_device.h"
#include "engine/forward/forward.h"
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

// Of passes of so many rows.
Counted count(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
              const SessionOptions& options, int64_t n_rows) {
  CountedMemory memory;
  ForwardContext context(make_counting_device(memory), spec, weights, latent_attention);
  SequenceState state(context.device, spec, options.cache);
  SequenceState* const sequences[] = {&state};
  const int64_t n_context = session_context(spec, options);
  std::vector<BatchRow> rows(static_cast<size_t>(n_rows));
  rows.back().wants_logits = true;
  Counted counted;
  for (int64_t i = 0; i <= kLengths; ++i) {
    const int64_t wanted = (n_context - n_rows) * i / kLengths;
    state.reserve(*context.stream, wanted - state.length());
    state.advance(wanted - state.length());
    memory.most = memory.now;
    forward(context, rows, sequences, nullptr);
    counted.state_bytes = state.bytes();
    counted.pass_bytes = std::max(counted.pass_bytes, memory.most - state.bytes());
    state.truncate(wanted);
  }
  // The logits as the session keeps them, as it receives them, and as the sampler sorts them.
  constexpr uint64_t kLogitsCopies = 4;
  counted.pass_bytes += kLogitsCopies * static_cast<uint64_t>(spec.n_vocabulary) * sizeof(float);
  return counted;
}

}  // namespace

SessionMemory session_memory(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                             const SessionOptions& options) {
  const int64_t most_rows = std::max<int64_t>(1, std::min<int64_t>(options.n_batch, session_context(spec, options)));
  const Counted large = count(spec, weights, latent_attention, options, most_rows);
  const Counted small = count(spec, weights, latent_attention, options, std::min(most_rows, kSmallPassRows));
  return {std::max(large.state_bytes, small.state_bytes), std::max(large.pass_bytes, small.pass_bytes),
          small.pass_bytes};
}

}  // namespace sluice::engine
