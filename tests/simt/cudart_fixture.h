// What the tests of the emulated runtime share: a fresh machine that must end without findings, and kernels that are plain functions.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/simt/cudart/emulated_gpu.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {

class FreshMachine {
 public:
  explicit FreshMachine(GpuOptions options = {}) {
    take_findings();
    reset_emulated_gpu(std::move(options));
  }
  ~FreshMachine() {
    for (const std::string& finding : take_findings()) FAIL_CHECK("a finding that nobody expected: " << finding);
    reset_emulated_gpu();
  }
  FreshMachine(const FreshMachine&) = delete;
  FreshMachine& operator=(const FreshMachine&) = delete;
};

// Takes the findings, of which there must be just one, with these words.
inline void expect_finding(const std::string& words) {
  const std::vector<std::string> findings = take_findings();
  REQUIRE(findings.size() == 1);
  CHECK_MESSAGE(findings[0].find(words) != std::string::npos, findings[0]);
}

#define OK(call) REQUIRE((call) == cudaSuccess)

// One thread adds `by` to n numbers.
struct Increment {
  int32_t* data = nullptr;
  int64_t n = 0;
  int64_t by = 0;
};
// total += *data * factor
struct Accumulate {
  const int32_t* data = nullptr;
  int32_t* total = nullptr;
  int64_t factor = 0;
};
// *word = value, as a system-wide release
struct Publish {
  uint32_t* word = nullptr;
  uint64_t value = 0;
};
cudaError_t launch(const Increment& arguments, cudaStream_t stream, dim3 grid = 1, dim3 block = 1, size_t shared = 0);
cudaError_t launch(const Accumulate& arguments, cudaStream_t stream);
cudaError_t launch(const Publish& arguments, cudaStream_t stream);
const void* increment_symbol();
// As kernel_ranges of the options: what the kernels above read and write.
std::vector<MemoryRange> ranges_of_test_kernels(const KernelLaunch& launch);

template <class T>
T* device_memory(size_t n) {
  void* data = nullptr;
  OK(cudaMalloc(&data, n * sizeof(T)));
  return static_cast<T*>(data);
}
template <class T>
T* pinned_memory(size_t n) {
  void* data = nullptr;
  OK(cudaHostAlloc(&data, n * sizeof(T), cudaHostAllocMapped));
  return static_cast<T*>(data);
}
inline cudaStream_t new_stream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream = nullptr;
  OK(cudaStreamCreateWithFlags(&stream, flags));
  return stream;
}
inline cudaEvent_t new_event(unsigned flags = cudaEventDefault) {
  cudaEvent_t event = nullptr;
  OK(cudaEventCreateWithFlags(&event, flags));
  return event;
}

}  // namespace sluice::simt
