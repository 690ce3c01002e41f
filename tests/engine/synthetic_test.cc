// Made-up models: the shapes of the presets, and what comes out of models of every type.

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <variant>

#include "engine/model/architecture.h"
#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "engine/synthetic/tensors.h"
#include "engine/synthetic/types.h"
#include "kernels/random_blocks.h"
#include "tests/engine/fixtures.h"

using namespace sluice;
using namespace sluice::engine::synthetic;

namespace {

double count_weights(const std::vector<TensorPlan>& tensors) {
  double n_weights = 0;
  for (const TensorPlan& tensor : tensors) {
    double n = 1;
    for (const uint64_t length : tensor.dims) n *= static_cast<double>(length);
    n_weights += n;
  }
  return n_weights;
}

TypeRules rules(const std::vector<std::string_view>& texts) {
  TypeRules types;
  for (const std::string_view text : texts) types.add(text);
  return types;
}

// Small enough to write and run in a moment, with columns that are whole blocks of every type.
Shape tiny(std::string_view preset) {
  Shape shape = find_preset(preset)->shape;
  shape.n_vocabulary = 320;
  shape.n_embedding = 256;
  shape.n_layers = 2;
  shape.n_heads = 4;
  shape.n_hidden = shape.n_expert_hidden = 256;
  if (shape.n_kv_heads > 0) {
    shape.n_kv_heads = 2;
    shape.head_size = 64;
  }
  if (shape.query_rank > 0) shape.query_rank = 256;
  if (shape.latent_rank > 0) shape.latent_rank = 256;
  if (shape.n_experts > 0) {
    shape.n_experts = 4;
    shape.n_experts_used = 2;
  }
  return shape;
}

// Writes the model, lets it read eight tokens, and returns the deviation of its logits; NaN when one is not finite.
double logits_deviation(const Shape& shape, const TypeRules& types) {
  const auto path =
      std::filesystem::temp_directory_path() / ("sluice-synthetic-" + std::to_string(::getpid()) + ".gguf");
  write_model(shape, plan_tensors(shape, types), 5, path, [](uint64_t) {});
  std::vector<float> logits;
  {
    engine::ModelOptions options;
    options.n_threads = 2;
    engine::SessionOptions session_options;
    session_options.n_context = 16;
    engine::Session session(engine::Model::open(path, options), session_options);
    logits = tests::logits_of_every_position(session, {1, 260, 5, 319, 77, 280, 280, 3});
  }
  std::filesystem::remove(path);
  REQUIRE(logits.size() == 8 * 320);
  const auto n = static_cast<double>(logits.size());
  const double mean = std::accumulate(logits.begin(), logits.end(), 0.0) / n;
  double squares = 0;
  for (const float logit : logits) squares += (logit - mean) * (logit - mean);
  return std::sqrt(squares / n);
}

}  // namespace

TEST_CASE("presets have as many weights as the models they are named after") {
  const std::map<std::string_view, double> kBillions = {
      {"llama-1b", 1.10},    {"llama-8b", 8.03},      {"mixtral-8x7b", 46.7}, {"v2-lite", 15.7},
      {"r1-slice", 671.0},   {"qwen3-30b-a3b", 30.5}, {"r1-ud-iq1s", 671.0},  {"llama-70b-q4km", 70.6},
      {"llama-405b", 405.9}, {"qwen3-235b", 235.1},   {"qwen3-30b", 30.5},    {"kimi-k2", 1026.4}};
  CHECK(presets().size() == kBillions.size());
  for (const Preset& preset : presets()) {
    CAPTURE(preset.name);
    Shape shape = preset.shape;
    if (preset.name == "r1-slice") {
      shape.n_layers = 61;
      shape.n_dense_layers = 3;
      shape.n_experts = 256;
    }
    check_shape(shape);
    const double billions = count_weights(plan_tensors(shape, rules(preset.types))) * 1e-9;
    CHECK(billions == doctest::Approx(kBillions.at(preset.name)).epsilon(0.005));
  }
}

