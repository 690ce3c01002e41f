#include "bench/virtual_time/prefill.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "bench/virtual_time/pinned_store.h"
#include "bench/virtual_time/timed_gpu.h"
#include "engine/device/cpu_device.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/model/bound_model.h"
#include "engine/session/device_weights.h"
#include "engine/session/session_memory.h"
#include "engine/synthetic/model.h"

namespace sluice::bench {

using namespace engine;

void write_holes(const std::filesystem::path& path) {
  const synthetic::Preset& real = *synthetic::find_preset("r1-ud-iq1s");
  synthetic::TypeRules types;
  for (const std::string_view rule : real.types) types.add(rule);
  synthetic::write_sparse_model(real.shape, synthetic::plan_tensors(real.shape, types), path);
}

// In the order in which a model is opened (engine/session/model.cc).
PrefillOutcome run_prefill(const std::filesystem::path& holes, const Machine& machine, const PrefillSetting& setting) {
  const int64_t n_tokens = setting.n_tokens;
  const gguf::File file = gguf::File::open(holes);
  BoundModel model = describe_and_bind(holes, file);
  SessionOptions options;
  options.n_context = static_cast<uint32_t>(std::max<int64_t>(n_tokens, 4096));
  const SessionMemory memory = session_memory(model.spec, model.weights, LatentAttention::Automatic, options);
  auto owned = std::make_unique<TimedGpu>(machine.gpus.front().vram_bytes,
                                          rates_of_rtx4090(machine.gpus.front(), setting.shares));
  TimedGpu& gpu = *owned;
  const auto stream = gpu.make_stream();
  const DeviceWeights weights =
      move_to_device(gpu, *stream, file, model.weights, {memory.gpu_bytes(), memory.shared_bytes()}, {});
  VramTierOptions tier_options;
  tier_options.promotion.has_thread = false;
  tier_options.promotion.now = [&gpu] { return gpu.now(); };
  tier_options.promotion.link_bytes_per_second = machine.gpus.front().pcie_bytes_per_second;
  const uint64_t keep_free = memory.first_bytes();
  auto tier = std::make_unique<VramTier>(gpu, model.weights, gpu.room(keep_free), keep_free, tier_options, nullptr);
  auto store = std::make_unique<PinnedStore>(gpu, model.weights, std::span<const std::byte>());
  const auto pass_bytes = [&](int64_t n_rows, int64_t n_positions) {
    return shared_pass_bytes(model.spec, model.weights, LatentAttention::Automatic, options.cache, n_rows, n_positions);
  };
  ForwardContext context(std::move(owned), model.spec, model.weights, LatentAttention::Automatic, std::move(store));
  SharingOptions sharing;
  sharing.most_streamed_rows = setting.most_streamed_rows;
  sharing.reads_host = false;
  context.host = std::make_unique<HostSide>(make_cpu_device(1, false, true), model.spec, model.weights, *context.store,
                                            std::move(tier), context.device, pass_bytes, sharing);
  std::map<const std::byte*, uint32_t> layer_of;
  for (uint32_t layer = 0; layer < model.weights.layers.size(); ++layer)
    if (const auto* experts = std::get_if<ExpertsWeights>(&model.weights.layers[layer].ffn))
      layer_of[experts->gate.first.data] = layer;
  gpu.set_held([&](const std::byte* gate) {
    const uint32_t layer = layer_of.at(gate);
    int64_t n = 0;
    for (int32_t id = 0; id < std::get<ExpertsWeights>(model.weights.layers[layer].ffn).gate.count; ++id)
      n += context.host->tier()->holds(layer, id) ? 1 : 0;
    return n;
  });

  SequenceState state(context.device, model.spec, options.cache);
  SequenceState* const sequences[] = {&state};
  std::vector<float> logits(static_cast<size_t>(model.spec.n_vocabulary));
  context.device.synchronize(*context.stream);
  gpu.forget_times();
  const double begin = gpu.now();
  PrefillOutcome outcome;
  for (int64_t at = 0; at < n_tokens;) {
    const int64_t n = context.prompts.rows_of_next_pass(context, state, n_tokens - at, 512, INT64_MAX);
    std::vector<BatchRow> rows(static_cast<size_t>(n));
    rows.back().wants_logits = at + n == n_tokens;
    forward(context, rows, sequences, logits.data());
    at += n;
    ++outcome.n_passes;
    outcome.most_rows = std::max(outcome.most_rows, n);
  }
  if (gpu.memory().host_bytes > 0) throw std::logic_error("A pass of this size does not fit in the GPU's memory.");
  const VramStatistics statistics = context.host->statistics();
  outcome.n_tokens = n_tokens;
  outcome.shares = setting.shares;
  outcome.seconds = gpu.now() - begin;
  outcome.tokens_per_second = static_cast<double>(n_tokens) / outcome.seconds;
  outcome.slots = static_cast<double>(statistics.n_slots) / static_cast<double>(statistics.n_experts);
  outcome.ring_bytes = static_cast<double>(statistics.ring_bytes);
  outcome.n_copied = statistics.n_streamed;
  outcome.copied_bytes = static_cast<double>(statistics.streamed_bytes);
  outcome.link_seconds = gpu.link_seconds();
  outcome.gpu_computing = gpu.gpu_time().computing;
  outcome.gpu_attention = gpu.gpu_time().of_attention;
  outcome.gpu_experts = gpu.gpu_time().of_experts;
  outcome.gpu_waiting = gpu.gpu_time().waiting_for_copies;
  // What was busy nearly always.
  outcome.bound = outcome.link_seconds >= outcome.gpu_computing       ? "PCIe"
                  : outcome.gpu_attention > outcome.gpu_computing / 2 ? "attention on the GPU"
                                                                      : "products on the GPU";
  return outcome;
}

}  // namespace sluice::bench
