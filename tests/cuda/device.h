// What the tests of the CUDA kernels share: memory of the device, and running a list of launches. They speak to cudart only, so they
// run with the emulated runtime and with a GPU.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"

namespace sluice::test {

// What the emulation found wrong since the last call; nothing on a GPU. (findings_emulated.cc, findings_native.cc)
std::vector<std::string> take_device_findings();

// Values in device memory that end exactly where their allocation ends, `offset` bytes from its begin (which is aligned to 256), so
// that an access behind them is found.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(size_t n, size_t offset = 0) : n_(n), offset_(offset) {
    REQUIRE(cudaMalloc(&memory_, offset + n * sizeof(T)) == cudaSuccess);
  }
  explicit OnDevice(const std::vector<T>& values, size_t offset = 0) : OnDevice(values.size(), offset) {
    if (n_ > 0) REQUIRE(cudaMemcpy(data(), values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~OnDevice() { CHECK(cudaFree(memory_) == cudaSuccess); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return reinterpret_cast<T*>(static_cast<std::byte*>(memory_) + offset_); }
  size_t size() const { return n_; }
  std::vector<T> values() const {
    std::vector<T> values(n_);
    if (n_ > 0) REQUIRE(cudaMemcpy(values.data(), data(), n_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
  }

 private:
  void* memory_ = nullptr;
  size_t n_ = 0, offset_ = 0;
};

// Starts the launches one after another and waits. Fails the test when a launch fails or the emulation finds a mistake.
void run(const kernels::cuda::Launches& list);

std::vector<float> random_floats(size_t n, uint32_t seed, float deviation = 1);

// Whether `action` throws std::invalid_argument with these words in its sentence.
template <class Action>
void check_refused(Action action, const std::string& words) {
  try {
    action();
    FAIL_CHECK("nothing was thrown where this was expected: " << words);
  } catch (const std::invalid_argument& error) {
    CHECK_MESSAGE(std::string(error.what()).find(words) != std::string::npos, error.what());
  }
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace sluice::test
