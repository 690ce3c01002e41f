// What a part of a run used of the machine, and what limited it.

#include <time.h>

#include <algorithm>

#include "engine/engine.h"

namespace sluice::engine {

static double cpu_seconds_now() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

UsageWatch::UsageWatch(const Model& model)
    : model_(model),
      begin_(std::chrono::steady_clock::now()),
      cpu_begin_(cpu_seconds_now()),
      store_begin_(model.store_statistics()),
      vram_begin_(model.vram_statistics()),
      device_begin_(model.device_times()) {}

Usage UsageWatch::usage() const {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
  return {seconds.count(),
          cpu_seconds_now() - cpu_begin_,
          since(store_begin_, model_.store_statistics()),
          model_.is_on_gpu(),
          model_.device_memory().host_bytes > 0,
          since(vram_begin_, model_.vram_statistics()),
          model_.device_times() - device_begin_};
}

static double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

double Usage::cpu_busy(uint32_t n_threads) const {
  return share(cpu_seconds, seconds * n_threads);
}
double Usage::disk_busy() const {
  return share(store.disk_busy_seconds, seconds);
}
double Usage::waiting() const {
  return share(store.wait_seconds(), seconds);
}

double Usage::gpu_busy() const {
  return share(std::max(0.0, device.pass_seconds - device.waited_seconds), seconds);
}
double Usage::gpu_waited() const {
  return share(std::min(device.waited_seconds, device.pass_seconds), seconds);
}
double Usage::gpu_idle() const {
  return share(std::max(0.0, seconds - device.pass_seconds), seconds);
}
double Usage::host_busy() const {
  return share(device.host_seconds, seconds);
}
double Usage::host_waited() const {
  return share(device.host_waited_seconds, seconds);
}

// CPU and GPU share each layer: whoever is waited for longer.
static Limit limit_of_gpu(const Usage& usage, double long_wait) {
  if (usage.store.reads_disk && usage.waiting() > long_wait) return Limit::Disk;
  if (usage.gpu_waited() > usage.host_waited()) return Limit::Cpu;
  return usage.gpu_reads_ram ? Limit::Pcie : Limit::Gpu;
}

Limit limit_of(const Usage& usage, uint32_t n_threads) {
  // Busier than this there is little to gain by overlapping.
  constexpr double kBusy = 0.8;
  // A part as short as this says nothing.
  constexpr double kShortest = 0.01;
  if (usage.seconds < kShortest) return Limit::None;
  if (usage.on_gpu) return limit_of_gpu(usage, 1 - kBusy);
  // Whoever waits for the disk is limited by it, even where it has pauses while the CPU multiplies.
  const double cpu = usage.cpu_busy(n_threads), disk = usage.disk_busy();
  if (disk > kBusy && disk > cpu) return Limit::Disk;
  if (cpu > kBusy) return Limit::Cpu;
  if (usage.waiting() > 1 - kBusy) return Limit::Disk;
  return usage.waiting() + cpu > kBusy ? Limit::Cpu : Limit::Others;
}

std::string_view limit_name(Limit limit) {
  switch (limit) {
    case Limit::None:
      return "none";
    case Limit::Disk:
      return "disk";
    case Limit::Cpu:
      return "cpu";
    case Limit::Gpu:
      return "gpu";
    case Limit::Pcie:
      return "pcie";
    case Limit::Others:
      return "others";
  }
  return "unknown";
}

}  // namespace sluice::engine
