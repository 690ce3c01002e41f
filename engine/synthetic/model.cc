#include "engine/synthetic/model.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <span>
#include <string>
#include <tuple>

#include "engine/synthetic/vocabulary.h"
#include "gguf/writer.h"
#include "kernels/random_blocks.h"

namespace sluice::engine::synthetic {
namespace {

constexpr uint64_t kMostPoolBytes = 16 << 20;
constexpr uint64_t kPieceBytes = 4 << 20;

// Random weights without end.
class Weights {
 public:
  // Pools need be no larger than the largest tensor.
  Weights(uint64_t seed, uint64_t largest_bytes)
      : random_(seed), pool_bytes_(std::min(largest_bytes, kMostPoolBytes)) {}

  // The next piece of a tensor of which `bytes` are still missing, in whole blocks; valid until the next call.
  std::span<const std::byte> next(const TensorPlan& tensor, uint64_t bytes) {
    const uint64_t block_bytes = gguf::type_layout(tensor.type).block_bytes;
    const std::vector<std::byte>& pool = pool_of(tensor);
    const uint64_t n_bytes = std::min({bytes, kPieceBytes / block_bytes * block_bytes, pool.size()});
    const uint64_t first = random_() % ((pool.size() - n_bytes) / block_bytes + 1);
    return std::span(pool).subspan(first * block_bytes, n_bytes);
  }

 private:
  const std::vector<std::byte>& pool_of(const TensorPlan& tensor) {
    std::vector<std::byte>& pool = pools_[{tensor.type, tensor.mean, tensor.deviation}];
    if (!pool.empty()) return pool;
    const uint64_t block_bytes = gguf::type_layout(tensor.type).block_bytes;
    pool.resize(std::max<uint64_t>(pool_bytes_ / block_bytes, 1) * block_bytes);
    kernels::fill_random_blocks(tensor.type, tensor.deviation, random_(), pool);
    if (tensor.mean != 0) add_mean(pool, tensor.mean);
    return pool;
  }

  static void add_mean(std::span<std::byte> floats, float mean) {
    for (size_t i = 0; i < floats.size(); i += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, floats.data() + i, sizeof value);
      value += mean;
      std::memcpy(floats.data() + i, &value, sizeof value);
    }
  }

  std::mt19937_64 random_;
  uint64_t pool_bytes_;
  std::map<std::tuple<gguf::TensorType, float, float>, std::vector<std::byte>> pools_;
};

// Metadata under the architecture's prefix.
class Keys {
 public:
  Keys(gguf::Metadata& metadata, Architecture architecture)
      : metadata_(metadata), prefix_(std::string(architecture_name(architecture)) + ".") {}
  void count(const std::string& key, int64_t value) {
    metadata_.add(prefix_ + key, gguf::make_unsigned(gguf::ValueType::Uint32, static_cast<uint64_t>(value)));
  }
  void number(const std::string& key, float value) { metadata_.add(prefix_ + key, gguf::make_float32(value)); }
  void flag(const std::string& key, bool value) { metadata_.add(prefix_ + key, gguf::make_bool(value)); }
  void text(const std::string& key, const char* value) { metadata_.add(prefix_ + key, gguf::make_string(value)); }

