// Finds tokens that are taken from text as a whole, before any other splitting.
#pragma once

#include <array>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

// A token, or text between tokens.
struct Fragment {
  std::string_view text;  // when not a token
  TokenId token = -1;     // or -1
};

// The leftmost token is taken, of several there the longest. User-defined tokens are always found, as the public
// tokenisers do; control and unknown tokens only with Specials::Parse. A user-defined token that has the form of a
// control token
// (<|im_start|>; some converters got the type wrong) counts as control.
class SpecialTokens {
 public:
  explicit SpecialTokens(const Vocabulary& vocabulary);

  // Splits the text; no text fragment is empty. The fragments point into `text`.
  std::vector<Fragment> split(std::string_view text, Specials specials) const;

 private:
  struct Node {
    TokenId token = -1;
    bool control = false;
  };
  struct Match {
    TokenId token = -1;
    size_t bytes = 0;
  };

  void add(std::string_view spelling, TokenId token, bool control);
  Match longest_at(std::string_view text, Specials specials) const;

  std::vector<Node> nodes_;                          // a trie; node 0 is the root
  std::unordered_map<uint64_t, uint32_t> children_;  // (node << 8 | byte) -> node
  std::array<bool, 256> begins_token_{};
};

}  // namespace sluice::tokenizer
