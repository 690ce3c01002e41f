#include "tools/plan_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/placement/vram_plan.h"
#include "tools/choices.h"
#include "tools/text_format.h"

namespace sluice::tools {

using engine::GroupRole;
using engine::Plan;
using engine::Prediction;
using engine::TierBytes;
using engine::TierUse;
using nlohmann::ordered_json;

namespace {

std::string rate(double tokens_per_second) {
  return format("%.*f", tokens_per_second < 10 ? 2 : 1, tokens_per_second);
}

std::string bytes_or_dash(uint64_t bytes) {
  return bytes == 0 ? "-" : format_bytes(bytes);
}

TierBytes bytes_of_role(const Plan& plan, GroupRole role) {
  TierBytes sum;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    if (plan.work.groups[i].role != role) continue;
    const TierBytes bytes = engine::bytes_by_tier(plan.work.groups[i], plan.places[i]);
    sum.vram += bytes.vram;
    sum.ram += bytes.ram;
    sum.disk += bytes.disk;
  }
  return sum;
}

// Of a role's weights in RAM, how many bytes lie in a resident form.
uint64_t bytes_in_forms(const Plan& plan, GroupRole role) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    const engine::WeightGroup& group = plan.work.groups[i];
    if (group.role != role) continue;
    for (const engine::MatrixWork& matrix : group.matrices)
      if (matrix.is_in_form) bytes += matrix.bytes * plan.places[i].n_ram;
  }
  return bytes;
}

std::string table_line(const std::string& name, const std::string& vram, const std::string& ram,
                       const std::string& disk, const std::string& a_token, const std::string& more) {
  std::string line =
      format("%-16s %11s %11s %11s %12s", name.c_str(), vram.c_str(), ram.c_str(), disk.c_str(), a_token.c_str());
  if (!more.empty()) line += "  " + more;
  return line + "\n";
}

std::string groups_text(const Plan& plan) {
  std::string text = table_line("", "VRAM", "RAM", "disk", "a token", "");
  for (const GroupRole role : engine::kGroupRoles) {
    const TierBytes bytes = bytes_of_role(plan, role);
    if (bytes.vram + bytes.ram + bytes.disk == 0) continue;
    const uint64_t in_forms = bytes_in_forms(plan, role);
    text += table_line(std::string(role_name(role)), bytes_or_dash(bytes.vram), bytes_or_dash(bytes.ram),
                       bytes_or_dash(bytes.disk), format_bytes(static_cast<uint64_t>(plan.work.bytes_a_token(role))),
                       in_forms > 0 ? format_bytes(in_forms) + " in resident forms" : "");
  }
  const auto both = [&](const char* name, uint64_t TierUse::*part) {
    return table_line(name, bytes_or_dash(plan.vram.*part), bytes_or_dash(plan.ram.*part), "-", "", "");
  };
  text += both("context", &TierUse::state_bytes) + both("passes", &TierUse::workspace_bytes) +
          both("program", &TierUse::program_bytes);
  const auto used = [](const TierUse& tier) { return tier.capacity_bytes > 0 ? format_bytes(tier.used_bytes()) : "-"; };
  text += table_line("used", used(plan.vram), used(plan.ram), bytes_or_dash(plan.disk_weight_bytes), "", "");
  return text + table_line("of", bytes_or_dash(plan.vram.capacity_bytes), bytes_or_dash(plan.ram.capacity_bytes), "-",
                           "",
                           "less a margin of " +
                               (plan.vram.capacity_bytes > 0 ? format_bytes(plan.vram.margin_bytes) + " and " : "") +
                               format_bytes(plan.ram.margin_bytes));
}

