#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "gguf/file.h"
#include "tests/tokenizer/golden.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

using namespace sluice::tokenizer;
namespace gguf = sluice::gguf;

namespace {

Tokenizer load(const std::string& path) {
  return Tokenizer::from_metadata(gguf::File::open(path, gguf::Mapping::DirectoryOnly).metadata());
}

Tokenizer load_golden(const std::string& name) {
  return load(SLUICE_TEST_DATA "/tokenizer/vocab_" + name + ".gguf");
}

}  // namespace

TEST_CASE("ids are those of the Python package tokenizers") {
  const auto fields = golden::read_fields(SLUICE_TEST_DATA "/tokenizer/vocab_golden.txt");
  std::vector<std::string> texts;
  std::optional<Tokenizer> tokenizer;
  size_t index = 0;
  size_t n_compared = 0;
  for (const auto& [key, value] : fields) {
    if (key == "text") {
      texts.push_back(value);
    } else if (key == "vocabulary") {
      CAPTURE(value);
      tokenizer.emplace(load_golden(value));
      index = 0;
    } else {
      REQUIRE(index < texts.size());
      const std::string& text = texts[index++];
      const std::string_view pre = tokenizer->pre_tokenizer_name();
      CAPTURE(pre);
      CAPTURE(text);
      const auto ids = tokenizer->encode(text, Specials::AsText);
      CHECK(ids == golden::read_ids(value));
      CHECK(tokenizer->decode(ids) == text);
      ++n_compared;
    }
  }
  CHECK(n_compared > 700);
}

TEST_CASE("any bytes come back from byte-level BPE and from SPM with byte tokens") {
  for (const char* name :
       {"gpt-2", "smollm", "falcon", "llama-bpe", "qwen2", "gpt-4o", "tekken", "deepseek-v3", "spm"}) {
    const Tokenizer tokenizer = load_golden(name);
    uint32_t state = 1;
    for (int round = 0; round < 200; ++round) {
      std::string text;
      const uint32_t length = (state >> 8) % 64;
      for (uint32_t i = 0; i < length; ++i) {
        state = state * 1664525u + 1013904223u;
        text += static_cast<char>((state & 0x10000) != 0 ? state >> 24 : 'a' + (state >> 24) % 8);
      }
      state = state * 1664525u + 1013904223u;
      CAPTURE(name);
      CAPTURE(text);
      const auto ids = tokenizer.encode(text, Specials::AsText);
      CHECK(tokenizer.decode(ids) == text);
      std::string pieces;
      for (const TokenId id : ids) pieces += tokenizer.token_bytes(id);
      if (tokenizer.model_name() == "gpt2") CHECK(pieces == text);
    }
  }
}

TEST_CASE("control tokens are taken from text with Parse only, user-defined ones always") {
  const Tokenizer tokenizer = load_golden("qwen2");
  const TokenId end = tokenizer.find("<|end_of_text|>").value();
  const TokenId think = tokenizer.find("<think>").value();
  REQUIRE(tokenizer.kind(end) == TokenKind::Control);
  REQUIRE(tokenizer.kind(think) == TokenKind::UserDefined);
  const std::string text = "a<|end_of_text|><think>";
  const auto parsed = tokenizer.encode(text, Specials::Parse);
  const auto plain = tokenizer.encode(text, Specials::AsText);
  CHECK(parsed == std::vector<TokenId>{tokenizer.find("a").value(), end, think});
  CHECK(std::find(plain.begin(), plain.end(), end) == plain.end());
  CHECK(plain.back() == think);
  CHECK(tokenizer.decode(plain) == text);
  CHECK(tokenizer.decode(parsed) == "a<think>");
  CHECK(tokenizer.decode(parsed, true) == text);
}

TEST_CASE("words run on over the segments of a prompt, special tokens do not") {
  const Tokenizer tokenizer = load_golden("qwen2");
  const std::vector<Segment> segments = {{"<|begin|>user\n", Specials::Parse},
                                         {"\nHello <|end_of", Specials::AsText},
                                         {"_text|>", Specials::Parse},
                                         {"<|end_of_text|>", Specials::Parse}};
  std::vector<TokenId> expected = {tokenizer.bos().value()};
  for (const TokenId id : tokenizer.encode("user\n\nHello <|end_of_text|>", Specials::AsText)) expected.push_back(id);
  expected.push_back(tokenizer.eos().value());
  CHECK(tokenizer.encode(segments) == expected);
}

