// sluice tokenize: text to token ids.
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "gguf/file.h"
#include "tokenizer/tokenizer.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/input.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

using tokenizer::Specials;
using tokenizer::TokenId;
using tokenizer::Tokenizer;
using tokenizer::TokenKind;

static constexpr const char* kTokenizeNotes = R"(
The text is TEXT, else -f FILE, else standard input when it is no terminal; every byte counts, a newline at the end too.
BOS and EOS are added where the vocabulary asks for them. Only the file's header is read.

Examples:
  sluice tokenize model.gguf "Hello, world"
  sluice tokenize model.gguf --special "<|im_start|>user"
  cat book.txt | sluice tokenize model.gguf --json | wc -c
)";

struct TokenizeFlags {
  std::string model;
  std::optional<std::string> text;
  std::string text_file;
  std::string pre_tokenizer;
  bool no_bos = false;
  bool special = false;
  bool json = false;
};

static std::string find_text(const TokenizeFlags& flags) {
  if (flags.text && !flags.text_file.empty()) {
    throw UsageError("there are two texts; found TEXT and -f FILE, expected one; leave out one of them");
  }
  if (flags.text) return *flags.text;
  if (!flags.text_file.empty()) return read_text(flags.text_file);
  if (!stdin_is_terminal()) return read_stdin();
  throw UsageError(
      "there is no text; found no TEXT, no -f and nothing piped in; "
      "give for example: sluice tokenize MODEL \"Hello\"");
}

static const char* kind_text(TokenKind kind) {
  switch (kind) {
    case TokenKind::Normal:
      return "";
    case TokenKind::Unknown:
      return "  unknown";
    case TokenKind::Control:
      return "  control";
    case TokenKind::UserDefined:
      return "  user-defined";
    case TokenKind::Unused:
      return "  unused";
    case TokenKind::Byte:
      return "  byte";
  }
  return "";
}

static std::string token_lines(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens) {
  size_t width = std::to_string(tokenizer.size()).size();
  std::string lines;
  for (TokenId id : tokens) {
    lines += format("%*d  '", static_cast<int>(width), static_cast<int>(id)) +
             printable(tokenizer.token_bytes(id, true)) + "'" + kind_text(tokenizer.kind(id)) + "\n";
  }
  return lines;
}

static int tokenize(const TokenizeFlags& flags) {
  std::string text = find_text(flags);
  gguf::File file = gguf::File::open(flags.model, gguf::Mapping::DirectoryOnly);
  Tokenizer tokenizer = Tokenizer::from_metadata(file.metadata(), {flags.pre_tokenizer});
  Specials specials = flags.special ? Specials::Parse : Specials::AsText;
  std::vector<TokenId> tokens =
      flags.no_bos ? tokenizer.encode(text, specials) : tokenizer.encode_prompt(text, specials);
  if (flags.json) {
    write_stdout(nlohmann::json(tokens).dump() + "\n");
  } else {
    write_stdout(token_lines(tokenizer, tokens));
    write_stderr(styled(Style::Dim, format("%s tokens for %s bytes\n", format_count(tokens.size()).c_str(),
                                           format_count(text.size()).c_str())));
  }
  return kExitOk;
}

Action prepare_tokenize(CLI::App& app) {
  auto flags = std::make_shared<TokenizeFlags>();
  add_positional(app, "MODEL", flags->model, "GGUF file, or any shard of one").required();
  add_positional(
      app, "TEXT", [flags](const std::string& text) { flags->text = text; }, "The text");
  add_text(app, "-f,--file", "FILE", flags->text_file, "Read the text from FILE; -: standard input");
  add_switch(app, "--no-bos", flags->no_bos, "Add neither BOS nor EOS");
  add_switch(app, "--special", flags->special, "Let the text spell special tokens");
  add_text(app, "--pre-tokenizer", "NAME", flags->pre_tokenizer,
           "Pre-tokeniser to use instead of the one that the file names");
  add_switch(app, "--json", flags->json, "Print the ids as a JSON array");
  set_notes(app, kTokenizeNotes);
  return [flags] { return tokenize(*flags); };
}

}  // namespace sluice::tools