std::string machine_text(const engine::Machine& machine) {
  std::string text = "machine      " + printable(machine.name) +
                     format(": %u cores, %s RAM at %.0f GB/s, disk at %.1f GB/s", machine.n_cores,
                            format_bytes(machine.ram_bytes).c_str(), machine.ram_bytes_per_second / 1e9,
                            machine.disk_bytes_per_second / 1e9);
  for (const engine::Gpu& gpu : machine.gpus)
    text +=
        format("; %s, %s at %.0f GB/s, PCIe at %.0f GB/s", printable(gpu.name).c_str(),
               format_bytes(gpu.vram_bytes).c_str(), gpu.vram_bytes_per_second / 1e9, gpu.pcie_bytes_per_second / 1e9);
  if (!machine.source.empty()) text += "\n             " + printable(machine.source);
  return text + "\n";
}

ordered_json tier_json(const TierUse& tier) {
  return {{"capacity_bytes", tier.capacity_bytes},   {"margin_bytes", tier.margin_bytes},
          {"weight_bytes", tier.weight_bytes},       {"state_bytes", tier.state_bytes},
          {"workspace_bytes", tier.workspace_bytes}, {"program_bytes", tier.program_bytes},
          {"used_bytes", tier.used_bytes()}};
}

// Of the experts of a GPU's layers, how many it holds; nothing where they have none.
std::optional<double> expert_share(const Plan& plan, uint32_t gpu) {
  uint64_t n_vram = 0, n = 0;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    if (plan.work.groups[i].role != GroupRole::RoutedExperts || plan.places[i].gpu != gpu) continue;
    n_vram += plan.places[i].n_vram;
    n += plan.work.groups[i].n_units;
  }
  if (n == 0) return std::nullopt;
  return static_cast<double>(n_vram) / static_cast<double>(n);
}

// A line for each, where there are several.
std::string gpus_text(const PlanReport& report) {
  const Plan& plan = report.plan;
  if (plan.gpus.size() < 2) return {};
  std::string text = "\n";
  for (uint32_t i = 0; i < plan.gpus.size(); ++i) {
    const engine::GpuPlan& gpu = plan.gpus[i];
    text += format("GPU %-8u %s: ", i + 1, printable(report.machine.gpus[i].name).c_str());
    if (!gpu.has_layers()) {
      text += "not used\n";
      continue;
    }
    text += format("layers %u to %u, %s of %s", gpu.first_layer + 1, gpu.end_layer,
                   format_bytes(gpu.use.used_bytes()).c_str(), format_bytes(gpu.use.capacity_bytes).c_str());
    if (const auto share = expert_share(plan, i)) text += format(", %.0f%% of their experts", 100 * *share);
    text += "\n";
  }
  return text;
}

ordered_json gpus_json(const PlanReport& report) {
  ordered_json gpus = ordered_json::array();
  for (uint32_t i = 0; i < report.plan.gpus.size(); ++i) {
    const engine::GpuPlan& gpu = report.plan.gpus[i];
    ordered_json row = tier_json(gpu.use);
    row["name"] = report.machine.gpus[i].name;
    row["first_layer"] = gpu.first_layer;
    row["n_layers"] = gpu.end_layer - gpu.first_layer;
    const auto share = expert_share(report.plan, i);
    row["expert_share"] = share ? ordered_json(*share) : ordered_json(nullptr);
    gpus.push_back(row);
  }
  return gpus;
}

// What a run may have of each GPU, besides what the driver takes: as `run --vram` has it.
ordered_json run_vram_json(const Plan& plan) {
  ordered_json bytes = ordered_json::array();
  for (const engine::GpuPlan& gpu : plan.gpus) bytes.push_back(engine::vram_room_of(gpu.use.capacity_bytes));
  return bytes;
}

// When the first token comes.
std::string prompts_text(const Plan& plan) {
  std::string text;
  for (const engine::PromptPrediction& prompt : plan.prompts) {
    text += format("%-12s %.0f tokens: the first one after %.*f s; ", text.empty() ? "prompts" : "", prompt.n_tokens,
                   prompt.seconds < 10 ? 2 : 1, prompt.seconds) +
            prediction_text(prompt) + format(", %u %s", prompt.n_passes, prompt.n_passes == 1 ? "pass" : "passes");
    if (prompt.n_streamed_passes > 0)
      text += format(", %u of them with %s of experts over PCIe, ring %s", prompt.n_streamed_passes,
                     format_bytes(static_cast<uint64_t>(prompt.streamed_bytes)).c_str(),
                     format_bytes(prompt.ring_bytes).c_str());
    text += "\n";
  }
  return text;
}

