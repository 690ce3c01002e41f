// Memory that is pinned after it was made: copied to and from as it is, in pieces, as much of it as the system pins.

#include "engine/device/cuda/pinned_ranges.h"

#include "engine/device/cuda/pass.h"
#include "engine/device/cuda_device.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::cuda::Memory;
using engine::cuda::Pass;
using engine::cuda::PinnedRanges;

namespace {

constexpr uint64_t kPiece = uint64_t{64} << 10;

std::vector<std::byte> pattern(size_t bytes, uint32_t seed) {
  std::vector<std::byte> made(bytes);
  for (size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>((i * 7 + (i >> 9) + seed) & 255);
  return made;
}

}  // namespace

TEST_CASE("pinned memory is known by the byte, in pieces, until it is unpinned") {
  tests::fresh_gpu();
  std::vector<std::byte> memory(3 * kPiece + 100), other(10);
  {
    PinnedRanges ranges(kPiece);
    CHECK(ranges.pinned_bytes(memory.data(), 1) == 0);
    CHECK(ranges.pin(memory.data(), memory.size()));
    CHECK(ranges.pin(other.data(), other.size()));
    CHECK(ranges.pinned_bytes(memory.data(), 10) == 10);
    CHECK(ranges.pinned_bytes(memory.data() + 10, memory.size()) == kPiece - 10);
    CHECK(ranges.pinned_bytes(memory.data() + 3 * kPiece + 99, 5) == 1);
    CHECK(ranges.pinned_bytes(memory.data() + memory.size(), 1) == 0);
    for (const uint64_t at : {uint64_t{0}, kPiece - 1, kPiece, 2 * kPiece + 17, 3 * kPiece + 99}) {
      void* device = nullptr;
      CHECK(cudaHostGetDevicePointer(&device, memory.data() + at, 0) == cudaSuccess);
      CHECK(ranges.device_address(memory.data() + at) == device);
    }
    CHECK(ranges.device_address(memory.data() + memory.size()) == nullptr);
    ranges.unpin(memory.data());
    CHECK(ranges.pinned_bytes(memory.data(), 1) == 0);
    CHECK(ranges.device_address(memory.data()) == nullptr);
    CHECK(ranges.pinned_bytes(other.data(), 1) == 1);
    CHECK(ranges.pin(memory.data(), memory.size()));  // again
  }
  simt::report_leaks();
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a system that pins no more leaves what is pinned, and says so") {
  for (const uint64_t nth : {uint64_t{1}, uint64_t{3}}) {
    tests::fresh_gpu();
    std::vector<std::byte> memory(4 * kPiece);
    PinnedRanges ranges(kPiece);
    simt::inject_fault({simt::FaultPoint::HostRegister, nth, 2, 100});
    CHECK(!ranges.pin(memory.data(), memory.size()));
    for (uint64_t piece = 0; piece < 4; ++piece)
      CHECK((ranges.pinned_bytes(memory.data() + piece * kPiece, 1) == 1) == (piece + 1 < nth));
    CHECK(cudaGetLastError() == cudaSuccess);
  }
}

TEST_CASE("copies from and to memory that is pinned, in part or not at all, bring the same bytes") {
  for (const auto effects : {simt::Effects::Eager, simt::Effects::Lazy})
    for (const size_t pinned_bytes : {size_t{0}, 2 * kPiece, 5 * kPiece}) {
      CAPTURE(pinned_bytes);
      simt::GpuOptions options;
      options.effects = effects;
      tests::fresh_gpu(options);
      const std::vector<std::byte> sent = pattern(5 * kPiece, 1);
      std::vector<std::byte> from = sent, to(from.size());
      const auto ranges = std::make_shared<PinnedRanges>(kPiece);
      if (pinned_bytes > 0) {
        CHECK(ranges->pin(from.data(), pinned_bytes));
        CHECK(ranges->pin(to.data(), pinned_bytes));
      }
      {
        Pass pass(false, {}, ranges);
        const Memory device = Memory::allocate(Memory::Kind::Vram, from.size());
        const size_t odd = 1001;
        pass.copy_to_device(device.device() + odd, from.data() + odd, from.size() - odd);
        pass.copy_to_device(device.device(), from.data(), odd);
        std::fill(from.begin() + static_cast<std::ptrdiff_t>(pinned_bytes), from.end(), std::byte{0});
        pass.copy_to_host(to.data() + odd, device.device() + odd, to.size() - odd);
        pass.copy_to_host(to.data(), device.device(), odd);
        pass.wait();
        CHECK(to == sent);
        uint64_t copied = 0;
        for (const simt::Span& span : simt::take_trace()) copied += span.bytes;
        CHECK(copied == 2 * sent.size());
      }
      ranges->unpin(from.data());
      ranges->unpin(to.data());
      CHECK(simt::take_performance_notes() == std::vector<std::string>());
      CHECK(simt::take_findings() == std::vector<std::string>());
    }
}

TEST_CASE("a GPU pins and finds the host's memory, a CPU says that it does not") {
  tests::fresh_gpu();
  std::vector<std::byte> memory(4096);
  {
    const auto gpu = engine::make_cuda_device({});
    CHECK(gpu->device_address(memory.data()) == nullptr);
    CHECK(gpu->pin(memory.data(), memory.size()));
    CHECK(gpu->device_address(memory.data() + 9) != nullptr);
    gpu->unpin(memory.data());
    CHECK(gpu->device_address(memory.data() + 9) == nullptr);
    CHECK(gpu->pin(memory.data(), memory.size()));  // to the end of the device
  }
  simt::report_leaks();
  CHECK(simt::take_findings() == std::vector<std::string>());
}
