// SentencePiece BPE as the Llama vocabularies use it: characters merge in the order of the merged token's score.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

// The character that stands for a space.
inline constexpr std::string_view kSpmSpace = "\xE2\x96\x81";

// Spaces to U+2581 and back.
std::string escape_spaces(std::string_view text);
std::string unescape_spaces(std::string_view text);

// The byte of a spelling like <0x0A>, or nothing.
std::optional<uint8_t> parse_byte_token(std::string_view spelling);

class Spm {
 public:
  // The vocabulary must outlive this.
  explicit Spm(const Vocabulary& vocabulary);

  // Appends the ids of a text whose spaces are escaped. A character without a token becomes its bytes' tokens; where
  // these are missing, the unknown token, or, without one, nothing.
  void encode(std::string_view escaped, std::vector<TokenId>& ids) const;

 private:
  struct Symbol;
  struct Candidate;
  struct Scratch;

  void encode_stretch(std::string_view escaped, Scratch& scratch, std::vector<TokenId>& ids) const;
  void append_symbol(std::string_view text, std::vector<TokenId>& ids) const;

  const Vocabulary& vocabulary_;
  std::array<TokenId, 256> byte_ids_;  // -1 where there is none
  size_t longest_token_bytes_ = 0;
  // No token goes on past the end of a word (a space after another character), so words can be merged one by one.
  bool words_are_apart_ = true;
};

}  // namespace sluice::tokenizer
