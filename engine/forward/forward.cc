#include "engine/forward/forward.h"

#include <algorithm>

#include "engine/forward/batch.h"
#include "engine/forward/host_side.h"

namespace sluice::engine {

Stage::Stage(ForwardContext& of, Device& on, LayerRange which)
    : context(of), device(on), stream(on.make_stream()), layers(which), workspace(on) {}
Stage::~Stage() = default;

static std::vector<StageDevice> only(std::unique_ptr<Device> device, LayerRange layers) {
  std::vector<StageDevice> devices;
  devices.push_back({std::move(device), layers.end});
  return devices;
}

// One stage for each device that has layers.
static std::deque<Stage> make_stages(ForwardContext& context, const std::vector<StageDevice>& devices,
                                     LayerRange layers) {
  std::deque<Stage> stages;
  uint32_t begin = layers.begin;
  for (const StageDevice& on : devices) {
    const uint32_t end = std::min(on.end_layer, layers.end);
    if (end > begin) stages.emplace_back(context, *on.device, LayerRange{begin, end});
    begin = std::max(begin, end);
  }
  return stages;
}

ForwardContext::ForwardContext(std::vector<StageDevice> devices, const ModelSpec& model_spec,
                               const ModelWeights& model_weights, LatentAttention latent,
                               std::unique_ptr<WeightStore> weight_store, LayerRange layers)
    : spec(model_spec),
      weights(model_weights),
      latent_attention(latent),
      store(weight_store ? std::move(weight_store) : make_mapped_store(model_weights)),
      rope(model_spec.rope),
      stages(make_stages(*this, devices, layers.of(model_spec.layers.size()))),
      device(stages.at(0).device),
      stream(stages.at(0).stream),
      workspace(stages.at(0).workspace),
      host(stages.at(0).host) {
  for (StageDevice& on : devices) owned_devices_.push_back(std::move(on.device));
  for (Stage& stage : stages) layers_on_.push_back({&stage.device, stage.stream.get(), stage.layers});
  rope.frequency_factors = weights.rope_factors.data;
}

ForwardContext::ForwardContext(std::unique_ptr<Device> owned_device, const ModelSpec& model_spec,
                               const ModelWeights& model_weights, LatentAttention latent,
                               std::unique_ptr<WeightStore> weight_store, LayerRange layers)
    : ForwardContext(only(std::move(owned_device), layers), model_spec, model_weights, latent, std::move(weight_store),
                     layers) {}

ForwardContext::ForwardContext(std::vector<StageDevice> devices, const ModelSpec& model_spec,
                               const ModelWeights& model_weights, LatentAttention latent)
    : ForwardContext(std::move(devices), model_spec, model_weights, latent, nullptr, {}) {}

ForwardContext::~ForwardContext() = default;

static Batch arrange(std::span<const BatchRow> rows, std::span<SequenceState* const> sequences) {
  Batch batch;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].sequence != rows[i - 1].sequence) {
      SequenceState* state = sequences[rows[i].sequence];
      batch.sequences.push_back({state, static_cast<int64_t>(i), 0, state->length()});
    }
    BatchSequence& sequence = batch.sequences.back();
    const auto position = static_cast<int32_t>(sequence.first_position + sequence.n_rows++);
    batch.tokens.push_back(rows[i].token);
    batch.positions.push_back(position);
    batch.n_visible.push_back(position + 1);
    if (rows[i].wants_logits) batch.logits_rows.push_back(static_cast<int32_t>(i));
  }
  return batch;
}

std::vector<CacheRun> cache_runs(const Batch& batch, uint32_t layer, size_t cache_index) {
  std::vector<CacheRun> runs;
  for (const BatchSequence& sequence : batch.sequences) {
    const RowCache& cache = sequence.state->layer(layer).caches[cache_index];
    for (int64_t i = 0; i < sequence.n_rows;) {
      const int64_t position = sequence.first_position + i;
      const int64_t left_in_page = kPagePositions - position % kPagePositions;
      const int64_t n = std::min(left_in_page, sequence.n_rows - i);
      runs.push_back({sequence.first_row + i, n, cache.position(position, 0)});
      i += n;
    }
  }
  return runs;
}

void attention(Stage& on, const Batch& batch, uint32_t layer, const Input& x, Rows out) {
  if (std::holds_alternative<GroupedQuerySpec>(on.context.spec.layers[layer].attention))
    grouped_query_attention(on, batch, layer, x, out);
  else
    latent_attention(on, batch, layer, x, out);
}

