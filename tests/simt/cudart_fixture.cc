#include "tests/simt/cudart_fixture.h"

#include <atomic>
#include <cstring>

extern "C" void __cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*,
                                       int*);

namespace sluice::simt {
namespace {

template <class Arguments>
Arguments arguments_of(const std::byte* parameters) {
  Arguments arguments;
  std::memcpy(&arguments, parameters, sizeof arguments);
  return arguments;
}

void increment(const std::byte* parameters) {
  const auto a = arguments_of<Increment>(parameters);
  for (int64_t i = 0; i < a.n; ++i) a.data[i] += static_cast<int32_t>(a.by);
}
void accumulate(const std::byte* parameters) {
  const auto a = arguments_of<Accumulate>(parameters);
  *a.total += *a.data * static_cast<int32_t>(a.factor);
}
void publish(const std::byte* parameters) {
  const auto a = arguments_of<Publish>(parameters);
  std::atomic_ref<uint32_t>(*a.word).store(static_cast<uint32_t>(a.value), std::memory_order_release);
}

constexpr Parameter kIncrement[] = {{0, sizeof(Increment)}};
constexpr Parameter kAccumulate[] = {{0, sizeof(Accumulate)}};
constexpr Parameter kPublish[] = {{0, sizeof(Publish)}};
Kernel kernel_of(const char* name, void (*thread)(const std::byte*), std::span<const Parameter> parameters,
                 uint32_t static_shared_bytes) {
  Kernel kernel;
  kernel.name = name;
  kernel.thread = thread;
  kernel.parameters = parameters;
  kernel.parameter_bytes = parameters[0].bytes;
  kernel.static_shared_bytes = static_shared_bytes;
  return kernel;
}
const Kernel kKernels[] = {
    kernel_of("test_increment", increment, kIncrement, 1024),
    kernel_of("test_accumulate", accumulate, kAccumulate, 0),
    kernel_of("test_publish", publish, kPublish, 0),
};
char symbols[3];  // what nvcc's host stubs would be

const bool is_registered = [] {
  for (size_t i = 0; i < 3; ++i) {
    __cudaRegisterFunction(nullptr, &symbols[i], nullptr, kKernels[i].name.data(), -1, nullptr, nullptr, nullptr,
                           nullptr, nullptr);
  }
  register_kernels(75, kKernels);
  register_kernels(80, kKernels);
  return true;
}();

cudaError_t start(size_t kernel, const void* arguments, cudaStream_t stream, dim3 grid = 1, dim3 block = 1,
                  size_t shared = 0) {
  void* list[] = {const_cast<void*>(arguments)};
  return cudaLaunchKernel(&symbols[kernel], grid, block, list, shared, stream);
}

}  // namespace

cudaError_t launch(const Increment& a, cudaStream_t stream, dim3 grid, dim3 block, size_t shared) {
  return start(0, &a, stream, grid, block, shared);
}
cudaError_t launch(const Accumulate& a, cudaStream_t stream) {
  return start(1, &a, stream);
}
cudaError_t launch(const Publish& a, cudaStream_t stream) {
  return start(2, &a, stream);
}

const void* increment_symbol() {
  return &symbols[0];
}

std::vector<MemoryRange> ranges_of_test_kernels(const KernelLaunch& launch) {
  const auto range = [](const void* data, size_t bytes, bool writes) {
    return MemoryRange{static_cast<const std::byte*>(data), bytes, writes};
  };
  if (launch.name == "test_increment") {
    const auto a = arguments_of<Increment>(launch.parameters.data());
    return {range(a.data, static_cast<size_t>(a.n) * 4, true)};
  }
  if (launch.name == "test_accumulate") {
    const auto a = arguments_of<Accumulate>(launch.parameters.data());
    return {range(a.data, 4, false), range(a.total, 4, true)};
  }
  const auto a = arguments_of<Publish>(launch.parameters.data());
  return {range(a.word, 4, true)};
}

}  // namespace sluice::simt
