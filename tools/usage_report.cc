#include "tools/usage_report.h"

#include <nlohmann/json.hpp>

#include "tools/text_format.h"

namespace sluice::tools {

using engine::Limit;
using engine::StoreStatistics;
using engine::Usage;

static std::string percent(double share) {
  return format("%.0f%%", 100 * share);
}

static double ratio(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

static double disk_gb_a_second(const StoreStatistics& store) {
  return ratio(static_cast<double>(store.bytes_read), store.disk_busy_seconds) / 1e9;
}

static std::string limit_text(const Usage& usage, uint32_t n_threads) {
  switch (engine::limit_of(usage, n_threads)) {
    case Limit::Disk:
      return format("the disk, which read for %s of the time, %.2f GB/s", percent(usage.disk_busy()).c_str(),
                    disk_gb_a_second(usage.store));
    case Limit::Cpu:
      if (usage.on_gpu)
        return format("CPU and memory; the GPU waited for them for %s of the time",
                      percent(usage.gpu_waited()).c_str());
      return format("CPU and memory; %u threads were busy for %s of the time", n_threads,
                    percent(usage.cpu_busy(n_threads)).c_str());
    case Limit::Gpu:
      return "the GPU, for which the CPU waited";
    case Limit::Pcie:
      return "PCIe, over which the GPU reads what VRAM does not hold";
    case Limit::Others:
      return format("other programs: this one had %s of its %u threads' time",
                    percent(usage.cpu_busy(n_threads)).c_str(), n_threads);
    case Limit::None:
      return "too short to tell";
  }
  return {};
}

// Where a phase's weights came from.
static std::string store_lines(const char* phase, const Usage& usage, uint64_t n_tokens) {
  const StoreStatistics& s = usage.store;
  std::string lines;
  const auto n_experts = static_cast<double>(s.n_hits + s.n_guessed + s.n_misses);
  if (n_experts > 0) {
    lines += format("\n%-8s     experts: %s in memory, %s guessed in time or nearly, %s read when asked for", phase,
                    percent(static_cast<double>(s.n_hits) / n_experts).c_str(),
                    percent(static_cast<double>(s.n_guessed) / n_experts).c_str(),
                    percent(static_cast<double>(s.n_misses) / n_experts).c_str());
    if (s.n_guesses > 0)
      lines += format("; of the guesses %s were right, and they named %s of what was chosen",
                      percent(s.guess_precision()).c_str(), percent(s.guess_recall()).c_str());
    phase = "";
  }
  lines += format("\n%-8s     disk: %s (%s a token) at %.2f GB/s, busy %s; waited %s for experts", phase,
                  format_bytes(s.bytes_read).c_str(),
                  format_bytes(n_tokens > 0 ? s.bytes_read / n_tokens : s.bytes_read).c_str(), disk_gb_a_second(s),
                  percent(usage.disk_busy()).c_str(), percent(ratio(s.expert_wait_seconds, usage.seconds)).c_str());
  if (s.dense_bytes > 0)
    lines +=
        format(", %s for dense weights, %s for embeddings", percent(ratio(s.dense_wait_seconds, usage.seconds)).c_str(),
               percent(ratio(s.embedding_wait_seconds, usage.seconds)).c_str());
  return lines;
}

// Of a GPU that shares a phase's passes with the CPU.
static std::string shared_lines(const Usage& usage, uint64_t n_tokens) {
  const engine::VramStatistics& v = usage.vram;
  std::string lines;
  if (v.n_experts > 0) {
    lines += format("\nin VRAM      %llu of %llu experts, %s", static_cast<unsigned long long>(v.n_slots),
                    static_cast<unsigned long long>(v.n_experts), format_bytes(v.slot_bytes).c_str());
    if (v.n_chosen() > 0) lines += "; " + percent(v.hit_rate()) + " of the chosen ones were there";
    if (v.n_read_from_host > 0)
      lines += ", " + percent(ratio(static_cast<double>(v.n_read_from_host), static_cast<double>(v.n_chosen()))) +
               " the GPU read in RAM";
    if (n_tokens > 0)
      lines +=
          format("; %.2g came a token, %s", ratio(static_cast<double>(v.n_promotions), static_cast<double>(n_tokens)),
                 format_bytes(v.promoted_bytes / n_tokens).c_str());
    if (v.n_slots_given_back > 0)
      lines += format("; %llu gave way to the context", static_cast<unsigned long long>(v.n_slots_given_back));
  }
  if (usage.device.host_waited_seconds > 0)
    lines += format(
        "\nshared       GPU busy %s, waited %s for the CPU, %s for the host between passes; CPU busy %s, waited %s for "
        "the "
        "GPU's choice",
        percent(usage.gpu_busy()).c_str(), percent(usage.gpu_waited()).c_str(), percent(usage.gpu_idle()).c_str(),
        percent(usage.host_busy()).c_str(), percent(usage.host_waited()).c_str());
  return lines;
}

// Of a prompt whose experts came to the GPU.
static std::string streamed_line(const engine::VramStatistics& v) {
  if (v.n_streamed_passes == 0) return {};
  return format("\nstreamed     %llu %s of the prompt, for which %s of experts came over PCIe through a ring of %s",
                static_cast<unsigned long long>(v.n_streamed_passes), v.n_streamed_passes == 1 ? "pass" : "passes",
                format_bytes(v.streamed_bytes).c_str(), format_bytes(v.ring_bytes).c_str());
}

std::string usage_lines(const engine::Statistics& statistics, uint32_t n_threads) {
  const StoreStatistics& store = statistics.prefill.store;
  std::string lines;
  if (store.reads_disk) {
    // Beneath a GPU the store has experts alone: dense weights lie in VRAM or in the mapped file.
    lines += "\nweights      ";
    if (store.dense_bytes > 0)
      lines += format("%s of %s dense weights stay in memory", format_bytes(store.dense_kept_bytes).c_str(),
                      format_bytes(store.dense_bytes).c_str());
    if (store.dense_bytes > 0 && store.n_experts > 0) lines += ", and ";
    if (store.n_experts > 0)
      lines += format("%llu of %llu experts (%s)", static_cast<unsigned long long>(store.n_expert_slots),
                      static_cast<unsigned long long>(store.n_experts), store.policy.c_str());
    if (store.dense_bytes == 0 && store.n_experts > 0) lines += " have room in RAM";
    lines +=
        format("; read by %s%s", store.disk.c_str(),
               store.disk_is_direct ? "" : " through the page cache, because this file system has no direct reads");
    lines += store_lines("prompt", statistics.prefill, statistics.prompt_tokens - statistics.cached_tokens);
    if (statistics.generated_tokens > 1)
      lines += store_lines("tokens", statistics.decode, statistics.generated_tokens - 1);
  }
  lines += streamed_line(statistics.prefill.vram);
  const bool has_decoded = statistics.generated_tokens > 1;
  if (has_decoded)
    lines += shared_lines(statistics.decode, statistics.generated_tokens - 1);
  else
    lines += shared_lines(statistics.prefill, 0);
  lines += std::string("\nlimit        ") + (has_decoded ? "" : "of the prompt: ") +
           limit_text(has_decoded ? statistics.decode : statistics.prefill, n_threads);
  return lines;
}

std::string gpu_lines(std::span<const engine::GpuUse> gpus) {
  std::string lines;
  if (gpus.size() < 2) return lines;
  for (const engine::GpuUse& gpu : gpus) {
    lines += format("\nGPU %-8d ", gpu.ordinal) + printable(gpu.name) +
             format("; layers %u to %u, ", gpu.first_layer + 1, gpu.end_layer) + format_bytes(gpu.memory.device_bytes) +
             " of " + format_bytes(gpu.memory.total_bytes);
    if (gpu.vram.n_experts > 0)
      lines += "; " + format_count(gpu.vram.n_slots) + " of " + format_count(gpu.vram.n_experts) + " experts";
    if (gpu.vram.n_chosen() > 0) lines += "; " + percent(gpu.vram.hit_rate()) + " of the chosen ones were there so far";
  }
  return lines;
}

nlohmann::ordered_json gpus_json(std::span<const engine::GpuUse> gpus) {
  auto json = nlohmann::ordered_json::array();
  for (const engine::GpuUse& gpu : gpus)
    json.push_back({{"gpu", gpu.ordinal},
                    {"name", gpu.name},
                    {"first_layer", gpu.first_layer},
                    {"n_layers", gpu.end_layer - gpu.first_layer},
                    {"vram_bytes", gpu.memory.device_bytes},
                    {"vram_free_bytes", gpu.memory.free_bytes},
                    {"vram_total_bytes", gpu.memory.total_bytes},
                    {"vram_overflow_bytes", gpu.memory.host_bytes},
                    {"experts", gpu.vram.n_experts},
                    {"slots", gpu.vram.n_slots},
                    {"hits", gpu.vram.n_hits},
                    {"chosen", gpu.vram.n_chosen()}});
  return json;
}

nlohmann::ordered_json usage_json(const Usage& usage, uint32_t n_threads) {
  const StoreStatistics& s = usage.store;
  nlohmann::ordered_json json;
  json["seconds"] = usage.seconds;
  json["cpu_busy"] = usage.cpu_busy(n_threads);
  json["limit"] = engine::limit_name(engine::limit_of(usage, n_threads));
  if (usage.device.pass_seconds > 0)
    json["gpu"] = {{"busy", usage.gpu_busy()},
                   {"waited", usage.gpu_waited()},
                   {"idle", usage.gpu_idle()},
                   {"cpu_busy", usage.host_busy()},
                   {"cpu_waited", usage.host_waited()}};
  if (const engine::VramStatistics& v = usage.vram; v.n_experts > 0)
    json["vram_experts"] = {{"experts", v.n_experts},
                            {"slots", v.n_slots},
                            {"slot_bytes", v.slot_bytes},
                            {"hits", v.n_hits},
                            {"misses", v.n_misses},
                            {"read_from_ram", v.n_read_from_host},
                            {"hit_rate", v.hit_rate()},
                            {"promotions", v.n_promotions},
                            {"promoted_bytes", v.promoted_bytes},
                            {"failed_copies", v.n_failed_copies},
                            {"slots_given_back", v.n_slots_given_back},
                            {"streamed_passes", v.n_streamed_passes},
                            {"streamed", v.n_streamed},
                            {"streamed_bytes", v.streamed_bytes},
                            {"ring_bytes", v.ring_bytes}};
  if (!s.reads_disk) return json;
  json["store"] = {{"memory_bytes", s.memory_bytes},         {"dense_bytes", s.dense_bytes},
                   {"dense_kept_bytes", s.dense_kept_bytes}, {"read_ahead_bytes", s.read_ahead_bytes},
                   {"expert_bytes", s.expert_bytes},         {"experts", s.n_experts},
                   {"expert_slots", s.n_expert_slots},       {"policy", s.policy},
                   {"memory_locked", s.memory_is_locked}};
  json["experts"] = {{"hits", s.n_hits},
                     {"guessed", s.n_guessed},
                     {"misses", s.n_misses},
                     {"hit_bytes", s.hit_bytes},
                     {"guessed_bytes", s.guessed_bytes},
                     {"miss_bytes", s.miss_bytes},
                     {"guess_precision", s.guess_precision()},
                     {"guess_recall", s.guess_recall()}};
  json["disk"] = {{"access", s.disk},           {"direct", s.disk_is_direct},        {"reads", s.n_reads},
                  {"bytes", s.bytes_read},      {"dense_bytes", s.dense_read_bytes}, {"busy", usage.disk_busy()},
                  {"gb_s", disk_gb_a_second(s)}};
  json["waiting"] = {{"experts", ratio(s.expert_wait_seconds, usage.seconds)},
                     {"dense", ratio(s.dense_wait_seconds, usage.seconds)},
                     {"embedding", ratio(s.embedding_wait_seconds, usage.seconds)}};
  return json;
}

}  // namespace sluice::tools
