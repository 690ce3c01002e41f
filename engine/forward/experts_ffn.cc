// A mixture of experts in two halves: the router chooses and the store begins to bring; the shared expert runs
// meanwhile; then the chosen experts multiply where they are.

#include <algorithm>
#include <functional>
#include <numeric>

#include "engine/forward/batch.h"

namespace sluice::engine {
namespace {

// The (row, choice) pairs of a batch sorted by expert, so that each expert is read once.
struct Grouping {
  std::vector<int32_t> expert_ids;  // distinct, ascending
  std::vector<int64_t> begin;       // of each expert's pairs in the sorted order
  std::vector<int64_t> n_rows;      // of each expert's pairs: the rows that chose it
  std::vector<int32_t> pair_rows;   // the row of each sorted pair
  std::vector<int32_t> places;      // where each pair (row-major) lies in the sorted order
};

Grouping group_by_expert(std::span<const int32_t> ids, int64_t n_used, int64_t n_experts) {
  Grouping grouping;
  std::vector<int64_t> next(static_cast<size_t>(n_experts) + 1, 0);
  for (const int32_t id : ids) ++next[static_cast<size_t>(id) + 1];
  for (int64_t e = 0; e < n_experts; ++e) {
    if (next[static_cast<size_t>(e) + 1] > 0) {
      grouping.expert_ids.push_back(static_cast<int32_t>(e));
      grouping.begin.push_back(next[static_cast<size_t>(e)]);
      grouping.n_rows.push_back(next[static_cast<size_t>(e) + 1]);
    }
    next[static_cast<size_t>(e) + 1] += next[static_cast<size_t>(e)];
  }
  grouping.pair_rows.resize(ids.size());
  grouping.places.resize(ids.size());
  for (size_t pair = 0; pair < ids.size(); ++pair) {
    const int64_t place = next[static_cast<size_t>(ids[pair])]++;
    grouping.places[pair] = static_cast<int32_t>(place);
    grouping.pair_rows[static_cast<size_t>(place)] = static_cast<int32_t>(static_cast<int64_t>(pair) / n_used);
  }
  return grouping;
}

// The y rows of these experts, in sorted order, = down(silu(gate x) * up x) of each pair.
void multiply_experts(ForwardContext& context, const Grouping& grouping, std::span<const ExpertRequest::Ready> experts,
                      const Input& x, Rows y) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  WorkspaceScope scope(context.workspace);
  int64_t n_pairs = 0;
  for (const auto& expert : experts) n_pairs += grouping.n_rows[expert.index];
  const int64_t n_hidden = experts[0].handles.gate.n_outputs;
  const Rows gate = context.workspace.rows(n_pairs, n_hidden);
  const Rows up = context.workspace.rows(n_pairs, n_hidden);
  std::vector<Product> products;
  int64_t done = 0;
  for (const auto& [index, handles] : experts) {
    const int64_t count = grouping.n_rows[index];
    const int32_t* rows = grouping.pair_rows.data() + grouping.begin[index];
    products.push_back({&handles.gate, &x, rows, gate.rows(done, count)});
    products.push_back({&handles.up, &x, rows, up.rows(done, count)});
    done += count;
  }
  device.multiply(stream, products);
  const auto hidden = device.swiglu_and_prepare(stream, gate, up);
  std::vector<int32_t> all_pairs(static_cast<size_t>(n_pairs));
  std::iota(all_pairs.begin(), all_pairs.end(), 0);
  products.clear();
  done = 0;
  for (const auto& [index, handles] : experts) {
    const int64_t count = grouping.n_rows[index];
    products.push_back({&handles.down, hidden.get(), all_pairs.data() + done, y.rows(grouping.begin[index], count)});
    done += count;
  }
  device.multiply(stream, products);
}

// The first experts that have no more than so many pairs together, one at least: what they multiply is kept at once.
constexpr int64_t kMostPairs = 1024;

std::span<const ExpertRequest::Ready> take_some(const Grouping& grouping,
                                                std::span<const ExpertRequest::Ready>& experts) {
  size_t n = 0;
  for (int64_t n_pairs = 0; n < experts.size(); ++n) {
    n_pairs += grouping.n_rows[experts[n].index];
    if (n > 0 && n_pairs > kMostPairs) break;
  }
  const auto some = experts.first(n);
  experts = experts.subspan(n);
  return some;
}

// A guess needs few rows of a long prompt: together they choose nearly every expert anyway.
constexpr int64_t kGuessRows = 128;

// What the router of the next layer would choose if this layer's feed-forward added nothing, the likeliest first. Most of what a
// layer adds is small beside what it adds to, so the guess is mostly right, and it is there while this layer still reads and
// multiplies.
std::vector<int32_t> guess_next(ForwardContext& context, uint32_t next_layer, Rows residual) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  const auto& spec = std::get<ExpertsSpec>(context.spec.layers[next_layer].ffn);
  const LayerWeights& layer = context.weights.layers[next_layer];
  const auto& weights = std::get<ExpertsWeights>(layer.ffn);
  WorkspaceScope scope(context.workspace);
  const Rows last =
      residual.rows(std::max<int64_t>(0, residual.n_rows - kGuessRows), std::min(residual.n_rows, kGuessRows));
  const Rows normed = context.workspace.rows(last.n_rows, last.n_cols);
  device.rms_norm(stream, last, layer.ffn_norm, context.spec.norm_epsilon, normed);
  const auto input = device.prepare(stream, normed);
  const Rows logits = context.workspace.rows(last.n_rows, spec.router.n_experts);
  const Product router[] = {{&weights.router, input.get(), nullptr, logits}};
  device.multiply(stream, router);
  std::vector<int32_t> ids(static_cast<size_t>(last.n_rows * spec.router.n_chosen));
  std::vector<float> expert_weights(ids.size());
  device.route(stream, spec.router, logits, weights.router_bias ? &weights.router_bias : nullptr, ids, expert_weights);

