// Dense weights that stay or pass through a ring: the right bytes behind every handle, and no byte read in vain.

#include "engine/store/dense_stream.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "engine/error.h"
#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::DenseMatrix;
using engine::DensePart;
using engine::DenseStream;
using engine::DiskRead;
using engine::Error;
using engine::Extent;
using engine::Linear;
using engine::Loader;
using engine::LoadPart;
using engine::Urgency;

constexpr uint64_t kBlock = 4096, kMebibyte = uint64_t{1} << 20;

// Bytes of the matrices of each part, and which parts stay.
struct Layout {
  std::string what;
  std::vector<std::vector<uint64_t>> parts;
  std::vector<bool> stays;
};

Layout random_layout(uint64_t seed) {
  Dice dice(seed);
  Layout layout{"seed " + std::to_string(seed), {}, {}};
  const unsigned percent_staying = std::array{0u, 30u, 70u, 100u}[dice.below(4)];
  for (uint64_t n = dice.between(1, 12); n > 0; --n) {
    std::vector<uint64_t> matrices;
    for (uint64_t m = dice.below(6); m > 0; --m) matrices.push_back(dice.between(1, dice.chance(20) ? 30000 : 9000));
    layout.parts.push_back(matrices);
    layout.stays.push_back(dice.chance(percent_staying));
  }
  return layout;
}

std::vector<Layout> layouts(uint64_t n_random = 6) {
  std::vector<Layout> all = {
      {"one part that stays", {{5000}}, {true}},
      {"one part that passes", {{5000}}, {false}},
      {"one part of a byte", {{1}}, {false}},
      {"one part of many matrices", {{1, 9000, 4096, 70000, 3}}, {false}},
      {"nothing at all", {{}, {}}, {false, true}},
      {"empty parts between", {{}, {100}, {}, {}, {8192, 1}, {}}, {false, false, true, false, false, true}},
      {"a large one among small ones", {{10}, {10, 10}, {90000}, {10}}, {false, false, false, false}},
      {"matrices over more than a piece of the loader", {{1060000, 7}, {3}}, {false, false}},
      {"first and last stay", {{100, 200}, {300, 5000}, {400, 1, 1}, {600}}, {true, false, false, true}},
      {"only the last passes", {{100, 200}, {300}, {400}, {600, 9000}}, {true, true, true, false}},
  };
  for (uint64_t seed = 0; seed < n_random; ++seed) all.push_back(random_layout(seed));
  return all;
}

// A stream over files in which every matrix has blocks of its own, so that a read is of one matrix.
struct Scene {
  Layout layout;
  std::vector<uint64_t> file_sizes{0, 0};
  std::deque<Linear> linears;
  std::vector<DensePart> parts;
  std::shared_ptr<const KnownFiles> known;
  std::shared_ptr<DiskScript> script;
  uint64_t kept_bytes = 0, streamed_bytes = 0;  // in memory
  uint64_t kept_extents = 0, streamed_extents = 0;
  std::unique_ptr<GuardedMemory> kept, ring, scrap;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<DenseStream> stream;

  // more_ring: blocks beyond smallest_ring().
  Scene(const Layout& what, uint64_t more_ring, DiskScript::Answer answer,
        std::unique_ptr<engine::Disk> (*make_disk)(const engine::DiskFiles&) = nullptr)
      : layout(what) {
    Dice dice(layout.parts.size());
    uint32_t file = 0;
    for (size_t i = 0; i < layout.parts.size(); ++i) {
      DensePart part;
      for (const uint64_t bytes : layout.parts[i]) {
        file = 1 - file;
        const Extent extent{file, file_sizes[file] + dice.below(kBlock), bytes};
        file_sizes[file] = (extent.end() + kBlock - 1) / kBlock * kBlock;
        DenseMatrix matrix{extent, {}};
        for (uint64_t n = dice.between(1, 3); n > 0; --n) {
          linears.emplace_back();
          linears.back().data = reinterpret_cast<const std::byte*>(&linears);  // from before
          matrix.handles.push_back({&linears.back(), n == 1 ? 0 : dice.below(bytes)});
        }
        part.matrices.push_back(matrix);
        (layout.stays[i] ? kept_extents : streamed_extents) += bytes;
      }
      parts.push_back(part);
      (layout.stays[i] ? kept_bytes : streamed_bytes) += padded_bytes(part, kBlock);
    }
    static const auto no_files =
        std::make_shared<KnownFiles>(std::vector<uint64_t>{1, 1});  // a scripted disk reads none
    known = make_disk == nullptr
                ? no_files
                : std::make_shared<KnownFiles>(std::vector<uint64_t>{file_sizes[0] + kBlock, file_sizes[1] + kBlock});
    script = std::make_shared<DiskScript>(4, std::move(answer));
    const uint64_t ring_bytes = smallest_ring(parts, layout.stays, kBlock) + more_ring * kBlock;
    kept = std::make_unique<GuardedMemory>(kept_bytes);
    ring = std::make_unique<GuardedMemory>(ring_bytes);
    scrap = std::make_unique<GuardedMemory>(kBlock);
    std::unique_ptr<engine::Disk> disk;
    if (make_disk != nullptr) disk = make_disk(known->files());
    if (!disk) disk = std::make_unique<ScriptedDisk>(script);
    loader = std::make_unique<Loader>(known->files(), std::move(disk));
    stream = std::make_unique<DenseStream>(*loader, parts, layout.stays, kept->data(), ring->span());
  }