TEST_CASE("the tensors of a slice of R1 have R1's shapes") {
  const Preset& preset = *find_preset("r1-slice");
  std::map<std::string, TensorPlan> tensors;
  Shape shape = preset.shape;
  for (TensorPlan& tensor : plan_tensors(shape, rules(preset.types))) tensors[tensor.name] = tensor;
  const auto dims = [&](const char* name) { return tensors.at(name).dims; };
  using Dims = std::vector<uint64_t>;
  CHECK(dims("token_embd.weight") == Dims{7168, 129280});
  CHECK(dims("blk.0.attn_q_b.weight") == Dims{1536, 24576});
  CHECK(dims("blk.0.attn_kv_a_mqa.weight") == Dims{7168, 576});
  CHECK(dims("blk.0.attn_kv_b.weight") == Dims{512, 32768});
  CHECK(dims("blk.0.attn_output.weight") == Dims{16384, 7168});
  CHECK(dims("blk.0.ffn_down.weight") == Dims{18432, 7168});
  CHECK(dims("blk.4.ffn_down_exps.weight") == Dims{2048, 7168, 64});
  CHECK(dims("blk.4.ffn_gate_shexp.weight") == Dims{7168, 2048});
  CHECK(dims("blk.4.exp_probs_b.bias") == Dims{64});
  CHECK(tensors.at("blk.4.ffn_down_exps.weight").type == gguf::TensorType::IQ1_S);
  CHECK(tensors.at("blk.4.ffn_down_exps.weight").bytes == uint64_t{2048} * 7168 * 64 / 256 * 50);
  CHECK(tensors.at("blk.4.ffn_down_shexp.weight").type == gguf::TensorType::Q4_K);
  CHECK(tensors.at("blk.4.ffn_gate_inp.weight").type == gguf::TensorType::F32);
  CHECK_FALSE(tensors.contains("blk.0.ffn_gate_exps.weight"));
  CHECK_FALSE(tensors.contains("blk.1.ffn_gate.weight"));

  shape.split_up_projection = true;
  tensors.clear();
  for (TensorPlan& tensor : plan_tensors(shape, rules(preset.types))) tensors[tensor.name] = tensor;
  CHECK(dims("blk.0.attn_k_b.weight") == Dims{128, 512, 128});
  CHECK(dims("blk.0.attn_v_b.weight") == Dims{512, 128, 128});
  CHECK_FALSE(tensors.contains("blk.0.attn_kv_b.weight"));
  // Rows of 128 are no whole blocks of Q4_K.
  CHECK(tensors.at("blk.0.attn_k_b.weight").type == gguf::TensorType::Q5_0);
  CHECK(tensors.at("blk.0.attn_k_b.weight").wanted_type == gguf::TensorType::Q4_K);
}

TEST_CASE("the last rule that names a tensor gives its type") {
  const TypeRules types = rules({"all=Q4_K", "experts=IQ1_S", "expert_down=iq2_xxs", "attn_q_b=Q8_0", "output=Q6_K"});
  using enum gguf::TensorType;
  const std::map<const char*, gguf::TensorType> kExpected = {
      {"token_embd", Q4_K},     {"output", Q6_K},         {"attn_q", Q4_K},
      {"attn_q_b", Q8_0},       {"ffn_gate_exps", IQ1_S}, {"ffn_down_exps", IQ2_XXS},
      {"ffn_down_shexp", Q4_K}, {"ffn_up", Q4_K},         {"ffn_gate_inp", F32}};
  for (const auto& [tensor, type] : kExpected) {
    CAPTURE(tensor);
    CHECK(types.type_of(tensor, 2, 3) == type);
  }
  CHECK(rules({"output=Q6_K", "all=IQ1_S"}).type_of("output", kNoLayer, 3) == IQ1_S);
  CHECK(rules({"router=F16"}).type_of("ffn_gate_inp", 2, 3) == F16);
  CHECK(type_for_columns(IQ1_S, 2048) == IQ1_S);
  CHECK(type_for_columns(IQ1_S, 1408) == IQ4_NL);
  CHECK(type_for_columns(Q6_K, 1408) == Q8_0);
  CHECK(type_for_columns(Q4_K, 100) == F16);
}

