// The rates that follow from what a generation counted, and the names of its ends.

#include "engine/engine.h"

namespace sluice::engine {

static double rate(double count, double seconds) {
  return seconds > 0 ? count / seconds : 0;
}

double Statistics::prefill_tokens_per_second() const {
  return rate(static_cast<double>(prompt_tokens - cached_tokens), prefill_seconds);
}

double Statistics::decode_tokens_per_second() const {
  return generated_tokens > 1 ? rate(static_cast<double>(generated_tokens - 1), decode_seconds) : 0;
}

static double generation_seconds(const Statistics& s) {
  return s.time_to_first_token_seconds - s.prefill_seconds + s.decode_seconds;
}

double Statistics::characters_per_second() const {
  return rate(static_cast<double>(characters), generation_seconds(*this));
}

double Statistics::cjk_characters_per_second() const {
  return rate(static_cast<double>(cjk_characters), generation_seconds(*this));
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

Limit limit_of(const Usage& usage, uint32_t n_threads) {
  // Busier than this there is little to gain by overlapping.
  constexpr double kBusy = 0.8;
  // A part as short as this says nothing.
  constexpr double kShortest = 0.01;
  if (usage.seconds < kShortest) return Limit::None;
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
    case Limit::Others:
      return "others";
  }
  return "unknown";
}

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::EndOfText:
      return "eos";
    case StopReason::Length:
      return "length";
    case StopReason::Context:
      return "context";
    case StopReason::StopString:
      return "stop";
    case StopReason::Cancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace sluice::engine
