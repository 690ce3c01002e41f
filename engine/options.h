// Choices that the door (engine/engine.h) and the rooms behind it share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

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

// Where weights are while the model runs: in a mapped file and in memory, or in a store of a set size that reads what does not fit
// from the disk as it is needed. Automatic maps what fits.
enum class Storage { Automatic, Mapped, Disk };

// What multiplies. Automatic: the GPU where there is one that holds the whole model, GPU and CPU together where that is faster by the
// plan, else the CPU.
enum class DeviceKind { Automatic, Cpu, Cuda };

// Which expert gives up its place in memory when another one comes.
enum class PolicyKind {
  Lru,         // the one that was used longest ago
  Lfu,         // the one that was used least, where recent uses count more
  StaticHeat,  // the one that earlier runs used least
  Hybrid,      // as Lfu, starting from what earlier runs used
};

// How experts come and go in a GPU's memory, where it holds some of them.
struct PromotionOptions {
  bool promotes = true;  // else what is there at first stays
  // A copy must save more of the host's time than it takes, by how often experts are used; else whatever a policy gives more worth goes
  // before the rest.
  bool must_pay = true;
  // Of the time of passes, what copies may take of the link at most. A copy reads the host's memory as well, as a miss does.
  double share_of_link = 0.15;
  double link_bytes_per_second = 20e9;  // until a copy was measured
  // Copies run on a thread of their own, because the host's memory must first be brought into pinned memory. Else where they are asked for.
  bool has_thread = true;
  std::function<double()> now;  // seconds by some clock; empty: the system's
};

// How GPU and CPU share the experts of a token that the GPU does not hold.
struct SharingOptions {
  // The GPU reads some of them over PCIe and multiplies them itself, as many as makes both sides end together; only from memory of the
  // host that it can read.
  bool reads_host = true;
  // The CPU's sums are added one layer later, so that both wait less for one another. This changes the results.
  bool defers = false;
  // Rows of a prompt's passes in which all experts that the GPU does not hold come to it over PCIe, layer by layer, and it multiplies alone;
  // only from memory of the host that it can read. 0: there are none.
  uint32_t most_streamed_rows = 4096;
  bool weighs_streaming = true;  // only where that is thought to be faster; else whenever it can be done
};

// How the disk is read. Automatic: io_uring where the system allows it, else threads that call pread().
enum class DiskAccess { Automatic, Uring, Pread };

class Disk;  // engine/store/disk.h

struct StoreOptions {
  Storage storage = Storage::Automatic;
  uint64_t ram_bytes = 0;  // what this process may have in memory, all told; 0: what is free, less a margin
  // For tests and experiments, in place of what ram_bytes leaves: memory for weights, and what prompts borrow of more.
  uint64_t store_bytes = 0;
  uint64_t prompt_bytes = 0;
  PolicyKind policy = PolicyKind::Hybrid;
  DiskAccess access = DiskAccess::Automatic;
  bool guesses = true;  // read what the next layer's router will probably choose
  // Of which experts earlier runs used, a file a model. Empty: neither read nor written.
  std::filesystem::path heat_folder;
  // Stands between the store and its disk; may be empty. For tests, which make a disk fail.
  std::function<std::unique_ptr<Disk>(std::unique_ptr<Disk>)> wrap_disk;
};

}  // namespace sluice::engine
