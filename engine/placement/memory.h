// How much memory this process may still use.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::engine {

// What the system calls available (free, and page cache that can be dropped), less where a cgroup (version 1 or 2)
// allows less.
uint64_t available_memory_bytes();

// Memory that this process holds now (resident set), mapped files included.
uint64_t resident_bytes();

// Lets the system take back the pages of a mapped file, whole ones inside the range: they can be read again.
void forget_pages(const std::byte* data, uint64_t bytes);

}  // namespace sluice::engine
