#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "engine/synthetic/shape.h"
#include "engine/synthetic/tensors.h"
#include "engine/synthetic/types.h"
#include "gguf/file.h"
#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;
using namespace sluice;
namespace synthetic = engine::synthetic;

// A slice of R1 shrunk to a few hundred kilobytes, and then what `more` says: "--flag", "value", ...
static std::vector<std::string> small_slice(const std::string& path, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"synth", path, "--preset", "r1-slice"};
  const std::vector<std::pair<std::string, std::string>> kSmall = {
      {"--embedding", "256"},  {"--ff", "512"},          {"--heads", "2"},        {"--expert-ff", "256"},
      {"--query-rank", "256"}, {"--latent-rank", "256"}, {"--vocabulary", "300"}, {"--layers", "3"},
      {"--experts", "6"},      {"--experts-used", "2"}};
  for (const auto& [flag, value] : kSmall)
    if (std::find(more.begin(), more.end(), flag) == more.end()) words.insert(words.end(), {flag, value});
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_CASE("synth writes a file of the shape and types that the flags say") {
  const std::string path = scratch("slice.gguf");
  const Outcome outcome =
      call(small_slice(path, {"--dense-layers", "2", "--shared-experts", "3", "--context", "777", "--type",
                              "expert_down=IQ2_XXS", "--type", "attn_q_b=Q8_0", "--type", "router=F16"}));
  REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, "slice.gguf: "));
  CHECK(contains(outcome.err, " GB/s"));
  const gguf::File file = gguf::File::open(path);
  const auto number = [&](const char* key) { return file.metadata().get_unsigned(key).value_or(0); };
  CHECK(file.metadata().get_string("general.architecture") == "deepseek2");
  CHECK(number("deepseek2.block_count") == 3);
  CHECK(number("deepseek2.context_length") == 777);
  CHECK(number("deepseek2.leading_dense_block_count") == 2);
  CHECK(number("deepseek2.expert_count") == 6);
  CHECK(number("deepseek2.expert_used_count") == 2);
  CHECK(number("deepseek2.expert_gating_func") == 2);
  CHECK(file.metadata().get_strings("tokenizer.ggml.tokens")->size() == 300);
  const auto check = [&](const char* name, std::array<uint64_t, 4> dims, const char* type) {
    CAPTURE(name);
    const gguf::Tensor* tensor = file.find_tensor(name);
    REQUIRE(tensor != nullptr);
    CHECK(tensor->dims == dims);
    CHECK(gguf::type_layout(tensor->type).name == type);
  };
  check("token_embd.weight", {256, 300, 1, 1}, "Q4_K");
  check("blk.0.ffn_gate.weight", {256, 512, 1, 1}, "Q4_K");
  check("blk.1.attn_q_b.weight", {256, 2 * 192, 1, 1}, "Q8_0");
  check("blk.2.ffn_gate_exps.weight", {256, 256, 6, 1}, "IQ1_S");
  check("blk.2.ffn_down_exps.weight", {256, 256, 6, 1}, "IQ2_XXS");
  check("blk.2.ffn_down_shexp.weight", {768, 256, 1, 1}, "Q4_K");
  check("blk.2.ffn_gate_inp.weight", {256, 6, 1, 1}, "F16");
  check("blk.2.ffn_norm.weight", {256, 1, 1, 1}, "F32");
  CHECK(file.find_tensor("blk.1.ffn_gate_exps.weight") == nullptr);
}

TEST_CASE("synth's files depend on the seed alone, and their text can be cut into tokens") {
  const auto bytes = [](const char* name, const char* seed) {
    REQUIRE(call(small_slice(scratch(name), {"--seed", seed, "-q"})).exit_code == 0);
    return read_file(scratch(name));
  };
  const std::string first = bytes("a.gguf", "1");
  CHECK(first == bytes("b.gguf", "1"));
  CHECK(first != bytes("c.gguf", "2"));
  const Outcome tokens = call({"tokenize", scratch("a.gguf"), "a sluice \xc3\xa9"});
  CHECK(tokens.exit_code == 0);
  CHECK(contains(tokens.err, "11 bytes"));
}

