#include "engine/placement/vram_plan.h"

#include <algorithm>
#include <span>

#include "engine/device/device_memory.h"
#include "engine/placement/gpu_split.h"

namespace sluice::engine {
namespace {

// A CUDA context with modules and graphs.
constexpr uint64_t kCudaBytes = uint64_t{400} << 20;

class VramPlan {
 public:
  VramPlan(Plan& plan, const SessionMemory& session, const Machine& machine)
      : plan_(plan), session_(session), machine_(machine), groups_(plan.work.groups) {}

  void make() {
    std::vector<uint64_t> state_bytes;
    for (uint32_t layer = 0; layer < n_layers(); ++layer)
      state_bytes.push_back(part_of(session_.state_bytes, layer, layer + 1, n_layers()));
    std::vector<GpuRoom> rooms;
    for (const Gpu& gpu : machine_.gpus) rooms.push_back({vram_room_of(gpu.vram_bytes), gpu.vram_bytes_per_second});
    const GpuSplit split = split_over_gpus(plan_.work, state_bytes, session_, rooms);
    if (!divide(split.ends, split.is_whole ? session_.gpu_pass_bytes : session_.shared_pass_bytes))
      return forget();  // not even a pass: as if there were no GPU
    for (GpuPlan& gpu : plan_.gpus)
      if (gpu.has_layers()) fill(gpu, static_cast<uint32_t>(&gpu - plan_.gpus.data()));
    for (const GpuPlan& gpu : plan_.gpus)
      for (uint64_t TierUse::*part : {&TierUse::capacity_bytes, &TierUse::margin_bytes, &TierUse::weight_bytes,
                                      &TierUse::state_bytes, &TierUse::workspace_bytes, &TierUse::program_bytes})
        plan_.vram.*part += gpu.use.*part;
  }

 private:
  uint32_t n_layers() const { return plan_.work.n_layers; }
  // The output belongs to the last layer's GPU.
  uint32_t layer_of(const WeightGroup& group) const { return std::min(group.layer, n_layers() - 1); }

  // Gives each GPU its layers, caches and passes. False where one that has layers has no room for more.
  bool divide(std::span<const uint32_t> ends, uint64_t pass_bytes) {
    plan_.gpus.assign(ends.size(), {});
    for (size_t i = 0; i < ends.size(); ++i) {
      GpuPlan& gpu = plan_.gpus[i];
      gpu.first_layer = i > 0 ? ends[i - 1] : 0;
      gpu.end_layer = ends[i];
      if (!gpu.has_layers()) continue;
      gpu.use.capacity_bytes = machine_.gpus[i].vram_bytes;
      gpu.use.margin_bytes = vram_margin(gpu.use.capacity_bytes);
      gpu.use.program_bytes = kCudaBytes;
      gpu.use.state_bytes = part_of(session_.state_bytes, gpu.first_layer, gpu.end_layer, n_layers());
      gpu.use.workspace_bytes = pass_bytes;
      if (room_of(gpu) == 0) return false;
    }
    return true;
  }

  static uint64_t room_of(const GpuPlan& gpu) {
    return gpu.use.capacity_bytes - std::min(gpu.use.capacity_bytes, gpu.use.margin_bytes + gpu.use.used_bytes());
  }
  uint64_t vector_bytes_of(const GpuPlan& gpu) const {
    return part_of(plan_.work.vram_vector_bytes, gpu.first_layer, gpu.end_layer, n_layers());
  }
  bool is_on(const WeightGroup& group, const GpuPlan& gpu) const {
    return group.role != GroupRole::Embedding && layer_of(group) >= gpu.first_layer && layer_of(group) < gpu.end_layer;
  }

  void forget() {
    plan_.gpus.clear();
    plan_.vram = {};
  }

  // Attention and routers, then the output, feed-forwards and shared experts in the order of the layers, each that fits as a whole; then the
  // same share of the experts of its layers, because a layer takes as long as the slower of both sides. With the context full: while it is
  // shorter a run has more experts there.
  void fill(GpuPlan& gpu, uint32_t number) {
    uint64_t room = room_of(gpu);
    room -= std::min(room, vector_bytes_of(gpu));
    gpu.use.weight_bytes = part_of(plan_.work.vector_bytes, gpu.first_layer, gpu.end_layer, n_layers());
    std::vector<size_t> own;
    for (size_t i = 0; i < groups_.size(); ++i)
      if (is_on(groups_[i], gpu)) own.push_back(i);
    for (const size_t i : own) plan_.places[i].gpu = number;
    const auto take = [&](size_t i, uint64_t n) {
      const uint64_t unit = groups_[i].unit_vram_bytes();
      n = std::min<uint64_t>({n, room / unit, groups_[i].n_units - plan_.places[i].n_vram});
      room -= n * unit;
      gpu.use.weight_bytes += n * groups_[i].unit_file_bytes();
      plan_.places[i].n_vram += static_cast<uint32_t>(n);
    };
    const auto take_all = [&](const auto& is_meant) {
      for (const size_t i : own)
        if (is_meant(groups_[i].role)) take(i, 1);
    };
    take_all(is_always_gpus);
    take_all([](GroupRole role) { return role == GroupRole::Output; });
    take_all([](GroupRole role) { return role == GroupRole::DenseFfn || role == GroupRole::SharedExperts; });

    const auto is_routed = [](GroupRole role) { return role == GroupRole::RoutedExperts; };
    uint64_t all_experts = 0;
    for (const size_t i : own)
      if (is_routed(groups_[i].role)) all_experts += groups_[i].unit_vram_bytes() * groups_[i].n_units;
    if (all_experts == 0) return;
    const double share = std::min(1.0, static_cast<double>(room) / static_cast<double>(all_experts));
    for (const size_t i : own)
      if (is_routed(groups_[i].role)) take(i, static_cast<uint64_t>(share * groups_[i].n_units));
    take_all(is_routed);  // what rounding has left
  }

  Plan& plan_;
  const SessionMemory& session_;
  const Machine& machine_;
  const std::vector<WeightGroup>& groups_;
};

}  // namespace

void fill_vram(Plan& plan, const SessionMemory& session, const Machine& machine) {
  if (!machine.gpus.empty() && plan.work.n_layers > 0) VramPlan(plan, session, machine).make();
}

bool is_always_gpus(GroupRole role) {
  return role == GroupRole::Attention || role == GroupRole::Router;
}

uint64_t vram_capacity_for(uint64_t room_bytes) {
  uint64_t capacity = room_bytes + kCudaBytes;
  while (capacity - vram_margin(capacity) < room_bytes + kCudaBytes)
    capacity = room_bytes + kCudaBytes + vram_margin(capacity);
  return capacity;
}

uint64_t vram_room_of(uint64_t capacity_bytes) {
  return capacity_bytes - std::min(capacity_bytes, vram_margin(capacity_bytes) + kCudaBytes);
}

}  // namespace sluice::engine
