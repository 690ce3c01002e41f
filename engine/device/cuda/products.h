// Groups of products as launches: matrices that lie at equal distances, and read and write at equal distances, go into one.
#pragma once

#include <span>
#include <vector>

#include "engine/device/device.h"
#include "kernels/cuda/multiply.h"

namespace sluice::engine::cuda {

kernels::cuda::Matrix matrix_of(const Linear& weights);
// And neither has a bias.
bool same_shape(const Linear& a, const Linear& b);

// Their inputs are CudaInputs. A launch each.
std::vector<kernels::cuda::MatrixProducts> grouped(std::span<const Product> products);
std::vector<kernels::cuda::TransposedProducts> grouped(std::span<const TransposedProduct> products);

// Where there are two or three products of one row in formats that go together, whatever their shapes, they are one launch.
void append_products(kernels::cuda::Launches& launches, std::span<const Product> products);
void append_products(kernels::cuda::Launches& launches, std::span<const TransposedProduct> products);

}  // namespace sluice::engine::cuda
