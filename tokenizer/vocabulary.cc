#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace sluice::tokenizer {
namespace {

// What public models call the tokens that end an answer or a turn.
constexpr std::array kEndNames = {
    std::string_view("<|im_end|>"),             // ChatML, Qwen, Kimi
    std::string_view("<|eot_id|>"),             // Llama 3
    std::string_view("<|eom_id|>"),             // Llama 3.1
    std::string_view("<|end_of_text|>"),        // Llama 3, Granite
    std::string_view("<|endoftext|>"),          // GPT-2, Qwen
    std::string_view("<|end|>"),                // Phi-3
    std::string_view("<|return|>"),             // gpt-oss
    std::string_view("<|call|>"),               // gpt-oss
    std::string_view("<|eot|>"),                // Llama 4
    std::string_view("<|EOT|>"),                // DeepSeek Coder
    std::string_view("<end_of_turn>"),          // Gemma
    std::string_view("<end_of_utterance>"),     // SmolVLM
    std::string_view("</s>"),                   // Llama 2, Mistral
    std::string_view("<EOT>"),                  // CodeLlama
    std::string_view("[EOT]"),                  // Kimi
    std::string_view("[EOS]"),                  // Kimi
    std::string_view("<|END_OF_TURN_TOKEN|>"),  // Command R
    std::string_view("<\xEF\xBD\x9C"
                     "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"),  // DeepSeek
};

std::string in_quotes(std::string_view text) {
  constexpr size_t kShown = 60;
  std::string result = "'";
  result += text.substr(0, kShown);
  if (text.size() > kShown) result += "...";
  return result + "'";
}

void check_length(std::string_view key, uint64_t found, size_t expected) {
  if (found == expected) return;
  throw Error("the vocabulary is inconsistent: " + std::string(key) + " has " + std::to_string(found) +
              " entries, but tokenizer.ggml.tokens has " + std::to_string(expected) +
              "; convert or download the model again");
}

}  // namespace

bool looks_special(std::string_view spelling) {
  const auto wrapped = [&](std::string_view open, std::string_view close) {
    return spelling.size() > open.size() + close.size() && spelling.starts_with(open) && spelling.ends_with(close);
  };
  return wrapped("<|", "|>") || wrapped("<\xEF\xBD\x9C", "\xEF\xBD\x9C>");
}

Vocabulary::Vocabulary(const gguf::Metadata& metadata) {
  const auto model = metadata.get_string("tokenizer.ggml.model");
  if (!model) {
    throw Error("the file has no vocabulary: the key tokenizer.ggml.model is missing; use a complete model file");
  }
  model_ = *model;
  if (model_ != "gpt2" && model_ != "llama") {
    throw Error("the vocabulary is of the unknown model " + in_quotes(model_) +
                "; known are 'gpt2' (byte-level BPE) and 'llama' (SPM)");
  }
  read_tokens(metadata);
  read_kinds(metadata);
  read_scores(metadata);
  read_special_ids(metadata);
  find_ends_of_generation();
}

void Vocabulary::read_tokens(const gguf::Metadata& metadata) {
  const auto* tokens = metadata.get_strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) {
    throw Error("the file has no vocabulary: the key tokenizer.ggml.tokens is missing; use a complete model file");
  }
  if (tokens->empty()) {
    throw Error("the vocabulary is empty: tokenizer.ggml.tokens has no entries; convert or download the model again");
  }
  if (tokens->size() > static_cast<size_t>(std::numeric_limits<TokenId>::max())) {
    throw Error("the vocabulary has " + std::to_string(tokens->size()) + " tokens, more than 31 bits can number");
  }
  spellings_ = *tokens;
  ids_.reserve(spellings_.size());
  // Some real files spell two tokens alike; the first one is found.
  for (size_t id = 0; id < spellings_.size(); ++id) ids_.emplace(spellings_[id], static_cast<TokenId>(id));
}

void Vocabulary::read_kinds(const gguf::Metadata& metadata) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  kinds_.assign(spellings_.size(), TokenKind::Normal);
  const gguf::Array* kinds = metadata.get_array(kKey);
  if (kinds == nullptr) return;
  check_length(kKey, kinds->size(), spellings_.size());
  const bool is_signed = kinds->signed_values.size() == spellings_.size();
  if (!is_signed && kinds->unsigned_values.size() != spellings_.size()) {
    throw Error("the vocabulary is inconsistent: " + std::string(kKey) +
                " should be an array of integers; convert or download the model again");
  }
  for (size_t id = 0; id < spellings_.size(); ++id) {
    const int64_t number = is_signed ? kinds->signed_values[id] : static_cast<int64_t>(kinds->unsigned_values[id]);
    if (number < 0 || number > 6) {
      throw Error("the vocabulary is inconsistent: token " + std::to_string(id) + " has the type " +
                  std::to_string(number) + ", expected 1 to 6; convert or download the model again");
    }
    // 0 stands in some files for "undefined".
    kinds_[id] = number == 0 ? TokenKind::Unused : static_cast<TokenKind>(number);
  }
}