void dense_ffn(const Processor& on, const DenseWeights& weights, const Input& x, Rows out, bool adds) {
  WorkspaceScope scope(on.workspace);
  const Rows gated = on.workspace.rows(out.n_rows, weights.gate.n_outputs);
  const Rows up = on.workspace.rows(out.n_rows, weights.up.n_outputs);
  const auto hidden = on.device.multiply_gated(on.stream, weights.gate, weights.up, x, gated, up);
  const Product down{&weights.down, hidden.get(), nullptr, adds ? on.workspace.rows(out.n_rows, out.n_cols) : out};
  if (adds)
    on.device.multiply_and_add(on.stream, down, out);
  else
    on.device.multiply(on.stream, std::span(&down, 1));
}

bool is_in_file(const DenseWeights& weights) {
  return weights.gate && weights.gate.place == Place::MappedFile;
}

// out = the rows that the host makes of x.
static void dense_ffn_of_host(Stage& on, uint32_t layer, const DenseWeights& weights, const Input& x, Rows out) {
  on.device.begin_host_work(*on.stream, layer, x, [&on, &weights](const HostShare& share, Rows results) {
    on.host->multiply(weights, share.inputs, results);
    return true;
  });
  on.device.finish_host_work(*on.stream, layer, out, true);
}

// x: normed; residual: what the layer adds to, for guessing what comes after it.
static void feed_forward(Stage& on, uint32_t layer, Rows residual, const Input& x, Rows out,
                         const RoutingObserver& on_routing) {
  const LayerWeights& weights = on.context.weights.layers[layer];
  const PartLease lease(*on.context.store, feed_forward_part(layer));
  if (const auto* dense = std::get_if<DenseWeights>(&weights.ffn)) {
    if (on.host && is_in_file(*dense))
      dense_ffn_of_host(on, layer, *dense, x, out);
    else
      dense_ffn(on.processor(), *dense, x, out);
  } else {
    experts_ffn(on, layer, residual, x, out, on_routing);
  }
}

// Returns false when cancelled. x and `change` together are what the output's norm is of.
static bool run_layers(Stage& on, const Batch& batch, Rows x, Rows change, const std::function<bool()>& cancelled,
                       const RoutingObserver& on_routing) {
  Device& device = on.device;
  Stream& stream = *on.stream;
  const float epsilon = on.context.spec.norm_epsilon;
  const Rows normed = on.workspace.rows(x.n_rows, x.n_cols);
  const Rows* last_change = nullptr;
  for (uint32_t layer = on.layers.begin; layer < on.layers.end; ++layer) {
    if (cancelled && cancelled()) return false;
    const LayerWeights& weights = on.context.weights.layers[layer];
    {
      const auto input = device.norm_and_prepare(stream, x, last_change, weights.attention_norm, epsilon, normed);
      const PartLease lease(*on.context.store, attention_part(layer));
      attention(on, batch, layer, *input, change);
    }
    const auto input = device.norm_and_prepare(stream, x, &change, weights.ffn_norm, epsilon, normed);
    feed_forward(on, layer, x, *input, change, on_routing);
    last_change = &change;
  }
  return true;
}

// Of the last stage.
static void compute_logits(Stage& on, const Batch& batch, Rows x, Rows change, float* logits) {
  if (batch.logits_rows.empty()) return;
  ForwardContext& context = on.context;
  Device& device = on.device;
  Stream& stream = *on.stream;
  WorkspaceScope scope(on.workspace);
  const auto n_rows = static_cast<int64_t>(batch.logits_rows.size());
  const auto input =
      device.norm_and_prepare(stream, x, &change, context.weights.output_norm, context.spec.norm_epsilon, x);
  if (on.host && context.weights.output.front().place == Place::MappedFile) {
    std::vector<float> normed(static_cast<size_t>(n_rows * x.n_cols));
    for (int64_t i = 0; i < n_rows; ++i)
      device.copy_to_host(stream, normed.data() + i * x.n_cols, x.row(batch.logits_rows[static_cast<size_t>(i)]),
                          static_cast<uint64_t>(x.n_cols) * sizeof(float));
    device.synchronize(stream);
    on.host->multiply_output({normed.data(), n_rows, x.n_cols, x.n_cols},
                             {logits, n_rows, context.spec.n_vocabulary, context.spec.n_vocabulary});
    return;
  }
  const Rows out = on.workspace.rows(n_rows, context.spec.n_vocabulary);
  int64_t done = 0;
  for (size_t piece = 0; piece < context.weights.output.size(); ++piece) {
    const Linear& matrix = context.weights.output[piece];
    const PartLease lease(*context.store, output_part(context.spec.layers.size(), piece));
    const Product head[] = {{&matrix, input.get(), batch.logits_rows.data(), out.columns(done, matrix.n_outputs)}};
    device.multiply(stream, head);
    done += matrix.n_outputs;
  }
  for (int64_t i = 0; i < n_rows; ++i)
    device.copy_to_host(stream, logits + i * out.n_cols, out.row(i), static_cast<uint64_t>(out.n_cols) * sizeof(float));
}

