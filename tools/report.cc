#include "tools/report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/placement/memory.h"
#include "tools/comparison_report.h"
#include "tools/text_format.h"
#include "tools/usage_report.h"

namespace sluice::tools {

using engine::Generation;
using engine::Statistics;
using engine::StopReason;

uint64_t model_file_bytes(const engine::Model& model) {
  uint64_t bytes = 0;
  for (const gguf::Shard& shard : model.file().shards()) bytes += shard.file_bytes;
  return bytes;
}

static bool measured(double rate) {
  return std::isfinite(rate) && rate > 0;
}

static std::string rate_text(double rate, const char* unit) {
  return measured(rate) ? format(", %.*f %s/s", rate < 10 ? 2 : 1, rate, unit) : std::string();
}

static std::string stop_text(const Generation& generation, const engine::Session& session) {
  switch (generation.stop) {
    case StopReason::EndOfText:
      return "the model ended its text";
    case StopReason::Length:
      return "--predict tokens were generated";
    case StopReason::Context:
      return format("the context of %u tokens is full; -c gives more", session.n_context());
    case StopReason::StopString:
      return "a stop string came";
    case StopReason::Cancelled:
      return "Ctrl-C";
  }
  return {};
}

static std::string device_text(const engine::Model& model) {
  if (!model.is_on_gpu()) {
    const std::string why = model.why_no_gpu().empty() ? std::string() : "; no GPU: " + std::string(model.why_no_gpu());
    return format("CPU, %u threads", model.n_threads()) + why;
  }
  const engine::DeviceMemory memory = model.device_memory();
  std::string text = printable(std::string(model.device_name())) + "; " + format_bytes(memory.device_bytes) + " of " +
                     format_bytes(memory.total_bytes) + " of VRAM, " + format_bytes(memory.free_bytes) + " left";
  if (const uint64_t bytes = model.host_dense_bytes(); bytes > 0)
    text += "; " + format_bytes(bytes) + " of every token's weights are multiplied by the CPU";
  if (memory.host_bytes > 0)
    text += "; " + format_bytes(memory.host_bytes) + " did not fit and lie in RAM, which the GPU reads slowly";
  return text;
}

static std::string token_count(uint64_t n_tokens) {
  return format_count(n_tokens) + (n_tokens == 1 ? " token" : " tokens");
}

std::string report_lines(const Generation& generation, const engine::Session& session,
                         const engine::GenerateOptions& options) {
  const Statistics& s = generation.statistics;
  std::string lines = "prompt       " + token_count(s.prompt_tokens) + " (" + format_count(s.cached_tokens) +
                      " cached) in " + format_seconds(s.prefill_seconds) +
                      rate_text(s.prefill_tokens_per_second(), "tokens") + "\n";
  if (s.generated_tokens > 0) lines += "first token  " + format_seconds(s.time_to_first_token_seconds) + "\n";
  lines += "generated    " + token_count(s.generated_tokens);
  if (s.thinking_tokens > 0) {
    lines += " (" + format_count(s.thinking_tokens) + " thinking, " +
             format_count(s.generated_tokens - s.thinking_tokens) + " answer)";
  }
  if (s.generated_tokens > 1) {
    lines +=
        ", after the first in " + format_seconds(s.decode_seconds) + rate_text(s.decode_tokens_per_second(), "tokens");
  }
  lines += "\ntext         " + format_count(s.characters) + " characters" +
           rate_text(s.characters_per_second(), "characters");
  if (s.cjk_characters > 0) {
    lines +=
        "; " + format_count(s.cjk_characters) + " of them CJK" + rate_text(s.cjk_characters_per_second(), "characters");
  }
  const engine::MemoryUse memory = engine::read_memory_use();
  lines += "\nmemory       " + format_bytes(memory.resident_bytes) + " resident, " +
           format_bytes(memory.resident_file_bytes) + " of it mapped files; model " +
           format_bytes(model_file_bytes(session.model())) + ", sequence state " + format_bytes(session.state_bytes());
  if (const uint64_t budget = session.model().ram_budget_bytes(); budget > 0)
    lines += "; budget " + format_bytes(budget);
  lines += "\ndevice       " + device_text(session.model()) + gpu_lines(session.model().gpus());
  lines += usage_lines(s, session.model().n_threads());
  lines += comparison_lines(engine::compare_with_prediction(session.model(), s));
  bool drawn = options.sampling.temperature > 0;
  if (drawn) lines += format("\nseed         %llu", static_cast<unsigned long long>(options.sampling.seed));
  return lines + "\nended by     " + stop_text(generation, session) + "\n";
}

std::string report_line(const Generation& generation) {
  const Statistics& s = generation.statistics;
  std::string line = "[prompt " + token_count(s.prompt_tokens) + ", " + format_count(s.cached_tokens) + " cached";
  if (s.generated_tokens > 0) line += "; first token " + format_seconds(s.time_to_first_token_seconds);
  line += "; " + token_count(s.generated_tokens);
  if (s.thinking_tokens > 0) line += " (" + format_count(s.thinking_tokens) + " thinking)";
  line += rate_text(s.decode_tokens_per_second(), "tokens") + rate_text(s.characters_per_second(), "characters");
  if (s.cjk_characters > 0) line += rate_text(s.cjk_characters_per_second(), "CJK characters");
  return line + "; " + std::string(engine::stop_reason_name(generation.stop)) + "]\n";
}

nlohmann::ordered_json report_json(const Generation& generation, const engine::Session& session,
                                   const engine::GenerateOptions& options) {
  const Statistics& s = generation.statistics;
  auto rate = [](double value) { return measured(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(); };
  nlohmann::ordered_json report;
  report["text"] = generation.text;
  report["prompt_tokens"] = s.prompt_tokens;
  report["cached_tokens"] = s.cached_tokens;
  report["generated_tokens"] = s.generated_tokens;
  report["thinking_tokens"] = s.thinking_tokens;
  report["characters"] = s.characters;
  report["cjk_characters"] = s.cjk_characters;
  report["prefill_s"] = s.prefill_seconds;
  report["ttft_s"] = rate(s.generated_tokens > 0 ? s.time_to_first_token_seconds : 0);
  report["decode_s"] = s.decode_seconds;
  report["prefill_tok_s"] = rate(s.prefill_tokens_per_second());
  report["decode_tok_s"] = rate(s.decode_tokens_per_second());
  report["chars_s"] = rate(s.characters_per_second());
  report["cjk_chars_s"] = rate(s.cjk_characters_per_second());
  const engine::MemoryUse memory = engine::read_memory_use();
  report["rss_bytes"] = memory.resident_bytes;
  report["rss_file_bytes"] = memory.resident_file_bytes;
  report["model_bytes"] = model_file_bytes(session.model());
  report["state_bytes"] = session.state_bytes();
  report["ram_budget_bytes"] = session.model().ram_budget_bytes();
  report["prefill"] = usage_json(s.prefill, session.model().n_threads());
  report["decode"] = usage_json(s.decode, session.model().n_threads());
  const engine::RunComparison comparison = engine::compare_with_prediction(session.model(), s);
  report["prefill"]["predicted"] = comparison_json(comparison.prefill);
  report["decode"]["predicted"] = comparison_json(comparison.decode);
  report["n_context"] = session.n_context();
  report["n_threads"] = session.model().n_threads();
  report["device"] = session.model().device_name();
  report["why_no_gpu"] = session.model().why_no_gpu();
  const engine::DeviceMemory device_memory = session.model().device_memory();
  report["vram_bytes"] = device_memory.device_bytes;
  report["vram_free_bytes"] = device_memory.free_bytes;
  report["vram_total_bytes"] = device_memory.total_bytes;
  report["cpu_dense_bytes"] = session.model().host_dense_bytes();
  report["vram_overflow_bytes"] = device_memory.host_bytes;
  report["gpus"] = gpus_json(session.model().gpus());
  report["seed"] = options.sampling.seed;
  report["stop"] = engine::stop_reason_name(generation.stop);
  return report;
}

}  // namespace sluice::tools
