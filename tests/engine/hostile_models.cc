// Files that are sound GGUF but no sound model: each is refused with a sentence that names what is wrong.

#include <doctest/doctest.h>

#include <cstring>
#include <functional>

#include "gguf/writer.h"
#include "tests/engine/fixtures.h"

using namespace sluice;

namespace {

struct Change {
  const char* what;
  std::function<void(gguf::Metadata&)> metadata;           // may be empty
  std::string drop_tensor, reshape_tensor, retype_tensor;  // names, or empty
  const char* expected;                                    // part of the message
};

// Writes a copy of a fixture with one thing changed.
std::filesystem::path write_changed(const std::string& fixture, const Change& change) {
  const gguf::File file = gguf::File::open(tests::fixture_path(fixture));
  gguf::Writer writer;
  for (const auto& entry : file.metadata().entries()) writer.metadata().add(entry.key, entry.value);
  if (change.metadata) change.metadata(writer.metadata());
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (tensor.name == change.drop_tensor) continue;
    std::vector<uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
    if (tensor.name == change.reshape_tensor) dims = {tensor.n_values};
    gguf::TensorType type = tensor.type;
    if (tensor.name == change.retype_tensor) type = gguf::TensorType::I32;  // as many bytes as F32
    writer.add_tensor(tensor.name, type, dims, [&tensor] { return std::span(tensor.data, tensor.bytes); });
  }
  const auto path = std::filesystem::temp_directory_path() / "sluice-hostile-model.gguf";
  writer.write(path);
  return path;
}

std::function<void(gguf::Metadata&)> set(const char* key, gguf::Value value) {
  return [=](gguf::Metadata& metadata) { metadata.set(key, value); };
}