// Rows that leave a stage for the next one.
struct Leaving {
  Stage* from = nullptr;
  Rows x;
};

// Returns false when cancelled. `leaving`: of the stage before, and then of this one.
static bool run_stage(Stage& on, Batch& batch, Leaving& leaving, float* logits, const std::function<bool()>& cancelled,
                      const RoutingObserver& on_routing) {
  ForwardContext& context = on.context;
  batch.cosines = on.workspace.rows(batch.n_rows(), context.rope.n_dims / 2);
  batch.sines = on.workspace.rows(batch.n_rows(), context.rope.n_dims / 2);
  on.device.rope_angles(*on.stream, context.rope, batch.positions, batch.cosines, batch.sines);
  const Rows x = on.workspace.rows(batch.n_rows(), context.spec.n_embedding);
  if (on.layers.is_first()) {
    const EmbeddingRows embedding = context.store->embedding(batch.tokens);
    on.device.embed(*on.stream, embedding.table, embedding.rows, x);
  } else if (leaving.from != nullptr) {
    on.device.receive(*on.stream, x, leaving.from->device, *leaving.from->stream, leaving.x);
  }
  const Rows change = on.workspace.rows(batch.n_rows(), context.spec.n_embedding);
  if (!run_layers(on, batch, x, change, cancelled, on_routing)) return false;
  if (on.layers.is_last(context.spec.layers.size()))
    compute_logits(on, batch, x, change, logits);
  else
    on.device.add(*on.stream, x, change);
  leaving = {&on, x};
  return true;
}

static void synchronize(ForwardContext& context) {
  for (Stage& stage : context.stages) stage.device.synchronize(*stage.stream);
}

static bool evaluate(ForwardContext& context, std::span<const BatchRow> rows, std::span<SequenceState* const> sequences,
                     float* logits, const std::function<bool()>& cancelled, const RoutingObserver& on_routing,
                     PassEnd end) {
  Batch batch = arrange(rows, sequences);
  for (Stage& stage : context.stages) {
    if (!stage.host) continue;
    uint64_t growth_bytes = 0;
    for (const BatchSequence& sequence : batch.sequences)
      growth_bytes += sequence.state->reserve_bytes(sequence.n_rows, stage.layers);
    stage.host->make_room(stage, batch.n_rows(), *std::ranges::max_element(batch.n_visible), growth_bytes);
  }
  const bool needs_memory = context.store->needs_memory_of_passes(batch.n_rows());
  for (Stage& stage : context.stages) {
    for (const BatchSequence& sequence : batch.sequences)
      sequence.state->reserve(*stage.stream, sequence.n_rows, stage.layers);
    if (needs_memory)
      stage.workspace.clear();
    else
      stage.workspace.reset();
  }
  context.store->begin_pass(batch.n_rows());
  context.prompts.begin_pass(context, batch.n_rows());
  Leaving leaving;
  for (Stage& stage : context.stages)
    if (!run_stage(stage, batch, leaving, logits, cancelled, on_routing)) {
      synchronize(context);
      for (const BatchSequence& sequence : batch.sequences) sequence.state->truncate(sequence.first_position);
      return false;
    }
  context.prompts.end_pass(context);
  if (end == PassEnd::Left)
    for (Stage& stage : context.stages) stage.device.start(*stage.stream);
  else
    synchronize(context);
  for (const BatchSequence& sequence : batch.sequences) sequence.state->advance(sequence.n_rows);
  return true;
}

// What the host has a part in it waits for anyway.
bool can_overlap(const ForwardContext& context) {
  return context.stages.size() > 1 &&
         std::ranges::all_of(context.stages, [](const Stage& stage) { return stage.host == nullptr; });
}

bool forward(ForwardContext& context, std::span<const BatchRow> rows, std::span<SequenceState* const> sequences,
             float* logits, const std::function<bool()>& cancelled, const RoutingObserver& on_routing, PassEnd end) {
  if (rows.empty()) return true;
  try {
    return evaluate(context, rows, sequences, logits, cancelled, on_routing, end);
  } catch (...) {
    // What is under way on one stage or another comes before the next pass there: it may go on.
    for (Stage& stage : context.stages) stage.stream->abandon();
    throw;
  }
}

}  // namespace sluice::engine
