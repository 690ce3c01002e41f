// Groups of products as launches: matrices that lie at equal distances, and read and write at equal distances, go into one.
#pragma once

#include <span>

#include "engine/device/device.h"
#include "kernels/cuda/multiply.h"

namespace sluice::engine::cuda {

kernels::cuda::Matrix matrix_of(const Linear& weights);

// Their inputs are CudaInputs.
void append_products(kernels::cuda::Launches& launches, std::span<const Product> products);
void append_products(kernels::cuda::Launches& launches, std::span<const TransposedProduct> products);

}  // namespace sluice::engine::cuda
