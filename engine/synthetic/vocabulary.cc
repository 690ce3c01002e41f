#include "engine/synthetic/vocabulary.h"

#include <cstdio>
#include <string>
#include <vector>

namespace sluice::engine::synthetic {
namespace {

enum TokenKind : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

// a, b, ..., z, aa, ab, ...: numbers from 0 on, written in letters.
std::string word(int64_t index) {
  std::string letters;
  for (++index; index > 0; index = (index - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('a' + (index - 1) % 26));
  return letters;
}

}  // namespace

void add_vocabulary(gguf::Metadata& metadata, int64_t n_tokens) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> kinds = {kUnknown, kControl, kControl};
  for (unsigned byte = 0; byte < 256; ++byte) {
    char spelling[8];
    std::snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
    tokens.emplace_back(spelling);
    kinds.push_back(kByte);
  }
  tokens.emplace_back("\xe2\x96\x81");  // how this kind of vocabulary spells a space
  kinds.push_back(kNormal);
  std::vector<float> scores(tokens.size(), 0.0f);
  for (int64_t i = 0; static_cast<int64_t>(tokens.size()) < n_tokens; ++i) {
    tokens.push_back(word(i));
    kinds.push_back(kNormal);
    scores.push_back(-static_cast<float>(i + 1));  // the shorter words are joined first
  }
  metadata.add("tokenizer.ggml.model", gguf::make_string("llama"));
  metadata.add("tokenizer.ggml.pre", gguf::make_string("default"));
  metadata.add("tokenizer.ggml.tokens", gguf::make_string_array(std::move(tokens)));
  metadata.add("tokenizer.ggml.scores", gguf::make_float32_array(scores));
  metadata.add("tokenizer.ggml.token_type", gguf::make_int32_array(kinds));
  metadata.add("tokenizer.ggml.bos_token_id", gguf::make_uint32(1));
  metadata.add("tokenizer.ggml.eos_token_id", gguf::make_uint32(2));
  metadata.add("tokenizer.ggml.unknown_token_id", gguf::make_uint32(0));
  metadata.add("tokenizer.ggml.add_bos_token", gguf::make_bool(true));
  metadata.add("tokenizer.ggml.add_eos_token", gguf::make_bool(false));
}

}  // namespace sluice::engine::synthetic
