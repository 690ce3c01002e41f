#include "tokenizer/tokenizer.h"

#include <utility>

#include "gguf/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/spm.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {
namespace {

const PreTokenizerRule& pre_tokenizer_rule(const std::string& name) {
  if (const PreTokenizerRule* rule = find_pre_tokenizer_rule(name)) return *rule;
  std::string known;
  for (const std::string& each : known_pre_tokenizers()) known += (known.empty() ? "" : ", ") + each;
  throw Error("unknown pre-tokeniser '" + name.substr(0, 80) + "' (tokenizer.ggml.pre); known are " + known +
              "; if one of these splits text as the model wants it, name it with --pre-tokenizer NAME");
}

// Text of neighbouring segments joined into one, or a token.
struct Run {
  std::string text;
  TokenId token = -1;
};

}  // namespace

struct Tokenizer::State {
  State(const gguf::Metadata& metadata, const Options& options);

  void encode_text(std::string_view text, bool after_special, std::vector<TokenId>& ids) const;

  Vocabulary vocabulary;
  SpecialTokens special_tokens;
  std::string pre_tokenizer;
  std::optional<Bpe> bpe;
  std::optional<Spm> spm;
  bool adds_bos = false;
  bool adds_eos = false;
  bool adds_space_prefix = false;
};

Tokenizer::State::State(const gguf::Metadata& metadata, const Options& options)
    : vocabulary(metadata), special_tokens(vocabulary) {
  if (vocabulary.is_spm()) {
    spm.emplace(vocabulary);
    adds_bos = true;
    adds_space_prefix = metadata.get_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  } else {
    pre_tokenizer = options.pre_tokenizer;
    if (pre_tokenizer.empty()) pre_tokenizer = metadata.get_string("tokenizer.ggml.pre").value_or("default");
    const PreTokenizerRule& rule = pre_tokenizer_rule(pre_tokenizer);
    bpe.emplace(metadata, vocabulary, rule);
    adds_bos = rule.adds_bos;
  }
  adds_bos = metadata.get_bool("tokenizer.ggml.add_bos_token").value_or(adds_bos) && vocabulary.special().bos;
  adds_eos = metadata.get_bool("tokenizer.ggml.add_eos_token").value_or(false) && vocabulary.special().eos;
}

void Tokenizer::State::encode_text(std::string_view text, bool after_special, std::vector<TokenId>& ids) const {
  if (bpe) {
    bpe->encode(text, ids);
  } else {
    std::string escaped(adds_space_prefix && after_special ? kSpmSpace : "");
    escaped += escape_spaces(text);
    spm->encode(escaped, ids);
  }
}

Tokenizer Tokenizer::from_metadata(const gguf::Metadata& metadata, const Options& options) {
  try {
    return Tokenizer(std::make_unique<const State>(metadata, options));
  } catch (const gguf::Error& error) {
    throw Error(error.what());
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, Specials specials) const {
  std::vector<TokenId> ids;
  bool after_special = true;
  for (const Fragment& fragment : state_->special_tokens.split(text, specials)) {
    if (fragment.token >= 0) {
      ids.push_back(fragment.token);
    } else {
      state_->encode_text(fragment.text, after_special, ids);
    }
    after_special = fragment.token >= 0;
  }
  return ids;
}

std::vector<TokenId> Tokenizer::encode(std::span<const Segment> segments) const {
  std::vector<Run> runs;
  for (const Segment& segment : segments) {
    for (const Fragment& fragment : state_->special_tokens.split(segment.text, segment.specials)) {
      if (fragment.token < 0 && !runs.empty() && runs.back().token < 0) {
        runs.back().text += fragment.text;
      } else {
        runs.push_back({std::string(fragment.text), fragment.token});
      }
    }
  }
  std::vector<TokenId> ids;
  bool after_special = true;
  for (const Run& run : runs) {
    if (run.token >= 0) {
      ids.push_back(run.token);
    } else {
      state_->encode_text(run.text, after_special, ids);
    }
    after_special = run.token >= 0;
  }
  return ids;
}

std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text, Specials specials) const {
  std::vector<TokenId> ids = encode(text, specials);
  if (state_->adds_bos && (ids.empty() || ids.front() != *bos())) ids.insert(ids.begin(), *bos());
  if (state_->adds_eos && (ids.empty() || ids.back() != *eos())) ids.push_back(*eos());
  return ids;
}

std::string Tokenizer::token_bytes(TokenId id, bool show_control) const {
  const Vocabulary& vocabulary = state_->vocabulary;
  if (!vocabulary.contains(id)) return {};
  const std::string& spelling = vocabulary.spelling(id);
  switch (vocabulary.kind(id)) {
    case TokenKind::Control:
    case TokenKind::Unknown:
      return show_control ? spelling : std::string();
    case TokenKind::UserDefined:
      return spelling;
    case TokenKind::Byte:
      if (const auto byte = parse_byte_token(spelling)) return std::string(1, static_cast<char>(*byte));
      break;
    case TokenKind::Normal:
    case TokenKind::Unused:
      break;
  }
  if (vocabulary.is_spm()) return unescape_spaces(spelling);
  return unspell_bytes(spelling).value_or(spelling);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool show_control) const {
  std::string text;
  bool at_start = state_->adds_space_prefix;
  for (const TokenId id : ids) {
    std::string bytes = token_bytes(id, show_control);
    const bool is_text = state_->vocabulary.contains(id) && kind(id) != TokenKind::Control;
    if (at_start && is_text) {
      if (kind(id) == TokenKind::Normal && bytes.starts_with(' ')) bytes.erase(0, 1);
      at_start = false;
    }
    text += bytes;
  }
  return text;
}

uint32_t Tokenizer::size() const {
  return state_->vocabulary.size();
}

TokenKind Tokenizer::kind(TokenId id) const {
  return state_->vocabulary.contains(id) ? state_->vocabulary.kind(id) : TokenKind::Unused;
}

std::string_view Tokenizer::spelling(TokenId id) const {
  return state_->vocabulary.contains(id) ? std::string_view(state_->vocabulary.spelling(id)) : std::string_view();
}

std::optional<TokenId> Tokenizer::find(std::string_view spelling) const {
  return state_->vocabulary.find(spelling);
}
std::optional<TokenId> Tokenizer::bos() const {
  return state_->vocabulary.special().bos;
}
std::optional<TokenId> Tokenizer::eos() const {
  return state_->vocabulary.special().eos;
}
bool Tokenizer::adds_bos() const {
  return state_->adds_bos;
}
bool Tokenizer::adds_eos() const {
  return state_->adds_eos;
}

bool Tokenizer::ends_generation(TokenId id) const {
  return state_->vocabulary.contains(id) && state_->vocabulary.ends_generation(id);
}

std::string_view Tokenizer::model_name() const {
  return state_->vocabulary.model();
}
std::string_view Tokenizer::pre_tokenizer_name() const {
  return state_->pre_tokenizer;
}

}  // namespace sluice::tokenizer
