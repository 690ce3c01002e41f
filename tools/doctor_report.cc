#include "tools/doctor_report.h"

#include <system_error>

#include "tools/text_format.h"

namespace sluice::tools {
namespace {

using engine::HugePages;
using nlohmann::ordered_json;

std::string line(const char* name, const std::string& text) {
  return format("%-14s", name) + text + "\n";
}

std::string advice(const std::string& text) {
  return std::string(14, ' ') + "advice: " + text + "\n";
}

std::string rate_text(double bytes_per_second) {
  return format("%.2f GB/s", bytes_per_second / 1e9);
}

std::string joined(const std::vector<std::string>& words, const char* none) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + printable(word, 100);
  return text.empty() ? none : text;
}

std::string cores_text(const Findings& found) {
  const std::string quota = found.quota > 0 ? format("a quota of %.2f CPUs", found.quota) : "no quota of CPU time";
  return line("cores", format("%u, %u threads by default, ", found.n_cores, found.n_threads) + quota);
}

std::string memory_text(const Findings& found) {
  const engine::AvailableMemory& memory = found.memory;
  std::string text = memory.total_bytes > 0 ? format_bytes(memory.total_bytes) : "unknown";
  if (memory.machine_bytes != engine::kNoLimit) text += ", " + format_bytes(memory.machine_bytes) + " available";
  if (memory.group.empty()) return line("memory", text + ", no limit of a control group");
  text += ", " + format_bytes(memory.group_bytes) + " left by the limit of " + format_bytes(memory.group_limit_bytes) +
          " in " + printable(memory.group.string(), 200);
  return line("memory", text);
}

std::string disk_text(const Findings& found) {
  if (!found.disk) return line("disk", "not measured: " + found.disk_failure);
  const engine::ReadRate& rate = *found.disk;
  std::string text;
  if (rate.bytes == 0) {
    text = line("disk", "not measured: " + found.disk_place + " is too small");
  } else {
    text = line("disk", rate_text(rate.bytes_per_second()) +
                            format(" measured with %s reads of 1 MiB, %u in flight (%s in %s from ",
                                   rate.is_direct ? "direct" : "buffered", found.disk_reads_in_flight,
                                   format_bytes(rate.bytes).c_str(), format_seconds(rate.seconds).c_str()) +
                            found.disk_place + ")");
    if (!rate.is_direct)
      text += advice(
          "this file system refuses direct reads (O_DIRECT), so the page cache may have served some; keep "
          "large models on another one, as ext4 or XFS");
    if (rate.is_in_memory) text += advice("this file lies in memory (tmpfs), so that is no speed of a disk");
    if (rate.has_holes) text += advice("this file has holes, which cost no reading: the disk is slower than that");
  }
  const engine::DirectAlignment& alignment = rate.alignment;
  if (!alignment.is_supported) return text + line("alignment", "no direct reads here");
  return text + line("alignment",
                     format("direct reads need %u bytes in memory and %u in the file (%s)", alignment.memory_bytes,
                            alignment.offset_bytes, alignment.is_told ? "told by the kernel" : "assumed"));
}

std::string locking_text(const engine::LockableMemory& lockable) {
  constexpr uint64_t kLittle = uint64_t{1} << 30;
  const bool is_unlimited = lockable.limit_bytes == engine::kNoLimit;
  std::string text = is_unlimited ? "no limit" : format_bytes(lockable.limit_bytes);
  if (lockable.is_exempt && !is_unlimited) text += ", which this process may exceed (CAP_IPC_LOCK)";
  text = line("memlock", text);
  if (!is_unlimited && !lockable.is_exempt && lockable.limit_bytes < kLittle)
    text += advice(
        "weights can be locked in memory by best effort only; `ulimit -l unlimited`, or memlock in "
        "/etc/security/limits.conf, allows more");
  return text;
}

const char* huge_pages_word(HugePages setting) {
  switch (setting) {
    case HugePages::Never:
      return "never";
    case HugePages::OnRequest:
      return "madvise";
    case HugePages::Always:
      return "always";
    case HugePages::Unknown:
      break;
  }
  return "unknown";
}

std::string huge_pages_text(HugePages setting) {
  std::string text = line("huge pages", huge_pages_word(setting));
  if (setting == HugePages::Never)
    text +=
        advice("`echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled` allows them to those who ask");
  return text;
}

std::string io_uring_text(const engine::IoUring& ring) {
  if (ring.is_allowed) return line("io_uring", "allowed");
  std::string text = line("io_uring", "not allowed (" + std::generic_category().message(ring.error) + ")");
  if (ring.disabled_setting.value_or(0) > 0)
    text += advice("`sudo sysctl kernel.io_uring_disabled=0` allows it; without it threads read the disk");
  else
    text += advice("the kernel is too old or this container forbids it; without it threads read the disk");
  return text;
}

std::string gpu_text(const Findings& found) {
  const engine::NvidiaGpus& gpus = found.gpus;
  std::string text = found.nvcc.empty()
                         ? line("nvcc", "none")
                         : line("nvcc", (found.nvcc_version.empty() ? "version unknown" : found.nvcc_version) + " (" +
                                            printable(found.nvcc, 200) + ")");
  const bool has_driver = !gpus.driver_version.empty();
  const bool has_gpu = gpus.n_found > 0 || !gpus.models.empty();
  if (!has_gpu && !has_driver) return text + line("GPU", "no GPU of NVIDIA");
  text += line("GPU", (gpus.models.empty() ? format("%zu of NVIDIA", gpus.n_found) : joined(gpus.models, "")) +
                          (has_driver ? ", driver " + gpus.driver_version : ", no driver loaded"));
  if (has_gpu && !has_driver) text += advice("install NVIDIA's driver, or see why it is not loaded (`sudo dmesg`)");
  return text;
}

ordered_json limit_json(uint64_t bytes) {
  return bytes == engine::kNoLimit ? ordered_json() : ordered_json(bytes);
}

ordered_json disk_json(const Findings& found) {
  if (!found.disk) return {{"place", found.disk_place}, {"failure", found.disk_failure}};
  const engine::ReadRate& rate = *found.disk;
  const engine::DirectAlignment& alignment = rate.alignment;
  return {{"place", found.disk_place},
          {"bytes_per_second", rate.bytes == 0 ? ordered_json() : ordered_json(rate.bytes_per_second())},
          {"bytes", rate.bytes},
          {"seconds", rate.seconds},
          {"reads_in_flight", found.disk_reads_in_flight},
          {"is_direct", rate.is_direct},
          {"is_in_memory", rate.is_in_memory},
          {"has_holes", rate.has_holes},
          {"alignment",
           {{"is_supported", alignment.is_supported},
            {"is_told_by_kernel", alignment.is_told},
            {"memory_bytes", alignment.memory_bytes},
            {"offset_bytes", alignment.offset_bytes}}}};
}

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

}  // namespace

