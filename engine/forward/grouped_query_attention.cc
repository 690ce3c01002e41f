// Grouped-query attention (arXiv 2305.13245): several query heads share one head of keys and values.

#include "engine/forward/batch.h"

namespace sluice::engine {

// How the attention operation reads the caches of each row's sequence.
static std::vector<CacheView> make_views(const Batch& batch, uint32_t layer) {
  std::vector<CacheView> views;
  for (const BatchSequence& sequence : batch.sequences) {
    const LayerState& state = sequence.state->layer(layer);
    CacheView view;
    view.key_pages = state.caches[0].pages().data();
    view.value_pages = state.caches[1].pages().data();
    view.page_positions = kPagePositions;
    view.type = state.caches[0].type();
    view.key_row_bytes = state.caches[0].row_bytes();
    view.value_row_bytes = state.caches[1].row_bytes();
    view.key_head_bytes = state.caches[0].head_bytes();
    view.value_head_bytes = state.caches[1].head_bytes();
    views.push_back(view);
  }
  return views;
}

void grouped_query_attention(ForwardContext& context, const Batch& batch, uint32_t layer, const Input& x, Rows out) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  const auto& spec = std::get<GroupedQuerySpec>(context.spec.layers[layer].attention);
  const auto& weights = std::get<GroupedQueryWeights>(context.weights.layers[layer].attention);
  WorkspaceScope scope(context.workspace);

  const Rows query = context.workspace.rows(out.n_rows, spec.n_heads * spec.key_size);
  const Rows key = context.workspace.rows(out.n_rows, spec.n_kv_heads * spec.key_size);
  const Rows value = context.workspace.rows(out.n_rows, spec.n_kv_heads * spec.value_size);
  const Product projections[] = {
      {&weights.query, &x, nullptr, query}, {&weights.key, &x, nullptr, key}, {&weights.value, &x, nullptr, value}};
  device.multiply(stream, projections);

  if (spec.has_head_norms) {
    device.rms_norm(stream, query, weights.query_norm, context.spec.norm_epsilon, query);
    device.rms_norm(stream, key, weights.key_norm, context.spec.norm_epsilon, key);
  }
  device.rope(stream, query, spec.n_heads, spec.key_size, context.rope.pairs, batch.cosines, batch.sines);
  device.rope(stream, key, spec.n_kv_heads, spec.key_size, context.rope.pairs, batch.cosines, batch.sines);
  store_rows(context, batch, layer, 0, key);
  store_rows(context, batch, layer, 1, value);

  const std::vector<CacheView> views = make_views(batch, layer);
  std::vector<const CacheView*> row_views;
  for (size_t s = 0; s < views.size(); ++s)
    row_views.insert(row_views.end(), static_cast<size_t>(batch.sequences[s].n_rows), &views[s]);
  const Rows heads = context.workspace.rows(out.n_rows, spec.n_heads * spec.value_size);
  device.attention(stream, {spec.n_heads, spec.n_kv_heads, spec.key_size, spec.value_size, spec.scale}, query,
                   row_views, batch.n_visible, heads);

  const auto attended = device.prepare(stream, heads);
  const Product projection[] = {{&weights.output, attended.get(), nullptr, out}};
  device.multiply(stream, projection);
}

}  // namespace sluice::engine