  std::vector<float> total(static_cast<size_t>(spec.router.n_experts), 0);
  for (size_t i = 0; i < ids.size(); ++i) total[static_cast<size_t>(ids[i])] += expert_weights[i];
  std::ranges::sort(ids);
  ids.erase(std::ranges::unique(ids).begin(), ids.end());
  std::ranges::stable_sort(ids, std::greater(), [&](int32_t id) { return total[static_cast<size_t>(id)]; });
  return ids;
}

}  // namespace

void experts_ffn(ForwardContext& context, uint32_t layer, Rows residual, const Input& x, Rows out,
                 const RoutingObserver& on_routing) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  const auto& spec = std::get<ExpertsSpec>(context.spec.layers[layer].ffn);
  const auto& weights = std::get<ExpertsWeights>(context.weights.layers[layer].ffn);
  WorkspaceScope scope(context.workspace);

  const Rows router_logits = context.workspace.rows(out.n_rows, spec.router.n_experts);
  const Product router[] = {{&weights.router, &x, nullptr, router_logits}};
  device.multiply(stream, router);
  const size_t n_pairs = static_cast<size_t>(out.n_rows * spec.router.n_chosen);
  std::vector<int32_t> ids(n_pairs);
  std::vector<float> expert_weights(n_pairs);
  Rows shared;
  if (spec.n_shared_hidden > 0) shared = context.workspace.rows(out.n_rows, out.n_cols);
  const auto run_shared = [&] {
    if (shared.data != nullptr) dense_ffn(context, weights.shared, x, shared);
  };
  const Vector* const bias = weights.router_bias ? &weights.router_bias : nullptr;

  if (device.holds_experts()) {
    RoutedExperts experts{
        &spec.router, router_logits, bias, &weights.gate, &weights.up, &weights.down, &x, out, {}, {}};
    if (on_routing) experts.ids = ids, experts.weights = expert_weights;
    device.multiply_experts(stream, experts);
    if (on_routing) on_routing(layer, ids, expert_weights);
    run_shared();
  } else {
    device.route(stream, spec.router, router_logits, bias, ids, expert_weights);
    if (on_routing) on_routing(layer, ids, expert_weights);

    const Grouping grouping = group_by_expert(ids, spec.router.n_chosen, spec.router.n_experts);
    const auto request = context.store->begin(layer, grouping.expert_ids, grouping.n_rows);
    if (context.store->wants_guess(layer + 1))
      context.store->guess(layer + 1, guess_next(context, layer + 1, residual));

    run_shared();

    const Rows y = context.workspace.rows(static_cast<int64_t>(n_pairs), out.n_cols);
    for (auto experts = request->next(); !experts.empty(); experts = request->next()) {
      while (!experts.empty()) multiply_experts(context, grouping, take_some(grouping, experts), x, y);
      device.synchronize(stream);  // the next call lets go of these experts
    }
    device.weighted_sum(stream, y, grouping.places, expert_weights, spec.router.n_chosen, out);
  }
  if (shared.data != nullptr) device.add(stream, out, shared);
}

}  // namespace sluice::engine
