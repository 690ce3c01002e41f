#include "tools/sampling_flags.h"

#include <array>
#include <limits>
#include <random>

#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/text_format.h"

namespace sluice::tools {

static constexpr double kAny = 1e9;
static constexpr int64_t kMostTokens = std::numeric_limits<int32_t>::max();

// One number that can be set: on the command line by `flags`, in a chat by `name`.
struct Setting {
  const char* name;
  const char* flags;
  const char* help;
  bool whole;
  double least;
  double most;
  void (*set)(SamplingFlags&, double);
  double (*get)(const SamplingFlags&);
};

static engine::SamplerOptions& sampler(SamplingFlags& flags) {
  return flags.options.sampling;
}
static const engine::SamplerOptions& sampler(const SamplingFlags& flags) {
  return flags.options.sampling;
}

static constexpr std::array kSettings = {
    Setting{"predict", "-n,--predict", "Tokens to generate at most; -1: until the model or the context ends it", true,
            -1, kMostTokens, [](SamplingFlags& f, double v) { f.options.max_tokens = static_cast<int64_t>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(f.options.max_tokens); }},
    Setting{"temp", "--temp", "Temperature; 0 always takes the likeliest token", false, 0, kAny,
            [](SamplingFlags& f, double v) { sampler(f).temperature = static_cast<float>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).temperature); }},
    Setting{"top-k", "--top-k", "Draw among the K likeliest tokens; 0: all", true, 0, kMostTokens,
            [](SamplingFlags& f, double v) { sampler(f).top_k = static_cast<int32_t>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).top_k); }},
    Setting{"top-p", "--top-p", "Draw among the likeliest tokens that hold this much probability; 1: off", false, 0, 1,
            [](SamplingFlags& f, double v) { sampler(f).top_p = static_cast<float>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).top_p); }},
    Setting{"min-p", "--min-p", "Drop tokens less likely than this share of the likeliest; 0: off", false, 0, 1,
            [](SamplingFlags& f, double v) { sampler(f).min_p = static_cast<float>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).min_p); }},
    Setting{"repeat-penalty", "--repeat-penalty", "Divide the logits of recent tokens by this; 1: off", false, 0.01,
            kAny, [](SamplingFlags& f, double v) { sampler(f).repeat_penalty = static_cast<float>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).repeat_penalty); }},
    Setting{"presence-penalty", "--presence-penalty", "Take this from the logits of recent tokens; 0: off", false,
            -kAny, kAny, [](SamplingFlags& f, double v) { sampler(f).presence_penalty = static_cast<float>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).presence_penalty); }},
    Setting{"frequency-penalty", "--frequency-penalty", "The same once for every time a token came; 0: off", false,
            -kAny, kAny, [](SamplingFlags& f, double v) { sampler(f).frequency_penalty = static_cast<float>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).frequency_penalty); }},
    Setting{"repeat-last-n", "--repeat-last-n", "How many tokens count as recent; 0: none, -1: all", true, -1,
            kMostTokens, [](SamplingFlags& f, double v) { sampler(f).repeat_last_n = static_cast<int32_t>(v); },
            [](const SamplingFlags& f) { return static_cast<double>(sampler(f).repeat_last_n); }},
};

// Seeds are whole numbers of 64 bits, which a double does not hold.
static constexpr const char* kSeed = "seed";

static void set_seed(SamplingFlags& flags, std::string_view name, std::string_view text) {
  int64_t seed = parse_integer(name, text, -1, std::numeric_limits<int64_t>::max());
  flags.random_seed = seed < 0;
  if (seed >= 0) sampler(flags).seed = static_cast<uint64_t>(seed);
}

static void apply(const Setting& setting, SamplingFlags& flags, std::string_view name, std::string_view text) {
  double value = 0;
  if (setting.whole) {
    value = static_cast<double>(
        parse_integer(name, text, static_cast<int64_t>(setting.least), static_cast<int64_t>(setting.most)));
  } else {
    value = parse_number(name, text, setting.least, setting.most);
  }
  setting.set(flags, value);
}

