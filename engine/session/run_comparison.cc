// Predictions for a run against what happened.

#include <algorithm>
#include <vector>

#include "engine/engine.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/session/session_memory.h"

namespace sluice::engine {

static RunFacts facts_of(const Usage& usage, uint32_t n_threads, double tokens_per_second, double n_positions,
                         uint64_t n_tokens) {
  const StoreStatistics& store = usage.store;
  RunFacts facts;
  facts.tokens_per_second = tokens_per_second;
  facts.n_positions = n_positions;
  const auto asked = static_cast<double>(store.n_hits + store.n_guessed + store.n_misses);
  facts.has_experts_found = asked > 0;
  // What a guess brought was read all the same.
  if (asked > 0) facts.experts_in_memory = static_cast<double>(store.n_hits) / asked;
  if (n_tokens > 0) facts.disk_bytes = static_cast<double>(store.bytes_read) / static_cast<double>(n_tokens);
  if (store.disk_busy_seconds > 0)
    facts.disk_bytes_per_second = static_cast<double>(store.bytes_read) / store.disk_busy_seconds;
  facts.has_vram_hits = usage.vram.n_chosen() > 0;
  facts.vram_hits = usage.vram.hit_rate();
  facts.cpu_busy = usage.cpu_busy(n_threads);
  facts.waiting = usage.waiting();
  return facts;
}

// Where weights were before the first pass of a store that reads the disk.
static std::vector<GroupPlace> all_on_disk(std::span<const GroupPlace> places) {
  std::vector<GroupPlace> cold(places.begin(), places.end());
  for (GroupPlace& place : cold) {
    place.n_disk += place.n_ram;
    place.n_ram = 0;
  }
  return cold;
}

// Does a GPU leave a part to the CPU?
static bool is_shared(const Model& model) {
  return model.most_rows() <= kMostSharedRows;
}

// The host's memory is pinned where a store beneath a GPU has it.
static bool is_pinned(const Model& model) {
  return is_shared(model) && model.store_statistics().reads_disk;
}

static MissSharing sharing_of(const Model& model) {
  return {is_pinned(model) && model.options().sharing.reads_host};
}

static PromptRules rules_of(const Model& model) {
  const ModelOptions& options = model.options();
  PromptRules rules;
  rules.most_rows = options.session.n_batch;
  if (!is_shared(model)) return rules;
  rules.most_shared_rows = kMostSharedRows;
  if (!is_pinned(model)) return rules;
  rules.most_streamed_rows = options.sharing.most_streamed_rows;
  const ForwardContext& context = model.forward_context();
  rules.pass_bytes = [&context, cache = options.session.cache](int64_t n_rows, int64_t n_positions) {
    return shared_pass_bytes(context.spec, context.weights, context.latent_attention, cache, n_rows, n_positions);
  };
  // As they were when the model was opened.
  const uint32_t n_context = session_context(context.spec, options.session);
  for (const Stage& stage : context.stages) {
    const SessionMemory session =
        session_memory(context.spec, context.weights, context.latent_attention, options.session, stage.layers);
    rules.gpus.push_back({0, session.first_bytes(), session.state_bytes / n_context});
  }
  for (size_t i = 0; i < model.places().size(); ++i) {
    const WeightGroup& group = model.work().groups[i];
    const GroupPlace& place = model.places()[i];
    if (place.gpu < rules.gpus.size() && group.role == GroupRole::RoutedExperts)
      rules.gpus[place.gpu].slot_bytes += place.n_vram * group.unit_vram_bytes();
  }
  return rules;
}

RunComparison compare_with_prediction(const Model& model, const Statistics& statistics) {
  // What is measured here is the CPU alone: of a GPU a machine file must tell.
  if (model.is_on_gpu() && (!model.options().machine || model.options().machine->gpus.empty())) return {};
  const auto n_prompt = static_cast<double>(statistics.prompt_tokens);
  const auto n_generated = static_cast<double>(statistics.generated_tokens);
  const uint64_t n_evaluated = statistics.prompt_tokens - statistics.cached_tokens;
  Machine machine = model.machine();
  machine.n_cores = model.n_threads();
  // A prompt that found memory empty brought what stays.
  const StoreStatistics& store = statistics.prefill.store;
  const bool is_cold = store.reads_disk && 2 * store.dense_read_bytes > store.dense_kept_bytes;
  const std::vector<GroupPlace> cold = all_on_disk(model.places());
  const RunFacts prefill =
      facts_of(statistics.prefill, model.n_threads(), statistics.prefill_tokens_per_second(), 0, n_evaluated);
  const RunFacts decode = facts_of(statistics.decode, model.n_threads(), statistics.decode_tokens_per_second(),
                                   n_prompt + n_generated / 2, std::max<uint64_t>(1, statistics.generated_tokens) - 1);
  return {compare_prefill(model.work(), is_cold ? std::span<const GroupPlace>(cold) : model.places(), machine,
                          static_cast<uint32_t>(std::clamp<uint64_t>(n_evaluated, 1, UINT32_MAX)), prefill,
                          rules_of(model)),
          compare_decode(model.work(), model.places(), machine, decode, sharing_of(model))};
}

}  // namespace sluice::engine
