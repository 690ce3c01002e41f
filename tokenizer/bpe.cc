#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>

#include "tokenizer/byte_level.h"

namespace sluice::tokenizer {
namespace {

size_t slot_of(TokenId left, TokenId right, size_t n_slots) {
  const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  const uint64_t mixed = key * 0x9E3779B97F4A7C15u;
  return static_cast<size_t>((mixed ^ (mixed >> 32)) & (n_slots - 1));
}

}  // namespace

void MergeTable::reserve(size_t n_merges) {
  slots_.assign(std::bit_ceil(n_merges * 2 + 1), Slot());
}

void MergeTable::add(TokenId left, TokenId right, Merge merge) {
  size_t at = slot_of(left, right, slots_.size());
  while (slots_[at].left >= 0) {
    if (slots_[at].left == left && slots_[at].right == right) return;
    at = (at + 1) & (slots_.size() - 1);
  }
  slots_[at] = {left, right, merge};
}

const MergeTable::Merge* MergeTable::find(TokenId left, TokenId right) const {
  size_t at = slot_of(left, right, slots_.size());
  while (slots_[at].left >= 0) {
    if (slots_[at].left == left && slots_[at].right == right) return &slots_[at].merge;
    at = (at + 1) & (slots_.size() - 1);
  }
  return nullptr;
}

// A token of the piece so far; merging links over the right one of two.
struct Bpe::Symbol {
  TokenId id;        // -1 once merged into its left neighbour, or for a byte without a token
  int32_t previous;  // -1 at the beginning
  int32_t next;      // -1 at the end
};

// A pair of neighbours that may merge. It is stale when one of them has merged otherwise since.
struct Bpe::Candidate {
  uint32_t rank;
  int32_t left;  // index of the left symbol; of equal ranks the leftmost goes first
  int32_t right;
  TokenId left_id;
  TokenId right_id;
  TokenId merged;

  bool operator<(const Candidate& other) const {  // for a heap with the best on top
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

struct Bpe::Scratch {
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

Bpe::Bpe(const gguf::Metadata& metadata, const Vocabulary& vocabulary, const PreTokenizerRule& rule)
    : vocabulary_(vocabulary), pre_tokenizer_(rule), ignore_merges_(rule.ignore_merges) {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = vocabulary.find_plain(byte_character(static_cast<uint8_t>(byte))).value_or(-1);
  }
  const auto* merges = metadata.get_strings("tokenizer.ggml.merges");
  if (merges == nullptr) {
    throw Error(
        "the vocabulary is incomplete: a BPE vocabulary needs the key tokenizer.ggml.merges, which is missing; "
        "convert or download the model again");
  }
  read_merges(*merges);
}

void Bpe::read_merges(const std::vector<std::string>& merges) {
  merges_.reserve(merges.size());
  std::string merged_spelling;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const auto fail = [&](const std::string& why) {
      throw Error("the vocabulary is inconsistent: merge " + std::to_string(rank) + " of tokenizer.ggml.merges ('" +
                  std::string(merge.substr(0, 80)) + "') " + why + "; convert or download the model again");
    };
    const size_t space = merge.find(' ', 1);
    if (merge.empty() || space == std::string_view::npos || space + 1 == merge.size()) {
      fail("does not name two tokens with a space between");
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    merged_spelling = left;
    merged_spelling += right;
    const auto left_id = vocabulary_.find(left);
    const auto right_id = vocabulary_.find(right);
    const auto merged_id = vocabulary_.find(merged_spelling);
    if (!left_id || !right_id) fail("names a token that the vocabulary does not have");
    if (!merged_id) fail("makes a token that the vocabulary does not have");
    // No text may become a control token by merging.
    if (!vocabulary_.is_plain(*merged_id)) continue;
    merges_.add(*left_id, *right_id, {static_cast<uint32_t>(rank), *merged_id});
  }
}

void Bpe::encode(std::string_view text, std::vector<TokenId>& ids) const {
  Scratch scratch;
  for (const std::string_view piece : pre_tokenizer_.split(text)) encode_piece(piece, scratch, ids);
}

void Bpe::encode_piece(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const auto whole = vocabulary_.find_plain(spell_bytes(piece))) {
      ids.push_back(*whole);
      return;
    }
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  const auto n_bytes = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < n_bytes; ++i) {
    const auto byte = static_cast<uint8_t>(piece[static_cast<size_t>(i)]);
    symbols.push_back({byte_ids_[byte], i - 1, i + 1 < n_bytes ? i + 1 : -1});
  }
  const auto at = [&](int32_t index) -> Symbol& { return symbols[static_cast<size_t>(index)]; };
  const auto candidate = [&](int32_t left, int32_t right) -> bool {
    if (left < 0 || right < 0) return false;
    const MergeTable::Merge* merge = merges_.find(at(left).id, at(right).id);
    if (merge == nullptr) return false;
    heap.push_back({merge->rank, left, right, at(left).id, at(right).id, merge->merged});
    return true;
  };
  for (int32_t i = 0; i + 1 < n_bytes; ++i) candidate(i, i + 1);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = at(best.left);
    Symbol& right = at(best.right);
    if (left.next != best.right || left.id != best.left_id || right.id != best.right_id) continue;
    left.id = best.merged;
    left.next = right.next;
    if (right.next >= 0) at(right.next).previous = best.left;
    right.id = -1;
    if (candidate(left.previous, best.left)) std::push_heap(heap.begin(), heap.end());
    if (candidate(best.left, left.next)) std::push_heap(heap.begin(), heap.end());
  }
  for (int32_t i = n_bytes > 0 ? 0 : -1; i >= 0; i = at(i).next) {
    if (at(i).id >= 0) {
      ids.push_back(at(i).id);
    } else if (const auto unknown = vocabulary_.special().unknown) {
      ids.push_back(*unknown);
    }
  }
}

}  // namespace sluice::tokenizer
