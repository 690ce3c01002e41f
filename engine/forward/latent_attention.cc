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
#include "engine/forward/latent_cost.h"

namespace sluice::engine {
namespace {

struct LatentCall {
  Stage& on;
  const Batch& batch;
  uint32_t layer;
  const LatentSpec& spec;
  const LatentWeights& weights;

  int64_t query_size() const { return spec.nope_size + spec.rope_size; }  // of a head
  int64_t cached_size() const { return spec.latent_rank + spec.rope_size; }
  HeadTurn turn() const { return {on.context.spec.norm_epsilon, on.context.rope.pairs, batch.cosines, batch.sines}; }
  Workspace& workspace() const { return on.workspace; }
  Device& device() const { return on.device; }
  Stream& stream() const { return *on.stream; }
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

// The query [n_rows, n_heads * (nope_size + rope_size)], not yet rotated; and the cache rows [c | kr] of the batch, which are written.
void project(const LatentCall& call, const Input& input, Rows query) {
  const LatentSpec& spec = call.spec;
  WorkspaceScope scope(call.workspace());
  const bool is_low = spec.query_rank > 0;
  const Rows low = is_low ? call.workspace().rows(query.n_rows, spec.query_rank) : Rows();
  const Rows latent = call.workspace().rows(query.n_rows, call.cached_size());
  const Product down[] = {
      {is_low ? &call.weights.query_down : &call.weights.query, &input, nullptr, is_low ? low : query},
      {&call.weights.latent_down, &input, nullptr, latent}};
  call.device().multiply(call.stream(), down);

  const std::vector<CacheRun> runs = cache_runs(call.batch, call.layer, 0);
  const RowCache& cache = call.batch.sequences.front().state->layer(call.layer).caches[0];
  std::unique_ptr<Input> low_input;
  std::vector<HeadPart> parts;
  if (is_low) parts.push_back({low, 1, &call.weights.query_norm, -1, {}});
  parts.push_back({latent, 1, &call.weights.latent_norm, spec.latent_rank, runs, cache.type(), cache.row_bytes(),
                   cache.head_bytes()});
  if (is_low) parts.front().input = &low_input;
  call.device().finish_heads(call.stream(), parts, call.turn());
  if (!is_low) return;
  const Product up[] = {{&call.weights.query_up, low_input.get(), nullptr, query}};
  call.device().multiply(call.stream(), up);
}

// heads = W_uv of each head times its part of `latents` [n_rows, n_heads * latent_rank], which has no gaps; prepared.
std::unique_ptr<Input> project_values(const LatentCall& call, std::span<const int32_t> head_rows, int64_t n_rows,
                                      const Input& latents, Rows heads) {
  std::vector<Product> products;
  for (int64_t h = 0; h < call.spec.n_heads; ++h)
    products.push_back({&call.weights.value_up[static_cast<size_t>(h)], &latents, head_rows.data() + h * n_rows,
                        heads.columns(h * call.spec.value_size, call.spec.value_size)});
  return call.device().multiply_and_prepare(call.stream(), products, heads);
}

// absorbed = [W_uk^T q_nope | q_rope] of each head: a query that the cache rows themselves are the keys of; q_rope is rotated. Both without
// gaps.
void absorb_keys(const LatentCall& call, std::span<const int32_t> head_rows, Rows query, Rows absorbed) {
  const LatentSpec& spec = call.spec;
  const auto target = [&](int64_t h) { return absorbed.columns(h * call.cached_size(), spec.latent_rank); };
  std::vector<TransposedProduct> transposed;
  if (!spec.split_up_projection)
    for (int64_t h = 0; h < spec.n_heads; ++h)
      transposed.push_back({&call.weights.key_up[static_cast<size_t>(h)],
                            query.columns(h * call.query_size(), spec.nope_size), target(h)});
  const TurnedHeads turned{query.columns(spec.nope_size, query.n_cols - spec.nope_size),
                           absorbed.columns(spec.latent_rank, absorbed.n_cols - spec.latent_rank), spec.n_heads,
                           call.query_size(), call.cached_size()};
  call.device().multiply_transposed_and_turn(call.stream(), transposed, turned, call.turn());
  if (!spec.split_up_projection) return;
  // Stored as W_uk^T.
  const auto input =
      call.device().prepare(call.stream(), one_head_a_row(query, spec.n_heads).columns(0, spec.nope_size));
  std::vector<Product> products;
  for (int64_t h = 0; h < spec.n_heads; ++h)
    products.push_back(
        {&call.weights.key_up[static_cast<size_t>(h)], input.get(), head_rows.data() + h * query.n_rows, target(h)});
  call.device().multiply(call.stream(), products);
}

std::unique_ptr<Input> attend_absorbed(const LatentCall& call, Rows query, Rows heads) {
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
  const auto input = call.device().attention_and_prepare(
      call.stream(), {spec.n_heads, 1, call.cached_size(), spec.latent_rank, spec.scale}, absorbed, row_views,
      call.batch.n_visible, latents, one_head_a_row(latents, spec.n_heads));
  return project_values(call, head_rows, query.n_rows, *input, heads);
}

// Memory that expanded keys and values may take: a long context has gigabytes of them over all heads. And floats that they are made of
// before they are kept in another type.
constexpr int64_t kMostExpandedBytes = int64_t{256} << 20;
constexpr int64_t kMostExpandedFloats = int64_t{16} << 20;

// One sequence: its rows of queries and results, and the two parts of its whole cache as floats.
struct ExpandedSequence {
  const BatchSequence& sequence;
  Rows c, kr;
  const Input& c_input;
  Rows query, heads;
};

// Keys and values of some heads, one head after another, so that attention reads rows that lie together.
struct ExpandedHeads {
  int64_t first_head, n_heads;
  kernels::CacheType type;
  std::byte* keys;
  std::byte* values;
  int64_t key_row_bytes, value_row_bytes, n_positions;

