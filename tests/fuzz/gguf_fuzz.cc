// libFuzzer entry point for File::open. Not part of the build; with clang:
//
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -I. gguf/*.cc tests/fuzz/gguf_fuzz.cc -o gguf_fuzz
//   mkdir corpus, put small GGUF files into it (write_hostile_files makes about a hundred), then
//   ./gguf_fuzz -max_len=4096 corpus
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "gguf/file.h"

// A file in memory, reached by its path in /proc, so that the whole way of opening is exercised without a disk.
static int memory_file() {
  static const int descriptor = ::memfd_create("gguf_fuzz", 0);
  if (descriptor < 0) std::abort();
  return descriptor;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const int descriptor = memory_file();
  if (::ftruncate(descriptor, 0) != 0) std::abort();
  if (::pwrite(descriptor, data, bytes, 0) != static_cast<ssize_t>(bytes)) std::abort();
  try {
    auto file = sluice::gguf::File::open("/proc/self/fd/" + std::to_string(descriptor));
    volatile uint64_t sum = 0;
    for (const auto& tensor : file.tensors())
      for (uint64_t i = 0; i < tensor.bytes; ++i) sum = sum + static_cast<uint64_t>(tensor.data[i]);
    for (const auto& entry : file.metadata().entries())
      if (!sluice::gguf::find_fault(entry.value).empty()) std::abort();
  } catch (const sluice::gguf::Error&) {
  }
  return 0;
}
