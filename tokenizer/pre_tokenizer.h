// Splits text into the pieces that byte-level BPE merges within.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tokenizer {

// What a name under `tokenizer.ggml.pre` stands for.
struct PreTokenizerRule {
  // Applied one after the other, each to every piece that the ones before it left; a match becomes a piece, and so does
  // the text between matches.
  std::vector<std::string_view> expressions;
  bool ignore_merges = false;  // a piece that is itself a token is taken whole, whatever the merges say
  bool adds_bos = false;       // when the file does not say
};

// The rule of a name (aliases included), or null.
const PreTokenizerRule* find_pre_tokenizer_rule(std::string_view name);

// A rule's expressions, compiled. Immutable; split() is thread-safe.
class PreTokenizer {
 public:
  // Throws Error when an expression does not compile.
  explicit PreTokenizer(const PreTokenizerRule& rule);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // The pieces, in order and without gaps; they point into `text`. Bytes that are not UTF-8 are pieces of their own.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  class Expression;
  std::vector<Expression> expressions_;
};

}  // namespace sluice::tokenizer
