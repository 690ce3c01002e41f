// The forward pass: rows of tokens in, logits out. One pass serves prefill and decode, one sequence and many.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/forward/prompt_passes.h"
#include "engine/forward/sequence_state.h"
#include "engine/forward/workspace.h"
#include "engine/model/layer_range.h"
#include "engine/model/spec.h"
#include "engine/model/weights.h"
#include "engine/options.h"
#include "engine/store/store.h"

namespace sluice::engine {

class ForwardContext;
class HostSide;  // engine/forward/host_side.h

// Where a part of a pass is computed.
struct Processor {
  Device& device;
  Stream& stream;
  Workspace& workspace;
};

// The layers that one device computes, and what it needs for them.
struct Stage {
  // `on` must outlive it.
  Stage(ForwardContext& of, Device& on, LayerRange which);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  Processor processor() { return {device, *stream, workspace}; }

  ForwardContext& context;
  Device& device;
  std::unique_ptr<Stream> stream;
  const LayerRange layers;
  Workspace workspace;
  // The CPU, where a device with memory of its own leaves something to it: what lies in the file's mapping or in the store.
  std::unique_ptr<HostSide> host;
};

// A device, and where its layers end.
struct StageDevice {
  std::unique_ptr<Device> device;
  uint32_t end_layer = UINT32_MAX;
};

// What a pass needs besides its rows. One thread at a time may evaluate with it.
class ForwardContext {
  std::vector<std::unique_ptr<Device>> owned_devices_;  // outlive all that follow

 public:
  // store: where the weights are; null when all are in memory or in a mapped file. layers: of which passes are made, where it is not all.
  ForwardContext(std::unique_ptr<Device> device, const ModelSpec& spec, const ModelWeights& weights,
                 LatentAttention latent_attention, std::unique_ptr<WeightStore> store = nullptr,
                 LayerRange layers = {});
  // A pass goes through the devices, each of which has some layers, one after the other.
  ForwardContext(std::vector<StageDevice> devices, const ModelSpec& spec, const ModelWeights& weights,
                 LatentAttention latent_attention);
  ~ForwardContext();

  const ModelSpec& spec;
  const ModelWeights& weights;
  const LatentAttention latent_attention;
  std::unique_ptr<WeightStore> store;
  kernels::reference::Rope rope;  // with the frequency factors of the weights
  std::deque<Stage> stages;       // at least one
  PromptPasses prompts;
  // Of the stages, for sequences.
  std::span<const LayersOn> layers_on() const { return layers_on_; }

  // Of the first stage: the only one, where one device has all layers.
  Device& device;
  std::unique_ptr<Stream>& stream;
  Workspace& workspace;
  std::unique_ptr<HostSide>& host;

 private:
  ForwardContext(std::vector<StageDevice> devices, const ModelSpec& spec, const ModelWeights& weights,
                 LatentAttention latent_attention, std::unique_ptr<WeightStore> store, LayerRange layers);
  std::vector<LayersOn> layers_on_;
};

struct BatchRow {
  int32_t token = 0;
  uint32_t sequence = 0;  // index into the pass's sequences
  bool wants_logits = false;
};

// Told what each layer's router chose, in the order of the layers: [rows, used] expert ids and the weights of their outputs,
// valid during the call.
using RoutingObserver =
    std::function<void(uint32_t layer, std::span<const int32_t> expert_ids, std::span<const float> weights)>;

// What forward() waits for.
enum class PassEnd : uint8_t {
  Awaited,  // the pass is done
  Left,  // it goes on, and another one follows: where can_overlap(). Should that fail, this one may not have been done either
};
// Do passes of a prompt follow one another through several devices? While one is about a pass, the one before it is about the next.
bool can_overlap(const ForwardContext& context);

// Evaluates the rows and appends them to their sequences. Rows of one sequence come in order, and are consecutive in
// the batch; the first of them takes the position after the sequence's last. logits: host memory, one row of
// n_vocabulary for each row that wants them. `cancelled` is asked before every layer, unless it is empty; when it says
// yes, forward() returns false. When it does, or throws, no sequence has grown. `on_routing` may be empty, too.
bool forward(ForwardContext& context, std::span<const BatchRow> rows, std::span<SequenceState* const> sequences,
             float* logits, const std::function<bool()>& cancelled = {}, const RoutingObserver& on_routing = {},
             PassEnd end = PassEnd::Awaited);

}  // namespace sluice::engine
