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