TEST_CASE("BOS is added where the vocabulary asks for it, and not doubled") {
  const Tokenizer llama = load_golden("llama-bpe");  // adds BOS by its pre-tokeniser's custom
  const TokenId bos = llama.bos().value();
  CHECK(llama.adds_bos());
  CHECK(llama.encode_prompt("", Specials::AsText) == std::vector<TokenId>{bos});
  CHECK(llama.encode_prompt("a", Specials::AsText).front() == bos);
  CHECK(llama.encode_prompt("<|begin|>a", Specials::Parse) == llama.encode_prompt("a", Specials::Parse));
  const Tokenizer spm = load_golden("spm");
  CHECK(spm.adds_bos());
  CHECK(spm.encode_prompt("a", Specials::AsText).front() == 1);
  const Tokenizer gpt2 = load_golden("gpt-2");
  CHECK_FALSE(gpt2.adds_bos());
  CHECK(gpt2.encode_prompt("a", Specials::AsText) == gpt2.encode("a", Specials::AsText));
}

TEST_CASE("EOS and the public names of end-of-turn tokens end generation") {
  const Tokenizer tokenizer = load_golden("gpt-2");
  CHECK(tokenizer.ends_generation(tokenizer.eos().value()));
  CHECK_FALSE(tokenizer.ends_generation(tokenizer.bos().value()));
  CHECK_FALSE(tokenizer.ends_generation(-1));
  CHECK_FALSE(tokenizer.ends_generation(1 << 30));
}

TEST_CASE("ids out of range are harmless") {
  const Tokenizer tokenizer = load_golden("gpt-2");
  for (const TokenId id : {-1, static_cast<TokenId>(tokenizer.size()), 1 << 30}) {
    CHECK(tokenizer.token_bytes(id, true).empty());
    CHECK(tokenizer.spelling(id).empty());
    CHECK(tokenizer.kind(id) == TokenKind::Unused);
  }
}

TEST_CASE("every known pre-tokeniser compiles and loses nothing") {
  const std::string text =
      "Hello, y'all!  I'M 1234567 中文かな한국 ½ a\xC2\xA0"
      "b\r\n\r\n\t end. \xFF\xE4 x   \n   ";
  for (const std::string& name : known_pre_tokenizers()) {
    CAPTURE(name);
    const PreTokenizer splitter(*find_pre_tokenizer_rule(name));
    std::string joined;
    for (const std::string_view piece : splitter.split(text)) {
      CHECK_FALSE(piece.empty());
      joined += piece;
    }
    CHECK(joined == text);
  }
}

TEST_CASE("long words and long runs of white space take no quadratic time") {
  const size_t n = 300000;
  const std::vector<std::string> texts = {std::string(n, 'a'), std::string(n, ' ') + "x", std::string(n, '\n') + "x",
                                          std::string(n, '7'), std::string(n, '!')};
  for (const char* name : {"gpt-2", "deepseek-v3", "gpt-4o", "spm"}) {
    const Tokenizer tokenizer = load_golden(name);
    for (const std::string& text : texts) CHECK(tokenizer.decode(tokenizer.encode(text, Specials::AsText)) == text);
  }
  for (const std::string& name : known_pre_tokenizers()) {
    const PreTokenizer splitter(*find_pre_tokenizer_rule(name));
    for (const std::string& text : texts) CHECK_FALSE(splitter.split(text).empty());
  }
}

// SLUICE_VOCABS names a folder with X.gguf, X.gguf.inp (texts parted by a line __ggml_vocab_test__) and X.gguf.out
// (ids).
TEST_CASE("ids of real vocabularies are as expected") {
  const char* folder = std::getenv("SLUICE_VOCABS");
  if (folder == nullptr) {
    MESSAGE("skipped: SLUICE_VOCABS does not name a folder of real vocabularies");
    return;
  }
  const std::string separator = "\n__ggml_vocab_test__\n";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".gguf") || !std::filesystem::exists(path + ".inp")) continue;
    const Tokenizer tokenizer = load(path);
    std::string texts = golden::read_file(path + ".inp") + separator;
    std::istringstream lines(golden::read_file(path + ".out"));
    size_t n_texts = 0;
    for (size_t end = texts.find(separator); end != std::string::npos; end = texts.find(separator)) {
      const std::string text = texts.substr(0, end);
      texts.erase(0, end + separator.size());
      std::string line;
      std::getline(lines, line);
      CAPTURE(path);
      CAPTURE(text);
      const auto ids = tokenizer.encode(text, Specials::AsText);
      CHECK(ids == golden::read_ids(line));
      CHECK(tokenizer.decode(ids) == text);
      ++n_texts;
    }
    MESSAGE(path << ": " << n_texts << " texts");
  }
}
