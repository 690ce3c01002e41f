// Bringing a model to GPUs, and what they do not hold to where the CPU multiplies it.

#include <algorithm>
#include <span>
#include <utility>

#include "engine/device/cpu_device.h"
#include "engine/forward/host_side.h"
#include "engine/placement/gpu_split.h"
#include "engine/placement/memory.h"
#include "engine/session/copied_pages.h"
#include "engine/session/model_state.h"
#include "engine/session/session_memory.h"

namespace sluice::engine {

// What a session takes of the host's memory where a GPU has its caches: passes of no more rows than both share.
static SessionMemory beside_gpu(const SessionMemory& session) {
  SessionMemory memory;
  memory.pass_bytes = memory.small_pass_bytes = session.shared_pass_bytes;
  return memory;
}

void Model::State::split_over_gpus() {
  std::vector<uint32_t> ends{static_cast<uint32_t>(spec.layers.size())};
  if (device.devices.size() > 1) {
    std::vector<GpuRoom> rooms;
    for (size_t i = 0; i < device.gpus.size(); ++i)
      rooms.push_back({device.devices[i]->room(0), device.gpus[i].gpu.vram_bytes_per_second});
    ends = engine::split_over_gpus(work, state_bytes_of_layers(spec, options.session), session, rooms).ends;
  }
  std::vector<StageDevice> stages;
  std::vector<WantedGpu> used;
  uint32_t begin = 0;
  for (size_t i = 0; i < ends.size(); begin = ends[i++]) {
    if (ends[i] == begin) continue;
    const LayerRange layers{begin, ends[i]};
    const bool is_all = layers.is_first() && layers.is_last(spec.layers.size());
    gpus.push_back({layers,
                    is_all ? session : session_memory(spec, weights, options.latent_attention, options.session, layers),
                    {}});
    stages.push_back({std::move(device.devices[i]), layers.end});
    used.push_back(device.gpus[i]);
  }
  device.devices.clear();
  device.gpus = std::move(used);
  device.name = names_of(device.gpus);
  context = std::make_unique<ForwardContext>(std::move(stages), spec, weights, options.latent_attention);
}

std::unique_ptr<VramTier> Model::State::open_on_gpu(Device& gpu, GpuPart& part, std::span<const float> heat,
                                                    const std::function<void(uint64_t done)>& on_bytes) {
  const KeptFree kept_free{part.session.gpu_bytes(), part.session.shared_bytes()};
  part.weights = move_to_device(
      gpu, *gpu.make_stream(), file, weights, kept_free, [&](uint64_t done, uint64_t) { on_bytes(done); }, part.layers);
  if (part.weights.is_whole || !part.weights.has_experts) return nullptr;
  // As the context grows they give way to it.
  const uint64_t keep_free = part.session.first_bytes();
  VramTierOptions tier_options;
  tier_options.policy = options.store.policy;
  tier_options.promotion = options.promotion;
  tier_options.heat.assign(heat.begin(), heat.end());
  tier_options.on_copied = [pages = CopiedPages(file)](const std::byte* data, uint64_t bytes) {
    pages.copied(data, bytes);
  };
  return std::make_unique<VramTier>(
      gpu, weights, gpu.room(keep_free), keep_free, tier_options,
      [&](uint64_t done) { on_bytes(part.weights.bytes + done); }, part.layers);
}

std::unique_ptr<DiskStore> Model::State::open_experts(Device& cpu, std::span<const std::unique_ptr<VramTier>> tiers,
                                                      const std::filesystem::path& path, const MemoryBudget& budget) {
  if (!wants_pinned_experts(options.store)) return nullptr;
  uint64_t mapped = 0;
  std::vector<uint32_t> n_on_device(weights.layers.size(), 0);
  for (size_t i = 0; i < gpus.size(); ++i) {
    mapped += gpus[i].weights.host_dense_bytes;
    for (uint32_t layer = gpus[i].layers.begin; layer < gpus[i].layers.end; ++layer)
      if (const auto* experts = std::get_if<ExpertsWeights>(&weights.layers[layer].ffn))
        for (int32_t id = 0; id < experts->gate.count; ++id)
          n_on_device[layer] += !tiers[i] || tiers[i]->holds(layer, id) ? 1u : 0u;
  }
  if (weights.token_embedding.place == Place::MappedFile) mapped += weights.token_embedding.bytes();
  // What one GPU pins, all can read.
  return open_expert_storage(disk, cpu, context->device, path, file, weights, options, n_on_device, budget,
                             budget.weight_bytes - std::min(budget.weight_bytes, mapped));
}

size_t Model::State::stage_of(uint32_t layer) const {
  size_t stage = 0;
  while (!gpus[stage].layers.contains(layer)) ++stage;
  return stage;
}

bool Model::State::is_in_vram(uint32_t layer, int32_t expert_id) const {
  const Stage& stage = context->stages[stage_of(layer)];
  return !stage.host || stage.host->tier() == nullptr || stage.host->tier()->holds(layer, expert_id);
}

void Model::State::count_places() {
  const auto is_elsewhere = [&](const std::byte* address) {
    return std::ranges::any_of(gpus, [&](const GpuPart& part) { return part.weights.is_elsewhere(address); });
  };
  for (const WeightGroup& group : work.groups) {
    uint32_t n_vram = group.n_units, n_disk = 0;
    const LayerWeights& layer = weights.layers[std::min<size_t>(group.layer, weights.layers.size() - 1)];
    const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn);
    if (group.role == GroupRole::RoutedExperts) {
      n_vram = 0;
      for (int32_t id = 0; id < static_cast<int32_t>(group.n_units); ++id) {
        if (is_in_vram(group.layer, id))
          ++n_vram;
        else if (context->store->hold(group.layer, id) == nullptr)
          ++n_disk;
      }
    } else if (group.role == GroupRole::Attention) {
      const std::byte* const first =
          std::visit([](const auto& attention) { return attention.output.data; }, layer.attention);
      n_vram = is_elsewhere(first) ? 0 : 1;
    } else if (group.role == GroupRole::Router && experts != nullptr) {
      n_vram = is_elsewhere(experts->router.data) ? 0 : 1;
    } else if (group.role == GroupRole::SharedExperts && experts != nullptr) {
      n_vram = experts->shared.gate.place == Place::Buffer ? 1 : 0;
    } else if (group.role == GroupRole::DenseFfn && experts == nullptr) {
      n_vram = std::get<DenseWeights>(layer.ffn).gate.place == Place::Buffer ? 1 : 0;
    } else if (group.role == GroupRole::Output) {
      n_vram = weights.output.front().place == Place::Buffer ? 1 : 0;
    } else if (group.role == GroupRole::Embedding) {
      n_vram = weights.token_embedding.place == Place::Buffer ? 1 : 0;
    }
    const auto last_layer = static_cast<uint32_t>(weights.layers.size() - 1);
    const size_t gpu = stage_of(std::min(group.layer, last_layer));
    places.push_back({n_vram, group.n_units - n_vram - n_disk, n_disk, static_cast<uint32_t>(gpu)});
  }
}

