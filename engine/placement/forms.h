// Which matrices take another form than the blocks of the file: the decision, for this machine or for another one.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/weights.h"
#include "engine/options.h"
#include "engine/placement/machine.h"
#include "engine/store/dense_parts.h"

namespace sluice::engine {

// The ways to keep a stack of matrices: the blocks first. `measured` asks for the times as well.
using FormOffers = std::function<std::vector<ResidentOffer>(const LinearStack& stack, bool measured)>;

// As a device measures them, which must outlive the function; as the rates of a machine tell.
FormOffers offers_of(Device& device);
FormOffers offers_of(const Machine& machine);

// A stack of matrices of the model and what was chosen for it. Single ones are stacks of one.
struct ChosenForm {
  LinearStack* stack = nullptr;  // either, in the model's weights
  Linear* single = nullptr;
  ResidentOffer offer;

  LinearStack as_stack() const { return stack != nullptr ? *stack : LinearStack{*single, 1, single->bytes()}; }
  uint64_t file_bytes() const { return as_stack().first.bytes() * static_cast<uint64_t>(as_stack().count); }
  // In memory that is shared with others, each in cache lines of its own.
  uint64_t memory_bytes() const { return (offer.bytes + 63) / 64 * 64; }
};

// For weights that all fit in memory: what every token reads first, then routed experts, as long as they take together no more
// than spare_bytes more than in the file. Automatic takes for each matrix the form, or plain copy, whose pass takes the least
// time; Fast the last form on offer; File nothing.
std::vector<ChosenForm> choose_forms(ModelWeights& weights, const FormOffers& offers, Residency residency,
                                     uint64_t spare_bytes);

// For a store of so many bytes: names in the inventory the forms that dense matrices take once they stay, where one is faster
// and little larger, because what it takes more is taken from experts. None where not all dense matrices would stay: then the
// disk is what limits.
void choose_store_forms(StoreInventory& inventory, const FormOffers& offers, Residency residency, int64_t n_batch,
                        uint64_t bytes, uint64_t block_bytes);

}  // namespace sluice::engine
