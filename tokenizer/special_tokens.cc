#include "tokenizer/special_tokens.h"

namespace sluice::tokenizer {
namespace {

uint64_t edge(uint32_t node, char byte) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<uint8_t>(byte);
}

}  // namespace

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) : nodes_(1) {
  for (TokenId id = 0; vocabulary.contains(id); ++id) {
    const TokenKind kind = vocabulary.kind(id);
    const std::string& spelling = vocabulary.spelling(id);
    if (spelling.empty()) continue;
    if (kind == TokenKind::Control || kind == TokenKind::Unknown) {
      add(spelling, id, true);
    } else if (kind == TokenKind::UserDefined) {
      add(spelling, id, looks_special(spelling));
    }
  }
}

void SpecialTokens::add(std::string_view spelling, TokenId token, bool control) {
  begins_token_[static_cast<uint8_t>(spelling.front())] = true;
  uint32_t node = 0;
  for (const char byte : spelling) {
    const auto [child, is_new] = children_.try_emplace(edge(node, byte), static_cast<uint32_t>(nodes_.size()));
    if (is_new) nodes_.emplace_back();
    node = child->second;
  }
  if (nodes_[node].token < 0) nodes_[node] = {token, control};
}

SpecialTokens::Match SpecialTokens::longest_at(std::string_view text, Specials specials) const {
  Match match;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto child = children_.find(edge(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    const Node& reached = nodes_[node];
    if (reached.token >= 0 && (specials == Specials::Parse || !reached.control)) match = {reached.token, i + 1};
  }
  return match;
}

std::vector<Fragment> SpecialTokens::split(std::string_view text, Specials specials) const {
  std::vector<Fragment> fragments;
  size_t text_begin = 0;
  size_t position = 0;
  const auto end_text = [&] {
    if (position > text_begin) fragments.push_back({text.substr(text_begin, position - text_begin), -1});
  };
  while (position < text.size()) {
    if (!begins_token_[static_cast<uint8_t>(text[position])]) {
      ++position;
      continue;
    }
    const Match match = longest_at(text.substr(position), specials);
    if (match.token < 0) {
      ++position;
      continue;
    }
    end_text();
    fragments.push_back({{}, match.token});
    position += match.bytes;
    text_begin = position;
  }
  end_text();
  return fragments;
}

}  // namespace sluice::tokenizer
