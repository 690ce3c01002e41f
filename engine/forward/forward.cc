#include "engine/forward/forward.h"

#include <algorithm>

#include "engine/forward/batch.h"
#include "engine/forward/host_side.h"

namespace sluice::engine {

ForwardContext::ForwardContext(std::unique_ptr<Device> owned_device, const ModelSpec& model_spec,
                               const ModelWeights& model_weights, LatentAttention latent,
                               std::unique_ptr<WeightStore> weight_store)
    : owned_device_(std::move(owned_device)),
      device(*owned_device_),
      stream(device.make_stream()),
      spec(model_spec),
      weights(model_weights),
      latent_attention(latent),
      store(weight_store ? std::move(weight_store) : make_mapped_store(model_weights)),
      rope(model_spec.rope),
      workspace(device) {
  rope.frequency_factors = weights.rope_factors.data;
}

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

void attention(ForwardContext& context, const Batch& batch, uint32_t layer, const Input& x, Rows out) {
  if (std::holds_alternative<GroupedQuerySpec>(context.spec.layers[layer].attention))
    grouped_query_attention(context, batch, layer, x, out);
  else
    latent_attention(context, batch, layer, x, out);
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
static void dense_ffn_of_host(ForwardContext& context, uint32_t layer, const DenseWeights& weights, const Input& x,
                              Rows out) {
  context.device.begin_host_work(*context.stream, layer, x, [&context, &weights](const HostShare& share, Rows results) {
    context.host->multiply(weights, share.inputs, results);
    return true;
  });
  context.device.finish_host_work(*context.stream, layer, out, true);
}

// x: normed; residual: what the layer adds to, for guessing what comes after it.
static void feed_forward(ForwardContext& context, uint32_t layer, Rows residual, const Input& x, Rows out,
                         const RoutingObserver& on_routing) {
  const LayerWeights& weights = context.weights.layers[layer];
  const PartLease lease(*context.store, feed_forward_part(layer));
  if (const auto* dense = std::get_if<DenseWeights>(&weights.ffn)) {
    if (context.host && is_in_file(*dense))
      dense_ffn_of_host(context, layer, *dense, x, out);
    else
      dense_ffn(context.processor(), *dense, x, out);
  } else {
    experts_ffn(context, layer, residual, x, out, on_routing);
  }
}

// Returns false when cancelled. x and `change` together are what the output's norm is of.
static bool run_layers(ForwardContext& context, const Batch& batch, Rows x, Rows change,
                       const std::function<bool()>& cancelled, const RoutingObserver& on_routing) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  const float epsilon = context.spec.norm_epsilon;
  const Rows normed = context.workspace.rows(x.n_rows, x.n_cols);
  const Rows* last_change = nullptr;
  for (uint32_t layer = 0; layer < context.spec.layers.size(); ++layer) {
    if (cancelled && cancelled()) return false;
    const LayerWeights& weights = context.weights.layers[layer];
    {
      const auto input = device.norm_and_prepare(stream, x, last_change, weights.attention_norm, epsilon, normed);
      const PartLease lease(*context.store, attention_part(layer));
      attention(context, batch, layer, *input, change);
    }
    const auto input = device.norm_and_prepare(stream, x, &change, weights.ffn_norm, epsilon, normed);
    feed_forward(context, layer, x, *input, change, on_routing);
    last_change = &change;
  }
  return true;
}

static void compute_logits(ForwardContext& context, const Batch& batch, Rows x, Rows change, float* logits) {
  if (batch.logits_rows.empty()) return;
  Device& device = context.device;
  Stream& stream = *context.stream;
  WorkspaceScope scope(context.workspace);
  const auto n_rows = static_cast<int64_t>(batch.logits_rows.size());
  const auto input =
      device.norm_and_prepare(stream, x, &change, context.weights.output_norm, context.spec.norm_epsilon, x);
  if (context.host && context.weights.output.front().place == Place::MappedFile) {
    std::vector<float> normed(static_cast<size_t>(n_rows * x.n_cols));
    for (int64_t i = 0; i < n_rows; ++i)
      device.copy_to_host(stream, normed.data() + i * x.n_cols, x.row(batch.logits_rows[static_cast<size_t>(i)]),
                          static_cast<uint64_t>(x.n_cols) * sizeof(float));
    device.synchronize(stream);
    context.host->multiply_output({normed.data(), n_rows, x.n_cols, x.n_cols},
                                  {logits, n_rows, context.spec.n_vocabulary, context.spec.n_vocabulary});
    return;
  }
  const Rows out = context.workspace.rows(n_rows, context.spec.n_vocabulary);
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

static bool evaluate(ForwardContext& context, std::span<const BatchRow> rows, std::span<SequenceState* const> sequences,
                     float* logits, const std::function<bool()>& cancelled, const RoutingObserver& on_routing) {
  Batch batch = arrange(rows, sequences);
  if (context.host) {
    uint64_t growth_bytes = 0;
    for (const BatchSequence& sequence : batch.sequences)
      growth_bytes += sequence.state->reserve_bytes(sequence.n_rows);
    context.host->make_room(context, batch.n_rows(), *std::ranges::max_element(batch.n_visible), growth_bytes);
  }
  for (const BatchSequence& sequence : batch.sequences) sequence.state->reserve(*context.stream, sequence.n_rows);
  if (context.store->needs_memory_of_passes(batch.n_rows()))
    context.workspace.clear();
  else
    context.workspace.reset();
  context.store->begin_pass(batch.n_rows());
  if (context.host) context.host->begin_pass(context, batch.n_rows());
  batch.cosines = context.workspace.rows(batch.n_rows(), context.rope.n_dims / 2);
  batch.sines = context.workspace.rows(batch.n_rows(), context.rope.n_dims / 2);
  context.device.rope_angles(*context.stream, context.rope, batch.positions, batch.cosines, batch.sines);
  const Rows x = context.workspace.rows(batch.n_rows(), context.spec.n_embedding);
  const EmbeddingRows embedding = context.store->embedding(batch.tokens);
  context.device.embed(*context.stream, embedding.table, embedding.rows, x);
  const Rows change = context.workspace.rows(batch.n_rows(), context.spec.n_embedding);
  if (!run_layers(context, batch, x, change, cancelled, on_routing)) {
    context.device.synchronize(*context.stream);
    for (const BatchSequence& sequence : batch.sequences) sequence.state->truncate(sequence.first_position);
    return false;
  }
  compute_logits(context, batch, x, change, logits);
  if (context.host) context.host->end_pass(context.device, *context.stream);
  context.device.synchronize(*context.stream);
  for (const BatchSequence& sequence : batch.sequences) sequence.state->advance(sequence.n_rows);
  return true;
}

bool forward(ForwardContext& context, std::span<const BatchRow> rows, std::span<SequenceState* const> sequences,
             float* logits, const std::function<bool()>& cancelled, const RoutingObserver& on_routing) {
  if (rows.empty()) return true;
  try {
    return evaluate(context, rows, sequences, logits, cancelled, on_routing);
  } catch (...) {
    context.stream->abandon();
    throw;
  }
}

}  // namespace sluice::engine
