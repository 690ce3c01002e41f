#include "engine/placement/prompt.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/forward/prefill_cost.h"
#include "engine/forward/streaming_rules.h"

namespace sluice::engine {
namespace {

// What the rings and rules need of the experts of a GPU's layers.
struct ExpertSizes {
  double all_bytes = 0, most_of_a_layer = 0;
  uint64_t largest = 0;
};

class Prompt {
 public:
  Prompt(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine, uint32_t n_tokens,
         const ExpertShares& shares, const PromptRules& rules)
      : work_(work),
        places_(places),
        machine_(machine),
        n_tokens_(n_tokens),
        rules_(rules),
        first_shares_(shares_by_gpu(work, places, shares)),
        shares_(first_shares_),
        sizes_(std::max<size_t>(first_shares_.size(), 1)),
        taken_(sizes_.size(), 0) {
    for (size_t i = 0; i < work.groups.size(); ++i) {
      const WeightGroup& group = work.groups[i];
      if (group.role != GroupRole::RoutedExperts) continue;
      ExpertSizes& sizes = sizes_[places[i].gpu];
      const double bytes = static_cast<double>(group.unit_vram_bytes()) * group.n_units;
      sizes.all_bytes += bytes;
      sizes.most_of_a_layer = std::max(sizes.most_of_a_layer, bytes);
      sizes.largest = std::max(sizes.largest, group.unit_vram_bytes());
    }
    streams_ = rules.most_shared_rows > 0 && rules.pass_bytes && rules.gpus.size() >= sizes_.size() &&
               can_stream(work, places);
  }

  PromptPrediction predict() {
    while (at_ < n_tokens_) {
      const uint32_t left = n_tokens_ - at_;
      if (const uint32_t rows = rows_to_stream(left); rows > 0) {
        make_room(rows);
        add(rows, 1, true);
        continue;
      }
      const uint32_t most =
          rules_.most_shared_rows > 0 ? std::min(rules_.most_shared_rows, rules_.most_rows) : rules_.most_rows;
      const uint32_t rows = std::min(left, most);
      // Until the first was timed, the rule may change its mind.
      const bool is_timed = !streams_ || cost_.shared_row_seconds() > 0;
      add(rows, is_timed ? left / rows : 1, false);
    }
    sum_.n_tokens = n_tokens_;
    sum_.bound = static_cast<Bound>(std::ranges::max_element(by_bound_) - by_bound_.begin());
    double held = 0, all = 0;
    for (size_t gpu = 0; gpu < sizes_.size() && gpu < shares_.size(); ++gpu) {
      held += shares_[gpu].vram * sizes_[gpu].all_bytes;
      all += sizes_[gpu].all_bytes;
    }
    sum_.shares_vram_then = all > 0 ? held / all : 0;
    return sum_;
  }

 private:
  double slot_bytes_of(size_t gpu) const {
    return static_cast<double>(rules_.gpus[gpu].slot_bytes - std::min(rules_.gpus[gpu].slot_bytes, taken_[gpu]));
  }
  uint64_t half_ring_of(size_t gpu) const {
    if (ring_made_) return half_rings_[gpu];
    const double missed = (1 - shares_[gpu].vram) * sizes_[gpu].most_of_a_layer;
    return half_ring_bytes(static_cast<uint64_t>(slot_bytes_of(gpu)), sizes_[gpu].largest,
                           static_cast<uint64_t>(missed));
  }
  uint64_t pass_bytes(int64_t rows) const {
    return rules_.pass_bytes(rounded_up(rows), std::max(rounded_up(rows), rounded_up(at_ + rows)));
  }

  // 0: the next pass is not streamed.
  uint32_t rows_to_stream(uint32_t left) const {
    if (!streams_ || rules_.most_streamed_rows == 0) return 0;
    int64_t rows = std::min(left, rules_.most_streamed_rows);
    for (size_t gpu = 0; gpu < sizes_.size(); ++gpu) {
      const double room = static_cast<double>(rules_.gpus[gpu].free_bytes) + slot_bytes_of(gpu) / kPassShare;
      rows = rows_with_room(rows, rules_.most_shared_rows, [&](int64_t n) {
        return static_cast<double>(2 * half_ring_of(gpu) + pass_bytes(n)) <= room;
      });
    }
    if (rows <= rules_.most_shared_rows || !cost_.is_streaming_faster(rows, missed_seconds())) return 0;
    return static_cast<uint32_t>(rows);
  }

  // For all experts that are not there.
  StreamSeconds missed_seconds() const {
    StreamSeconds seconds;
    for (size_t gpu = 0; gpu < sizes_.size(); ++gpu) {
      const ExpertShares& shares = shares_[gpu];
      const double on_disk = std::max(0.0, 1 - shares.vram - shares.ram);
      seconds.link += (1 - shares.vram) * sizes_[gpu].all_bytes /
                      gpu_of(machine_, static_cast<uint32_t>(gpu)).pcie_bytes_per_second;
      seconds.disk += on_disk * sizes_[gpu].all_bytes / machine_.disk_bytes_per_second;
    }
    return seconds;
  }