  // Waits until all that the stream has begun is read: a guess comes after it.
  void settle() { loader->settle(*loader->begin({{{0, file_sizes[0], 1}, scrap->data()}}, Urgency::Guess)); }

  bool handles_are_right(size_t part) const {
    for (const DenseMatrix& matrix : parts[part].matrices) {
      const std::byte* data = matrix.handles[0].linear->data;
      if (data == nullptr) return false;
      data -= matrix.handles[0].offset;
      for (const DenseMatrix::Handle& handle : matrix.handles)
        if (handle.linear->data != data + handle.offset || handle.linear->place != engine::Place::Buffer) return false;
      if (!holds_known_bytes(data, matrix.extent)) return false;
    }
    return true;
  }
  bool handles_are_empty(size_t part) const {
    for (const DenseMatrix& matrix : parts[part].matrices)
      for (const DenseMatrix::Handle& handle : matrix.handles)
        if (handle.linear->data != nullptr) return false;
    return true;
  }

  // The first n parts of a pass. Throws what acquire() throws.
  void pass(size_t n_parts, bool settles) {
    for (size_t part = 0; part < n_parts; ++part) {
      stream->acquire(part);
      CHECK(handles_are_right(part));
      if (settles) {
        settle();  // what was read ahead meanwhile went elsewhere
        CHECK(handles_are_right(part));
      }
      stream->release(part);
      CHECK((layout.stays[part] ? handles_are_right(part) : handles_are_empty(part)));
    }
    CHECK(kept->guards_are_whole());
    CHECK(ring->guards_are_whole());
  }
  void pass(bool settles = true) { pass(parts.size(), settles); }

  // How often each matrix was read, part by part.
  std::vector<std::vector<uint64_t>> reads() const {
    std::vector<std::vector<uint64_t>> counts;
    const std::vector<DiskRead> all = script->all_started();
    for (const DensePart& part : parts) {
      counts.emplace_back();
      for (const DenseMatrix& matrix : part.matrices)
        counts.back().push_back(static_cast<uint64_t>(std::ranges::count_if(all, [&](const DiskRead& read) {
          return read.file == matrix.extent.file && read.offset == matrix.extent.offset / kBlock * kBlock;
        })));
    }
    return counts;
  }
};

constexpr auto kServe = [](const DiskRead&) -> std::optional<int64_t> { return std::nullopt; };

}  // namespace

TEST_CASE("the bytes behind the handles are right in every pass, whatever stays and however large the ring is") {
  for (const Layout& layout : layouts()) {
    for (const uint64_t more_ring : {0u, 1u, 100u}) {
      CAPTURE(layout.what);
      CAPTURE(more_ring);
      Scene scene(layout, more_ring, kServe);
      for (size_t part = 0; part < scene.parts.size(); ++part) CHECK(scene.handles_are_empty(part));
      for (int n = 0; n < 5; ++n) scene.pass(n % 2 == 0);
    }
  }
}

TEST_CASE("what stays is read once, and what passes once a pass and once ahead at most") {
  for (const Layout& layout : layouts()) {
    for (const uint64_t more_ring : {0u, 3u, 100u}) {
      CAPTURE(layout.what);
      CAPTURE(more_ring);
      Scene scene(layout, more_ring, kServe);
      for (uint64_t n_passes = 1; n_passes <= 4; ++n_passes) {
        scene.pass();
        scene.settle();
        CHECK(scene.stream->bytes_read() == scene.kept_extents + n_passes * scene.streamed_extents);
        const auto reads = scene.reads();
        for (size_t part = 0; part < reads.size(); ++part) {
          for (const uint64_t n : reads[part]) {
            CAPTURE(part);
            CAPTURE(n_passes);
            CHECK(n >= (layout.stays[part] ? 1 : n_passes));
            CHECK(n <= (layout.stays[part] ? 1 : n_passes + 1));
          }
        }
      }
    }
  }
}

TEST_CASE("the ring reads ahead of what is needed, as far as it holds") {
  // Four parts of two blocks each; the ring holds two and a matrix.
  const Layout layout{"equal", {{4096, 4096}, {4096, 4096}, {4096, 4096}, {4096, 4096}}, {false, false, false, false}};
  for (const uint64_t more_ring : {0u, 2u, 4u}) {
    CAPTURE(more_ring);
    Scene scene(layout, more_ring, kServe);
    for (DensePart& part : scene.parts)
      for (DenseMatrix& matrix : part.matrices) REQUIRE(LoadPart::padded_bytes(matrix.extent, kBlock) <= 2 * kBlock);
    scene.stream->read_ahead();
    scene.settle();
    uint64_t begun = 0;
    size_t n_begun = 0;
    const auto reads = scene.reads();
    for (size_t part = 0; part < reads.size(); ++part) {
      for (size_t m = 0; m < reads[part].size(); ++m) {
        if (reads[part][m] == 0) continue;
        ++n_begun;
        begun += LoadPart::padded_bytes(scene.parts[part].matrices[m].extent, kBlock);
      }
    }
    CHECK(n_begun >= 2);
    CHECK(begun <= scene.ring->span().size());
    CHECK(begun + 2 * kBlock > scene.ring->span().size());  // the next matrix would not fit
  }
}