TEST_CASE("a rule can be for some layers only") {
  using enum gguf::TensorType;
  const auto layers_of = [](std::string_view rule, int64_t n_layers) {
    const TypeRules types = rules({"all=Q4_K", rule});
    std::vector<int64_t> layers;
    for (int64_t layer = kNoLayer; layer < n_layers; ++layer)
      if (types.type_of("ffn_down", layer, n_layers) == Q6_K) layers.push_back(layer);
    return layers;
  };
  using Layers = std::vector<int64_t>;
  CHECK(layers_of("ffn_down@3=Q6_K", 12) == Layers{3});
  CHECK(layers_of("ffn@3-5=Q6_K", 12) == Layers{3, 4, 5});
  CHECK(layers_of("all@10-4000000000=Q6_K", 12) == Layers{10, 11});
  CHECK(layers_of("attn@3-5=Q6_K", 12).empty());
  CHECK(layers_of("ffn_down@more=Q6_K", 12) == Layers{0, 3, 6, 9, 10, 11});
  CHECK(layers_of("Q4_K_M", 12) == Layers{0, 3, 6, 9, 10, 11});
  // No layer is in an eighth of fewer than eight layers, but the last one is in the last eighth.
  CHECK(layers_of("ffn_down@more=Q6_K", 5) == Layers{2, 4});
  const TypeRules mixture = rules({"Q4_K_M"});
  CHECK(mixture.type_of("output", kNoLayer, 12) == Q6_K);
  CHECK(mixture.type_of("token_embd", kNoLayer, 12) == Q4_K);
  CHECK(mixture.type_of("attn_q", 0, 12) == Q4_K);
  CHECK(rules({"all=Q4_K", "all@0-9=Q6_K"}).type_of("output", kNoLayer, 12) == Q4_K);
}

// By its type, how many tensors a model has, and the bytes of all and of its routed experts.
struct Mixture {
  std::map<gguf::TensorType, int> counts;
  uint64_t bytes = 0;
  uint64_t expert_bytes = 0;
};

static Mixture mixture_of(std::string_view preset) {
  const Preset& found = *find_preset(preset);
  Mixture mixture;
  for (const TensorPlan& tensor : plan_tensors(found.shape, rules(found.types))) {
    ++mixture.counts[tensor.type];
    mixture.bytes += tensor.bytes;
    if (tensor.name.find("_exps.") != std::string::npos) mixture.expert_bytes += tensor.bytes;
  }
  return mixture;
}

TEST_CASE("presets that are named after published files have their types and sizes") {
  using enum gguf::TensorType;
  struct Published {
    const char* preset;
    std::map<gguf::TensorType, int> counts;
    double gib;
    double expert_gib;
  };
  const std::vector<Published> files = {
      // unsloth/DeepSeek-R1-GGUF, UD-IQ1_S
      {"r1-ud-iq1s", {{IQ1_S, 168}, {IQ2_XXS, 6}, {Q4_K, 190}, {Q5_K, 116}, {Q6_K, 184}, {F32, 361}}, 130.60, 120.26},
      // 42.52 GB in the lists of those who publish it
      {"llama-70b-q4km", {{Q4_K, 441}, {Q5_K, 40}, {Q6_K, 81}, {F32, 162}}, 42.52e9 / (1 << 30), 0},
      // as loaded in issue 14235 of llama.cpp
      {"qwen3-30b", {{Q4_K, 289}, {Q6_K, 49}, {F32, 241}}, 17.28, 16.35},
      // no list of its tensors was found: the rule of llama.cpp, which gives the others exactly, and what it adds up to
      {"llama-405b", {{Q4_K, 759}, {Q6_K, 125}, {F32, 254}}, 226.37, 0},
      {"qwen3-235b", {{Q4_K, 567}, {Q6_K, 93}, {F32, 471}}, 132.39, 127.87},
      {"kimi-k2", {{Q4_K, 610}, {Q5_0, 61}, {Q6_K, 60}, {F32, 365}}, 577.94, 571.0},
  };
  for (const Published& file : files) {
    CAPTURE(std::string(file.preset));
    const Mixture mixture = mixture_of(file.preset);
    CHECK(mixture.counts == file.counts);
    CHECK(static_cast<double>(mixture.bytes) / (1 << 30) == doctest::Approx(file.gib).epsilon(0.001));
    CHECK(static_cast<double>(mixture.expert_bytes) / (1 << 30) == doctest::Approx(file.expert_gib).epsilon(0.001));
  }
}

