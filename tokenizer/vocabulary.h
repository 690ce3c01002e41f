// The token list of a GGUF file, read and checked.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf/metadata.h"
#include "tokenizer/tokenizer.h"

namespace sluice::tokenizer {

// The numbers of tokens that a file may name under `tokenizer.ggml.*_token_id`.
struct SpecialIds {
  std::optional<TokenId> bos, eos, unknown, end_of_turn, end_of_message;
};

class Vocabulary {
 public:
  // Throws Error.
  explicit Vocabulary(const gguf::Metadata& metadata);

  Vocabulary(const Vocabulary&) = delete;  // ids_ points into spellings_
  Vocabulary& operator=(const Vocabulary&) = delete;

  bool is_spm() const { return model_ == "llama"; }
  const std::string& model() const { return model_; }  // "gpt2" or "llama"
  uint32_t size() const { return static_cast<uint32_t>(spellings_.size()); }
  bool contains(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < spellings_.size(); }

  // These need an id that the vocabulary contains.
  const std::string& spelling(TokenId id) const { return spellings_[static_cast<size_t>(id)]; }
  TokenKind kind(TokenId id) const { return kinds_[static_cast<size_t>(id)]; }
  float score(TokenId id) const { return scores_[static_cast<size_t>(id)]; }  // SPM only

  // The first token spelled so.
  std::optional<TokenId> find(std::string_view spelling) const;
  // Whether text may become the token by merging: it is no control, unknown or byte token.
  bool is_plain(TokenId id) const;
  // The first token spelled so, if it is plain.
  std::optional<TokenId> find_plain(std::string_view spelling) const;

  const SpecialIds& special() const { return special_; }
  bool ends_generation(TokenId id) const { return ends_generation_[static_cast<size_t>(id)]; }

 private:
  void read_tokens(const gguf::Metadata& metadata);
  void read_kinds(const gguf::Metadata& metadata);
  void read_scores(const gguf::Metadata& metadata);
  void read_special_ids(const gguf::Metadata& metadata);
  void find_ends_of_generation();

  std::string model_;
  std::vector<std::string> spellings_;
  std::vector<TokenKind> kinds_;
  std::vector<float> scores_;
  std::unordered_map<std::string_view, TokenId> ids_;
  SpecialIds special_;
  std::vector<bool> ends_generation_;
};

// Whether a spelling has the form of a special token: <|...|>, also with the full-width bars of U+FF5C.
bool looks_special(std::string_view spelling);

}  // namespace sluice::tokenizer
