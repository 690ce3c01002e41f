// The rows of one forward pass, arranged for the executors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/forward/forward.h"

namespace sluice::engine {

// The rows of one sequence in the batch.
struct BatchSequence {
  SequenceState* state = nullptr;
  int64_t first_row = 0;
  int64_t n_rows = 0;
  int64_t first_position = 0;

  int64_t n_positions() const { return first_position + n_rows; }  // after this pass
};

struct Batch {
  std::vector<int32_t> tokens;     // a row
  std::vector<int32_t> positions;  // a row
  std::vector<int32_t> n_visible;  // a row: positions it may look at, itself included
  std::vector<int32_t> logits_rows;
  std::vector<BatchSequence> sequences;
  Rows cosines, sines;  // of the rows' positions, on the device of the stage that the pass is in

  int64_t n_rows() const { return static_cast<int64_t>(tokens.size()); }
};

// Attention, in the form that the layer's specification names: out = W_o attention(x), x normed. Writes the rows'
// state.
void attention(Stage& on, const Batch& batch, uint32_t layer, const Input& x, Rows out);
void grouped_query_attention(Stage& on, const Batch& batch, uint32_t layer, const Input& x, Rows out);
void latent_attention(Stage& on, const Batch& batch, uint32_t layer, const Input& x, Rows out);

// The feed-forward part: out = ffn(x), or with `adds` out += ffn(x); x normed.
void dense_ffn(const Processor& on, const DenseWeights& weights, const Input& x, Rows out, bool adds = false);
// Are there such weights, in the file's mapping? Beside a device with memory of its own they are then the host's to multiply.
bool is_in_file(const DenseWeights& weights);
// residual: what the layer will add to, for guessing what the next layer chooses.
void experts_ffn(Stage& on, uint32_t layer, Rows residual, const Input& x, Rows out, const RoutingObserver& on_routing);

// Where the batch's rows [n_rows, cache columns] go in the cache `cache_index` of the layer.
std::vector<CacheRun> cache_runs(const Batch& batch, uint32_t layer, size_t cache_index);

}  // namespace sluice::engine