void Model::State::open_on_gpus(const std::filesystem::path& path,
                                const std::function<void(uint64_t done)>& on_progress) {
  const uint64_t total = file.tensor_bytes();
  // What the GPUs leave to the host is counted before the file is read for them: its pages are not the process's own.
  const MemoryBudget budget =
      memory_budget(options.store.ram_bytes, available_memory_bytes(), engine::resident_bytes(), beside_gpu(session));
  work = work_of(spec, weights, options.session.cache, nullptr);
  split_over_gpus();
  const std::vector<float> heat = learned_heat(disk, file, options.store);
  std::vector<std::unique_ptr<VramTier>> tiers;
  uint64_t done_before = 0;
  const auto on_bytes = [&](uint64_t done) { on_progress(std::min(total, done_before + done)); };
  for (size_t i = 0; i < gpus.size(); ++i) {
    tiers.push_back(open_on_gpu(context->stages[i].device, gpus[i], heat, on_bytes));
    done_before += gpus[i].weights.bytes + (tiers[i] ? tiers[i]->statistics().slot_bytes : 0);
  }
  CopiedPages(file).forget_all();
  if (std::ranges::any_of(gpus, [](const GpuPart& part) { return !part.weights.is_whole; })) {
    const std::shared_ptr<Device> cpu = make_cpu_device(n_threads, options.pin_threads, true);
    ram_budget_bytes = budget.ram_bytes;
    DiskStore* disk_store = nullptr;
    if (std::ranges::any_of(tiers, [](const auto& tier) { return tier != nullptr; })) {
      if (auto store = open_experts(*cpu, tiers, path, budget)) {
        disk_store = store.get();
        context->store = std::move(store);
      }
    }
    for (size_t i = 0; i < gpus.size(); ++i) {
      if (gpus[i].weights.is_whole) continue;
      const auto pass_bytes = [this, layers = gpus[i].layers](int64_t n_rows, int64_t n_positions) {
        return shared_pass_bytes(spec, weights, options.latent_attention, options.session.cache, n_rows, n_positions,
                                 layers);
      };
      Stage& stage = context->stages[i];
      stage.host = std::make_unique<HostSide>(cpu, spec, weights, *context->store, std::move(tiers[i]), stage.device,
                                              pass_bytes, options.sharing, stage.layers);
    }
    if (disk_store != nullptr) disk_store->fill(on_bytes);
    if (disk_store != nullptr || total <= available_memory_bytes() / 10 * 9)
      for (Stage& stage : context->stages)
        if (stage.host) stage.host->touch_weights(disk_store == nullptr, on_bytes);
  }
  count_places();
}

}  // namespace sluice::engine
