#include "kernels/cuda/routed_product.h"

#include <cstring>

#include "kernels/cuda/formats/plain.cuh"
#include "kernels/cuda/gemv.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/publish.cuh"
#include "kernels/cuda/route.cuh"

namespace sluice::kernels::cuda {

namespace {

struct RoutedProductArguments {
  GemvArguments product;
  RouteArguments route;
  PublishArguments publish;  // without a place: nobody is told
  uint32_t* n_done;
};

__global__ void __launch_bounds__(kGemvWarps * 32) multiply_and_choose(const RoutedProductArguments a) {
  __shared__ bool is_last;
  multiply_block<FormatF32, 1>(a.product, blockIdx.x);
  // Thread blocks end in any order. The barrier puts what all threads of one stored before the fence of the one that counts it.
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(a.n_done, 1u) + 1 == gridDim.x;
    if (is_last) atomicExch(a.n_done, 0u);
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  route_row(a.route, 0);
  __syncthreads();
  if (a.publish.to.published != nullptr) publish(a.publish);
}

}  // namespace

bool can_route_in_product(const Matrix& router) {
  return router.type == gguf::TensorType::F32 && router.bias == nullptr;
}

void multiply_and_route(Launches& list, const RoutedProduct& call) {
  require(can_route_in_product(call.router) && call.n_done != nullptr,
          "A router whose choice is made in its product has float32 weights without bias, and a word to count in.");
  require(call.choice.n_rows == 1 && call.choice.rule.n_experts == call.router.n_outputs,
          "A router whose choice is made in its product has one row, and a logit for each expert.");
  MatrixProducts product;
  product.matrix = call.router;
  product.input = call.input;
  product.output = const_cast<float*>(call.choice.logits);
  product.output_stride = call.router.n_outputs;
  Launches made;
  multiply(made, product);
  RoutedProductArguments a{};
  std::memcpy(static_cast<void*>(&a.product), made.at(0).arguments, sizeof a.product);
  a.route = route_arguments(call.choice);
  if (call.publication != nullptr) {
    check_publication(*call.publication);
    require(call.publication->inputs.n_rows == 1, "A choice that is made in a product is published for one row.");
    a.publish = publish_arguments(*call.publication);
  }
  a.n_done = call.n_done;
  append_launch(list, "A router", reinterpret_cast<const void*>(multiply_and_choose), "multiply and route",
                {made[0].grid[0]}, made[0].block[0], made[0].shared_bytes, a);
}

}  // namespace sluice::kernels::cuda
