// A mixture of experts in two halves: the router chooses and the store begins to bring; the shared expert runs
// meanwhile; then the chosen experts multiply where they are.

#include <algorithm>
#include <numeric>

#include "engine/forward/batch.h"

namespace sluice::engine {
namespace {

// The (row, choice) pairs of a batch sorted by expert, so that each expert is read once.
struct Grouping {
  std::vector<int32_t> expert_ids;  // distinct, ascending
  std::vector<int64_t> begin;       // of each expert's pairs in the sorted order; one more at the end
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
    }
    next[static_cast<size_t>(e) + 1] += next[static_cast<size_t>(e)];
  }
  grouping.begin.push_back(static_cast<int64_t>(ids.size()));
  grouping.pair_rows.resize(ids.size());
  grouping.places.resize(ids.size());
  for (size_t pair = 0; pair < ids.size(); ++pair) {
    const int64_t place = next[static_cast<size_t>(ids[pair])]++;
    grouping.places[pair] = static_cast<int32_t>(place);
    grouping.pair_rows[static_cast<size_t>(place)] = static_cast<int32_t>(static_cast<int64_t>(pair) / n_used);
  }
  return grouping;
}

// y, in sorted order = down(silu(gate x) * up x) of each pair's expert.
void multiply_experts(ForwardContext& context, const Grouping& grouping, std::span<const ExpertHandles> experts,
                      const Input& x, Rows y) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  const int64_t n_pairs = y.n_rows;
  const int64_t n_hidden = experts[0].gate.n_outputs;
  const Rows gate = context.workspace.rows(n_pairs, n_hidden);
  const Rows up = context.workspace.rows(n_pairs, n_hidden);
  std::vector<Product> products;
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t begin = grouping.begin[e], count = grouping.begin[e + 1] - begin;
    const int32_t* rows = grouping.pair_rows.data() + begin;
    products.push_back({&experts[e].gate, &x, rows, gate.rows(begin, count)});
    products.push_back({&experts[e].up, &x, rows, up.rows(begin, count)});
  }
  device.multiply(stream, products);
  device.swiglu(stream, gate, up);

  const auto hidden = device.prepare(stream, gate);
  std::vector<int32_t> all_pairs(static_cast<size_t>(n_pairs));
  std::iota(all_pairs.begin(), all_pairs.end(), 0);
  products.clear();
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t begin = grouping.begin[e], count = grouping.begin[e + 1] - begin;
    products.push_back({&experts[e].down, hidden.get(), all_pairs.data() + begin, y.rows(begin, count)});
  }
  device.multiply(stream, products);
}

}  // namespace

void experts_ffn(ForwardContext& context, uint32_t layer, Rows x, Rows out) {
  Device& device = context.device;
  Stream& stream = *context.stream;
  const auto& spec = std::get<ExpertsSpec>(context.spec.layers[layer].ffn);
  const auto& weights = std::get<ExpertsWeights>(context.weights.layers[layer].ffn);
  WorkspaceScope scope(context.workspace);

  const auto input = device.prepare(stream, x);
  const Rows router_logits = context.workspace.rows(x.n_rows, spec.router.n_experts);
  const Product router[] = {{&weights.router, input.get(), nullptr, router_logits}};
  device.multiply(stream, router);
  const size_t n_pairs = static_cast<size_t>(x.n_rows * spec.router.n_chosen);
  std::vector<int32_t> ids(n_pairs);
  std::vector<float> expert_weights(n_pairs);
  device.route(stream, spec.router, router_logits, weights.router_bias ? &weights.router_bias : nullptr, ids,
               expert_weights);

  const Grouping grouping = group_by_expert(ids, spec.router.n_chosen, spec.router.n_experts);
  const auto request = context.store->begin(layer, grouping.expert_ids);

  Rows shared;
  if (spec.n_shared_hidden > 0) {
    shared = context.workspace.rows(x.n_rows, x.n_cols);
    dense_ffn(context, weights.shared, *input, shared);
  }

  const Rows y = context.workspace.rows(static_cast<int64_t>(n_pairs), x.n_cols);
  multiply_experts(context, grouping, request->finish(), *input, y);
  device.weighted_sum(stream, y, grouping.places, expert_weights, spec.router.n_chosen, out);
  if (shared.data != nullptr) device.add(stream, out, shared);
  device.synchronize(stream);  // the request ends here: nothing may read its experts any more
}

}  // namespace sluice::engine