 private:
  gguf::Metadata& metadata_;
  std::string prefix_;
};

void add_latent_attention_keys(const Shape& shape, Keys& keys) {
  const bool split = shape.split_up_projection;
  keys.count("attention.head_count_kv", split ? 1 : shape.n_heads);
  if (shape.query_rank > 0) keys.count("attention.q_lora_rank", shape.query_rank);
  keys.count("attention.kv_lora_rank", shape.latent_rank);
  // With the split form these are the sizes of the cached row, and the head's have names of their own.
  keys.count("attention.key_length", shape.rope_size + (split ? shape.latent_rank : shape.head_size));
  keys.count("attention.value_length", split ? shape.latent_rank : shape.head_size);
  if (split) {
    keys.count("attention.key_length_mla", shape.rope_size + shape.head_size);
    keys.count("attention.value_length_mla", shape.head_size);
  }
  keys.count("rope.dimension_count", shape.rope_size);
}

void add_expert_keys(const Shape& shape, Keys& keys) {
  keys.count("expert_count", shape.n_experts);
  keys.count("expert_used_count", shape.n_experts_used);
  if (shape.architecture != Architecture::Llama) keys.count("expert_feed_forward_length", shape.n_expert_hidden);
  if (shape.architecture != Architecture::Deepseek2) return;
  keys.count("leading_dense_block_count", shape.n_dense_layers);
  keys.count("expert_shared_count", shape.n_shared_experts);
  keys.count("expert_gating_func", shape.sigmoid_gating ? 2 : 1);
  keys.flag("expert_weights_norm", shape.normalize_weights);
  keys.number("expert_weights_scale", shape.expert_weights_scale);
}

void add_metadata(const Shape& shape, const char* name, gguf::Metadata& metadata) {
  metadata.add("general.architecture", gguf::make_string(std::string(architecture_name(shape.architecture))));
  metadata.add("general.name", gguf::make_string(name));
  metadata.add("general.quantization_version", gguf::make_uint32(2));
  Keys keys(metadata, shape.architecture);
  // Published files of qwen3moe leave out two that follow from others.
  const bool has_derived_keys = shape.architecture != Architecture::Qwen3Moe;
  if (has_derived_keys) keys.count("vocab_size", shape.n_vocabulary);
  keys.count("context_length", shape.n_context);
  keys.count("embedding_length", shape.n_embedding);
  keys.count("block_count", shape.n_layers);
  keys.count("feed_forward_length", shape.n_hidden);
  keys.count("attention.head_count", shape.n_heads);
  keys.number("attention.layer_norm_rms_epsilon", shape.norm_epsilon);
  if (shape.architecture == Architecture::Deepseek2) {
    add_latent_attention_keys(shape, keys);
  } else {
    keys.count("attention.head_count_kv", shape.n_kv_heads);
    keys.count("attention.key_length", shape.head_size);
    keys.count("attention.value_length", shape.head_size);
    if (has_derived_keys) keys.count("rope.dimension_count", shape.head_size);
  }
  keys.number("rope.freq_base", shape.rope_base);
  if (shape.yarn_factor > 0) {
    keys.text("rope.scaling.type", "yarn");
    keys.number("rope.scaling.factor", shape.yarn_factor);
    keys.count("rope.scaling.original_context_length", shape.yarn_original_context);
    keys.number("rope.scaling.yarn_log_multiplier", shape.yarn_log_multiplier);
  }
  if (shape.n_experts > 0) add_expert_keys(shape, keys);
  add_vocabulary(metadata, shape.n_vocabulary);
}

}  // namespace

void write_model(const Shape& shape, const std::vector<TensorPlan>& tensors, uint64_t seed,
                 const std::filesystem::path& path, const WriteProgress& progress) {
  gguf::Writer writer;
  add_metadata(shape, "random weights", writer.metadata());
  uint64_t largest_bytes = 0;
  for (const TensorPlan& tensor : tensors) largest_bytes = std::max(largest_bytes, tensor.bytes);
  Weights weights(seed, largest_bytes);
  uint64_t bytes_before = 0;  // of the tensors before this one
  for (const TensorPlan& tensor : tensors) {
    writer.add_tensor_in_pieces(tensor.name, tensor.type, tensor.dims, [&, bytes_before](uint64_t offset) {
      const std::span<const std::byte> piece = weights.next(tensor, tensor.bytes - offset);
      progress(bytes_before + offset + piece.size());
      return piece;
    });
    bytes_before += tensor.bytes;
  }
  writer.write(path);
}

void write_sparse_model(const Shape& shape, const std::vector<TensorPlan>& tensors, const std::filesystem::path& path) {
  gguf::Writer writer;
  add_metadata(shape, "no weights", writer.metadata());
  for (const TensorPlan& tensor : tensors) writer.add_hole(tensor.name, tensor.type, tensor.dims);
  writer.write(path);
}

}  // namespace sluice::engine::synthetic
