// A mixture of experts in two halves: the router chooses and the store begins to bring; the shared expert runs
// meanwhile; then the chosen experts multiply where they are.
//
// On a device with memory of its own both halves are one: what of the choice it holds it multiplies itself, and leaves the rest to the
// host, which does the same as above with it.

#include <algorithm>
#include <functional>

#include "engine/forward/batch.h"
#include "engine/forward/expert_groups.h"
#include "engine/forward/host_side.h"

namespace sluice::engine {
namespace {

// A guess needs few rows of a long prompt: together they choose nearly every expert anyway.
constexpr int64_t kGuessRows = 128;

// What the router of the next layer would choose if this layer's feed-forward added nothing, the likeliest first. Most of what a
// layer adds is small beside what it adds to, so the guess is mostly right, and it is there while this layer still reads and
// multiplies.
std::vector<int32_t> guess_next(Stage& on, uint32_t next_layer, Rows residual) {
  Device& device = on.device;
  Stream& stream = *on.stream;
  const auto& spec = std::get<ExpertsSpec>(on.context.spec.layers[next_layer].ffn);
  const LayerWeights& layer = on.context.weights.layers[next_layer];
  const auto& weights = std::get<ExpertsWeights>(layer.ffn);
  WorkspaceScope scope(on.workspace);
  const Rows last =
      residual.rows(std::max<int64_t>(0, residual.n_rows - kGuessRows), std::min(residual.n_rows, kGuessRows));
  const Rows normed = on.workspace.rows(last.n_rows, last.n_cols);
  device.rms_norm(stream, last, layer.ffn_norm, on.context.spec.norm_epsilon, normed);
  const auto input = device.prepare(stream, normed);
  const Rows logits = on.workspace.rows(last.n_rows, spec.router.n_experts);
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

// The chosen experts of the layer and the shared one, by the device itself where it holds them.
void experts_beside_host(Stage& on, uint32_t layer, const Input& x, Rows router_logits, Rows out,
                         const RoutingObserver& on_routing) {
  Device& device = on.device;
  Stream& stream = *on.stream;
  const auto& spec = std::get<ExpertsSpec>(on.context.spec.layers[layer].ffn);
  const auto& weights = std::get<ExpertsWeights>(on.context.weights.layers[layer].ffn);
  RoutedExperts experts;
  experts.rule = &spec.router;
  experts.router = &weights.router;
  experts.logits = router_logits;
  experts.bias = weights.router_bias ? &weights.router_bias : nullptr;
  experts.gate = &weights.gate;
  experts.up = &weights.up;
  experts.down = &weights.down;
  experts.input = &x;
  experts.output = out;
  const bool is_streamed = on.host != nullptr && on.host->is_streamed();
  const bool is_shared = on.host != nullptr && !is_streamed;
  std::vector<int32_t> ids;
  std::vector<float> expert_weights;
  if (is_shared) {
    experts.layer = layer;
    on.host->share(experts, layer, out.n_rows);
    experts.work = [&on, layer, on_routing](const HostShare& share, Rows results) {
      if (on_routing) on_routing(layer, share.ids, share.weights);
      return on.host->multiply_experts(layer, share, results);
    };
  } else if (on_routing) {
    const auto n_pairs = static_cast<size_t>(out.n_rows * spec.router.n_chosen);
    ids.resize(n_pairs);
    expert_weights.resize(n_pairs);
    experts.ids = ids, experts.weights = expert_weights;
  }
  if (is_streamed) on.host->stream(experts, layer);
  device.multiply_experts(stream, experts);
  if (!is_shared && on_routing) on_routing(layer, ids, expert_weights);
  if (spec.n_shared_hidden > 0 && !(is_shared && is_in_file(weights.shared)))
    dense_ffn(on.processor(), weights.shared, x, out, true);
  if (!is_shared) return;
  if (const auto deferred = on.host->take_deferred()) device.finish_host_work(stream, *deferred, out, false);
  if (!on.host->defer(layer)) device.finish_host_work(stream, layer, out, false);
}

}  // namespace

void experts_ffn(Stage& on, uint32_t layer, Rows residual, const Input& x, Rows out,
                 const RoutingObserver& on_routing) {
  Device& device = on.device;
  Stream& stream = *on.stream;
  const auto& spec = std::get<ExpertsSpec>(on.context.spec.layers[layer].ffn);
  const auto& weights = std::get<ExpertsWeights>(on.context.weights.layers[layer].ffn);
  WorkspaceScope scope(on.workspace);

  const Rows router_logits = on.workspace.rows(out.n_rows, spec.router.n_experts);
  if (device.holds_experts()) {
    experts_beside_host(on, layer, x, router_logits, out, on_routing);
    return;
  }
  const Product router[] = {{&weights.router, &x, nullptr, router_logits}};
  device.multiply(stream, router);

  const size_t n_pairs = static_cast<size_t>(out.n_rows * spec.router.n_chosen);
  std::vector<int32_t> ids(n_pairs);
  std::vector<float> expert_weights(n_pairs);
  device.route(stream, spec.router, router_logits, weights.router_bias ? &weights.router_bias : nullptr, ids,
               expert_weights);
  if (on_routing) on_routing(layer, ids, expert_weights);

  const ExpertGroups groups = group_by_expert(ids, spec.router.n_chosen, spec.router.n_experts, {});
  const auto request = on.context.store->begin(layer, groups.expert_ids, groups.n_rows);
  if (on.context.store->wants_guess(layer + 1)) on.context.store->guess(layer + 1, guess_next(on, layer + 1, residual));

  Rows shared;
  if (spec.n_shared_hidden > 0) {
    shared = on.workspace.rows(out.n_rows, out.n_cols);
    dense_ffn(on.processor(), weights.shared, x, shared);
  }
  multiply_experts(on.processor(), groups, *request, x, expert_weights, spec.router.n_chosen, out);
  if (shared.data != nullptr) device.add(stream, out, shared);
}

}  // namespace sluice::engine
