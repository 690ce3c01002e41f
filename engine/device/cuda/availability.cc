// Is there a GPU to use, and if not, why. The runtime is linked statically and asks the driver's library, which may not be there.

#include <dlfcn.h>

#include "engine/device/cuda/runtime.h"
#include "engine/device/cuda_device.h"

namespace sluice::engine {

static std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The newest CUDA that the driver's library speaks; 0 without one. The runtime itself answers 0 for an old one, too.
static int driver_cuda_version() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return 0;
  int version = 0;
  auto* ask = reinterpret_cast<int (*)(int*)>(dlsym(library, "cuDriverGetVersion"));
  if (ask == nullptr || ask(&version) != 0) version = 0;
  dlclose(library);
  return version;
}

static std::string why_not(cudaError_t status) {
  const std::string wanted = version_text(CUDART_VERSION / 1000 * 1000);
  if (status == cudaErrorInsufficientDriver) {
    int version = 0;
    if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) version = driver_cuda_version();
    if (version == 0) return "there is no NVIDIA driver";
    return "the NVIDIA driver is too old: it knows CUDA " + version_text(version) + ", " + wanted + " is needed";
  }
  if (status == cudaErrorNoDevice) return "the NVIDIA driver sees no GPU";
  return std::string("the NVIDIA driver answers: ") + cudaGetErrorString(status);
}

// Transfers on both edges of the memory's clock.
static double vram_rate(int ordinal) {
  int kilohertz = 0, bits = 0;
  if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrMemoryClockRate, ordinal) != cudaSuccess ||
      cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, ordinal) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return 2e3 * kilohertz * bits / 8;
}

bool has_cuda() {
  return true;
}

static CudaGpu describe_gpu(int ordinal) {
  CudaGpu gpu;
  gpu.ordinal = ordinal;
  cudaDeviceProp properties{};
  size_t free = 0, total = 0;
  cudaError_t failure = cudaGetDeviceProperties(&properties, ordinal);
  if (failure == cudaSuccess) failure = cudaSetDevice(ordinal);
  if (failure == cudaSuccess) failure = cudaMemGetInfo(&free, &total);
  if (failure != cudaSuccess) {
    cudaGetLastError();
    gpu.why_not = why_not(failure);
    return gpu;
  }
  gpu.name = properties.name;
  gpu.free_vram_bytes = free;
  gpu.total_vram_bytes = total;
  gpu.n_multiprocessors = properties.multiProcessorCount;
  gpu.vram_bytes_per_second = vram_rate(ordinal);
  constexpr int kOldest = 75;  // 7.5
  if (properties.major * 10 + properties.minor < kOldest)
    gpu.why_not = gpu.name + " has compute capability " + std::to_string(properties.major) + "." +
                  std::to_string(properties.minor) + ", 7.5 is needed";
  else
    gpu.is_usable = true;
  return gpu;
}

std::vector<CudaGpu> find_cuda_gpus(std::span<const int> ordinals) {
  int n_gpus = 0;
  const cudaError_t status = cudaGetDeviceCount(&n_gpus);
  if (status != cudaSuccess || n_gpus == 0) {
    cudaGetLastError();
    CudaGpu none;
    none.why_not = why_not(status == cudaSuccess ? cudaErrorNoDevice : status);
    return {none};
  }
  std::vector<int> asked(ordinals.begin(), ordinals.end());
  for (int ordinal = 0; ordinals.empty() && ordinal < n_gpus; ++ordinal) asked.push_back(ordinal);
  int before = 0;
  if (cudaGetDevice(&before) != cudaSuccess) cudaGetLastError();
  std::vector<CudaGpu> gpus;
  for (const int ordinal : asked) {
    if (ordinal >= 0 && ordinal < n_gpus) {
      gpus.push_back(describe_gpu(ordinal));
      continue;
    }
    CudaGpu missing;
    missing.ordinal = ordinal;
    missing.why_not = "there is no GPU " + std::to_string(ordinal) + ": the NVIDIA driver sees " +
                      std::to_string(n_gpus) + ", which are counted from 0";
    gpus.push_back(missing);
  }
  cudaSetDevice(before);  // of this thread, for whoever else uses it
  return gpus;
}

CudaGpu find_cuda_gpu() {
  const int first[] = {0};
  return find_cuda_gpus(first).front();
}

}  // namespace sluice::engine
