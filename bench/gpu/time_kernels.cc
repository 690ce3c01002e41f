// Times the CUDA kernels at the shapes that bench/gpu/count_kernels.cc counts, on the GPU of this machine, as JSON: what the GPU is, and
// for each case the median of some launches, before each of which the second-level cache was filled with something else.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "bench/gpu/count_cases.h"
#include "kernels/cuda/start.h"

namespace sluice::bench {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kRepetitions = 15;
constexpr uint64_t kFlushBytes = uint64_t{256} << 20;  // more than any second-level cache

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + " failed: " + cudaGetErrorString(error));
}

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, 0), "Asking the GPU");
  return value;
}

Json describe_gpu() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "Asking the GPU");
  const double memory_hz = attribute(cudaDevAttrMemoryClockRate) * 1e3;
  return {{"name", properties.name},
          {"architecture", properties.major * 10 + properties.minor},
          {"n_sms", properties.multiProcessorCount},
          {"clock_hz", attribute(cudaDevAttrClockRate) * 1e3},
          {"peak_bytes_s", 2 * memory_hz * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8},
          {"sm_shared_bytes", attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)}};
}

// Bytes a second that a copy within the GPU's memory reads and writes together: what its memory gives at all.
double copy_bandwidth(void* memory) {
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "Making an event");
  check(cudaEventCreate(&end), "Making an event");
  float best = 1e9f;
  for (int i = 0; i < kRepetitions; ++i) {
    check(cudaEventRecord(begin), "Recording an event");
    check(cudaMemcpyAsync(memory, static_cast<std::byte*>(memory) + kFlushBytes / 2, kFlushBytes / 2,
                          cudaMemcpyDeviceToDevice),
          "Copying");
    check(cudaEventRecord(end), "Recording an event");
    check(cudaEventSynchronize(end), "Copying");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "Timing");
    best = std::min(best, milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return static_cast<double>(kFlushBytes) / (best * 1e-3);
}

double median_seconds(const kernels::cuda::Launch& launch, void* flush) {
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "Making an event");
  check(cudaEventCreate(&end), "Making an event");
  std::vector<double> seconds;
  for (int i = -2; i < kRepetitions; ++i) {
    check(cudaMemsetAsync(flush, i, kFlushBytes), "Filling memory");
    check(cudaEventRecord(begin), "Recording an event");
    check(kernels::cuda::start(launch, nullptr), launch.name);
    check(cudaEventRecord(end), "Recording an event");
    check(cudaEventSynchronize(end), launch.name);
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "Timing");
    if (i >= 0) seconds.push_back(milliseconds * 1e-3);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::ranges::nth_element(seconds, seconds.begin() + kRepetitions / 2);
  return seconds[kRepetitions / 2];
}

}  // namespace

}  // namespace sluice::bench

int main() {
  using namespace sluice::bench;
  try {
    Json out;
    out["gpu"] = describe_gpu();
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "Asking for free memory");
    void* flush = nullptr;
    check(cudaMalloc(&flush, kFlushBytes), "Allocating");
    out["gpu"]["copy_bytes_s"] = copy_bandwidth(flush);
    // The largest matrix has 3.7 GB; a GPU that has not so much free does without the largest.
    const CaseMemory memory = allocate_case_memory(std::min<uint64_t>(uint64_t{4} << 30, (free - kFlushBytes) / 2),
                                                   std::min<uint64_t>(uint64_t{1} << 30, (free - kFlushBytes) / 4));
    out["cases"] = Json::array();
    const auto time = [&](const CountCase& c) {
      if (c.weight_bytes > memory.random_bytes) return;
      out["cases"].push_back({{"model", c.model},
                              {"place", c.place},
                              {"format", c.format},
                              {"weight_bytes", c.weight_bytes},
                              {"other_bytes", c.other_bytes},
                              {"seconds", median_seconds(c.launch, flush)}});
    };
    visit_count_cases(memory, time);
    visit_tile_cases(memory, time);
    std::cout << out.dump(1) << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "time_kernels: " << error.what() << "\n";
    return 1;
  }
}
