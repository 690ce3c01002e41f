// The thread that copies between the host's memory and a device's.

#include "engine/store/background_copies.h"

#include <doctest/doctest.h>

#include "tests/engine/fake_gpu.h"

using namespace sluice;
using engine::BackgroundCopy;

namespace {

constexpr size_t kBytes = 4096;

struct Block {
  std::vector<std::byte> host = std::vector<std::byte>(kBytes), device = std::vector<std::byte>(kBytes);
  std::shared_ptr<BackgroundCopy> copy = std::make_shared<BackgroundCopy>();

  // One part to the host, and one to the device.
  Block(std::byte on_host, std::byte on_device) {
    std::ranges::fill(host, on_host);
    std::ranges::fill(device, on_device);
    const auto half = kBytes / 2;
    copy->parts.push_back({host.data() + half, device.data() + half, half, true});
    copy->parts.push_back({device.data(), host.data(), half, false});
  }
  bool has_come() const {
    return copy->state == BackgroundCopy::State::Done && copy->host_has_all && host[kBytes - 1] == device[kBytes - 1] &&
           device[0] == host[0];
  }
};

}  // namespace

TEST_CASE("copies on the thread all come, whoever waits for which") {
  tests::FakeGpu gpu(1 << 20);
  const auto stream = gpu.make_stream();
  engine::BackgroundCopies copies(gpu, *stream);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::unique_ptr<Block>> blocks;
    for (int i = 0; i < 8; ++i) {
      blocks.push_back(std::make_unique<Block>(static_cast<std::byte>(round), static_cast<std::byte>(100 + i)));
      copies.begin(blocks.back()->copy);
    }
    if (round % 3 == 0) copies.wait_for(*blocks[5]->copy);
    if (round % 3 == 0) CHECK(blocks[5]->has_come());
    // The evaluating thread looks at states while the other one works.
    size_t n_done = 0;
    for (const auto& block : blocks) n_done += block->copy->state == BackgroundCopy::State::Done;
    CHECK(n_done <= blocks.size());
    CHECK(copies.busy_seconds() >= 0);
    copies.wait_for_all();
    for (const auto& block : blocks) CHECK(block->has_come());
  }
  CHECK(copies.bytes_per_second() > 0);
}

TEST_CASE("a copy that fails says how much of it the host has, and the next ones come") {
  for (const int64_t nth : {0, 1}) {
    tests::FakeGpu gpu(1 << 20);
    const auto stream = gpu.make_stream();
    engine::BackgroundCopies copies(gpu, *stream);
    gpu.copies_until_failure = nth;
    Block failing(std::byte{1}, std::byte{2}), next(std::byte{3}, std::byte{4});
    copies.begin(failing.copy);
    copies.begin(next.copy);
    copies.wait_for(*failing.copy);
    CHECK(failing.copy->state == BackgroundCopy::State::Failed);
    CHECK(failing.copy->host_has_all == (nth == 1));
    copies.wait_for_all();
    CHECK(next.has_come());
    CHECK(gpu.n_abandoned == 1);
  }
}

TEST_CASE("what still waits when the thread ends is not copied, and nothing hangs") {
  tests::FakeGpu gpu(1 << 20);
  const auto stream = gpu.make_stream();
  std::vector<std::unique_ptr<Block>> blocks;
  for (int i = 0; i < 200; ++i) blocks.push_back(std::make_unique<Block>(std::byte{1}, std::byte{2}));
  {
    engine::BackgroundCopies copies(gpu, *stream);
    for (const auto& block : blocks) copies.begin(block->copy);
  }
  for (const auto& block : blocks) CHECK((block->has_come() || block->copy->state == BackgroundCopy::State::Waiting));
}
