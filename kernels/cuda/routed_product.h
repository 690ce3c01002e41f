// A router's product, its choice and the choice's publication in one launch, for one row: the last thread block that ends the product goes
// on with what is behind it.
#pragma once

#include "kernels/cuda/experts.h"
#include "kernels/cuda/meeting.h"

namespace sluice::kernels::cuda {

// Routers of other formats are launches of their own.
bool can_route_in_product(const Matrix& router);

struct RoutedProduct {
  Matrix router;
  Activations input;                         // one row
  RouterCall choice;                         // of one row; its logits are where the product goes
  const PublishCall* publication = nullptr;  // null: nobody is told
  uint32_t* n_done = nullptr;                // device memory, a word: zero before the launch, and after it
};
void multiply_and_route(Launches& list, const RoutedProduct& call);

}  // namespace sluice::kernels::cuda
