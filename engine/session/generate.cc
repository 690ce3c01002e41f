// The generate loop: prefill, then sample and append until something ends it. Times ride beside it.

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "engine/engine.h"
#include "tokenizer/utf8_stream.h"

namespace sluice::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Text on its way to the caller: held back while its end could be the beginning of a stop string.
class TextGate {
 public:
  TextGate(const std::vector<std::string>& stop_strings, const GenerateCallbacks& callbacks, std::string& text)
      : stop_strings_(stop_strings), callbacks_(callbacks), text_(text) {}

  // Returns true when a stop string has come; the text then ends before it.
  bool push(std::string_view utf8) {
    held_ += utf8;
    size_t stop_at = std::string::npos;
    for (const std::string& stop : stop_strings_)
      if (!stop.empty()) stop_at = std::min(stop_at, held_.find(stop));
    if (stop_at != std::string::npos) {
      release(stop_at);
      held_.clear();
      return true;
    }
    release(held_.size() - possible_stop_beginning());
    return false;
  }

  void flush() { release(held_.size()); }

 private:
  // Length of the longest end of held_ that begins a stop string.
  size_t possible_stop_beginning() const {
    size_t longest = 0;
    for (const std::string& stop : stop_strings_)
      for (size_t n = std::min(stop.size(), held_.size()); n > longest; --n)
        if (held_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
    return longest;
  }

  void release(size_t n_bytes) {
    if (n_bytes == 0) return;
    const std::string_view out = std::string_view(held_).substr(0, n_bytes);
    text_ += out;
    if (callbacks_.on_text) callbacks_.on_text(out);
    held_.erase(0, n_bytes);
  }

  const std::vector<std::string>& stop_strings_;
  const GenerateCallbacks& callbacks_;
  std::string& text_;
  std::string held_;
};

// Whether the text so far is inside thinking marks. The marks are often tokens of their own and may be control tokens,
// so the spelling of every token is looked at.
class ThinkingWatch {
 public:
  explicit ThinkingWatch(const GenerateOptions& options)
      : begin_(options.thinking_begin), end_(options.thinking_end), thinking_(options.starts_thinking) {}

  // Returns true when the token belongs to the thinking, its marks included.
  bool push(std::string_view token_text) {
    recent_ += token_text;
    const bool was_thinking = thinking_;
    const std::string& mark = thinking_ ? end_ : begin_;
    if (mark.empty()) return thinking_;
    if (const size_t at = recent_.find(mark); at != std::string::npos) {
      thinking_ = !thinking_;
      recent_.erase(0, at + mark.size());
    } else if (recent_.size() > 4 * mark.size()) {
      recent_.erase(0, recent_.size() - mark.size());
    }
    return was_thinking || thinking_;
  }

 private:
  const std::string& begin_;
  const std::string& end_;
  bool thinking_;
  std::string recent_;
};

}  // namespace

Generation generate(Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const GenerateCallbacks& callbacks) {
  const tokenizer::Tokenizer& tokenizer = session.model().tokenizer();
  const auto cancelled = [&] { return callbacks.cancelled && callbacks.cancelled(); };
  const Clock::time_point start = Clock::now();
  Generation result;
  Statistics& statistics = result.statistics;
  statistics.prompt_tokens = prompt.size();

  const UsageWatch prefill(session.model());
  statistics.cached_tokens = session.rewrite(prompt, {callbacks.on_prefill, callbacks.cancelled, {}});
  statistics.prefill_seconds = seconds_between(start, Clock::now());
  statistics.prefill = prefill.usage();
  if (session.tokens().size() < prompt.size()) {
    result.stop = StopReason::Cancelled;
    return result;
  }

  Sampler sampler(options.sampling);
  std::vector<TokenId> history(prompt.begin(), prompt.end());
  tokenizer::Utf8Stream characters;
  TextGate gate(options.stop_strings, callbacks, result.text);
  ThinkingWatch thinking(options);
  Clock::time_point first_token = start, last_token = start;
  std::optional<UsageWatch> decode;
  for (;;) {
    if (cancelled()) {
      result.stop = StopReason::Cancelled;
      break;
    }
    if (options.max_tokens == 0) {
      result.stop = StopReason::Length;
      break;
    }
    const TokenId token = sampler.sample(session.logits(), history);
    const bool ends = tokenizer.ends_generation(token) && !options.ignore_end;
    last_token = Clock::now();
    if (result.tokens.empty()) {
      first_token = last_token;
      statistics.time_to_first_token_seconds = seconds_between(start, first_token);
      decode.emplace(session.model());
    }
    if (ends) {
      result.stop = StopReason::EndOfText;
      break;
    }
    result.tokens.push_back(token);
    history.push_back(token);
    if (thinking.push(tokenizer.token_bytes(token, true))) ++statistics.thinking_tokens;
    if (gate.push(characters.push(tokenizer.token_bytes(token)))) {
      result.stop = StopReason::StopString;
      break;
    }
    if (static_cast<int64_t>(result.tokens.size()) == options.max_tokens) {
      result.stop = StopReason::Length;
      break;
    }
    if (session.tokens().size() >= session.n_context()) {
      result.stop = StopReason::Context;
      break;
    }
    if (!session.append(std::span(&token, 1), {{}, callbacks.cancelled, {}})) {
      result.stop = StopReason::Cancelled;
      break;
    }
  }
  if (decode) statistics.decode = decode->usage();
  if (result.stop != StopReason::StopString) {
    gate.push(characters.flush());
    gate.flush();
  }
  statistics.generated_tokens = result.tokens.size();
  statistics.decode_seconds = seconds_between(first_token, last_token);
  const tokenizer::CharacterCount count = tokenizer::count_characters(result.text);
  statistics.characters = count.all;
  statistics.cjk_characters = count.cjk;
  return result;
}

}  // namespace sluice::engine
