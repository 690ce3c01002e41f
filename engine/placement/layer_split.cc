#include "engine/placement/layer_split.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

namespace sluice::engine {
namespace {

uint64_t sum_of(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max() : a + b;
}

// How much a range of layers has on a GPU: 3 for everything, 2 and more for a share of its experts, 1 and more for a share of its dense
// parts, 0 and more for a share of its caches, less for not even a pass.
constexpr double kAll = 3, kNoPass = -1;

double level_of(uint64_t room, uint64_t fixed_bytes, const LayerCost& range) {
  if (room < fixed_bytes) return kNoPass;
  room -= fixed_bytes;
  double level = 0;
  for (const uint64_t bytes : {range.state_bytes, range.dense_bytes, range.expert_bytes}) {
    if (room < bytes) return level + static_cast<double>(room) / static_cast<double>(bytes);
    room -= bytes;
    ++level;
  }
  return level;
}

// Of splits that are as good for the layer that is worst off. Whole nanoseconds, so that sums do not depend on their order.
struct Cost {
  uint64_t dense_nanoseconds = 0;
  double unevenness = 0;

  Cost operator+(const Cost& other) const {
    return {sum_of(dense_nanoseconds, other.dense_nanoseconds), unevenness + other.unevenness};
  }
  bool operator<(const Cost& other) const {
    return std::tie(dense_nanoseconds, unevenness) < std::tie(other.dense_nanoseconds, other.unevenness);
  }
};

class Splits {
 public:
  Splits(std::span<const LayerCost> layers, uint64_t first_bytes, uint64_t last_bytes, uint64_t pass_bytes,
         std::span<const GpuRoom> gpus)
      : layers_(layers), first_bytes_(first_bytes), last_bytes_(last_bytes), pass_bytes_(pass_bytes), gpus_(gpus) {}

  // The largest level that all ranges can have.
  double best_level() const {
    // Of the layers before an end, on the GPUs so far.
    std::vector<double> best(layers_.size() + 1, -std::numeric_limits<double>::infinity());
    best[0] = kAll;
    for (size_t gpu = 0; gpu < gpus_.size(); ++gpu) {
      const std::vector<double> before = best;
      for (size_t begin = 0; begin < layers_.size(); ++begin)
        for_each_end(gpu, begin, [&](size_t end, double level, uint64_t) {
          best[end] = std::max(best[end], std::min(before[begin], level));
        });
    }
    return best.back();
  }

  // The split of least cost with no range below that level.
  std::vector<uint32_t> cheapest(double least_level) const {
    using Ends = std::vector<std::optional<Cost>>;
    std::vector<Ends> costs{Ends(layers_.size() + 1)};
    costs[0][0] = Cost{};
    std::vector<std::vector<size_t>> begins;  // of a GPU's range, by its end
    for (size_t gpu = 0; gpu < gpus_.size(); ++gpu) {
      Ends next = costs.back();
      std::vector<size_t>& begin_of = begins.emplace_back(layers_.size() + 1);
      for (size_t end = 0; end < begin_of.size(); ++end) begin_of[end] = end;  // it has none
      for (size_t begin = 0; begin < layers_.size(); ++begin) {
        const std::optional<Cost> before = costs.back()[begin];
        if (!before) continue;
        for_each_end(gpu, begin, [&](size_t end, double level, uint64_t nanoseconds) {
          if (level < least_level) return;
          const double missing = kAll - level;
          const Cost cost = *before + Cost{nanoseconds, static_cast<double>(end - begin) * missing * missing};
          if (next[end] && !(cost < *next[end])) return;
          next[end] = cost;
          begin_of[end] = begin;
        });
      }
      costs.push_back(std::move(next));
    }
    return ends_from(begins);
  }

  // Each of the first GPUs has as many layers as it holds as a whole.
  std::vector<uint32_t> packed() const {
    std::vector<uint32_t> ends;
    size_t begin = 0;
    for (size_t gpu = 0; gpu < gpus_.size(); ++gpu) {
      size_t most = begin;
      for_each_end(gpu, begin, [&](size_t end, double level, uint64_t) {
        if (level == kAll) most = end;
      });
      begin = most;
      ends.push_back(static_cast<uint32_t>(begin));
    }
    return ends;
  }

 private:
  // visit(end, level, nanoseconds to read the dense parts) for every range of the GPU with layers from begin on.
  template <typename Visit>
  void for_each_end(size_t gpu, size_t begin, const Visit& visit) const {
    const GpuRoom& room = gpus_[gpu];
    LayerCost range;
    uint64_t fixed = begin == 0 ? sum_of(pass_bytes_, first_bytes_) : pass_bytes_, nanoseconds = 0;
    for (size_t end = begin + 1; end <= layers_.size(); ++end) {
      const LayerCost& layer = layers_[end - 1];
      range.dense_bytes = sum_of(range.dense_bytes, layer.dense_bytes);
      range.state_bytes = sum_of(range.state_bytes, layer.state_bytes);
      range.expert_bytes = sum_of(range.expert_bytes, layer.expert_bytes);
      if (end == layers_.size()) fixed = sum_of(fixed, last_bytes_);
      constexpr double kMost = 1e18;  // that a whole number holds
      const double read = room.vram_bytes_per_second > 0
                              ? 1e9 * static_cast<double>(layer.dense_bytes) / room.vram_bytes_per_second
                              : 0;
      nanoseconds = sum_of(nanoseconds, static_cast<uint64_t>(std::llround(std::min(read, kMost))));
      visit(end, level_of(room.bytes, fixed, range), nanoseconds);
    }
  }

  std::vector<uint32_t> ends_from(const std::vector<std::vector<size_t>>& begins) const {
    std::vector<uint32_t> ends(gpus_.size());
    size_t end = layers_.size();
    for (size_t gpu = gpus_.size(); gpu-- > 0;) {
      ends[gpu] = static_cast<uint32_t>(end);
      end = begins[gpu][end];
    }
    return ends;
  }

  std::span<const LayerCost> layers_;
  uint64_t first_bytes_, last_bytes_, pass_bytes_;
  std::span<const GpuRoom> gpus_;
};

}  // namespace

std::vector<uint32_t> split_layers(std::span<const LayerCost> layers, uint64_t first_bytes, uint64_t last_bytes,
                                   uint64_t pass_bytes, std::span<const GpuRoom> gpus) {
  if (gpus.empty()) return {};
  const Splits splits(layers, first_bytes, last_bytes, pass_bytes, gpus);
  const double level = splits.best_level();
  // Ranges that have everything in the fewest GPUs are the ones that are packed.
  return level == kAll ? splits.packed() : splits.cheapest(level);
}

}  // namespace sluice::engine