TEST_CASE("a made-up Qwen has the keys of a published one, and is understood as one") {
  const Shape shape = find_preset("qwen3-30b-a3b")->shape;
  const auto path =
      std::filesystem::temp_directory_path() / ("sluice-synthetic-qwen-" + std::to_string(::getpid()) + ".gguf");
  write_sparse_model(shape, plan_tensors(shape, rules({"Q4_K_M"})), path);
  const gguf::File file = gguf::File::open(path, gguf::Mapping::DirectoryOnly);
  std::filesystem::remove(path);
  std::set<std::string> keys;
  for (const auto& entry : file.metadata().entries())
    if (entry.key.starts_with("qwen3moe.")) keys.insert(entry.key.substr(9));
  CHECK(keys == std::set<std::string>{"attention.head_count", "attention.head_count_kv", "attention.key_length",
                                      "attention.layer_norm_rms_epsilon", "attention.value_length", "block_count",
                                      "context_length", "embedding_length", "expert_count",
                                      "expert_feed_forward_length", "expert_used_count", "feed_forward_length",
                                      "rope.freq_base"});

  const engine::ModelSpec spec = engine::describe_model(file);
  CHECK(spec.rope.pairs == kernels::reference::RopePairs::Halves);
  CHECK(spec.rope.n_dims == 128);
  CHECK(spec.rope.freq_base == 1e6f);
  CHECK(spec.n_vocabulary == 151936);
  REQUIRE(spec.layers.size() == 48);
  for (const engine::LayerSpec& layer : spec.layers) {
    CHECK(std::get<engine::GroupedQuerySpec>(layer.attention).has_head_norms);
    CHECK(std::get<engine::ExpertsSpec>(layer.ffn).n_hidden == 768);
    CHECK(std::get<engine::ExpertsSpec>(layer.ffn).router.normalize);
  }
}

TEST_CASE("models of every type give finite logits of a reasonable spread") {
  for (const gguf::TypeLayout& layout : gguf::all_type_layouts()) {
    if (!kernels::has_random_blocks(layout.type)) continue;
    CAPTURE(layout.name);
    TypeRules types;
    types.add("all=" + std::string(layout.name));
    for (const char* preset : {"llama-1b", "r1-slice"}) {
      CAPTURE(std::string(preset));
      const double deviation = logits_deviation(tiny(preset), types);
      CHECK(deviation > 1);
      CHECK(deviation < 4);
    }
  }
}

TEST_CASE("models of every shape give finite logits of a reasonable spread") {
  for (const char* preset : {"v2-lite", "mixtral-8x7b", "llama-8b", "r1-slice", "qwen3-30b-a3b"})
    for (const bool split : {false, true}) {
      CAPTURE(std::string(preset));
      Shape shape = tiny(preset);
      shape.split_up_projection = split;
      const double deviation = logits_deviation(shape, rules({"all=Q4_K"}));
      CHECK(deviation > 1);
      CHECK(deviation < 4);
    }
}
