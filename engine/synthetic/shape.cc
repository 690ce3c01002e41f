#include "engine/synthetic/shape.h"

#include <algorithm>
#include <string>

#include "engine/error.h"

namespace sluice::engine::synthetic {
namespace {

Shape deepseek2() {
  Shape shape;
  shape.architecture = Architecture::Deepseek2;
  shape.n_context = 163840;
  shape.n_dense_layers = 1;
  shape.head_size = 128;
  shape.latent_rank = 512;
  shape.rope_size = 64;
  shape.norm_epsilon = 1e-6f;
  shape.yarn_factor = 40;
  shape.yarn_original_context = 4096;
  return shape;
}

Shape r1_slice() {
  Shape shape = deepseek2();
  shape.n_vocabulary = 129280;
  shape.n_embedding = 7168;
  shape.n_layers = 5;
  shape.n_hidden = 18432;
  shape.n_heads = 128;
  shape.query_rank = 1536;
  shape.n_experts = 64;
  shape.n_experts_used = 8;
  shape.n_shared_experts = 1;
  shape.n_expert_hidden = 2048;
  shape.sigmoid_gating = true;
  shape.normalize_weights = true;
  shape.expert_weights_scale = 2.5f;
  shape.yarn_log_multiplier = 0.1f;
  return shape;
}

Shape v2_lite() {
  Shape shape = deepseek2();
  shape.n_vocabulary = 102400;
  shape.n_embedding = 2048;
  shape.n_layers = 27;
  shape.n_hidden = 10944;
  shape.n_heads = 16;
  shape.n_experts = 64;
  shape.n_experts_used = 6;
  shape.n_shared_experts = 2;
  shape.n_expert_hidden = 1408;
  shape.yarn_log_multiplier = 0.0707f;
  return shape;
}

Shape llama(int64_t n_embedding, int64_t n_layers, int64_t n_kv_heads, int64_t n_hidden) {
  Shape shape;
  shape.n_vocabulary = 32000;
  shape.n_context = 2048;
  shape.n_embedding = n_embedding;
  shape.n_layers = n_layers;
  shape.n_heads = 32;
  shape.n_kv_heads = n_kv_heads;
  shape.head_size = n_embedding / 32;
  shape.n_hidden = n_hidden;
  return shape;
}

Shape llama_8b() {
  Shape shape = llama(4096, 32, 8, 14336);
  shape.n_vocabulary = 128256;
  shape.n_context = 8192;
  shape.rope_base = 500000;
  return shape;
}

Shape mixtral_8x7b() {
  Shape shape = llama(4096, 32, 8, 14336);
  shape.n_context = 32768;
  shape.rope_base = 1e6f;
  shape.n_experts = 8;
  shape.n_experts_used = 2;
  shape.n_expert_hidden = 14336;
  return shape;
}

// Llama 3.1 and 3.3.
Shape llama_3_1(int64_t n_embedding, int64_t n_layers, int64_t n_heads, int64_t n_hidden) {
  Shape shape = llama(n_embedding, n_layers, 8, n_hidden);
  shape.n_vocabulary = 128256;
  shape.n_context = 131072;
  shape.n_heads = n_heads;
  shape.head_size = 128;
  shape.rope_base = 500000;
  shape.has_rope_factors = true;
  return shape;
}

Shape r1() {
  Shape shape = r1_slice();
  shape.n_layers = 61;
  shape.n_dense_layers = 3;
  shape.n_experts = 256;
  return shape;
}

Shape kimi_k2() {
  Shape shape = r1();
  shape.n_vocabulary = 163840;
  shape.n_context = 131072;
  shape.n_heads = 64;
  shape.n_dense_layers = 1;
  shape.n_experts = 384;
  shape.split_up_projection = true;
  shape.expert_weights_scale = 2.827f;
  shape.rope_base = 50000;
  shape.yarn_factor = 32;
  return shape;
}

Shape qwen3_moe(int64_t n_embedding, int64_t n_layers, int64_t n_heads, int64_t n_hidden, int64_t n_expert_hidden) {
  Shape shape = llama(n_embedding, n_layers, 4, n_hidden);
  shape.architecture = Architecture::Qwen3Moe;
  shape.n_heads = n_heads;
  shape.n_vocabulary = 151936;
  shape.n_context = 40960;
  shape.head_size = 128;
  shape.norm_epsilon = 1e-6f;
  shape.rope_base = 1e6f;
  shape.n_experts = 128;
  shape.n_experts_used = 8;
  shape.n_expert_hidden = n_expert_hidden;
  return shape;
}

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error(Error::Kind::Usage, sentence);
}

std::string number(int64_t value) {
  return std::to_string(value);
}

}  // namespace

