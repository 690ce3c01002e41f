// Groups of products as launches: matrices that lie at equal distances, and read and write at equal distances, go into one.
#pragma once

#include <span>

#include "engine/device/device.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/multiply.h"

namespace sluice::engine::cuda {

// The activations behind a product's input.
class ActivationsOf {
 public:
  virtual ~ActivationsOf() = default;
  virtual const kernels::cuda::Activations& operator()(const Input& input) const = 0;
};

kernels::cuda::Matrix matrix_of(const Linear& weights);

void append_products(kernels::cuda::Launches& launches, std::span<const Product> products,
                     const ActivationsOf& activations_of);
void append_products(kernels::cuda::Launches& launches, std::span<const TransposedProduct> products);

}  // namespace sluice::engine::cuda
