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

void grouped_query_attention(Stage& on, const Batch& batch, uint32_t layer, const Input& x, Rows out) {
  Device& device = on.device;
  Stream& stream = *on.stream;
  const auto& spec = std::get<GroupedQuerySpec>(on.context.spec.layers[layer].attention);
  const auto& weights = std::get<GroupedQueryWeights>(on.context.weights.layers[layer].attention);
  WorkspaceScope scope(on.workspace);

  const Rows query = on.workspace.rows(out.n_rows, spec.n_heads * spec.key_size);
  const Rows key = on.workspace.rows(out.n_rows, spec.n_kv_heads * spec.key_size);
  const Rows value = on.workspace.rows(out.n_rows, spec.n_kv_heads * spec.value_size);
  const Product projections[] = {
      {&weights.query, &x, nullptr, query}, {&weights.key, &x, nullptr, key}, {&weights.value, &x, nullptr, value}};
  device.multiply(stream, projections);

  const std::vector<CacheRun> key_runs = cache_runs(batch, layer, 0), value_runs = cache_runs(batch, layer, 1);
  const std::vector<RowCache>& caches = batch.sequences.front().state->layer(layer).caches;
  const Vector* const norms[] = {spec.has_head_norms ? &weights.query_norm : nullptr,
                                 spec.has_head_norms ? &weights.key_norm : nullptr};
  const HeadPart parts[] = {
      {query, spec.n_heads, norms[0], 0, {}},
      {key, spec.n_kv_heads, norms[1], 0, key_runs, caches[0].type(), caches[0].row_bytes(), caches[0].head_bytes()},
      {value, spec.n_kv_heads, nullptr, -1, value_runs, caches[1].type(), caches[1].row_bytes(),
       caches[1].head_bytes()}};
  device.finish_heads(stream, parts, {on.context.spec.norm_epsilon, on.context.rope.pairs, batch.cosines, batch.sines});

  const std::vector<CacheView> views = make_views(batch, layer);
  std::vector<const CacheView*> row_views;
  for (size_t s = 0; s < views.size(); ++s)
    row_views.insert(row_views.end(), static_cast<size_t>(batch.sequences[s].n_rows), &views[s]);
  const Rows heads = on.workspace.rows(out.n_rows, spec.n_heads * spec.value_size);
  const auto attended =
      device.attention_and_prepare(stream, {spec.n_heads, spec.n_kv_heads, spec.key_size, spec.value_size, spec.scale},
                                   query, row_views, batch.n_visible, heads, heads);
  const Product projection[] = {{&weights.output, attended.get(), nullptr, out}};
  device.multiply(stream, projection);
}

}  // namespace sluice::engine
