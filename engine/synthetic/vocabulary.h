// A vocabulary of any size for models that are made up.
#pragma once

#include <cstdint>

#include "gguf/metadata.h"

namespace sluice::engine::synthetic {

// Fewer tokens do not hold the bytes.
inline constexpr int64_t kLeastVocabulary = 300;

// Adds a SentencePiece tokenizer of n_tokens: <unk>, <s>, </s>, the 256 bytes, a space, and words of lower-case letters,
// short ones first, each of which is the joint of two others. Any text can be encoded.
void add_vocabulary(gguf::Metadata& metadata, int64_t n_tokens);

}  // namespace sluice::engine::synthetic
