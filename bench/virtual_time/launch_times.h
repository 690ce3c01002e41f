// What each launch of a skeleton's pass would take if it were R1's, on the GPU whose times were predicted by counting
// (bench/gpu_counts.py --times). Each launch is named by its kernel and by the matrices that it reads; one that cannot
// be named is an error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "engine/model/weights.h"
#include "kernels/cuda/gemv_arguments.h"
#include "tests/simt/cudart/emulated_gpu.h"

namespace sluice::bench {

struct PredictedLaunches {
  std::string gpu;
  double gap_seconds = 0;                                                       // from a kernel to the next in a graph
  double start_seconds = 0;                                                     // of a launch that has nothing to do
  std::map<std::tuple<std::string, std::string, std::string>, double> seconds;  // by model, place and format

  double of(const char* model, const std::string& place, const std::string& format) const;
  bool has(const char* model, const std::string& place, const std::string& format) const {
    return seconds.contains({model, place, format});
  }
};
PredictedLaunches read_predicted_launches(const std::filesystem::path& path);

struct LaunchTimesOptions {
  double n_positions = 2048;  // that attention sees
  // Of PCIe, for what kernels read and write of the host's memory.
  double pcie_bytes_per_second = 25e9;
  double pcie_latency_seconds = 1e-6;
  double kernel_scale = 1;    // of all but gaps and PCIe: 0 leaves the overhead
  bool shares_layers = true;  // with the host, which is told the choices
};

class LaunchTimes {
 public:
  LaunchTimes(PredictedLaunches predicted, const LaunchTimesOptions& options);
  // Where the matrices are now: after they were brought to the device, and before the first pass.
  void know(const engine::ModelWeights& weights);

  // The memory of the host that experts may be read in.
  void know_host(std::span<const std::byte> memory) { host_ = memory; }

  // With the gap before it. Called for each launch as it runs.
  double seconds(const simt::KernelLaunch& launch);

  uint64_t n_launches() const { return n_launches_; }
  double gap_seconds() const { return predicted_.gap_seconds; }
  uint64_t n_hits() const { return n_hits_; }  // experts that were multiplied

 private:
  struct Matrix {
    const char* place = nullptr;
    std::string format;
  };
  double product_seconds(const simt::KernelLaunch& launch);
  const Matrix& known(const simt::KernelLaunch& launch, const std::byte* weights) const;
  double together_seconds(const simt::KernelLaunch& launch);
  double experts_seconds(const simt::KernelLaunch& launch, const kernels::cuda::GemvArguments& arguments);
  double forms_seconds(const simt::KernelLaunch& launch, const kernels::cuda::GemvArguments& arguments) const;
  double norm_seconds(const simt::KernelLaunch& launch) const;
  double own_seconds(const simt::KernelLaunch& launch);
  double attention_seconds(const char* kernel) const;
  double heads_seconds() const;
  double join_seconds() const;
  double over_pcie(double bytes) const {
    return options_.pcie_latency_seconds + bytes / options_.pcie_bytes_per_second;
  }

  PredictedLaunches predicted_;
  LaunchTimesOptions options_;
  std::map<const std::byte*, Matrix> matrices_;
  std::span<const std::byte> host_;
  uint64_t n_launches_ = 0, n_hits_ = 0;
};

}  // namespace sluice::bench