TEST_CASE("synth writes every type, and says where rows are no whole blocks of it") {
  for (const char* type : {"F32",     "F16",   "BF16",   "Q4_0",   "Q4_1",  "Q5_0",  "Q5_1",    "Q8_0",   "Q2_K",
                           "Q3_K",    "Q4_K",  "Q5_K",   "Q6_K",   "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S",
                           "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4",   "NVFP4",  "Q1_0"}) {
    CAPTURE(std::string(type));
    const std::string path = scratch("type.gguf");
    const Outcome outcome = call(small_slice(path, {"--type", std::string("all=") + type}));
    REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    CHECK_FALSE(contains(outcome.err, "instead"));
    CHECK(gguf::type_layout(gguf::File::open(path).find_tensor("blk.2.ffn_up_exps.weight")->type).name == type);
  }
  const Outcome outcome = call(small_slice(scratch("type.gguf"), {"--expert-ff", "96"}));
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "rows of 96 values are no whole blocks of IQ1_S: IQ4_NL instead"));
  CHECK(call(small_slice(scratch("type.gguf"), {"--expert-ff", "96", "-q"})).err.empty());
}

// Bytes that a file has on the disk, whatever its size is.
static uint64_t bytes_on_disk(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

static bool file_system_has_holes() {
  const std::string path = scratch("hole");
  std::ofstream(path).flush();
  std::filesystem::resize_file(path, 16 << 20);
  const bool has_holes = bytes_on_disk(path) < 1 << 20;
  std::filesystem::remove(path);
  return has_holes;
}

TEST_CASE("synth --sparse writes the directory of every preset, whole, into a few megabytes") {
  if (!file_system_has_holes()) {
    MESSAGE("left out: the temporary folder's file system has no holes");
    return;
  }
  const std::string path = scratch("sparse.gguf");
  for (const synthetic::Preset& preset : synthetic::presets()) {
    CAPTURE(preset.name);
    const Outcome outcome = call({"synth", path, "--preset", std::string(preset.name), "--sparse"});
    REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    CHECK(contains(outcome.err, " on the disk"));
    synthetic::TypeRules types;
    for (const std::string_view rule : preset.types) types.add(rule);
    const std::vector<synthetic::TensorPlan> plan = synthetic::plan_tensors(preset.shape, types);
    const gguf::File file = gguf::File::open(path);
    REQUIRE(file.tensors().size() == plan.size());
    uint64_t bytes = 0;
    for (const synthetic::TensorPlan& planned : plan) {
      CAPTURE(planned.name);
      const gguf::Tensor* tensor = file.find_tensor(planned.name);
      REQUIRE(tensor != nullptr);
      CHECK(tensor->type == planned.type);
      CHECK(tensor->bytes == planned.bytes);
      bytes += planned.bytes;
    }
    CHECK(std::filesystem::file_size(path) > bytes);
    CHECK(bytes_on_disk(path) < 8 << 20);
    CHECK(file.metadata().get_string("general.architecture") ==
          synthetic::architecture_name(preset.shape.architecture));
  }
  std::filesystem::remove(path);
}

TEST_CASE("synth's sparse file is the other one without its weights, on any file system") {
  REQUIRE(call(small_slice(scratch("full.gguf"), {"-q"})).exit_code == 0);
  const Outcome outcome = call(small_slice(scratch("sparse.gguf"), {"--sparse", "-q"}));
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  const gguf::File full = gguf::File::open(scratch("full.gguf"));
  const gguf::File sparse = gguf::File::open(scratch("sparse.gguf"));
  REQUIRE(full.tensors().size() == sparse.tensors().size());
  for (const gguf::Tensor& tensor : full.tensors()) {
    CAPTURE(std::string(tensor.name));
    const gguf::Tensor* same = sparse.find_tensor(tensor.name);
    REQUIRE(same != nullptr);
    CHECK(same->type == tensor.type);
    CHECK(same->dims == tensor.dims);
    const std::span data(same->data, same->bytes);
    CHECK(std::ranges::count(data, std::byte{0}) == static_cast<std::ptrdiff_t>(data.size()));
  }
}

TEST_CASE("synth refuses what cannot be, each with a message of its own, and writes nothing") {
  const std::string path = scratch("refused.gguf");
  struct Mistake {
    std::vector<std::string> words;
    const char* message;
  };
  const std::vector<Mistake> mistakes = {
      {{"synth"}, "OUT"},
      {{"synth", path}, "no shape is given; expected --preset NAME"},
      {{"synth", path, "--preset", "r2"}, "--preset cannot be 'r2'; expected r1-slice|v2-lite|"},
      {small_slice(path, {"--layers", "0"}), "--layers cannot be '0'"},
      {small_slice(path, {"--layers", "two"}), "--layers cannot be 'two'"},
      {small_slice(path, {"--vocabulary", "200"}), "--vocabulary cannot be '200'"},
      {small_slice(path, {"--dense-layers", "4"}), "found 3 and 4"},
      {small_slice(path, {"--experts-used", "7"}), "found 7 of 6"},
      {small_slice(path, {"--experts", "0", "--experts-used", "0"}), "a model of deepseek2 has experts"},
      {small_slice(path, {"--rope-size", "33"}), "must be even; found 33"},
      {small_slice(path, {"--kv-b", "both"}), "--kv-b cannot be 'both'; expected fused|split"},
      {{"synth", path, "--preset", "llama-1b", "--kv-heads", "5"}, "--heads is no multiple of --kv-heads"},
      {{"synth", path, "--preset", "mixtral-8x7b", "--dense-layers", "1"}, "all layers of llama have experts"},
      {{"synth", path, "--preset", "qwen3-30b-a3b", "--experts", "0", "--experts-used", "0"}, "found none"},
      {small_slice(path, {"--type", "Q4_K"}), "has the form ROLE=TYPE or"},
      {small_slice(path, {"--type", "Q5_K_M"}), "or is the mixture Q4_K_M; found 'Q5_K_M'"},
      {small_slice(path, {"--type", "all=Q4_K_M"}), "cannot have the type 'Q4_K_M'"},
      {small_slice(path, {"--type", "ffn@=Q4_K"}), "a first and a last one, or 'more'; found ''"},
      {small_slice(path, {"--type", "ffn@two=Q4_K"}), "found 'two'"},
      {small_slice(path, {"--type", "ffn@-1=Q4_K"}), "found '-1'"},
      {small_slice(path, {"--type", "ffn@3-=Q4_K"}), "found '3-'"},
      {small_slice(path, {"--type", "ffn@3-2=Q4_K"}), "found '3-2'"},
      {small_slice(path, {"--type", "ffn@3-4-5=Q4_K"}), "found '3-4-5'"},
      {small_slice(path, {"--type", "ffn@3-99999999999999999999=Q4_K"}), "found '3-99999999999999999999'"},
      {small_slice(path, {"--type", "@3=Q4_K"}), "there is no role ''"},
      {small_slice(path, {"--type", "expert=Q4_K"}), "there is no role 'expert'; expected one of all, embd"},
      {small_slice(path, {"--type", "norms=F16"}), "there is no role 'norms'"},
      {small_slice(path, {"--type", "all=Q9_K"}), "cannot have the type 'Q9_K'; expected one of F32"},
      {small_slice(path, {"--type", "all=Q8_K"}), "cannot have the type 'Q8_K'"},
      {small_slice(path, {"--type", "all=I8"}), "cannot have the type 'I8'"},
      {small_slice(path, {"--seed", "-1"}), "--seed cannot be '-1'"},
      {{"synth", path, "--preset", "r1-slice", "--layers", "4096", "--experts", "65536"}, "too little room"},
      {{"synth", path, "--preset", "r1-slice", "--experts", "65536", "--expert-ff", "16777216", "--embedding",
        "1048576"},
       "more bytes than a file can hold"},
  };
  for (const Mistake& mistake : mistakes) {
    CAPTURE(std::string(mistake.message));
    const Outcome outcome = call(mistake.words);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.starts_with("error: "));
    CHECK(contains(outcome.err, mistake.message));
    CHECK_FALSE(std::filesystem::exists(path));
  }
  CHECK(call(small_slice("/nonexistent/folder/model.gguf")).exit_code == 3);
}