TEST_CASE("a pass that is given up halfway leaves a stream that gives the right bytes afterwards") {
  for (const Layout& layout : layouts()) {
    for (const uint64_t more_ring : {0u, 3u}) {
      CAPTURE(layout.what);
      CAPTURE(more_ring);
      Scene scene(layout, more_ring, kServe);
      Dice dice(more_ring);
      for (int n = 0; n < 6; ++n) scene.pass(dice.below(scene.parts.size() + 1), dice.chance(50));
      const uint64_t before = scene.stream->bytes_read();
      scene.pass();
      scene.pass();
      CHECK(scene.stream->bytes_read() >= before + 2 * scene.streamed_extents);
    }
  }
}

TEST_CASE("whichever read fails, the pass says so and the passes after it get the right bytes") {
  for (const Layout& layout : layouts(3)) {
    for (size_t failing = 0;; ++failing) {
      CAPTURE(layout.what);
      CAPTURE(failing);
      auto n = std::make_shared<std::atomic<size_t>>(0);
      Scene scene(layout, 0, [n, failing](const DiskRead&) -> std::optional<int64_t> {
        return (*n)++ == failing ? std::optional<int64_t>(-EIO) : std::nullopt;
      });
      int n_failed = 0;
      for (int passes = 0; passes < 4; ++passes) {
        try {
          scene.pass(false);
        } catch (const Error& error) {
          ++n_failed;
          CHECK(std::string(error.what()).find("Reading weights failed") != std::string::npos);
        }
      }
      const size_t n_reads = n->exchange(1000000);  // from here on the disk is well
      // What fails while it is read ahead is found by the pass that needs it, which the last passes may not be.
      CHECK(n_failed <= 1);
      if (failing < n_reads / 2) CHECK(n_failed == 1);
      if (n_failed == 1 || failing >= n_reads) scene.pass();
      if (failing >= n_reads || failing > (scene.kept_bytes + scene.streamed_bytes > kMebibyte ? 2u : 16u)) break;
    }
  }
}

TEST_CASE("real disks bring the same") {
  for (const auto make : {engine::make_uring_disk, engine::make_pread_disk}) {
    for (const Layout& layout : layouts(3)) {
      CAPTURE(layout.what);
      Scene scene(layout, 2, kServe, make);
      for (int n = 0; n < 3; ++n) scene.pass(false);
    }
  }
}

TEST_CASE("a stream that ends with reads under way leaves nobody to write into its memory") {
  const Layout layout{"", {{3000}, {3000}, {3000}, {3000}}, {true, false, true, false}};
  const auto answer_late = [](const DiskRead&) -> std::optional<int64_t> {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return std::nullopt;
  };
  for (int n = 0; n < 5; ++n) {
    Scene scene(layout, 4, answer_late);
    scene.stream->read_ahead();
    std::this_thread::sleep_for(std::chrono::milliseconds(n));
    scene.stream.reset();
    std::memset(scene.ring->data(), 0, scene.ring->span().size());
    std::memset(scene.kept->data(), 0, scene.kept_bytes);
    scene.settle();
    const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
    CHECK(std::ranges::all_of(scene.ring->span(), is_zero));
    CHECK(std::ranges::all_of(scene.kept->span(), is_zero));
  }
}

TEST_CASE("the smallest ring holds the largest part that passes, and its largest matrix once more") {
  struct Case {
    std::string what;
    std::vector<std::vector<Extent>> parts;
    std::vector<bool> stays;
    uint64_t blocks;
  };
  const Case cases[] = {
      {"no parts", {}, {}, 0},
      {"all stay", {{{0, 0, 9000}}}, {true}, 0},
      {"empty", {{}}, {false}, 0},
      {"a byte", {{{0, 77, 1}}}, {false}, 2},
      {"two bytes in two blocks", {{{0, 4095, 2}}}, {false}, 4},
      {"two matrices", {{{0, 0, 4096}, {0, 4096, 8192}}}, {false}, 5},
      {"the largest matrix is in another part",
       {{{0, 0, 4096}, {0, 0, 4096}, {0, 0, 4096}}, {{0, 0, 8192}}},
       {false, false},
       5},
      {"the largest part stays", {{{0, 0, 40960}}, {{0, 0, 8192}}}, {true, false}, 4},
  };
  for (const Case& test : cases) {
    CAPTURE(test.what);
    std::vector<DensePart> parts;
    for (const auto& extents : test.parts) {
      parts.emplace_back();
      for (const Extent& extent : extents) parts.back().matrices.push_back({extent, {}});
    }
    CHECK(smallest_ring(parts, test.stays, kBlock) == test.blocks * kBlock);
  }
}

}  // namespace sluice::tests
