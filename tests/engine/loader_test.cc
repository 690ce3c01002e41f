// The loader brings the right bytes to the right places, whatever the disk does. loader_reads_test.cc has
// how reads are joined, repeated and fail, loader_order_test.cc what comes first.

#include "engine/store/loader.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "engine/error.h"
#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::Disk;
using engine::DiskFiles;
using engine::Error;
using engine::Extent;
using engine::Loader;
using engine::LoadPart;
using engine::Urgency;

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kMebibyte = uint64_t{1} << 20;

struct DiskKind {
  const char* name;
  std::unique_ptr<Disk> (*make)(const DiskFiles& files);
};
constexpr DiskKind kDisks[] = {{"io_uring", engine::make_uring_disk}, {"pread", engine::make_pread_disk}};

// The disk's own kinds, on files of a folder in each of these file systems.
template <typename Check>
void on_every_disk(const std::vector<uint64_t>& sizes, Check check) {
  for (const char* folder : {"", "/dev/shm"}) {
    std::error_code ignored;
    if (*folder != 0 && !std::filesystem::is_directory(folder, ignored)) continue;
    const KnownFiles known(sizes, *folder != 0 ? folder : std::filesystem::temp_directory_path());
    for (const DiskKind& kind : kDisks) {
      CAPTURE(kind.name);
      CAPTURE(folder);
      std::unique_ptr<Disk> disk = kind.make(known.files());
      if (!disk) continue;  // no io_uring here
      Loader loader(known.files(), std::move(disk));
      CHECK(loader.disk_name() == kind.name);
      check(loader, known);
    }
  }
}

const std::vector<uint64_t> kSizes = {2 * kMebibyte + 123, 5000, 1, 2 * kBlock, 777};

const Extent kExtents[] = {
    {0, 0, 1},
    {0, 0, kBlock},
    {0, 1, kBlock},
    {0, kBlock - 1, 2},
    {0, 12345, 67890},
    {0, kBlock, kMebibyte},
    {0, 3, kMebibyte + kBlock},       // over two pieces
    {0, 0, 2 * kMebibyte + 123},      // the whole file
    {0, 2 * kMebibyte + 122, 1},      // its last byte
    {0, 2 * kMebibyte, 123},          // its last block
    {0, 2 * kMebibyte - 5000, 5123},  // up to its end
    {1, 4999, 1},
    {1, 0, 5000},
    {2, 0, 1},
    {3, kBlock, kBlock},
    {3, 8191, 1},
    {4, 700, 77},
};

}  // namespace

TEST_CASE("extents of every place and size come whole, one by one and all at once") {
  on_every_disk(kSizes, [](Loader& loader, const KnownFiles& known) {
    const uint64_t block = known.files().block_bytes();
    for (const Extent& extent : kExtents) {
      CAPTURE(extent.file);
      CAPTURE(extent.offset);
      CAPTURE(extent.bytes);
      const Target target(extent, block);
      loader.wait(*loader.begin({target.part()}, Urgency::Now));
      CHECK(target.has_come(block));
    }
    std::deque<Target> targets;
    std::vector<std::vector<LoadPart>> loads;
    for (const Extent& extent : kExtents) {
      targets.emplace_back(extent, block);
      if (loads.empty() || loads.back().size() == 3) loads.push_back({});
      loads.back().push_back(targets.back().part());
    }
    for (const auto& load : loader.begin(loads, Urgency::Soon)) {
      loader.wait(*load);
      CHECK(loader.is_done(*load));
      CHECK(!loader.has_failed(*load));
    }
    for (const Target& target : targets) CHECK(target.has_come(block));
    CHECK(loader.counts().n_reads > 0);
    CHECK(loader.counts().bytes_read > 4 * kMebibyte);
  });
}

TEST_CASE("a load of nothing is done at once") {
  const KnownFiles known({100});
  Loader loader(known.files(), engine::make_pread_disk(known.files()));
  const auto load = loader.begin(std::vector<LoadPart>(), Urgency::Now);
  CHECK(loader.is_done(*load));
  loader.wait(*load);
  CHECK(loader.begin(std::span<const std::vector<LoadPart>>(), Urgency::Now).empty());
  CHECK(!loader.cancel(*load));
}

TEST_CASE("files of a system without direct reads are read through its page cache") {
  const std::filesystem::path path = "/proc/version";
  std::string text(1000, '\0');
  std::ifstream(path).read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(text.find('\0'));
  REQUIRE(text.size() > 10);
  const std::filesystem::path paths[] = {path};
  const DiskFiles files(paths);
  CHECK(!files.are_direct());
  for (const DiskKind& kind : kDisks) {
    std::unique_ptr<Disk> disk = kind.make(files);
    if (!disk) continue;
    CAPTURE(kind.name);
    Loader loader(files, std::move(disk));
    const Target target({0, 3, text.size() - 3});
    loader.wait(*loader.begin({target.part()}, Urgency::Now));
    CHECK(std::memcmp(target.part().data(kBlock), text.data() + 3, text.size() - 3) == 0);
    const Target behind({0, 0, text.size() + 1});
    CHECK(contains(failure_of(loader, *loader.begin({behind.part()}, Urgency::Now)), "it has shrunk"));
  }
}

TEST_CASE("a file that is not there is refused by name") {
  const ScratchFolder folder;
  std::ofstream(folder.path() / "one") << "bytes";
  const std::filesystem::path paths[] = {folder.path() / "one", folder.path() / "two"};
  try {
    const DiskFiles files(paths);
    FAIL("opened");
  } catch (const Error& error) {
    CHECK(error.kind() == Error::Kind::BadFile);
    CHECK(contains(error.what(), paths[1].string()));
  }
}