void Vocabulary::read_scores(const gguf::Metadata& metadata) {
  if (!is_spm()) return;
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  const gguf::Array* scores = metadata.get_array(kKey);
  if (scores == nullptr) {
    throw Error(
        "the vocabulary is incomplete: an SPM vocabulary needs the key tokenizer.ggml.scores, which is missing; "
        "convert or download the model again");
  }
  check_length(kKey, scores->size(), spellings_.size());
  scores_.resize(spellings_.size());
  for (size_t id = 0; id < scores_.size(); ++id) {
    if (scores->float_values.size() == scores_.size()) {
      scores_[id] = static_cast<float>(scores->float_values[id]);
    } else if (scores->signed_values.size() == scores_.size()) {
      scores_[id] = static_cast<float>(scores->signed_values[id]);
    } else {
      throw Error("the vocabulary is inconsistent: " + std::string(kKey) +
                  " should be an array of numbers; convert or download the model again");
    }
    if (std::isnan(scores_[id])) {
      throw Error("the vocabulary is inconsistent: the score of token " + std::to_string(id) +
                  " is not a number; convert or download the model again");
    }
  }
}

void Vocabulary::read_special_ids(const gguf::Metadata& metadata) {
  const auto read = [&](std::string_view key) -> std::optional<TokenId> {
    const auto* value = metadata.find(key);
    if (value == nullptr) return std::nullopt;
    // -1 (in a signed or unsigned type) says in some files that there is none.
    const auto* number = std::get_if<int64_t>(&value->data);
    if (number != nullptr && *number == -1) return std::nullopt;
    const uint64_t id = metadata.get_unsigned(key).value();
    if (id == std::numeric_limits<uint32_t>::max()) return std::nullopt;
    if (id >= spellings_.size()) {
      throw Error("the vocabulary is inconsistent: " + std::string(key) + " is " + std::to_string(id) +
                  ", but there are only " + std::to_string(spellings_.size()) +
                  " tokens; convert or download the model again");
    }
    return static_cast<TokenId>(id);
  };
  special_.bos = read("tokenizer.ggml.bos_token_id");
  special_.eos = read("tokenizer.ggml.eos_token_id");
  special_.unknown = read("tokenizer.ggml.unknown_token_id");
  special_.end_of_turn = read("tokenizer.ggml.eot_token_id");
  special_.end_of_message = read("tokenizer.ggml.eom_token_id");
  if (!is_spm()) return;
  // SPM files that do not say so number these tokens as SentencePiece does.
  const auto by_default = [&](std::optional<TokenId>& id, std::string_view key, TokenId usual, TokenKind usual_kind) {
    if (!metadata.contains(key) && contains(usual) && kind(usual) == usual_kind) id = usual;
  };
  by_default(special_.unknown, "tokenizer.ggml.unknown_token_id", 0, TokenKind::Unknown);
  by_default(special_.bos, "tokenizer.ggml.bos_token_id", 1, TokenKind::Control);
  by_default(special_.eos, "tokenizer.ggml.eos_token_id", 2, TokenKind::Control);
}

void Vocabulary::find_ends_of_generation() {
  ends_generation_.assign(spellings_.size(), false);
  for (const auto& id : {special_.eos, special_.end_of_turn, special_.end_of_message}) {
    if (id) ends_generation_[static_cast<size_t>(*id)] = true;
  }
  for (const std::string_view name : kEndNames) {
    const auto id = find(name);
    if (!id) continue;
    const bool is_special =
        kind(*id) == TokenKind::Control || (kind(*id) == TokenKind::UserDefined && looks_special(name));
    // With gpt-oss, <|end|> ends a part of an answer only; its answers end with <|return|> or <|call|>.
    const bool is_part_end = name == "<|end|>" && find("<|return|>") && find("<|call|>");
    if (is_special && !is_part_end) ends_generation_[static_cast<size_t>(*id)] = true;
  }
}

std::optional<TokenId> Vocabulary::find(std::string_view spelling) const {
  const auto found = ids_.find(spelling);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

bool Vocabulary::is_plain(TokenId id) const {
  return kind(id) != TokenKind::Control && kind(id) != TokenKind::Unknown && kind(id) != TokenKind::Byte;
}

std::optional<TokenId> Vocabulary::find_plain(std::string_view spelling) const {
  const auto id = find(spelling);
  return id && is_plain(*id) ? id : std::nullopt;
}

}  // namespace sluice::tokenizer