  // Ring, pass and the caches so far come out of free memory and then out of experts' slots, and stay.
  void make_room(uint32_t rows) {
    if (!ring_made_)
      for (size_t gpu = 0; gpu < sizes_.size(); ++gpu) half_rings_.push_back(half_ring_of(gpu));
    ring_made_ = true;
    sum_.ring_bytes = 0;
    for (size_t gpu = 0; gpu < sizes_.size(); ++gpu) {
      const StreamingRoom& room = rules_.gpus[gpu];
      const uint64_t wanted = 2 * half_rings_[gpu] + pass_bytes(rows) + room.state_bytes_a_position * (at_ + rows);
      taken_[gpu] = std::max(taken_[gpu], wanted - std::min(wanted, room.free_bytes));
      sum_.ring_bytes += 2 * half_rings_[gpu];
      if (room.slot_bytes == 0) continue;
      const double left = slot_bytes_of(gpu) / static_cast<double>(room.slot_bytes);
      // Where RAM is full, what gives up its slot is on the disk.
      const bool is_full = first_shares_[gpu].ram + first_shares_[gpu].vram < 1 - 1e-6;
      shares_[gpu].ram = first_shares_[gpu].ram + (is_full ? 0 : (1 - left) * first_shares_[gpu].vram);
      shares_[gpu].vram = left * first_shares_[gpu].vram;
    }
  }

  // By engine/forward/forward.h.
  bool can_overlap() const { return rules_.most_shared_rows == 0 && shares_.size() > 1; }

  // So many passes of as many rows, at once: what they cost grows evenly with the context.
  void add(uint32_t rows, uint32_t n_passes, bool is_streamed) {
    if (n_passes > 1 && at_ == 0 && can_overlap()) {
      add(rows, 1, is_streamed);
      return add(rows, n_passes - 1, is_streamed);
    }
    const bool is_last = at_ + rows * n_passes == n_tokens_;
    if (is_last && n_passes > 1) {
      add(rows, n_passes - 1, is_streamed);
      return add(rows, 1, is_streamed);
    }
    PassShape shape;
    shape.n_rows = rows;
    shape.n_positions = at_ + rows * (n_passes + 1) / 2.0;
    shape.wants_logits = is_last;
    shape.is_streamed = is_streamed;
    Prediction pass = predict_pass(work_, places_, machine_, shape, shares_);
    // While one GPU is about a pass, those before it are about the next ones: behind the first pass, the slowest of them decides.
    if (at_ > 0 && can_overlap()) {
      pass.seconds = 0;
      for (uint32_t gpu = 0; gpu < shares_.size(); ++gpu)
        pass.seconds = std::max(pass.seconds, predict_pass(work_, places_, machine_, shape, shares_, gpu).seconds);
    }
    for (double Prediction::*part :
         {&Prediction::seconds, &Prediction::cpu_seconds, &Prediction::gpu_seconds, &Prediction::disk_seconds,
          &Prediction::pcie_seconds, &Prediction::overhead_seconds, &Prediction::disk_bytes})
      sum_.*part += n_passes * (pass.*part);
    by_bound_[static_cast<size_t>(pass.bound)] += n_passes * pass.seconds;
    sum_.n_passes += n_passes;
    sum_.most_rows = std::max(sum_.most_rows, rows);
    at_ += rows * n_passes;
    if (!is_streamed) return cost_.took_shared(rows, pass.seconds);
    sum_.n_streamed_passes += n_passes;
    cost_.took_streamed(rows, pass.seconds, missed_seconds());
    for (size_t gpu = 0; gpu < sizes_.size(); ++gpu)
      sum_.streamed_bytes += (1 - shares_[gpu].vram) * sizes_[gpu].all_bytes;
  }

  const ModelWork& work_;
  std::span<const GroupPlace> places_;
  const Machine& machine_;
  uint32_t n_tokens_;
  const PromptRules& rules_;
  const std::vector<ExpertShares> first_shares_;
  std::vector<ExpertShares> shares_;  // now
  std::vector<ExpertSizes> sizes_;    // of each GPU
  std::vector<uint64_t> taken_;       // of each GPU's slots
  std::vector<uint64_t> half_rings_;
  bool streams_ = false, ring_made_ = false;
  PrefillCost cost_;
  uint32_t at_ = 0;
  PromptPrediction sum_;
  std::array<double, 7> by_bound_{};  // seconds of passes
};

}  // namespace

bool can_stream(const ModelWork& work, std::span<const GroupPlace> places) {
  bool has_experts = false;
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const GroupRole role = work.groups[i].role;
    if ((role == GroupRole::DenseFfn || role == GroupRole::SharedExperts) && places[i].n_vram == 0) return false;
    has_experts = has_experts || role == GroupRole::RoutedExperts;
  }
  return has_experts;
}

PromptPrediction predict_prompt(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                                uint32_t n_tokens, const ExpertShares& shares, const PromptRules& rules) {
  return Prompt(work, places, machine, n_tokens, shares, rules).predict();
}

}  // namespace sluice::engine
