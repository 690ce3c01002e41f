#include "engine/forward/expert_groups.h"

#include <numeric>

namespace sluice::engine {

ExpertGroups group_by_expert(std::span<const int32_t> ids, int64_t n_used, int64_t n_experts,
                             std::span<const uint32_t> left_out) {
  ExpertGroups groups;
  const auto is_left_out = [&](size_t pair) { return !left_out.empty() && is_hit(left_out, pair, n_used); };
  std::vector<int64_t> next(static_cast<size_t>(n_experts) + 1, 0);
  for (size_t pair = 0; pair < ids.size(); ++pair)
    if (!is_left_out(pair)) ++next[static_cast<size_t>(ids[pair]) + 1];
  for (int64_t e = 0; e < n_experts; ++e) {
    if (next[static_cast<size_t>(e) + 1] > 0) {
      groups.expert_ids.push_back(static_cast<int32_t>(e));
      groups.begin.push_back(next[static_cast<size_t>(e)]);
      groups.n_rows.push_back(next[static_cast<size_t>(e) + 1]);
    }
    next[static_cast<size_t>(e) + 1] += next[static_cast<size_t>(e)];
  }
  groups.pair_rows.resize(static_cast<size_t>(next.back()));
  groups.places.resize(ids.size(), 0);
  for (size_t pair = 0; pair < ids.size(); ++pair) {
    if (is_left_out(pair)) continue;
    const int64_t place = next[static_cast<size_t>(ids[pair])]++;
    groups.places[pair] = static_cast<int32_t>(place);
    groups.pair_rows[static_cast<size_t>(place)] = static_cast<int32_t>(static_cast<int64_t>(pair) / n_used);
  }
  return groups;
}

namespace {

// The y rows of these experts, in sorted order, = down(silu(gate x) * up x) of each pair.
void multiply_some(const Processor& on, const ExpertGroups& groups, std::span<const ExpertRequest::Ready> experts,
                   const Input& x, Rows y) {
  WorkspaceScope scope(on.workspace);
  int64_t n_pairs = 0;
  for (const auto& expert : experts) n_pairs += groups.n_rows[expert.index];
  const int64_t n_hidden = experts[0].handles.gate.n_outputs;
  const Rows gate = on.workspace.rows(n_pairs, n_hidden);
  const Rows up = on.workspace.rows(n_pairs, n_hidden);
  std::vector<Product> products;
  int64_t done = 0;
  for (const auto& [index, handles] : experts) {
    const int64_t count = groups.n_rows[index];
    const int32_t* rows = groups.pair_rows.data() + groups.begin[index];
    products.push_back({&handles.gate, &x, rows, gate.rows(done, count)});
    products.push_back({&handles.up, &x, rows, up.rows(done, count)});
    done += count;
  }
  on.device.multiply(on.stream, products);
  const auto hidden = on.device.swiglu_and_prepare(on.stream, gate, up);
  std::vector<int32_t> all_pairs(static_cast<size_t>(n_pairs));
  std::iota(all_pairs.begin(), all_pairs.end(), 0);
  products.clear();
  done = 0;
  for (const auto& [index, handles] : experts) {
    const int64_t count = groups.n_rows[index];
    products.push_back({&handles.down, hidden.get(), all_pairs.data() + done, y.rows(groups.begin[index], count)});
    done += count;
  }
  on.device.multiply(on.stream, products);
}

// The first experts that have no more than so many pairs together, one at least: what they multiply is kept at once.
constexpr int64_t kMostPairs = 1024;

std::span<const ExpertRequest::Ready> take_some(const ExpertGroups& groups,
                                                std::span<const ExpertRequest::Ready>& experts) {
  size_t n = 0;
  for (int64_t n_pairs = 0; n < experts.size(); ++n) {
    n_pairs += groups.n_rows[experts[n].index];
    if (n > 0 && n_pairs > kMostPairs) break;
  }
  const auto some = experts.first(n);
  experts = experts.subspan(n);
  return some;
}

}  // namespace

void multiply_experts(const Processor& on, const ExpertGroups& groups, ExpertRequest& request, const Input& x,
                      std::span<const float> weights, int64_t n_used, Rows out) {
  WorkspaceScope scope(on.workspace);
  const Rows y = on.workspace.rows(static_cast<int64_t>(groups.pair_rows.size()), out.n_cols);
  for (auto experts = request.next(); !experts.empty(); experts = request.next()) {
    while (!experts.empty()) multiply_some(on, groups, take_some(groups, experts), x, y);
    on.device.synchronize(on.stream);  // the next call lets go of these experts
  }
  on.device.weighted_sum(on.stream, y, groups.places, weights, n_used, out);
}

}  // namespace sluice::engine