std::string doctor_text(const Findings& found) {
  return cores_text(found) +
         line("instructions", found.isa + (found.isa_is_forced ? " by SLUICE_ISA" : "") +
                                  " (found: " + joined(found.isas_found, "none") + ")") +
         memory_text(found) +
         line("bandwidth",
              rate_text(found.bandwidth) + format(" measured, %u threads reading memory", found.n_threads)) +
         disk_text(found) + locking_text(found.lockable) + huge_pages_text(found.huge_pages) +
         io_uring_text(found.io_uring) + gpu_text(found);
}

ordered_json doctor_json(const Findings& found) {
  const engine::AvailableMemory& memory = found.memory;
  ordered_json setting;
  if (found.io_uring.disabled_setting) setting = *found.io_uring.disabled_setting;
  return {
      {"cores", found.n_cores},
      {"threads", found.n_threads},
      {"cpu_quota", found.quota > 0 ? ordered_json(found.quota) : ordered_json()},
      {"isa", {{"chosen", found.isa}, {"is_forced", found.isa_is_forced}, {"found", found.isas_found}}},
      {"memory",
       {{"total_bytes", memory.total_bytes > 0 ? ordered_json(memory.total_bytes) : ordered_json()},
        {"available_bytes", limit_json(memory.machine_bytes)},
        {"cgroup_limit_bytes", limit_json(memory.group_limit_bytes)},
        {"cgroup_left_bytes", limit_json(memory.group_bytes)},
        {"cgroup", text_or_null(memory.group.string())},
        {"usable_bytes", limit_json(memory.bytes())},
        {"read_bytes_per_second", found.bandwidth}}},
      {"disk", disk_json(found)},
      {"memlock", {{"limit_bytes", limit_json(found.lockable.limit_bytes)}, {"is_exempt", found.lockable.is_exempt}}},
      {"huge_pages", huge_pages_word(found.huge_pages)},
      {"io_uring", {{"is_allowed", found.io_uring.is_allowed}, {"disabled_setting", setting}}},
      {"nvcc", {{"path", text_or_null(found.nvcc)}, {"version", text_or_null(found.nvcc_version)}}},
      {"gpu",
       {{"n_found", found.gpus.n_found},
        {"models", found.gpus.models},
        {"driver_version", text_or_null(found.gpus.driver_version)}}}};
}

}  // namespace sluice::tools
