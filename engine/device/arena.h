// Large memory straight from the system: what is given back is really free.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::engine {

// Memory of a set size, zero at first and taken from the system page by page as it is written. Movable, not copyable.
class Arena {
 public:
  Arena() = default;
  enum class Swap { Allow, Avoid };
  // Asks for huge pages, because a pass over weights in small ones misses the translation cache all the time, and, where swapping
  // is to be avoided, for pages that stay; both are wishes. Throws Error(OutOfMemory) when the system does not have the memory.
  explicit Arena(uint64_t bytes, Swap swap = Swap::Allow);
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  // Gives the pages of a stretch back to the system, whole ones; they are zero when they are written next.
  void give_back(const std::byte* begin, uint64_t bytes) const;
  bool is_locked() const { return is_locked_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
  bool is_locked_ = false;
};

}  // namespace sluice::engine
