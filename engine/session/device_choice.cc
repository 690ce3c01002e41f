#include "engine/session/device_choice.h"

#include "engine/device/cpu_device.h"
#include "engine/session/shared_choice.h"

namespace sluice::engine {

// Why the CPU runs a model that nobody sent to either; empty: the GPU does.
static std::string why_not(const CudaGpu& gpu, const ModelOptions& options, uint64_t gpu_bytes,
                           const std::function<std::string(const CudaGpu& gpu)>& why_not_shared) {
  if (!gpu.is_usable) return gpu.why_not;
  if (options.activations == ActivationPrecision::Float32) return "float32 activations are the CPU's";
  if (gpu_bytes <= vram_room(gpu, options)) return {};
  const std::string why = why_not_shared(gpu);
  return why.empty() ? why : why + "; --device cuda takes it all the same";
}

ChosenDevice choose_device(const ModelOptions& options, uint32_t n_threads, uint64_t gpu_bytes,
                           const std::function<std::string(const CudaGpu& gpu)>& why_not_shared) {
  ChosenDevice chosen;
  if (options.device == DeviceKind::Cuda && options.activations == ActivationPrecision::Float32)
    throw Error(Error::Kind::Usage,
                "The GPU multiplies 8-bit activations only; leave out --activations f32 or --device cuda.");
  if (options.device == DeviceKind::Automatic)
    chosen.why_no_gpu = why_not(find_cuda_gpu(), options, gpu_bytes, why_not_shared);
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