std::string_view architecture_name(Architecture architecture) {
  switch (architecture) {
    case Architecture::Llama:
      return "llama";
    case Architecture::Qwen3Moe:
      return "qwen3moe";
    case Architecture::Deepseek2:
      return "deepseek2";
  }
  return "";
}

void check_shape(const Shape& shape) {
  const bool latent = shape.architecture == Architecture::Deepseek2;
  if (shape.n_dense_layers > shape.n_layers)
    refuse("there are fewer layers than dense ones; found " + number(shape.n_layers) + " and " +
           number(shape.n_dense_layers) + "; give more --layers or fewer --dense-layers");
  if (!latent && shape.n_experts > 0 && shape.n_dense_layers > 0)
    refuse("all layers of " + std::string(architecture_name(shape.architecture)) + " have experts; found " +
           number(shape.n_dense_layers) + " dense ones; leave out --dense-layers");
  if (latent && shape.n_experts == 0) refuse("a model of deepseek2 has experts; found none; give --experts");
  if (shape.architecture == Architecture::Qwen3Moe && shape.n_experts == 0)
    refuse("a model of qwen3moe has experts; found none; give --experts");
  if (shape.n_experts_used > shape.n_experts)
    refuse("a token cannot use more experts than there are; found " + number(shape.n_experts_used) + " of " +
           number(shape.n_experts) + "; give fewer --experts-used");
  if (!latent && shape.n_heads % shape.n_kv_heads != 0)
    refuse("--heads is no multiple of --kv-heads; found " + number(shape.n_heads) + " and " + number(shape.n_kv_heads) +
           "; give numbers that divide");
  if ((latent ? shape.rope_size : shape.head_size) % 2 != 0)
    refuse("the rotated part of a head must be even; found " + number(latent ? shape.rope_size : shape.head_size) +
           "; give an even --" + (latent ? "rope-size" : "head-size"));
}

std::span<const Preset> presets() {
  static const std::vector<Preset> kPresets = {
      {"r1-slice",
       "DeepSeek-R1's layers, the first few (--layers 61 --dense-layers 3 --experts 256: all)",
       r1_slice(),
       {"all=Q4_K", "experts=IQ1_S"}},
      {"v2-lite", "DeepSeek-V2-Lite, 16 B weights", v2_lite(), {"all=Q4_K", "output=Q6_K"}},
      {"qwen3-30b-a3b", "Qwen3-30B-A3B", qwen3_moe(2048, 48, 32, 6144, 768), {"all=Q4_K", "output=Q6_K"}},
      {"llama-1b", "TinyLlama, 1.1 B weights", llama(2048, 22, 4, 5632), {"all=Q4_K", "output=Q6_K"}},
      {"llama-8b", "Llama 3 8B", llama_8b(), {"all=Q4_K", "output=Q6_K"}},
      {"mixtral-8x7b", "Mixtral 8x7B, 47 B weights", mixtral_8x7b(), {"all=Q4_K", "output=Q6_K"}},
      // What follows has the types of published files, tensor by tensor.
      {"r1-ud-iq1s",
       "DeepSeek-R1 as Unsloth's dynamic 1.58 bits (UD-IQ1_S), 130.6 GiB",
       r1(),
       {"all=Q4_K", "output=Q6_K", "attn_kv_a_mqa=Q6_K", "attn_kv_b=Q6_K", "ffn_down=Q6_K", "shared=Q5_K",
        "shared_down=Q6_K", "experts=IQ1_S", "expert_down@3-8=IQ2_XXS"}},
      // Of models with 70 billion weights llama.cpp lets no attn_v have less than Q5_K.
      {"llama-70b-q4km",
       "Llama 3.1 or 3.3 70B, Q4_K_M",
       llama_3_1(8192, 80, 64, 28672),
       {"Q4_K_M", "attn_v=Q5_K", "attn_v@more=Q6_K"}},
      {"llama-405b", "Llama 3.1 405B, Q4_K_M", llama_3_1(16384, 126, 128, 53248), {"Q4_K_M"}},
      {"qwen3-235b", "Qwen3-235B-A22B, Q4_K_M", qwen3_moe(4096, 94, 64, 12288, 1536), {"Q4_K_M"}},
      {"qwen3-30b", "Qwen3-30B-A3B, Q4_K_M", qwen3_moe(2048, 48, 32, 6144, 768), {"Q4_K_M"}},
      {"kimi-k2", "Kimi K2, Q4_K_M", kimi_k2(), {"Q4_K_M"}},
  };
  return kPresets;
}

const Preset* find_preset(std::string_view name) {
  const auto found = std::ranges::find(presets(), name, &Preset::name);
  return found == presets().end() ? nullptr : &*found;
}

}  // namespace sluice::engine::synthetic
