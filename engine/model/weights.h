// The weight handles of a model, bound by name from a GGUF file.
#pragma once

#include <variant>
#include <vector>

#include "engine/device/linear.h"
#include "engine/model/spec.h"
#include "gguf/file.h"

namespace sluice::engine {

struct GroupedQueryWeights {
  Linear query, key, value, output;
  Vector query_norm, key_norm;  // [key_size], where heads are normed
};

struct LatentWeights {
  Linear query;                 // when query_rank is 0
  Linear query_down, query_up;  // else
  Vector query_norm;
  Linear latent_down;  // [latent_rank + rope_size, n_embedding]
  Vector latent_norm;
  // The up-projection of each head, from the fused or the split form. In the fused form `key_up` is [nope_size,
  // latent_rank]: key = W c. In the split form it is stored transposed, [latent_rank, nope_size].
  std::vector<Linear> key_up;
  std::vector<Linear> value_up;  // [value_size, latent_rank]
  Linear output;
};

struct DenseWeights {
  Linear gate, up, down;
};

struct ExpertsWeights {
  Linear router;
  Vector router_bias;
  LinearStack gate, up, down;
  DenseWeights shared;  // empty when there are none
};

struct LayerWeights {
  Vector attention_norm;
  std::variant<GroupedQueryWeights, LatentWeights> attention;
  Vector ffn_norm;
  std::variant<DenseWeights, ExpertsWeights> ffn;
};

struct ModelWeights {
  Linear token_embedding;
  Vector output_norm;
  std::vector<Linear> output;  // one matrix, or runs of its rows one behind the other
  Vector rope_factors;         // [rope dims / 2], may be empty
  std::vector<LayerWeights> layers;
};

// Finds every tensor that the specification needs and checks its shape and type. Throws Error(BadFile) naming the
// tensor. The handles point into the file's mapping.
ModelWeights bind_weights(const gguf::File& file, const ModelSpec& spec);

}  // namespace sluice::engine
