#include "engine/session/device_choice.h"

#include <algorithm>

#include "engine/device/cpu_device.h"
#include "engine/device/cuda_device.h"

namespace sluice::engine {

static std::string gibibytes(uint64_t bytes) {
  const uint64_t tenths = (bytes * 10 + (uint64_t{1} << 29)) >> 30;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " GiB";
}

// Why the CPU runs a model that nobody sent to either; empty: the GPU does.
static std::string why_not(const CudaGpu& gpu, const ModelOptions& options, uint64_t gpu_bytes) {
  if (!gpu.is_usable) return gpu.why_not;
  if (options.activations == ActivationPrecision::Float32) return "float32 activations are the CPU's";
  const uint64_t free =
      options.vram_bytes > 0 ? std::min(options.vram_bytes, gpu.free_vram_bytes) : gpu.free_vram_bytes;
  if (gpu_bytes > free)
    return "the model and a session take " + gibibytes(gpu_bytes) + ", and " + gpu.name + " has " + gibibytes(free) +
           " free; --device cuda leaves what does not fit to the CPU";
  return {};
}

ChosenDevice choose_device(const ModelOptions& options, uint32_t n_threads, uint64_t gpu_bytes) {
  ChosenDevice chosen;
  if (options.device == DeviceKind::Cuda && options.activations == ActivationPrecision::Float32)
    throw Error(Error::Kind::Usage,
                "The GPU multiplies 8-bit activations only; leave out --activations f32 or --device cuda.");
  if (options.device == DeviceKind::Automatic) chosen.why_no_gpu = why_not(find_cuda_gpu(), options, gpu_bytes);
  if (options.device != DeviceKind::Cpu && chosen.why_no_gpu.empty()) {
    chosen.device = make_cuda_device({options.vram_bytes, true});
    chosen.name = chosen.device->name();
    chosen.is_gpu = true;
    return chosen;
  }
  chosen.device = make_cpu_device(n_threads, options.pin_threads, options.activations == ActivationPrecision::Int8);
  chosen.name = "CPU";
  return chosen;
}

}  // namespace sluice::engine