std::string message_of(const std::filesystem::path& path) {
  try {
    engine::Session session(engine::Model::open(path, {}), {});
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a model that its metadata or tensors contradict is refused by name") {
  using gguf::make_float32;
  using gguf::make_string;
  using gguf::make_uint32;
  const Change llama[] = {
      {"architecture", set("general.architecture", make_string("mamba")), "", "", "", "'mamba' is not known"},
      {"layers", set("llama.block_count", make_uint32(7)), "", "", "", "'blk."},
      {"no layers", set("llama.block_count", make_uint32(0)), "", "", "", "llama.block_count"},
      {"too many layers", set("llama.block_count", make_uint32(4000000000u)), "", "", "", "llama.block_count"},
      {"width", set("llama.embedding_length", make_uint32(4096)), "", "", "", "token_embd.weight"},
      {"heads", set("llama.attention.head_count", make_uint32(3)), "", "", "", "attention.head_count"},
      {"epsilon", set("llama.attention.layer_norm_rms_epsilon", make_float32(-1)), "", "", "", "rms_epsilon"},
      {"epsilon is no number", set("llama.attention.layer_norm_rms_epsilon", make_string("x")), "", "", "", "epsilon"},
      {"rope size", set("llama.rope.dimension_count", make_uint32(7)), "", "", "", "rope.dimension_count"},
      {"rope kind", set("llama.rope.scaling.type", make_string("warp")), "", "", "", "'warp'"},
      {"missing tensor", {}, "blk.0.attn_q.weight", "", "", "'blk.0.attn_q.weight' is missing"},
      {"missing norm", {}, "output_norm.weight", "", "", "'output_norm.weight' is missing"},
      {"wrong shape", {}, "", "blk.0.ffn_up.weight", "", "'blk.0.ffn_up.weight' has the shape"},
      {"wrong norm type", {}, "", "", "blk.0.attn_norm.weight", "where F32 is needed"},
      {"integers as weights", {}, "", "", "blk.0.attn_q.weight", "blk.0.attn_q.weight"},
  };
  for (const Change& change : llama) {
    CAPTURE(std::string(change.what));
    const std::string message = message_of(write_changed("llama", change));
    CHECK_MESSAGE(message.find(change.expected) != std::string::npos, message);
  }
  const Change deepseek[] = {
      {"gating", set("deepseek2.expert_gating_func", make_uint32(9)), "", "", "", "expert_gating_func"},
      {"groups", set("deepseek2.expert_group_count", make_uint32(5)), "", "", "", "expert_group_count"},
      {"groups used", set("deepseek2.expert_group_used_count", make_uint32(500)), "", "", "", "expert_group_used"},
      {"too many used", set("deepseek2.expert_used_count", make_uint32(5000)), "", "", "", "expert_used_count"},
      {"latent", set("deepseek2.attention.kv_lora_rank", make_uint32(1)), "", "", "", "attn_kv_a_mqa"},
      {"no key left", set("deepseek2.rope.dimension_count", make_uint32(4096)), "", "", "", "key_length"},
      {"odd rope", set("deepseek2.rope.dimension_count", make_uint32(3)), "", "", "", "is odd"},
      {"expert tensor", {}, "blk.1.ffn_up_exps.weight", "", "", "ffn_up_exps.weight' is missing"},
  };
  for (const Change& change : deepseek) {
    CAPTURE(std::string(change.what));
    const std::string message = message_of(write_changed("deepseek2-v3", change));
    CHECK_MESSAGE(message.find(change.expected) != std::string::npos, message);
  }
  const Change qwen[] = {
      {"missing norm of heads", {}, "blk.1.attn_k_norm.weight", "", "", "'blk.1.attn_k_norm.weight' is missing"},
      {"wrong type of it", {}, "", "", "blk.0.attn_q_norm.weight", "where F32 is needed"},
      {"head size", set("qwen3moe.attention.key_length", make_uint32(8)), "", "", "", "blk.0.attn_q.weight"},
      {"odd head", set("qwen3moe.attention.key_length", make_uint32(7)), "", "", "", "must be even"},
      {"too large a turn", set("qwen3moe.rope.dimension_count", make_uint32(18)), "", "", "", "at most the size"},
      {"key heads", set("qwen3moe.attention.head_count_kv", make_uint32(3)), "", "", "", "is not a multiple"},
      {"too many used", set("qwen3moe.expert_used_count", make_uint32(9)), "", "", "", "expert_used_count"},
      {"no experts", set("qwen3moe.expert_count", make_uint32(0)), "", "", "", "expert_count"},
      {"dense name", set("general.architecture", make_string("qwen3")), "", "", "", "qwen3."},
  };
  for (const Change& change : qwen) {
    CAPTURE(std::string(change.what));
    const std::string message = message_of(write_changed("qwen3moe", change));
    CHECK_MESSAGE(message.find(change.expected) != std::string::npos, message);
  }
}

// Writes a copy of a fixture with the first float of a tensor of floats replaced.
std::filesystem::path write_poisoned(const std::string& fixture, const char* tensor_name, float value) {
  const gguf::File file = gguf::File::open(tests::fixture_path(fixture));
  gguf::Writer writer;
  for (const auto& entry : file.metadata().entries()) writer.metadata().add(entry.key, entry.value);
  const gguf::Tensor* poisoned = file.find_tensor(tensor_name);
  REQUIRE(poisoned != nullptr);
  REQUIRE(poisoned->type == gguf::TensorType::F32);
  std::vector<std::byte> bytes(poisoned->data, poisoned->data + poisoned->bytes);
  std::memcpy(bytes.data(), &value, sizeof value);
  for (const gguf::Tensor& tensor : file.tensors()) {
    std::vector<uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
    writer.add_tensor(tensor.name, tensor.type, dims, [&, is_poisoned = &tensor == poisoned] {
      return is_poisoned ? std::span<const std::byte>(bytes) : std::span(tensor.data, tensor.bytes);
    });
  }
  const auto path = std::filesystem::temp_directory_path() / "sluice-poisoned-model.gguf";
  writer.write(path);
  return path;
}

TEST_CASE("weights that are not numbers are found, not spoken") {
  engine::Session session(engine::Model::open(write_poisoned("llama", "blk.1.ffn_down.weight", std::nanf("")), {}), {});
  const engine::TokenId prompt[] = {1, 70};
  CHECK_THROWS_AS(session.append(prompt), engine::Error);
}

TEST_CASE("an activation that becomes infinite is refused with its sentence, for one token and for many") {
  struct Case {
    const char *fixture, *tensor;
    engine::ActivationPrecision activations;
    const char* sentence;
  };
  const auto int8 = engine::ActivationPrecision::Int8, f32 = engine::ActivationPrecision::Float32;
  for (const Case& c : {Case{"llama-q8_0", "blk.1.attn_norm.weight", int8, "an activation that is not a finite number"},
                        Case{"llama-q8_0", "blk.1.ffn_norm.weight", int8, "an activation that is not a finite number"},
                        Case{"deepseek2-v3-q8_0", "blk.1.attn_norm.weight", int8, "not a finite number"},
                        Case{"llama-q8_0", "blk.1.ffn_norm.weight", f32, "a result that is not a finite number"}}) {
    CAPTURE(std::string(c.fixture));
    CAPTURE(std::string(c.tensor));
    engine::ModelOptions options;
    options.activations = c.activations;
    engine::Session session(engine::Model::open(write_poisoned(c.fixture, c.tensor, INFINITY), options), {});
    for (const std::vector<engine::TokenId>& prompt :
         {std::vector<engine::TokenId>{70}, std::vector<engine::TokenId>(9, 80)}) {
      std::string message;
      try {
        session.append(prompt);
      } catch (const engine::Error& error) {
        message = error.what();
        CHECK(error.kind() == engine::Error::Kind::BadFile);
      }
      CHECK_MESSAGE(message.find(c.sentence) != std::string::npos, message);
      CHECK(session.logits().empty());
    }
  }
}