  std::byte* key(int64_t head, int64_t position) const {
    return keys + (head * n_positions + position) * key_row_bytes;
  }
  std::byte* value(int64_t head, int64_t position) const {
    return values + (head * n_positions + position) * value_row_bytes;
  }
};

ExpandedHeads take_expanded_heads(const LatentCall& call, kernels::CacheType type, int64_t first_head, int64_t n_heads,
                                  int64_t n_positions) {
  const auto bytes = [&](int64_t row_bytes) {
    const int64_t n_floats = (n_heads * n_positions * row_bytes + 3) / 4;
    return reinterpret_cast<std::byte*>(gapless_rows(call.workspace(), 1, n_floats).data);
  };
  const int64_t key_row_bytes = kernels::cache_row_bytes(type, call.query_size());
  const int64_t value_row_bytes = kernels::cache_row_bytes(type, call.spec.value_size);
  return {first_head,    n_heads,         type,       bytes(key_row_bytes), bytes(value_row_bytes),
          key_row_bytes, value_row_bytes, n_positions};
}

// Products of positions [first, first + n) of c with the up-projections of the heads: head h's keys go to nope(h), its values to values(h).
template <typename Nope, typename Values>
void multiply_up(const LatentCall& call, const ExpandedSequence& of, const ExpandedHeads& expanded, int64_t first,
                 int64_t n, const Nope& nope, const Values& values) {
  std::vector<int32_t> positions;
  const bool is_all = n == of.c.n_rows;
  for (int64_t i = first; i < first + n && !is_all; ++i) positions.push_back(static_cast<int32_t>(i));
  const int32_t* const rows = is_all ? nullptr : positions.data();
  std::vector<Product> products;
  std::vector<TransposedProduct> transposed;
  for (int64_t h = 0; h < expanded.n_heads; ++h) {
    const auto head = static_cast<size_t>(expanded.first_head + h);
    if (call.spec.split_up_projection)
      transposed.push_back({&call.weights.key_up[head], of.c.rows(first, n), nope(h)});
    else
      products.push_back({&call.weights.key_up[head], &of.c_input, rows, nope(h)});
    products.push_back({&call.weights.value_up[head], &of.c_input, rows, values(h)});
  }
  call.device().multiply(call.stream(), products);
  if (!transposed.empty()) call.device().multiply_transposed(call.stream(), transposed);
}

// As floats, where they are made.
void expand_as_floats(const LatentCall& call, const ExpandedSequence& of, const ExpandedHeads& to) {
  const auto rows_at = [&](std::byte* at, int64_t n_columns) {
    return Rows{reinterpret_cast<float*>(at), to.n_positions, n_columns, n_columns};
  };
  const auto keys = [&](int64_t h) { return rows_at(to.key(h, 0), call.query_size()); };
  for (int64_t h = 0; h < to.n_heads; ++h)
    call.device().copy_rows(call.stream(), of.kr, keys(h).columns(call.spec.nope_size, call.spec.rope_size));
  multiply_up(
      call, of, to, 0, to.n_positions, [&](int64_t h) { return keys(h).columns(0, call.spec.nope_size); },
      [&](int64_t h) { return rows_at(to.value(h, 0), call.spec.value_size); });
}

// Made as floats for some positions after others, and kept in another type.
void expand_and_store(const LatentCall& call, const ExpandedSequence& of, const ExpandedHeads& to) {
  const LatentSpec& spec = call.spec;
  const int64_t floats_a_position = to.n_heads * (spec.nope_size + spec.value_size);
  const int64_t at_once = std::clamp<int64_t>(kMostExpandedFloats / floats_a_position, 1, to.n_positions);
  WorkspaceScope scope(call.workspace());
  const Rows nope = gapless_rows(call.workspace(), at_once, to.n_heads * spec.nope_size);
  const Rows values = gapless_rows(call.workspace(), at_once, to.n_heads * spec.value_size);
  const int64_t nope_bytes = kernels::cache_row_bytes(to.type, spec.nope_size);
  const int64_t key_head_bytes = to.n_positions * to.key_row_bytes,
                value_head_bytes = to.n_positions * to.value_row_bytes;
  for (int64_t first = 0; first < to.n_positions; first += at_once) {
    const int64_t n = std::min(at_once, to.n_positions - first);
    const Rows some_nope = nope.rows(0, n), some_values = values.rows(0, n);
    multiply_up(
        call, of, to, first, n, [&](int64_t h) { return some_nope.columns(h * spec.nope_size, spec.nope_size); },
        [&](int64_t h) { return some_values.columns(h * spec.value_size, spec.value_size); });
    call.device().store(call.stream(), some_nope, to.n_heads, to.type, to.key(0, first), to.key_row_bytes,
                        key_head_bytes);
    call.device().store(call.stream(), some_values, to.n_heads, to.type, to.value(0, first), to.value_row_bytes,
                        value_head_bytes);
    for (int64_t h = 0; h < to.n_heads; ++h)
      call.device().store(call.stream(), of.kr.rows(first, n), 1, to.type, to.key(h, first) + nope_bytes,
                          to.key_row_bytes, 0);
  }
}

// Heads [first_head, first_head + n_heads): keys and values of all positions, then attention.
void attend_expanded_heads(const LatentCall& call, const ExpandedSequence& of, int64_t first_head, int64_t n_heads) {
  const LatentSpec& spec = call.spec;
  WorkspaceScope scope(call.workspace());
  const bool are_floats = call.device().latent_attention_costs().expanded_type == kernels::CacheType::F32;
  const ExpandedHeads expanded =
      take_expanded_heads(call, call.device().latent_attention_costs().expanded_type, first_head, n_heads, of.c.n_rows);
  if (are_floats)
    expand_as_floats(call, of, expanded);
  else
    expand_and_store(call, of, expanded);

  // Floats are one page; others have pages like those of a cache, which lie one behind the other.
  const int64_t page_positions = are_floats ? expanded.n_positions : kPagePositions;
  std::vector<const void*> key_pages, value_pages;
  for (int64_t at = 0; at < expanded.n_positions; at += page_positions) {
    key_pages.push_back(expanded.key(0, at));
    value_pages.push_back(expanded.value(0, at));
  }
  const CacheView view{key_pages.data(),
                       value_pages.data(),
                       page_positions,
                       expanded.type,
                       expanded.key_row_bytes,
                       expanded.value_row_bytes,
                       expanded.key_row_bytes * expanded.n_positions,
                       expanded.value_row_bytes * expanded.n_positions};
  const BatchSequence& sequence = of.sequence;
  const std::vector<const CacheView*> row_views(static_cast<size_t>(sequence.n_rows), &view);
  const auto n_visible = std::span(call.batch.n_visible)
                             .subspan(static_cast<size_t>(sequence.first_row), static_cast<size_t>(sequence.n_rows));
  const Rows own_query = of.query.rows(sequence.first_row, sequence.n_rows)
                             .columns(first_head * call.query_size(), n_heads * call.query_size());
  const Rows own_heads = of.heads.rows(sequence.first_row, sequence.n_rows)
                             .columns(first_head * spec.value_size, n_heads * spec.value_size);
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
  const ExpandedSequence of{sequence, c, kr, *c_input, query, heads};

  const kernels::CacheType type = call.device().latent_attention_costs().expanded_type;
  const int64_t head_bytes = n_positions * (kernels::cache_row_bytes(type, call.query_size()) +
                                            kernels::cache_row_bytes(type, spec.value_size));
  const int64_t heads_a_pass = std::clamp<int64_t>(kMostExpandedBytes / head_bytes, 1, spec.n_heads);
  for (int64_t h = 0; h < spec.n_heads; h += heads_a_pass)
    attend_expanded_heads(call, of, h, std::min(heads_a_pass, spec.n_heads - h));
}

bool wants_expanded(const LatentCall& call) {
  switch (call.on.context.latent_attention) {
    case LatentAttention::Expanded:
      return true;
    case LatentAttention::Absorbed:
      return false;
    case LatentAttention::Automatic:
      break;
  }
  for (const BatchSequence& sequence : call.batch.sequences)
    if (!expanding_is_cheaper(call.spec, sequence.n_rows, sequence.n_positions(),
                              call.device().latent_attention_costs()))
      return false;
  return true;
}

}  // namespace

void latent_attention(Stage& on, const Batch& batch, uint32_t layer, const Input& x, Rows out) {
  const LatentCall call{on, batch, layer, std::get<LatentSpec>(on.context.spec.layers[layer].attention),
                        std::get<LatentWeights>(on.context.weights.layers[layer].attention)};
  WorkspaceScope scope(on.workspace);
  const Rows query = gapless_rows(on.workspace, out.n_rows, call.spec.n_heads * call.query_size());
  project(call, x, query);

  const Rows heads = on.workspace.rows(out.n_rows, call.spec.n_heads * call.spec.value_size);
  std::unique_ptr<Input> attended;
  if (wants_expanded(call)) {
    on.device.rope(*on.stream, query.columns(call.spec.nope_size, query.n_cols - call.spec.nope_size),
                   call.spec.n_heads, call.query_size(), on.context.rope.pairs, batch.cosines, batch.sines);
    for (const BatchSequence& sequence : batch.sequences) attend_expanded(call, sequence, query, heads);
  } else {
    attended = attend_absorbed(call, query, heads);
  }
  if (!attended) attended = on.device.prepare(*on.stream, heads);
  const Product projection[] = {{&call.weights.output, attended.get(), nullptr, out}};
  on.device.multiply(*on.stream, projection);
}

}  // namespace sluice::engine
