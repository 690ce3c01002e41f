// Needle retrieval by context length, of any model: how many of ten names a text's last position finds again.
//
//   needle MODEL.gguf TOKENS[,TOKENS...] [f16|q8_0|bf16|f32 [QUESTION]]
//
// Prints a line of JSON for each length. tests/engine/needle.h says how it is measured.
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>

#include "tests/engine/needle.h"

int main(int n_arguments, char** arguments) try {
  using namespace sluice;
  if (n_arguments < 3) {
    std::fprintf(stderr, "usage: needle MODEL.gguf TOKENS[,TOKENS...] [f16|q8_0|bf16|f32 [QUESTION]]\n");
    return 2;
  }
  const std::string cache = n_arguments > 3 ? arguments[3] : "f16";
  engine::ModelOptions options;
  options.session.cache = cache == "q8_0"   ? engine::CacheType::Q8_0
                          : cache == "bf16" ? engine::CacheType::BF16
                          : cache == "f32"  ? engine::CacheType::F32
                                            : engine::CacheType::F16;
  std::vector<size_t> lengths;
  std::istringstream list(arguments[2]);
  for (std::string one; std::getline(list, one, ',');) lengths.push_back(std::stoull(one));
  options.session.n_context = static_cast<uint32_t>(*std::ranges::max_element(lengths));
  const auto model = engine::Model::open(arguments[1], options);
  for (const size_t n_tokens : lengths) {
    tests::NeedleOptions wanted{.n_tokens = n_tokens};
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
