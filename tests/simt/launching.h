// Starting translated kernels in tests, without a runtime of CUDA.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/kernels.h"
#include "tests/simt/runtime/memory_map.h"

namespace sluice::simt {

// Memory of device 0 that is freed with its owner.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n)
      : n_(n), data_(reinterpret_cast<T*>(allocate_memory(MemoryKind::Device, 0, n * sizeof(T)))) {
    REQUIRE(data_ != nullptr);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    if (n_ != 0) std::memcpy(data_, values.data(), n_ * sizeof(T));
  }
  ~DeviceArray() { free_memory(reinterpret_cast<std::byte*>(data_)); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }
  size_t size() const { return n_; }

 private:
  size_t n_;
  T* data_;
};

// Runs a kernel whose one parameter is a structure.
template <class Arguments>
GridResult launch(const char* name, Extent grid, Extent block, uint32_t dynamic_shared_bytes,
                  const Arguments& arguments) {
  const Kernel* kernel = find_kernel(name);
  REQUIRE_MESSAGE(kernel != nullptr, name);
  REQUIRE(kernel->parameter_bytes == sizeof arguments);
  alignas(16) std::byte parameters[sizeof arguments];
  std::memcpy(parameters, &arguments, sizeof arguments);
  return run_grid(*kernel, grid, block, dynamic_shared_bytes, parameters, 0);
}

// Puts the options back as they were.
class OptionsForNow {
 public:
  explicit OptionsForNow(const GridOptions& options) : before_(grid_options()) { grid_options() = options; }
  ~OptionsForNow() { grid_options() = before_; }
  OptionsForNow(const OptionsForNow&) = delete;
  OptionsForNow& operator=(const OptionsForNow&) = delete;

 private:
  GridOptions before_;
};

// Every way in which tests run a kernel: all orders, without and with switches between accesses.
inline std::vector<GridOptions> all_orders() {
  std::vector<GridOptions> all;
  for (uint32_t preempt : {0u, 3u}) {
    all.push_back({GridOptions::Order::Forward, 1, true, preempt});
    all.push_back({GridOptions::Order::Reverse, 1, true, preempt});
    for (uint64_t seed = 1; seed <= 3; ++seed) all.push_back({GridOptions::Order::Random, seed, true, preempt});
  }
  return all;
}

inline std::string joined(const std::vector<std::string>& findings) {
  std::string all;
  for (const std::string& finding : findings) all += finding + "\n";
  return all;
}

}  // namespace sluice::simt
