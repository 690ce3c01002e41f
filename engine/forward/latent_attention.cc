// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).
//
// The cache holds one row a position: the normed latent c [latent_rank] and the rotated key part kr [rope_size] that
// all heads share. A head's key is [W_uk c | kr] and its value W_uv c. Two ways to attend, equal up to rounding:
//
//   expanded:  make keys and values of all positions, then attend as ever;
//   absorbed:  score = (W_uk^T q_nope) . c + q_rope . kr, so the cache row itself is the key; the weighted sum of
//              latents goes through W_uv once. One key-value head of size latent_rank + rope_size for all query heads.
//
// Expanding costs work for every position of the context and pays when many rows share it (a long prefill).

#include <algorithm>

#include "engine/forward/batch.h"

namespace sluice::engine {
namespace {

struct LatentCall {
  ForwardContext& context;
  const Batch& batch;
  uint32_t layer;
  const LatentSpec& spec;
  const LatentWeights& weights;

  int64_t query_size() const { return spec.nope_size + spec.rope_size; }  // of a head
  int64_t cached_size() const { return spec.latent_rank + spec.rope_size; }
  Workspace& workspace() const { return context.workspace; }
  Device& device() const { return context.device; }
  Stream& stream() const { return *context.stream; }
};

// Rows without a gap between them, so that they can also be seen one head a row.
Rows gapless_rows(Workspace& workspace, int64_t n_rows, int64_t n_cols) {
  return {workspace.rows(1, n_rows * n_cols).data, n_rows, n_cols, n_cols};
}

// The same memory as [n_rows * n_heads, columns of a head]: head h of row i is row i * n_heads + h.
Rows one_head_a_row(Rows x, int64_t n_heads) {
  return {x.data, x.n_rows * n_heads, x.n_cols / n_heads, x.n_cols / n_heads};
}

// The rows of each head in the order of one_head_a_row(), [n_heads, n_rows].
std::vector<int32_t> rows_by_head(int64_t n_rows, int64_t n_heads) {
  std::vector<int32_t> rows;
  rows.reserve(static_cast<size_t>(n_rows * n_heads));
  for (int64_t h = 0; h < n_heads; ++h)
    for (int64_t i = 0; i < n_rows; ++i) rows.push_back(static_cast<int32_t>(i * n_heads + h));
  return rows;
}

// [n_rows, n_heads * (nope_size + rope_size)], rotated.
Rows make_query(const LatentCall& call, const Input& input, Rows query) {
  if (call.spec.query_rank > 0) {
    WorkspaceScope scope(call.workspace());
    const Rows low = call.workspace().rows(query.n_rows, call.spec.query_rank);
    const Product down[] = {{&call.weights.query_down, &input, nullptr, low}};
    call.device().multiply(call.stream(), down);
    call.device().rms_norm(call.stream(), low, call.weights.query_norm, call.context.spec.norm_epsilon, low);
    const auto low_input = call.device().prepare(call.stream(), low);
    const Product up[] = {{&call.weights.query_up, low_input.get(), nullptr, query}};
    call.device().multiply(call.stream(), up);
  } else {
    const Product project[] = {{&call.weights.query, &input, nullptr, query}};
    call.device().multiply(call.stream(), project);
  }
  const Rows rotated = query.columns(call.spec.nope_size, query.n_cols - call.spec.nope_size);
  call.device().rope(call.stream(), rotated, call.spec.n_heads, call.query_size(), call.context.rope.pairs,
                     call.batch.cosines, call.batch.sines);
  return query;
}

// Makes the cache rows [c | kr] of the batch and writes them.
void append_latents(const LatentCall& call, const Input& input, int64_t n_rows) {
  WorkspaceScope scope(call.workspace());
  const Rows latent = call.workspace().rows(n_rows, call.cached_size());
  const Product down[] = {{&call.weights.latent_down, &input, nullptr, latent}};
  call.device().multiply(call.stream(), down);
  const Rows c = latent.columns(0, call.spec.latent_rank);
  call.device().rms_norm(call.stream(), c, call.weights.latent_norm, call.context.spec.norm_epsilon, c);
  call.device().rope(call.stream(), latent.columns(call.spec.latent_rank, call.spec.rope_size), 1, call.spec.rope_size,
                     call.context.rope.pairs, call.batch.cosines, call.batch.sines);
  store_rows(call.context, call.batch, call.layer, 0, latent);
}

// heads = W_uv of each head times its part of `latents` [n_rows, n_heads * latent_rank], which has no gaps.
void project_values(const LatentCall& call, std::span<const int32_t> head_rows, Rows latents, Rows heads) {
  const auto input = call.device().prepare(call.stream(), one_head_a_row(latents, call.spec.n_heads));
  std::vector<Product> products;
  for (int64_t h = 0; h < call.spec.n_heads; ++h)
    products.push_back({&call.weights.value_up[static_cast<size_t>(h)], input.get(),
                        head_rows.data() + h * latents.n_rows,
                        heads.columns(h * call.spec.value_size, call.spec.value_size)});
  call.device().multiply(call.stream(), products);
}

// absorbed = [W_uk^T q_nope | q_rope] of each head: a query that the cache rows themselves are the keys of. Both without
// gaps.
void absorb_keys(const LatentCall& call, std::span<const int32_t> head_rows, Rows query, Rows absorbed) {
  const LatentSpec& spec = call.spec;
  const Rows query_heads = one_head_a_row(query, spec.n_heads), absorbed_heads = one_head_a_row(absorbed, spec.n_heads);
  call.device().copy_rows(call.stream(), query_heads.columns(spec.nope_size, spec.rope_size),
                          absorbed_heads.columns(spec.latent_rank, spec.rope_size));
  const auto target = [&](int64_t h) { return absorbed.columns(h * call.cached_size(), spec.latent_rank); };
  if (spec.split_up_projection) {  // stored as W_uk^T
    const auto input = call.device().prepare(call.stream(), query_heads.columns(0, spec.nope_size));
    std::vector<Product> products;
    for (int64_t h = 0; h < spec.n_heads; ++h)
      products.push_back(
          {&call.weights.key_up[static_cast<size_t>(h)], input.get(), head_rows.data() + h * query.n_rows, target(h)});
    call.device().multiply(call.stream(), products);
  } else {
    std::vector<TransposedProduct> products;
    for (int64_t h = 0; h < spec.n_heads; ++h)
      products.push_back({&call.weights.key_up[static_cast<size_t>(h)],
                          query.columns(h * call.query_size(), spec.nope_size), target(h)});
    call.device().multiply_transposed(call.stream(), products);
  }
}

void attend_absorbed(const LatentCall& call, Rows query, Rows heads) {
  const LatentSpec& spec = call.spec;
  WorkspaceScope scope(call.workspace());
  const std::vector<int32_t> head_rows = rows_by_head(query.n_rows, spec.n_heads);
  const Rows absorbed = gapless_rows(call.workspace(), query.n_rows, spec.n_heads * call.cached_size());
  absorb_keys(call, head_rows, query, absorbed);

  std::vector<CacheView> views;
  for (const BatchSequence& sequence : call.batch.sequences) {
    const RowCache& cache = sequence.state->layer(call.layer).caches[0];
    views.push_back({cache.pages().data(), cache.pages().data(), kPagePositions, cache.type(), cache.row_bytes(),
                     cache.row_bytes(), 0, 0});
  }
  std::vector<const CacheView*> row_views;
  for (size_t s = 0; s < views.size(); ++s)
    row_views.insert(row_views.end(), static_cast<size_t>(call.batch.sequences[s].n_rows), &views[s]);

  const Rows latents = gapless_rows(call.workspace(), query.n_rows, spec.n_heads * spec.latent_rank);
  call.device().attention(call.stream(), {spec.n_heads, 1, call.cached_size(), spec.latent_rank, spec.scale}, absorbed,
                          row_views, call.batch.n_visible, latents);
  project_values(call, head_rows, latents, heads);
}

// Memory that expanded keys and values may take: a long context has gigabytes of them over all heads.
constexpr int64_t kMostExpandedBytes = int64_t{256} << 20;

// Heads [first_head, first_head + n_heads): keys and values of all positions, then attention. c and kr are the two parts
// of the sequence's whole cache, as floats.
void attend_expanded_heads(const LatentCall& call, const BatchSequence& sequence, int64_t first_head, int64_t n_heads,
                           Rows c, Rows kr, const Input& c_input, Rows query, Rows heads) {
  const LatentSpec& spec = call.spec;
  WorkspaceScope scope(call.workspace());
  const int64_t n_positions = c.n_rows;
  // One head after another, so that attention reads rows that lie together.
  const Rows keys = gapless_rows(call.workspace(), n_heads * n_positions, call.query_size());
  const Rows values = gapless_rows(call.workspace(), n_heads * n_positions, spec.value_size);
  std::vector<Product> products;
  std::vector<TransposedProduct> transposed;
  for (int64_t h = 0; h < n_heads; ++h) {
    const Linear& key_up = call.weights.key_up[static_cast<size_t>(first_head + h)];
    const Rows head_keys = keys.rows(h * n_positions, n_positions);
    const Rows nope = head_keys.columns(0, spec.nope_size);
    if (spec.split_up_projection)
      transposed.push_back({&key_up, c, nope});
    else
      products.push_back({&key_up, &c_input, nullptr, nope});
    products.push_back({&call.weights.value_up[static_cast<size_t>(first_head + h)], &c_input, nullptr,
                        values.rows(h * n_positions, n_positions)});
    call.device().copy_rows(call.stream(), kr, head_keys.columns(spec.nope_size, spec.rope_size));
  }
  call.device().multiply(call.stream(), products);
  if (!transposed.empty()) call.device().multiply_transposed(call.stream(), transposed);

  const void* const key_page[] = {keys.data};
  const void* const value_page[] = {values.data};
  constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
  const CacheView view{key_page,
                       value_page,
                       n_positions,
                       kernels::CacheType::F32,
                       keys.stride * kFloatBytes,
                       values.stride * kFloatBytes,
                       keys.stride * kFloatBytes * n_positions,
                       values.stride * kFloatBytes * n_positions};
  const std::vector<const CacheView*> row_views(static_cast<size_t>(sequence.n_rows), &view);
  const auto n_visible = std::span(call.batch.n_visible)
                             .subspan(static_cast<size_t>(sequence.first_row), static_cast<size_t>(sequence.n_rows));
  const Rows own_query = query.rows(sequence.first_row, sequence.n_rows)
                             .columns(first_head * call.query_size(), n_heads * call.query_size());
  const Rows own_heads =
      heads.rows(sequence.first_row, sequence.n_rows).columns(first_head * spec.value_size, n_heads * spec.value_size);
  call.device().attention(call.stream(), {n_heads, n_heads, call.query_size(), spec.value_size, spec.scale}, own_query,
                          row_views, n_visible, own_heads);
}

// One sequence at a time: its rows attend to keys and values made of its whole cache, some heads after others.
void attend_expanded(const LatentCall& call, const BatchSequence& sequence, Rows query, Rows heads) {
  const LatentSpec& spec = call.spec;
  WorkspaceScope scope(call.workspace());
  const int64_t n_positions = sequence.n_positions();
  const Rows cached = call.workspace().rows(n_positions, call.cached_size());
  const RowCache& cache = sequence.state->layer(call.layer).caches[0];
  for (int64_t at = 0; at < n_positions; at += kPagePositions)
    call.device().load(call.stream(), cache.type(), cache.position(at, 0), cache.row_bytes(),
                       cached.rows(at, std::min(kPagePositions, n_positions - at)));
  const Rows c = cached.columns(0, spec.latent_rank);
  const Rows kr = cached.columns(spec.latent_rank, spec.rope_size);
  const auto c_input = call.device().prepare(call.stream(), c);

  const int64_t head_bytes = n_positions * (call.query_size() + spec.value_size) * static_cast<int64_t>(sizeof(float));
  const int64_t heads_a_pass = std::clamp<int64_t>(kMostExpandedBytes / head_bytes, 1, spec.n_heads);
  for (int64_t h = 0; h < spec.n_heads; h += heads_a_pass)
    attend_expanded_heads(call, sequence, h, std::min(heads_a_pass, spec.n_heads - h), c, kr, *c_input, query, heads);
}

// Multiply-adds a head of both forms, for one sequence. Attention with expanded keys takes half as long again for one
// as with the longer latent rows that all heads share (docs/performance.md).
bool expanding_is_cheaper(const LatentSpec& spec, const BatchSequence& sequence) {
  constexpr double kExpandedAttentionCost = 1.5;
  const auto rows = static_cast<double>(sequence.n_rows);
  const auto positions = static_cast<double>(sequence.n_positions());
  const auto rank = static_cast<double>(spec.latent_rank);
  const auto up = static_cast<double>(spec.nope_size + spec.value_size);
  const auto rope = static_cast<double>(spec.rope_size);
  const double expanded = positions * rank * up + rows * positions * (up + rope) * kExpandedAttentionCost;
  const double absorbed = rows * rank * up + rows * positions * (2 * rank + rope);
  return expanded < absorbed;
}

bool wants_expanded(const LatentCall& call) {
  switch (call.context.latent_attention) {
    case LatentAttention::Expanded:
      return true;
    case LatentAttention::Absorbed:
      return false;
    case LatentAttention::Automatic:
      break;
  }
  for (const BatchSequence& sequence : call.batch.sequences)
    if (!expanding_is_cheaper(call.spec, sequence)) return false;
  return true;
}

}  // namespace

void latent_attention(ForwardContext& context, const Batch& batch, uint32_t layer, const Input& x, Rows out) {
  const LatentCall call{context, batch, layer, std::get<LatentSpec>(context.spec.layers[layer].attention),
                        std::get<LatentWeights>(context.weights.layers[layer].attention)};
  WorkspaceScope scope(context.workspace);
  const Rows query =
      make_query(call, x, gapless_rows(context.workspace, out.n_rows, call.spec.n_heads * call.query_size()));
  append_latents(call, x, out.n_rows);

  const Rows heads = context.workspace.rows(out.n_rows, call.spec.n_heads * call.spec.value_size);
  if (wants_expanded(call)) {
    for (const BatchSequence& sequence : batch.sequences) attend_expanded(call, sequence, query, heads);
  } else {
    attend_absorbed(call, query, heads);
  }
  const auto attended = context.device.prepare(*context.stream, heads);
  const Product projection[] = {{&call.weights.output, attended.get(), nullptr, out}};
  context.device.multiply(*context.stream, projection);
}

}  // namespace sluice::engine
