// Choices that the door (engine/engine.h) and the rooms behind it share.
#pragma once

#include "kernels/cache_type.h"

namespace sluice::engine {

// The precision of the inputs of quantised matrices. Int8 is the numeric contract that every fast kernel keeps; Float32
// answers the question how much that costs.
enum class ActivationPrecision { Int8, Float32 };

// The element type of keys and values.
using kernels::CacheType;

// How multi-head latent attention reads its cache: through expanded keys and values, or with the key and value parts
// absorbed into the query and the output. Equal up to rounding. Automatic takes the cheaper one for the number of rows.
enum class LatentAttention { Automatic, Expanded, Absorbed };

// How weights lie in memory: as the file has them, in the form that multiplies fastest wherever one is known and memory
// holds it, or whichever of both takes less time on this machine. The results are the same to the bit.
enum class Residency { Automatic, File, Fast };

}  // namespace sluice::engine
