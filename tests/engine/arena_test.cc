#include "engine/device/arena.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "engine/error.h"

namespace sluice::tests {

using engine::Arena;
using engine::Error;

TEST_CASE("an arena is zero, large enough, aligned to huge pages, and moves with its memory") {
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{4096}, (uint64_t{2} << 20) + 1, uint64_t{7} << 20}) {
    Arena arena(bytes, bytes % 2 == 0 ? Arena::Swap::Avoid : Arena::Swap::Allow);
    CHECK(arena.bytes() >= bytes);
    CHECK(reinterpret_cast<uintptr_t>(arena.data()) % (uint64_t{2} << 20) == 0);
    CHECK(arena.data()[bytes - 1] == std::byte{0});
    arena.data()[bytes - 1] = std::byte{7};
    std::byte* const before = arena.data();
    Arena moved = std::move(arena);
    CHECK(moved.data() == before);
    CHECK(moved.data()[bytes - 1] == std::byte{7});
  }
  CHECK(Arena(0).data() == nullptr);
}

TEST_CASE("memory that cannot be had is an error with a sentence, and not a crash later") {
  for (const uint64_t bytes : {uint64_t{1} << 62, std::numeric_limits<uint64_t>::max()}) {
    try {
      const Arena arena(bytes);
      FAIL("got " << arena.bytes());
    } catch (const Error& error) {
      CHECK(error.kind() == Error::Kind::OutOfMemory);
      CHECK(std::string(error.what()).find("--ram") != std::string::npos);
    }
  }
}

TEST_CASE("what is given back is zero again, whole pages of it, and the rest stays") {
  for (const Arena::Swap swap : {Arena::Swap::Allow, Arena::Swap::Avoid}) {
    const Arena arena(uint64_t{4} << 20, swap);
    for (uint64_t at = 0; at < arena.bytes(); at += 1024) arena.data()[at] = std::byte{1};
    arena.give_back(arena.data() + 4096 + 1, 3 * 4096);
    CHECK(arena.data()[4096] == std::byte{1});
    CHECK(arena.data()[2 * 4096] == std::byte{0});
    CHECK(arena.data()[3 * 4096 + 1024] == std::byte{0});
    CHECK(arena.data()[4 * 4096] == std::byte{1});
    arena.give_back(arena.data() + 5 * 4096 + 1, 4096);  // no whole page
    CHECK(arena.data()[5 * 4096 + 1024] == std::byte{1});
    CHECK(arena.data()[6 * 4096] == std::byte{1});
  }
}

}  // namespace sluice::tests
