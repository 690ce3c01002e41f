#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "tokenizer/tokenizer.h"

using namespace sluice::tokenizer;
using namespace sluice::gguf;

namespace {

Metadata bpe_vocabulary() {
  Metadata metadata;
  metadata.add("tokenizer.ggml.model", make_string("gpt2"));
  metadata.add("tokenizer.ggml.pre", make_string("gpt-2"));
  metadata.add("tokenizer.ggml.tokens", make_string_array({"a", "b", "ab", "<s>", "c"}));
  metadata.add("tokenizer.ggml.token_type", make_int32_array({1, 1, 1, 3, 1}));
  metadata.add("tokenizer.ggml.merges", make_string_array({"a b"}));
  metadata.add("tokenizer.ggml.bos_token_id", make_uint32(3));
  return metadata;
}

Metadata spm_vocabulary() {
  Metadata metadata;
  metadata.add("tokenizer.ggml.model", make_string("llama"));
  metadata.add("tokenizer.ggml.tokens", make_string_array({"<unk>", "<s>", "</s>", "a", "b", "ab"}));
  metadata.add("tokenizer.ggml.scores", make_float32_array({0, 0, 0, -2, -3, -1}));
  metadata.add("tokenizer.ggml.token_type", make_int32_array({2, 3, 3, 1, 1, 1}));
  return metadata;
}

std::string error_of(const Metadata& metadata) {
  try {
    Tokenizer::from_metadata(metadata);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

Metadata without(const Metadata& metadata, const std::string& key) {
  Metadata result;
  for (const auto& entry : metadata.entries()) {
    if (entry.key != key) result.add(entry.key, entry.value);
  }
  return result;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the small vocabularies of these tests work before they are broken") {
  const Tokenizer bpe = Tokenizer::from_metadata(bpe_vocabulary());
  CHECK(bpe.encode("abba", Specials::AsText) == std::vector<TokenId>{2, 1, 0});
  const Tokenizer spm = Tokenizer::from_metadata(spm_vocabulary());
  CHECK(spm.encode("ab", Specials::AsText) == std::vector<TokenId>{0, 5});  // the leading space has no token here
  CHECK(spm.bos() == 1);
  CHECK(spm.eos() == 2);
  CHECK(spm.ends_generation(2));
}

TEST_CASE("an inconsistent BPE vocabulary is refused with a sentence that names the fault") {
  const struct {
    const char* key;
    Value value;
    const char* message;
  } cases[] = {
      {"tokenizer.ggml.model", make_string("bert"), "'bert'"},
      {"tokenizer.ggml.model", make_uint32(3), "tokenizer.ggml.model"},
      {"tokenizer.ggml.tokens", make_string_array({}), "empty"},
      {"tokenizer.ggml.tokens", make_uint32_array({1, 2}), "tokenizer.ggml.tokens"},
      {"tokenizer.ggml.tokens", make_string_array({"a", "b"}), "has 5 entries"},
      {"tokenizer.ggml.token_type", make_int32_array({1, 1}), "has 2 entries"},
      {"tokenizer.ggml.token_type", make_int32_array({1, 1, 7, 3, 1}), "type 7"},
      {"tokenizer.ggml.token_type", make_int32_array({1, 1, -1, 3, 1}), "type -1"},
      {"tokenizer.ggml.token_type", make_float32_array({1, 1, 1, 3, 1}), "integers"},
      {"tokenizer.ggml.merges", make_string_array({"a z"}), "'a z'"},
      {"tokenizer.ggml.merges", make_string_array({"a b", "b a"}), "merge 1"},
      {"tokenizer.ggml.merges", make_string_array({""}), "two tokens"},
      {"tokenizer.ggml.merges", make_string_array({"ab"}), "two tokens"},
      {"tokenizer.ggml.merges", make_string_array({"a "}), "two tokens"},
      {"tokenizer.ggml.merges", make_string("a b"), "tokenizer.ggml.merges"},
      {"tokenizer.ggml.bos_token_id", make_uint32(5), "bos_token_id is 5"},
      {"tokenizer.ggml.eos_token_id", make_uint32(4000000000), "eos_token_id"},
      {"tokenizer.ggml.eot_token_id", make_signed(ValueType::Int32, -7), "eot_token_id"},
      {"tokenizer.ggml.bos_token_id", make_string("3"), "bos_token_id"},
      {"tokenizer.ggml.add_bos_token", make_uint32(1), "add_bos_token"},
  };
  for (const auto& each : cases) {
    Metadata metadata = bpe_vocabulary();
    metadata.set(each.key, each.value);
    const std::string error = error_of(metadata);
    CAPTURE(each.key);
    CAPTURE(error);
    CHECK(contains(error, each.message));
  }
}

TEST_CASE("missing parts of a vocabulary are named") {
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    CAPTURE(key);
    CHECK(contains(error_of(without(bpe_vocabulary(), key)), key));
  }
  CHECK(contains(error_of(without(spm_vocabulary(), "tokenizer.ggml.scores")), "tokenizer.ggml.scores"));
  CHECK(error_of(without(bpe_vocabulary(), "tokenizer.ggml.token_type")) == "no error");
  CHECK(error_of(without(bpe_vocabulary(), "tokenizer.ggml.pre")) == "no error");
}

TEST_CASE("an inconsistent SPM vocabulary is refused") {
  Metadata metadata = spm_vocabulary();
  metadata.set("tokenizer.ggml.scores", make_float32_array({0, 1}));
  CHECK(contains(error_of(metadata), "has 2 entries"));
  metadata.set("tokenizer.ggml.scores", make_float32_array({0, 0, 0, std::numeric_limits<float>::quiet_NaN(), 0, 0}));
  CHECK(contains(error_of(metadata), "token 3 is not a number"));
  metadata.set("tokenizer.ggml.scores", make_string_array({"", "", "", "", "", ""}));
  CHECK(contains(error_of(metadata), "numbers"));
}

TEST_CASE("an unknown pre-tokeniser is named, with the known ones and the way around it") {
  Metadata metadata = bpe_vocabulary();
  metadata.set("tokenizer.ggml.pre", make_string("no-such-thing"));
  const std::string error = error_of(metadata);
  CHECK(contains(error, "'no-such-thing'"));
  CHECK(contains(error, "deepseek-v3"));
  CHECK(contains(error, "--pre-tokenizer NAME"));
  const Tokenizer overridden = Tokenizer::from_metadata(metadata, {.pre_tokenizer = "qwen2"});
  CHECK(overridden.pre_tokenizer_name() == "qwen2");
}

TEST_CASE("tokens spelled alike are accepted, and the first is found") {
  Metadata metadata = bpe_vocabulary();
  metadata.set("tokenizer.ggml.tokens", make_string_array({"a", "b", "ab", "<s>", "a"}));
  const Tokenizer tokenizer = Tokenizer::from_metadata(metadata);
  CHECK(tokenizer.find("a") == 0);
  CHECK(tokenizer.encode("a", Specials::AsText) == std::vector<TokenId>{0});
}

TEST_CASE("bytes that no token stands for are left out, or unknown") {
  Metadata metadata = bpe_vocabulary();
  CHECK(Tokenizer::from_metadata(metadata).encode("aza", Specials::AsText) == std::vector<TokenId>{0, 0});
  metadata.set("tokenizer.ggml.unknown_token_id", make_uint32(4));
  CHECK(Tokenizer::from_metadata(metadata).encode("aza", Specials::AsText) == std::vector<TokenId>{0, 4, 0});
}

TEST_CASE("no text merges into a control token") {
  Metadata metadata = bpe_vocabulary();
  metadata.set("tokenizer.ggml.token_type", make_int32_array({1, 1, 3, 3, 1}));  // "ab" is a control token
  const Tokenizer tokenizer = Tokenizer::from_metadata(metadata);
  CHECK(tokenizer.encode("ab", Specials::AsText) == std::vector<TokenId>{0, 1});
  CHECK(tokenizer.encode("ab", Specials::Parse) == std::vector<TokenId>{2});
  Metadata spm = spm_vocabulary();
  spm.set("tokenizer.ggml.token_type", make_int32_array({2, 3, 3, 1, 1, 3}));
  spm.set("tokenizer.ggml.add_space_prefix", make_bool(false));
  CHECK(Tokenizer::from_metadata(spm).encode("ab", Specials::AsText) == std::vector<TokenId>{3, 4});
}

TEST_CASE("a user-defined token that looks like a control token is not taken from a person's text") {
  Metadata metadata = bpe_vocabulary();
  metadata.set("tokenizer.ggml.tokens", make_string_array({"a", "b", "ab", "<|x|>", "c"}));
  metadata.set("tokenizer.ggml.token_type", make_int32_array({1, 1, 1, 4, 4}));
  const Tokenizer tokenizer = Tokenizer::from_metadata(metadata);
  CHECK(tokenizer.encode("a<|x|>c", Specials::AsText) == std::vector<TokenId>{0, 4});
  CHECK(tokenizer.encode("a<|x|>c", Specials::Parse) == std::vector<TokenId>{0, 3, 4});
}

TEST_CASE("of special tokens at one place the longest is taken") {
  Metadata metadata = bpe_vocabulary();
  metadata.set("tokenizer.ggml.tokens", make_string_array({"a", "bb", "bbb", "b", ""}));
  metadata.set("tokenizer.ggml.token_type", make_int32_array({1, 4, 4, 1, 4}));
  metadata.set("tokenizer.ggml.merges", make_string_array({}));
  const Tokenizer tokenizer = Tokenizer::from_metadata(metadata);
  CHECK(tokenizer.encode("abbbbba", Specials::AsText) == std::vector<TokenId>{0, 2, 1, 0});
}
