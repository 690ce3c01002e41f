#include "engine/session/planning.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/forward/host_side.h"
#include "engine/model/bound_model.h"
#include "engine/session/session_memory.h"

namespace sluice::engine {

// What a process holds when it has opened a model's vocabulary: 12 MiB with 32,000 tokens and 26 MiB with 129,280, as measured. Not
// what this process holds, so that plans do not differ from run to run.
static uint64_t program_bytes(int64_t n_vocabulary) {
  return (uint64_t{8} << 20) + 144 * static_cast<uint64_t>(n_vocabulary);
}

struct PlannedModel::State {
  gguf::File file;
  ModelSpec spec;
  ModelWeights weights;
  // What was counted: of streamed passes by cache, rows and positions, of sessions by cache, context and batch.
  std::map<std::tuple<CacheType, int64_t, int64_t>, uint64_t> pass_bytes = {};
  std::map<std::tuple<CacheType, uint32_t, uint32_t>, SessionMemory> sessions = {};
};

PlannedModel::PlannedModel(const std::filesystem::path& path) {
  gguf::File file = gguf::File::open(path);
  auto [spec, weights] = describe_and_bind(path, file);
  state_ = std::make_unique<State>(State{std::move(file), std::move(spec), std::move(weights)});
}
PlannedModel::~PlannedModel() = default;
PlannedModel::PlannedModel(PlannedModel&&) noexcept = default;

const ModelSpec& PlannedModel::spec() const {
  return state_->spec;
}
const gguf::File& PlannedModel::file() const {
  return state_->file;
}

Plan PlannedModel::plan(const Machine& machine, PlanOptions options) const {
  SessionOptions session{options.n_context, options.cache, options.n_batch};
  options.n_context = session_context(state_->spec, session);
  session.n_context = options.n_context;
  const auto [known, is_new] =
      state_->sessions.try_emplace({session.cache, session.n_context, session.n_batch}, SessionMemory());
  if (is_new) known->second = session_memory(state_->spec, state_->weights, LatentAttention::Automatic, session);
  const SessionMemory& memory = known->second;
  PromptRules passes;
  passes.most_shared_rows = kMostSharedRows;
  passes.pass_bytes = [state = state_.get(), cache = options.cache](int64_t n_rows, int64_t n_positions) {
    const auto [found, is_first] = state->pass_bytes.try_emplace({cache, n_rows, n_positions}, 0);
    if (is_first)
      found->second =
          shared_pass_bytes(state->spec, state->weights, LatentAttention::Automatic, cache, n_rows, n_positions);
    return found->second;
  };
  return make_plan(state_->file, state_->spec, memory, program_bytes(state_->spec.n_vocabulary), machine, options,
                   passes);
}

std::vector<Improvement> improvements(const PlannedModel& model, const Machine& machine, const Plan& plan) {
  std::vector<Improvement> found;
  const auto try_one = [&](const std::string& change, const Machine& changed, const PlanOptions& options) {
    const Plan other = model.plan(changed, options);
    if (!other.fits) return;
    const double before = plan.fits ? plan.decode.tokens_per_second() : 0;
    const double gain = before > 0 ? other.decode.tokens_per_second() / before : 1e9;
    if (gain > 1.02) found.push_back({change, gain});
  };
  PlanOptions options = plan.options;
  Machine changed = machine_for(machine, options);
  options.vram_bytes.clear();
  const Machine base = changed;
  const auto with = [&](const std::string& change, const auto& apply) {
    Machine other = base;
    PlanOptions other_options = options;
    apply(other, other_options);
    try_one(change, other, other_options);
  };
  with("twice the RAM", [](Machine& m, PlanOptions& o) { m.ram_bytes *= 2, o.ram_bytes *= 2; });
  with("twice the memory bandwidth", [](Machine& m, PlanOptions&) { m.ram_bytes_per_second *= 2; });
  with("twice the cores", [](Machine& m, PlanOptions&) { m.n_cores *= 2; });
  with("a disk of twice the speed", [](Machine& m, PlanOptions&) { m.disk_bytes_per_second *= 2; });
  with("half the context", [](Machine&, PlanOptions& o) { o.n_context = std::max(1U, o.n_context / 2); });
  if (!base.gpus.empty()) {
    with("twice the VRAM", [](Machine& m, PlanOptions&) {
      for (Gpu& gpu : m.gpus) gpu.vram_bytes *= 2;
    });
    with("twice the VRAM's bandwidth", [](Machine& m, PlanOptions&) {
      for (Gpu& gpu : m.gpus) gpu.vram_bytes_per_second *= 2;
    });
    if (plan.storage == Storage::Mapped)
      with("experts in pinned memory (--store auto)", [](Machine&, PlanOptions& o) { o.storage = Storage::Automatic; });
    // Beside the one that it is like: the fastest come first.
    with(base.gpus.size() == 1 ? "a second such GPU" : "another " + base.gpus.front().name,
         [](Machine& m, PlanOptions&) { m.gpus.insert(m.gpus.begin(), Gpu(m.gpus.front())); });
  }
  std::ranges::stable_sort(found, std::greater(), &Improvement::decode_gain);
  return found;
}

HitTier hit_tier(const Plan& plan) {
  for (size_t i = 0; i < plan.places.size(); ++i)
    if (plan.work.groups[i].role == GroupRole::RoutedExperts && plan.places[i].n_disk > 0) return HitTier::Memory;
  return HitTier::Vram;
}

std::vector<HitRate> decode_by_hit_rate(const Machine& given_machine, const Plan& plan) {
  const Machine machine = machine_for(given_machine, plan.options);
  const ExpertShares uniform = uniform_shares(plan.work, plan.places);
  const bool in_vram = hit_tier(plan) == HitTier::Vram;
  const double now = in_vram ? uniform.vram : uniform.vram + uniform.ram;
  const bool has_vram = plan.vram.capacity_bytes > 0;
  if (!plan.fits || plan.work.bytes_of(GroupRole::RoutedExperts) == 0 || now >= 1 || (in_vram && !has_vram)) return {};
  std::vector<HitRate> rows;
  const auto add = [&](double share, bool is_uniform) {
    const ExpertShares shares =
        in_vram ? ExpertShares{share, 1 - share} : ExpertShares{uniform.vram, share - uniform.vram};
    rows.push_back(
        {share, is_uniform,
         predict_decode(plan.work, plan.places, machine, plan.options.n_context / 2.0, shares, plan.sharing)});
  };
  add(now, true);
  for (const double share : {0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0})
    if (share > now + 0.02) add(share, false);
  return rows;
}

}  // namespace sluice::engine
