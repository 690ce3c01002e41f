#include "tests/simt/runtime/memory_map.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>

namespace sluice::simt {
namespace {

struct Stretch {
  Allocation allocation;
  std::byte* begin = nullptr;  // guards included
  size_t bytes = 0;
  bool is_ours = true;
};

std::mutex mutex;
std::map<const std::byte*, Stretch>& stretches() {  // by where they begin
  static std::map<const std::byte*, Stretch> all;
  return all;
}

size_t page_bytes() {
  static const size_t bytes = size_t(sysconf(_SC_PAGESIZE));
  return bytes;
}

Stretch* find_stretch(const std::byte* address) {
  auto after = stretches().upper_bound(address);
  if (after == stretches().begin()) return nullptr;
  Stretch& stretch = std::prev(after)->second;
  return address < stretch.begin + stretch.bytes ? &stretch : nullptr;
}

}  // namespace

std::byte* allocate_memory(MemoryKind kind, int device, size_t bytes) {
  const size_t page = page_bytes();
  const size_t alignment = kind == MemoryKind::Device ? 256 : 64;
  if (bytes > size_t(1) << 46) return nullptr;
  const size_t inner = (bytes + alignment + page - 1) / page * page;
  void* memory = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  std::byte* begin = static_cast<std::byte*>(memory);
  if (mprotect(begin + page, inner, PROT_READ | PROT_WRITE) != 0) {
    munmap(memory, inner + 2 * page);
    return nullptr;
  }
  std::memset(begin + page, 0xff, inner);
  Stretch stretch;
  const size_t from_end = (bytes + alignment - 1) / alignment * alignment;
  stretch.allocation = {begin + page + inner - from_end, bytes, kind, device, true};
  stretch.begin = begin;
  stretch.bytes = inner + 2 * page;
  std::lock_guard lock(mutex);
  stretches()[begin] = stretch;
  return stretch.allocation.data;
}

void register_memory(std::byte* data, size_t bytes) {
  std::lock_guard lock(mutex);
  Stretch stretch;
  stretch.allocation = {data, bytes, MemoryKind::Pinned, 0, true};
  stretch.begin = data;
  stretch.bytes = bytes;
  stretch.is_ours = false;
  stretches()[data] = stretch;
}

bool free_memory(std::byte* data) {
  std::lock_guard lock(mutex);
  Stretch* stretch = find_stretch(data);
  if (stretch == nullptr || stretch->allocation.data != data || !stretch->allocation.is_live) return false;
  if (!stretch->is_ours) {
    stretches().erase(stretch->begin);
    return true;
  }
  stretch->allocation.is_live = false;
  // The addresses stay taken, their memory goes back.
  mmap(stretch->begin, stretch->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return true;
}

std::optional<Allocation> find_memory(const void* address) {
  std::lock_guard lock(mutex);
  const Stretch* stretch = find_stretch(static_cast<const std::byte*>(address));
  if (stretch == nullptr) return std::nullopt;
  return stretch->allocation;
}

}  // namespace sluice::simt
