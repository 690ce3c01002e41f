// Needle retrieval by context length, of any model: how many of ten names a text's last position finds again.
//
//   needle MODEL.gguf TOKENS[,TOKENS...] [f16|q8_0|bf16|f32 [QUESTION]]
//
// Prints a line of JSON for each length. tests/engine/needle.h says how it is measured.
#include <cstdio>
#include <exception>
#include <string>

#include "tests/engine/needle.h"
#include "tools/choices.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/text_format.h"

using namespace sluice;

static engine::CacheType cache_named(const std::string& text) {
  std::string listed;
  for (const auto& [word, type] : tools::kCacheWords) {
    if (text == word) return type;
    listed += (listed.empty() ? "" : ", ") + std::string(word);
  }
  throw tools::UsageError("there is no cache type '" + tools::printable(text, 60) + "'; expected one of " + listed);
}

int main(int n_arguments, char** arguments) try {
  if (n_arguments < 3) {
    std::fprintf(stderr, "usage: needle MODEL.gguf TOKENS[,TOKENS...] [f16|q8_0|bf16|f32 [QUESTION]]\n");
    return tools::kExitUsage;
  }
  constexpr int64_t kMost = 1 << 20;
  const std::string cache = n_arguments > 3 ? arguments[3] : "f16";
  const auto lengths = tools::parse_integers("TOKENS", arguments[2], 1, kMost);
  engine::ModelOptions options;
  options.session.cache = cache_named(cache);
  options.session.n_context = static_cast<uint32_t>(*std::ranges::max_element(lengths));
  const auto model = engine::Model::open(arguments[1], options);
  for (const int64_t n_tokens : lengths) {
    tests::NeedleOptions wanted{.n_tokens = static_cast<size_t>(n_tokens)};
    if (n_arguments > 4) wanted.question = arguments[4];
    const tests::NeedleResult result = tests::find_needles(model, options.session, wanted);
    std::printf("{\"tokens\": %zu, \"cache\": \"%s\", \"found\": %zu, \"of\": %zu, \"gain_nats\": %.3f}\n",
                result.n_tokens, cache.c_str(), result.n_found, result.n_names, result.gain);
    std::fflush(stdout);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