ordered_json prompt_json(const engine::PromptPrediction& prompt) {
  ordered_json json = prediction_json(prompt);
  json["n_tokens"] = static_cast<uint64_t>(prompt.n_tokens);
  json["passes"] = prompt.n_passes;
  json["rows_per_pass"] = prompt.most_rows;
  json["streamed_passes"] = prompt.n_streamed_passes;
  json["streamed_bytes"] = prompt.streamed_bytes;
  json["ring_bytes"] = prompt.ring_bytes;
  json["expert_share_then"] = prompt.shares_vram_then;
  return json;
}

ordered_json prompts_json(const Plan& plan) {
  ordered_json prompts = ordered_json::array();
  for (const engine::PromptPrediction& prompt : plan.prompts) prompts.push_back(prompt_json(prompt));
  return prompts;
}

std::string hit_rates_text(const PlanReport& report) {
  const bool by_vram = engine::hit_tier(report.plan) == engine::HitTier::Vram;
  std::string text =
      format("\n%-30s %10s %14s  %s\n", by_vram ? "chosen experts found in VRAM" : "chosen experts found in memory",
             "tokens/s", "disk a token", "bound");
  for (const engine::HitRate& row : report.by_hit_rate)
    text += format("%5.0f%%%-24s %10s %14s  %s\n", 100 * row.share,
                   row.is_uniform ? "  when all are equally likely" : "", rate(row.decode.tokens_per_second()).c_str(),
                   format_bytes(static_cast<uint64_t>(row.decode.disk_bytes)).c_str(),
                   std::string(bound_name(row.decode.bound)).c_str());
  return text;
}

std::string improvements_text(const PlanReport& report) {
  std::string text = "\nwhat would help decode most: ";
  if (report.improvements.empty())
    return text + "nothing that was tried (RAM, VRAM, their speeds, disk, cores, context)\n";
  std::string listed;
  for (const engine::Improvement& improvement : report.improvements) {
    if (!listed.empty()) listed += "; ";
    listed += improvement.change +
              (improvement.decode_gain < 1e6 ? format(" (x %.2f)", improvement.decode_gain) : " (it would run)");
  }
  return text + listed + "\n";
}

}  // namespace

std::string prediction_text(const Prediction& prediction) {
  return rate(prediction.tokens_per_second()) + " tokens/s, bound by " + std::string(bound_name(prediction.bound));
}

ordered_json prediction_json(const Prediction& prediction) {
  return {{"tok_s", prediction.tokens_per_second()}, {"bound", bound_name(prediction.bound)},
          {"seconds", prediction.seconds},           {"cpu_seconds", prediction.cpu_seconds},
          {"gpu_seconds", prediction.gpu_seconds},   {"disk_seconds", prediction.disk_seconds},
          {"pcie_seconds", prediction.pcie_seconds}, {"overhead_seconds", prediction.overhead_seconds},
          {"disk_bytes", prediction.disk_bytes}};
}