// "TOKEN+BIAS" or "TOKEN-BIAS"; "TOKEN-inf" forbids the token.
static engine::LogitBias parse_bias(const std::string& text) {
  size_t sign = text.find_first_of("+-", 1);
  if (text.empty() || sign == std::string::npos) {
    throw UsageError(format("--logit-bias cannot be '%s'; expected TOKEN+BIAS or TOKEN-BIAS; for example 29905-inf",
                            printable(text, 60).c_str()));
  }
  engine::LogitBias bias;
  bias.token = static_cast<engine::TokenId>(
      parse_integer("the token of --logit-bias", std::string_view(text).substr(0, sign), 0, kMostTokens));
  std::string_view amount = std::string_view(text).substr(sign + 1);
  float size = amount == "inf" ? std::numeric_limits<float>::infinity()
                               : static_cast<float>(parse_number("the bias of --logit-bias", amount, 0, kAny));
  if (amount == "inf" && text[sign] == '+') {
    throw UsageError("--logit-bias cannot add infinity; expected a finite bias or -inf; give for example +100");
  }
  bias.bias = text[sign] == '-' ? -size : size;
  return bias;
}

void add_sampling_flags(CLI::App& app, SamplingFlags& flags) {
  for (const Setting& setting : kSettings) {
    std::string long_name = std::string("--") + setting.name;
    auto set = [&flags, &setting, long_name](const std::string& text) { apply(setting, flags, long_name, text); };
    add_flag_with_value(app, setting.flags, setting.whole ? "N" : "X", set, setting.help)
        .group("Sampling")
        .default_text(format("%.6g", setting.get(flags)));
  }
  auto seed = [&flags](const std::string& text) { set_seed(flags, "--seed", text); };
  add_flag_with_value(app, "-s,--seed", "N", seed, "Seed of the draws; the same seed gives the same text; -1: random")
      .group("Sampling")
      .default_text("-1");
  auto bias = [&flags](const std::string& text) { sampler(flags).logit_bias.push_back(parse_bias(text)); };
  add_repeated(app, "-l,--logit-bias", "TOKEN(+/-)BIAS", bias,
               "Add BIAS to the logit of token id TOKEN; -inf forbids it; may be repeated")
      .group("Sampling");
  auto stop = [&flags](const std::string& text) {
    if (text.empty()) {
      throw UsageError("--reverse-prompt is empty; expected the text to stop at; give it, or leave the option out");
    }
    flags.options.stop_strings.push_back(text);
  };
  add_repeated(app, "-r,--reverse-prompt", "TEXT", stop, "Stop where TEXT comes, without printing it; may be repeated")
      .group("Sampling");
  auto greedy = [&app, &flags] {
    if (was_given(app, "--temp")) {
      throw UsageError("--greedy stands for --temp 0; found a --temp beside it; leave out one of them");
    }
    sampler(flags).temperature = 0;
  };
  add_switch(app, "--greedy", greedy, "The likeliest token always: --temp 0").group("Sampling");
  add_switch(app, "--ignore-eos", flags.options.ignore_end, "Go on past end-of-text tokens").group("Sampling");
}

void settle_sampling(SamplingFlags& flags, uint32_t vocabulary_size) {
  if (flags.random_seed) sampler(flags).seed = std::random_device{}();
  for (const engine::LogitBias& bias : sampler(flags).logit_bias) {
    if (static_cast<uint32_t>(bias.token) < vocabulary_size) continue;
    throw UsageError(
        format("--logit-bias names token %d; the vocabulary has ids 0 to %u; `sluice tokenize MODEL TEXT` shows ids",
               static_cast<int>(bias.token), vocabulary_size - 1));
  }
}

std::vector<std::string> sampling_names() {
  std::vector<std::string> names;
  for (const Setting& setting : kSettings) names.emplace_back(setting.name);
  names.emplace_back(kSeed);
  return names;
}

std::string sampling_value(const SamplingFlags& flags, std::string_view name) {
  if (name == kSeed) return std::to_string(sampler(flags).seed);
  for (const Setting& setting : kSettings) {
    if (name == setting.name) return format("%.6g", setting.get(flags));
  }
  return {};
}

void set_sampling(SamplingFlags& flags, std::string_view name, std::string_view value) {
  if (name == kSeed) {
    set_seed(flags, name, value);
    if (flags.random_seed) sampler(flags).seed = std::random_device{}();
    return;
  }
  for (const Setting& setting : kSettings) {
    if (name == setting.name) return apply(setting, flags, name, value);
  }
  std::string listed;
  for (const std::string& known : sampling_names()) listed += (listed.empty() ? "" : ", ") + known;
  throw UsageError(format("there is no setting '%s'; expected one of %s; name one of these",
                          printable(name, 60).c_str(), listed.c_str()));
}

}  // namespace sluice::tools
