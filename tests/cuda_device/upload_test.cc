// Large copies to the GPU, in pieces that overlap with the host's own copying.

#include "engine/device/cuda/upload.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::cuda::Memory;

TEST_CASE("what is uploaded arrives, whatever the size, the order of effects, and what the host writes afterwards") {
  for (const auto effects : {simt::Effects::Eager, simt::Effects::Lazy, simt::Effects::Seeded})
    for (const size_t bytes : {size_t{1}, size_t{4} << 20, (size_t{4} << 20) + 1, (size_t{13} << 20) + 7}) {
      CAPTURE(bytes);
      simt::GpuOptions options;
      options.effects = effects;
      tests::fresh_gpu(options);
      engine::cuda::StreamHandle stream;
      engine::cuda::Upload upload;
      const Memory device = Memory::allocate(Memory::Kind::Vram, bytes);
      std::vector<uint8_t> sent(bytes), arrived(bytes);
      for (size_t i = 0; i < bytes; ++i) sent[i] = static_cast<uint8_t>(i * 7 + (i >> 13));
      const std::vector<uint8_t> original = sent;
      upload.copy(device.device(), sent.data(), bytes, stream.get());
      std::ranges::fill(sent, uint8_t{0});
      CHECK(cudaStreamSynchronize(stream.get()) == cudaSuccess);
      CHECK(cudaMemcpy(arrived.data(), device.device(), bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
      CHECK(arrived == original);
      CHECK(simt::take_findings() == std::vector<std::string>());
    }
}

TEST_CASE("an upload of pieces takes the time of the bus, not that of the bus and the host's copies") {
  simt::GpuOptions options;
  options.devices[0].host_to_device_bytes_per_second = 1e9;
  tests::fresh_gpu(options);
  engine::cuda::StreamHandle stream;
  engine::cuda::Upload upload;
  const std::vector<uint8_t> sent(size_t{64} << 20);
  const Memory device = Memory::allocate(Memory::Kind::Vram, sent.size());
  upload.copy(device.device(), sent.data(), sent.size(), stream.get());
  CHECK(cudaStreamSynchronize(stream.get()) == cudaSuccess);
  const std::vector<simt::Span> spans = simt::take_trace();
  REQUIRE(spans.size() == 16);
  double idle = 0;
  for (size_t i = 1; i < spans.size(); ++i) idle += spans[i].start - spans[i - 1].end;
  CHECK(idle < 0.01 * (spans.back().end - spans.front().start));
}
