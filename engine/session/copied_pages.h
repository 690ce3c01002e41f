// The pages of a model's mapped file, as its bytes are copied to where they stay: what was copied need not lie in this process's memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gguf/file.h"

namespace sluice::engine {

class CopiedPages {
 public:
  // The file must outlive the use of this.
  explicit CopiedPages(const gguf::File& file);

  // These bytes of a tensor were copied. Pages beside them go too, because the system brings some at once: who needs them reads them again.
  void copied(const std::byte* data, uint64_t bytes) const;
  // Everything else that reading may have brought.
  void forget_all() const;

 private:
  std::vector<std::span<const std::byte>> shards_;  // all tensors of each
};

}  // namespace sluice::engine
