// Byte-pair encoding over bytes, as GPT-2 and its heirs do it.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

// Pairs of tokens and what they merge into: a hash table with open addressing, sized once.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = 0;  // lower merges first
    TokenId merged = -1;
  };

  void reserve(size_t n_merges);
  // The first rank of a pair counts. Needs room reserved.
  void add(TokenId left, TokenId right, Merge merge);
  // The merge of a pair, or null.
  const Merge* find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    TokenId left = -1;
    TokenId right = -1;
    Merge merge;
  };
  std::vector<Slot> slots_;
};

class Bpe {
 public:
  // Reads `tokenizer.ggml.merges`. The vocabulary must outlive this. Throws Error.
  Bpe(const gguf::Metadata& metadata, const Vocabulary& vocabulary, const PreTokenizerRule& rule);

  // Appends the ids of the text. A byte that no token stands for becomes the unknown token, or, without one, nothing.
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

 private:
  struct Symbol;
  struct Candidate;
  struct Scratch;

  void read_merges(const std::vector<std::string>& merges);
  void encode_piece(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const;

  const Vocabulary& vocabulary_;
  PreTokenizer pre_tokenizer_;
  bool ignore_merges_;
  std::array<TokenId, 256> byte_ids_;  // -1 where the vocabulary has no token for the byte
  MergeTable merges_;
};

}  // namespace sluice::tokenizer
