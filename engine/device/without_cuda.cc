// What stands for the CUDA device in a program that was built without nvcc.
#ifndef SLUICE_HAVE_CUDA

#include "engine/device/cuda_device.h"
#include "engine/error.h"

namespace sluice::engine {

bool has_cuda() {
  return false;
}

CudaGpu find_cuda_gpu() {
  CudaGpu gpu;
  gpu.why_not = "this program was built without CUDA, because nvcc was not there";
  return gpu;
}

std::vector<CudaGpu> find_cuda_gpus(std::span<const int>) {
  return {find_cuda_gpu()};
}

std::unique_ptr<Device> make_cuda_device(const CudaDeviceOptions&) {
  throw Error(Error::Kind::Device, "There is no GPU to use: " + find_cuda_gpu().why_not + ".");
}

std::vector<std::unique_ptr<Device>> make_cuda_devices(std::span<const CudaDeviceOptions>) {
  throw Error(Error::Kind::Device, "There is no GPU to use: " + find_cuda_gpu().why_not + ".");
}

}  // namespace sluice::engine

#endif
