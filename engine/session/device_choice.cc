#include "engine/session/device_choice.h"

#include <algorithm>

#include "engine/device/cpu_device.h"

namespace sluice::engine {

uint64_t WantedGpu::room() const {
  const uint64_t room = gpu.free_vram_bytes - std::min(gpu.free_vram_bytes, vram_margin(gpu.total_vram_bytes));
  return vram_bytes > 0 ? std::min(vram_bytes, room) : room;
}

static void check_named(const ModelOptions& options) {
  std::vector<int> sorted = options.gpus;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end())
    throw Error(Error::Kind::Usage, "GPU " + std::to_string(*twice) + " is named twice (--gpus); name each once.");
}

std::vector<WantedGpu> wanted_gpus(const ModelOptions& options) {
  check_named(options);
  std::vector<CudaGpu> found = find_cuda_gpus(options.gpus);
  const std::vector<uint64_t>& limits = options.vram_bytes_of_gpus;
  const bool has_any = std::ranges::any_of(found, &CudaGpu::is_usable);
  if (has_any && !limits.empty() && limits.size() != found.size())
    throw Error(Error::Kind::Usage, "There are " + std::to_string(limits.size()) + " sizes of VRAM (--vram) for " +
                                        std::to_string(found.size()) +
                                        " GPUs; give one for each, or a single one that holds for each of them.");
  std::vector<WantedGpu> wanted;
  for (size_t i = 0; i < found.size(); ++i) {
    const uint64_t limit = has_any && !limits.empty() ? limits[i] : options.vram_bytes;
    if (!found[i].is_usable && !options.gpus.empty())
      throw Error(Error::Kind::Device, "A GPU that was asked for (--gpus) cannot be used: " + found[i].why_not + ".");
    if (found[i].is_usable || !has_any) wanted.push_back({std::move(found[i]), limit});
  }
  if (!has_any) wanted.resize(1);
  if (options.gpus.empty())
    std::ranges::stable_sort(wanted, std::greater(),
                             [](const WantedGpu& one) { return one.gpu.vram_bytes_per_second; });
  return wanted;
}

std::string names_of(std::span<const WantedGpu> gpus) {
  std::string names;
  for (const WantedGpu& one : gpus) names += (names.empty() ? "" : " + ") + one.gpu.name;
  return names;
}

// Why the CPU runs a model that nobody sent to either; empty: the GPUs do.
static std::string why_not(std::span<const WantedGpu> gpus, const ModelOptions& options,
                           const std::function<bool(std::span<const GpuRoom> gpus)>& hold_all,
                           const std::function<std::string(std::span<const WantedGpu> gpus)>& why_not_shared) {
  if (!gpus.front().gpu.is_usable) return gpus.front().gpu.why_not;
  if (options.activations == ActivationPrecision::Float32) return "float32 activations are the CPU's";
  std::vector<GpuRoom> rooms;
  for (const WantedGpu& one : gpus) rooms.push_back({one.room(), one.gpu.vram_bytes_per_second});
  if (hold_all(rooms)) return {};
  const std::string why = why_not_shared(gpus);
  return why.empty() ? why : why + "; --device cuda takes it all the same";
}

ChosenDevice choose_device(const ModelOptions& options, uint32_t n_threads,
                           const std::function<bool(std::span<const GpuRoom> gpus)>& hold_all,
                           const std::function<std::string(std::span<const WantedGpu> gpus)>& why_not_shared) {
  ChosenDevice chosen;
  if (options.device == DeviceKind::Cuda && options.activations == ActivationPrecision::Float32)
    throw Error(Error::Kind::Usage,
                "The GPU multiplies 8-bit activations only; leave out --activations f32 or --device cuda.");
  if (options.device != DeviceKind::Cpu) chosen.gpus = wanted_gpus(options);
  if (options.device == DeviceKind::Automatic)
    chosen.why_no_gpu = why_not(chosen.gpus, options, hold_all, why_not_shared);
  if (options.device != DeviceKind::Cpu && chosen.why_no_gpu.empty()) {
    std::vector<CudaDeviceOptions> of_each;
    for (const WantedGpu& one : chosen.gpus) of_each.push_back({one.vram_bytes, true, one.gpu.ordinal});
    chosen.devices = make_cuda_devices(of_each);
    chosen.name = names_of(chosen.gpus);
    chosen.is_gpu = true;
    return chosen;
  }
  chosen.gpus.clear();
  chosen.devices.push_back(
      make_cpu_device(n_threads, options.pin_threads, options.activations == ActivationPrecision::Int8));
  chosen.name = "CPU";
  return chosen;
}

}  // namespace sluice::engine
