#include "tokenizer/spm.h"

#include <algorithm>

#include "tokenizer/utf8.h"

namespace sluice::tokenizer {
namespace {

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string result;
  result.reserve(text.size());
  for (size_t found = text.find(what); found != std::string_view::npos; found = text.find(what)) {
    result += text.substr(0, found);
    result += with;
    text.remove_prefix(found + what.size());
  }
  result += text;
  return result;
}

std::optional<uint8_t> hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<uint8_t>(digit - '0');
  if (digit >= 'A' && digit <= 'F') return static_cast<uint8_t>(digit - 'A' + 10);
  if (digit >= 'a' && digit <= 'f') return static_cast<uint8_t>(digit - 'a' + 10);
  return std::nullopt;
}

// The length of the first word: spaces, then other characters.
size_t word_bytes(std::string_view escaped) {
  size_t begin = 0;
  while (escaped.substr(begin).starts_with(kSpmSpace)) begin += kSpmSpace.size();
  return std::min(escaped.find(kSpmSpace, begin), escaped.size());
}

}  // namespace

std::string escape_spaces(std::string_view text) {
  return replace_all(text, " ", kSpmSpace);
}
std::string unescape_spaces(std::string_view text) {
  return replace_all(text, kSpmSpace, " ");
}

std::optional<uint8_t> parse_byte_token(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling.back() != '>') return std::nullopt;
  const auto high = hex_digit(spelling[3]);
  const auto low = hex_digit(spelling[4]);
  if (!high || !low) return std::nullopt;
  return static_cast<uint8_t>(*high * 16 + *low);
}

// A stretch of the text; merging extends the left one of two over the right one, which becomes empty.
struct Spm::Symbol {
  size_t begin;
  size_t bytes;
  int64_t previous;  // -1 at the beginning
  int64_t next;      // -1 at the end
};

struct Spm::Candidate {
  float score;
  int64_t left;
  int64_t right;
  size_t bytes;  // of both when they were found: other lengths now mean that it is stale

  bool operator<(const Candidate& other) const {  // for a heap with the best on top
    return score != other.score ? score < other.score : left > other.left;
  }
};

struct Spm::Scratch {
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

Spm::Spm(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  byte_ids_.fill(-1);
  for (TokenId id = 0; vocabulary.contains(id); ++id) {
    const std::string& spelling = vocabulary.spelling(id);
    longest_token_bytes_ = std::max(longest_token_bytes_, spelling.size());
    if (vocabulary.is_plain(id) && word_bytes(spelling) < spelling.size()) words_are_apart_ = false;
    if (vocabulary.kind(id) != TokenKind::Byte) continue;
    const auto byte = parse_byte_token(spelling);
    if (byte && byte_ids_[*byte] < 0) byte_ids_[*byte] = id;
  }
}

void Spm::encode(std::string_view escaped, std::vector<TokenId>& ids) const {
  Scratch scratch;
  while (!escaped.empty()) {
    const size_t bytes = words_are_apart_ ? word_bytes(escaped) : escaped.size();
    encode_stretch(escaped.substr(0, bytes), scratch, ids);
    escaped.remove_prefix(bytes);
  }
}

void Spm::encode_stretch(std::string_view escaped, Scratch& scratch, std::vector<TokenId>& ids) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  for (size_t begin = 0; begin < escaped.size();) {
    const Utf8Step step = next_utf8(escaped.substr(begin));
    const auto index = static_cast<int64_t>(symbols.size());
    symbols.push_back({begin, step.bytes, index - 1, index + 1});
    begin += step.bytes;
  }
  symbols.back().next = -1;

  const auto at = [&](int64_t index) -> Symbol& { return symbols[static_cast<size_t>(index)]; };
  const auto candidate = [&](int64_t left, int64_t right) -> bool {
    if (left < 0 || right < 0) return false;
    const size_t bytes = at(left).bytes + at(right).bytes;
    if (bytes > longest_token_bytes_) return false;
    const auto merged = vocabulary_.find_plain(escaped.substr(at(left).begin, bytes));
    if (!merged) return false;
    heap.push_back({vocabulary_.score(*merged), left, right, bytes});
    return true;
  };
  for (int64_t i = 0; at(i).next >= 0; ++i) candidate(i, i + 1);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = at(best.left);
    Symbol& right = at(best.right);
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) continue;
    left.bytes = best.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next >= 0) at(right.next).previous = best.left;
    if (candidate(left.previous, best.left)) std::push_heap(heap.begin(), heap.end());
    if (candidate(best.left, left.next)) std::push_heap(heap.begin(), heap.end());
  }
  for (int64_t i = 0; i >= 0; i = at(i).next) append_symbol(escaped.substr(at(i).begin, at(i).bytes), ids);
}

void Spm::append_symbol(std::string_view text, std::vector<TokenId>& ids) const {
  if (const auto id = vocabulary_.find_plain(text)) {
    ids.push_back(*id);
    return;
  }
  const bool has_bytes =
      std::all_of(text.begin(), text.end(), [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; });
  if (has_bytes) {
    for (const char byte : text) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  } else if (const auto unknown = vocabulary_.special().unknown) {
    ids.push_back(*unknown);
  }
}

}  // namespace sluice::tokenizer
