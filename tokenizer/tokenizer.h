// Text to token ids and back, from the vocabulary that a GGUF file carries.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"

namespace sluice::tokenizer {

using TokenId = int32_t;

// A vocabulary that cannot be used, with a full sentence for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The numbers of `tokenizer.ggml.token_type`.
enum class TokenKind : uint8_t { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

// Whether text that spells a control token (such as <|User|>) becomes that token. User text must never: encode it with
// AsText, and only what a template wrote with Parse. User-defined tokens (such as runs of spaces, or <think>) are taken
// whole from any text, as the public tokenisers do, except those that have the form of a control token.
enum class Specials { AsText, Parse };

// A piece of a prompt. What a template wrote may spell special tokens; what a person or model wrote may not.
struct Segment {
  std::string text;
  Specials specials = Specials::AsText;
};

struct Options {
  // Used instead of `tokenizer.ggml.pre`; empty obeys the file.
  std::string pre_tokenizer;
};

// Immutable after construction; every method is thread-safe.
class Tokenizer {
 public:
  // Reads `tokenizer.ggml.*`. Throws Error for a missing or inconsistent vocabulary, an unknown model, or an unknown
  // pre-tokeniser (the message names it, lists the known ones and tells of the override).
  static Tokenizer from_metadata(const gguf::Metadata& metadata, const Options& options = {});

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Ids of the text without BOS or EOS. Invalid UTF-8 is not an error: its bytes are encoded as they are.
  std::vector<TokenId> encode(std::string_view text, Specials specials) const;

  // The same for a text in segments. Words run on from one segment into the next, so the ids are those of the whole
  // text, save that only segments with Parse give control tokens.
  std::vector<TokenId> encode(std::span<const Segment> segments) const;

  // Encodes and adds BOS and EOS where the vocabulary asks for it (`add_bos_token`, `add_eos_token`). A BOS that the
  // text itself begins with (parsed) is not doubled, nor an EOS that it ends with.
  std::vector<TokenId> encode_prompt(std::string_view text, Specials specials) const;

  // The bytes that a token stands for; may be a part of a UTF-8 character. Control tokens give nothing unless
  // `show_control` asks for their spelling. Out-of-range ids give nothing.
  std::string token_bytes(TokenId id, bool show_control = false) const;

  // Joins the tokens' bytes. A leading space that SPM vocabularies add to the start of a text is removed again.
  std::string decode(std::span<const TokenId> ids, bool show_control = false) const;

  uint32_t size() const;  // number of tokens
  TokenKind kind(TokenId id) const;
  std::string_view spelling(TokenId id) const;  // as it stands in the file
  std::optional<TokenId> find(std::string_view spelling) const;

  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  bool adds_bos() const;
  bool adds_eos() const;
  // True for every token that ends an answer: EOS, end-of-turn, and the names that public models give them
  // (<|im_end|>, <|eot_id|>, <|end_of_sentence|> with full-width bars, ...).
  bool ends_generation(TokenId id) const;

  std::string_view model_name() const;          // "gpt2" or "llama"
  std::string_view pre_tokenizer_name() const;  // after the override; empty for SPM

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

// The names of all pre-tokenisers, aliases included, sorted.
std::vector<std::string> known_pre_tokenizers();

}  // namespace sluice::tokenizer