TEST_CASE("stretches that lie side by side come whole, in whatever order and grouping they are asked for") {
  on_every_disk({3 * kMebibyte + 1, kMebibyte - 1}, [](Loader& loader, const KnownFiles& known) {
    const uint64_t block = known.files().block_bytes();
    for (uint64_t seed = 0; seed < 6; ++seed) {
      CAPTURE(seed);
      Dice dice(seed);
      const uint64_t longest = seed % 2 == 0 ? 3 * kBlock : 200 * kBlock;
      std::deque<Target> targets;
      for (const auto& [file, size] : {std::pair(0u, 3 * kMebibyte + 1), std::pair(1u, kMebibyte - 1)}) {
        for (uint64_t at = 0; at < size;) {
          uint64_t bytes = std::min(dice.between(1, longest), size - at);
          if (dice.chance(20)) bytes = std::min(bytes / kBlock * kBlock + kBlock, size - at);
          if (!dice.chance(15)) targets.emplace_back(Extent{file, at, bytes}, block);
          at += bytes;
        }
      }
      std::vector<size_t> order(targets.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = i;
      dice.shuffle(order);
      std::vector<std::vector<LoadPart>> loads;
      for (const size_t i : order) {
        if (loads.empty() || dice.chance(40)) loads.push_back({});
        loads.back().push_back(targets[i].part());
      }
      const uint64_t n_joined = loader.counts().n_joined;
      for (const auto& load : loader.begin(loads, Urgency::Now)) loader.wait(*load);
      size_t n_wrong = 0;
      for (const Target& target : targets) n_wrong += target.has_come(block) ? 0 : 1;
      CHECK(n_wrong == 0);
      CHECK(loader.counts().n_joined > n_joined);
    }
  });
}

TEST_CASE("what the system says of a failed read is what the user is told") {
  const ScratchFolder folder;
  const std::filesystem::path paths[] = {folder.path()};  // a folder can be opened, and not be read
  const DiskFiles files(paths);
  for (const DiskKind& kind : kDisks) {
    std::unique_ptr<Disk> disk = kind.make(files);
    if (!disk) continue;
    CAPTURE(kind.name);
    Loader loader(files, std::move(disk));
    const Target target({0, 0, 10});
    CHECK(contains(failure_of(loader, *loader.begin({target.part()}, Urgency::Now)),
                   std::generic_category().message(EISDIR)));
  }
}

TEST_CASE("a file that ends early is said to have shrunk, and what lies before its end still comes") {
  on_every_disk({2 * kMebibyte, 100}, [](Loader& loader, const KnownFiles& known) {
    const uint64_t block = known.files().block_bytes();
    for (const uint64_t left : {kMebibyte + 5000, kMebibyte + kBlock, uint64_t{1}, uint64_t{0}}) {
      std::filesystem::resize_file(known.path(0), left);
      CAPTURE(left);
      const Target behind({0, left, 10}, block), across({0, left > 9 ? left - 10 : 0, 5 * kBlock}, block);
      for (const Target* target : {&behind, &across}) {
        const std::string sentence = failure_of(loader, *loader.begin({target->part()}, Urgency::Now));
        CHECK(contains(sentence, "it has shrunk"));
        CHECK(contains(sentence, known.path(0).string()));
        CHECK(contains(sentence, std::to_string(target->extent.end())));
        CHECK(target->memory.guards_are_whole());
      }
      if (left == 0) continue;
      const Target before({0, 0, left}, block);
      loader.wait(*loader.begin({before.part()}, Urgency::Now));
      CHECK(before.has_come(block));
    }
    // For the next disk: the file is as it was.
    std::string bytes(2 * kMebibyte, '\0');
    for (uint64_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(known_byte(0, i));
    std::ofstream(known.path(0), std::ios::binary | std::ios::in)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  });
}

TEST_CASE("many threads load, wait, hasten and give up at once") {
  const std::vector<uint64_t> sizes = {3 * kMebibyte + 17, 300000};
  on_every_disk(sizes, [&](Loader& loader, const KnownFiles& known) {
    const uint64_t block = known.files().block_bytes();
    std::atomic<size_t> n_wrong = 0, n_given_up = 0, n_come = 0;
    std::vector<std::thread> threads;
    for (uint64_t seed = 0; seed < 6; ++seed) {
      threads.emplace_back([&, seed] {
        Dice dice(seed);
        for (int round = 0; round < 25; ++round) {
          std::deque<Target> targets;
          std::vector<std::vector<LoadPart>> loads;
          for (uint64_t n = dice.between(1, 6); n > 0; --n) {
            const auto file = static_cast<uint32_t>(dice.below(2));
            const uint64_t offset = dice.below(sizes[file]);
            const uint64_t most = dice.chance(10) ? kMebibyte + 9000 : 3 * kBlock;
            targets.emplace_back(Extent{file, offset, std::min(dice.between(1, most), sizes[file] - offset)}, block);
            loads.push_back({targets.back().part()});
          }
          const auto begun = loader.begin(loads, static_cast<Urgency>(dice.below(3)));
          for (size_t i = 0; i < begun.size(); ++i) {
            if (dice.chance(30)) loader.hasten(*begun[i], static_cast<Urgency>(dice.below(3)));
            if (dice.chance(20) && loader.cancel(*begun[i])) {
              ++n_given_up;
              n_wrong += targets[i].memory.is_untouched() ? 0 : 1;
              continue;
            }
            loader.wait(*begun[i]);
            ++n_come;
            n_wrong += targets[i].has_come(block) ? 0 : 1;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(n_wrong == 0);
    CHECK(n_come > 0);
    CHECK(loader.counts().n_cancelled == n_given_up);
  });
}

}  // namespace sluice::tests
