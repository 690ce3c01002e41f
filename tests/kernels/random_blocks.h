// Blocks of random weights for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/format.h"

namespace sluice::test {

// Random blocks whose values are all finite and of ordinary size: float scales inside random bytes may be anything.
std::vector<std::byte> random_blocks(const kernels::Format& format, size_t n_blocks, uint32_t seed);

// Overwrites all of a format's blocks but their float scales with one byte.
void fill_codes(const kernels::Format& format, std::vector<std::byte>& blocks, std::byte fill);

// Gives the blocks the least and the largest float scales, of both signs and one after another, that a product of
// ordinary inputs takes without an infinity.
void set_extreme_scales(const kernels::Format& format, std::vector<std::byte>& blocks);

}  // namespace sluice::test