std::string plan_text(const PlanReport& report) {
  const Plan& plan = report.plan;
  std::string text = "model        " + printable(report.model) + ": " + plan.work.architecture + ", " +
                     format_bytes(plan.work.file_bytes()) + " of weights\n" + machine_text(report.machine) +
                     format("context      %u tokens, cache in %s, batches of %u\n\n", plan.options.n_context,
                            word_of(kCacheWords, plan.options.cache), plan.options.n_batch) +
                     groups_text(plan) + gpus_text(report);
  if (!plan.fits)
    return text + "\nThis machine has too little memory for it: not even a few experts at a time fit.\n" +
           improvements_text(report);
  text += std::string("\nweights      ") +
          (plan.disk_weight_bytes > 0 ? "what memory does not hold is read from the disk for every token that needs it"
           : plan.sharing.reads_host  ? "all in memory that the GPU reads as well; the disk is not read after loading"
                                      : "all in memory; the disk is not read after loading") +
          "\ndecode       " + prediction_text(plan.decode) +
          format(" (predicted, at %u tokens%s)", plan.options.n_context / 2,
                 report.by_hit_rate.empty() ? "" : ", all experts equally likely") +
          "; " + rate(plan.decode_full.tokens_per_second()) + " behind a full context" + "\nprefill      " +
          prediction_text(plan.prefill) + format(" (predicted, a prompt of %.0f tokens)\n", plan.prefill.n_tokens) +
          prompts_text(plan);
  if (!report.by_hit_rate.empty()) text += hit_rates_text(report);
  return text + improvements_text(report);
}

ordered_json plan_json(const PlanReport& report) {
  const Plan& plan = report.plan;
  ordered_json groups = ordered_json::array();
  for (const GroupRole role : engine::kGroupRoles) {
    const TierBytes bytes = bytes_of_role(plan, role);
    if (bytes.vram + bytes.ram + bytes.disk == 0) continue;
    groups.push_back({{"role", role_name(role)},
                      {"vram_bytes", bytes.vram},
                      {"ram_bytes", bytes.ram},
                      {"ram_bytes_in_forms", bytes_in_forms(plan, role)},
                      {"disk_bytes", bytes.disk},
                      {"bytes_per_token", plan.work.bytes_a_token(role)}});
  }
  ordered_json rows = ordered_json::array();
  for (const engine::HitRate& row : report.by_hit_rate)
    rows.push_back({{"share", row.share},
                    {"is_uniform", row.is_uniform},
                    {"decode_tok_s", row.decode.tokens_per_second()},
                    {"disk_bytes_per_token", row.decode.disk_bytes},
                    {"bound", bound_name(row.decode.bound)}});
  ordered_json improvements = ordered_json::array();
  for (const engine::Improvement& improvement : report.improvements)
    improvements.push_back({{"change", improvement.change}, {"decode_gain", improvement.decode_gain}});
  return {{"model",
           {{"path", report.model},
            {"architecture", plan.work.architecture},
            {"weight_bytes", plan.work.file_bytes()},
            {"tensor_bytes", report.tensor_bytes}}},
          {"machine", report.machine.name},
          {"fits", plan.fits},
          {"run",
           {{"n_context", plan.options.n_context},
            {"n_batch", plan.options.n_batch},
            {"cache", word_of(kCacheWords, plan.options.cache)},
            {"streamed_rows", plan.options.most_streamed_rows},
            {"resident", word_of(kResidencyWords, plan.options.residency)},
            {"store", word_of(kStorageWords, plan.storage)},
            {"ram_bytes", plan.ram.capacity_bytes},
            {"vram_bytes", run_vram_json(plan)}}},
          {"vram_used_bytes", plan.vram.used_bytes()},
          {"ram_used_bytes", plan.ram.used_bytes()},
          {"disk_bytes_per_token", plan.decode.disk_bytes},
          {"decode_tok_s", plan.decode.tokens_per_second()},
          {"prefill_tok_s", plan.prefill.tokens_per_second()},
          {"bound", bound_name(plan.decode.bound)},
          {"vram", tier_json(plan.vram)},
          {"gpus", gpus_json(report)},
          {"ram", tier_json(plan.ram)},
          {"disk_weight_bytes", plan.disk_weight_bytes},
          {"groups", groups},
          {"decode", prediction_json(plan.decode)},
          {"decode_full", prediction_json(plan.decode_full)},
          {"prefill", prompt_json(plan.prefill)},
          {"prompts", prompts_json(plan)},
          {"reads_experts_in_ram", plan.sharing.reads_host},
          {"hit_tier", engine::hit_tier(plan) == engine::HitTier::Vram ? "vram" : "memory"},
          {"by_hit_rate", rows},
          {"what_would_help", improvements}};
}

}  // namespace sluice::tools
