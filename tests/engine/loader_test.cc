// The loader brings the right bytes to the right places, whatever the disk does. loader_order_test.cc has what comes first.

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
using engine::DiskRead;
using engine::Error;
using engine::Extent;
using engine::Load;
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

// The sentence of what wait() throws; empty when all is well.
std::string failure_of(Loader& loader, Load& load) {
  try {
    loader.wait(load);
  } catch (const Error& error) {
    CHECK(error.kind() == Error::Kind::BadFile);
    return error.what();
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

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

TEST_CASE("neighbours in a file are joined into one read, and the block that they share reaches both") {
  struct Case {
    std::string what;
    std::vector<Extent> extents;
    size_t n_reads;
  };
  const Case cases[] = {
      {"they meet at a block's edge", {{0, 0, kBlock}, {0, kBlock, kBlock}}, 1},
      {"they meet inside a block", {{0, 100, kBlock}, {0, kBlock + 100, kBlock}}, 1},
      {"the second lies in the shared block", {{0, 100, kBlock}, {0, kBlock + 100, 50}}, 1},
      {"five lie in one block", {{0, 7, 3}, {0, 10, 100}, {0, 110, 1}, {0, 2000, 90}, {0, 4000, 96}}, 1},
      {"they come in another order", {{0, 2 * kBlock + 5, 9}, {0, 5, kBlock}, {0, kBlock + 5, kBlock}}, 1},
      {"a gap inside a block", {{0, 0, 10}, {0, 4000, 5000}}, 1},
      {"the same twice", {{0, 10, 5000}, {0, 10, 5000}}, 2},
      {"the same twice in a block", {{0, 10, 500}, {0, 10, 500}}, 1},
      {"a block lies between them", {{0, 0, kBlock}, {0, 2 * kBlock, kBlock}}, 2},
      {"two files", {{0, 0, kBlock}, {1, kBlock, kBlock}}, 2},
      {"more than a piece together", {{0, 0, kMebibyte}, {0, kMebibyte, kBlock}}, 2},
      {"a piece together", {{0, 0, kMebibyte - kBlock}, {0, kMebibyte - kBlock, kBlock}}, 1},
  };
  const KnownFiles known({2 * kMebibyte, 2 * kMebibyte});
  for (const Case& test : cases) {
    for (const bool is_one_load : {false, true}) {
      CAPTURE(test.what);
      CAPTURE(is_one_load);
      const auto script = std::make_shared<DiskScript>(1, [](const DiskRead&) { return std::nullopt; });
      Loader loader(known.files(), std::make_unique<ScriptedDisk>(script));
      std::deque<Target> targets;
      std::vector<std::vector<LoadPart>> loads;
      for (const Extent& extent : test.extents) {
        targets.emplace_back(extent);
        if (loads.empty() || !is_one_load) loads.push_back({});
        loads.back().push_back(targets.back().part());
      }
      for (const auto& load : loader.begin(loads, Urgency::Now)) loader.wait(*load);
      for (const Target& target : targets) CHECK(target.has_come());
      CHECK(script->n_started() == test.n_reads);
      CHECK(loader.counts().n_joined == test.extents.size() - test.n_reads);
    }
  }
}

TEST_CASE("a read that comes short, or has to be repeated, goes on where it stopped") {
  struct Case {
    std::string what;
    std::vector<int64_t> results;   // of the reads one after the other; more bytes than are asked for: all
    std::vector<uint64_t> offsets;  // of the reads
  };
  constexpr int64_t kAll = int64_t{1} << 40;
  constexpr uint64_t kFirst = 2 * kBlock;  // where the read begins
  const Case cases[] = {
      {"at once", {kAll}, {kFirst}},
      {"after a block", {kBlock, kAll}, {kFirst, kFirst + kBlock}},
      {"after a block and a half", {kBlock + kBlock / 2, kAll}, {kFirst, kFirst + kBlock}},
      {"block by block",
       {kBlock, kBlock, kBlock, kAll},
       {kFirst, kFirst + kBlock, kFirst + 2 * kBlock, kFirst + 3 * kBlock}},
      {"interrupted", {-EINTR, kAll}, {kFirst, kFirst}},
      {"busy, again and again", {-EAGAIN, -EAGAIN, -EINTR, -EAGAIN, kAll}, {kFirst, kFirst, kFirst, kFirst, kFirst}},
      {"both", {3 * kBlock, -EINTR, kAll}, {kFirst, kFirst + 3 * kBlock, kFirst + 3 * kBlock}},
      {"all that is needed, and not the rest of the block", {7 * kBlock + 150}, {kFirst}},
      {"a byte less than is needed", {7 * kBlock + 149, kAll}, {kFirst, kFirst + 7 * kBlock}},
  };
  // Four neighbours, which are joined, and the edges between them lie inside of blocks.
  const Extent extents[] = {{0, 2 * kBlock + 50, 2 * kBlock},
                            {0, 4 * kBlock + 50, 100},
                            {0, 4 * kBlock + 150, 2 * kBlock},
                            {0, 6 * kBlock + 150, 3 * kBlock}};
  const KnownFiles known({16 * kBlock});
  for (const Case& test : cases) {
    CAPTURE(test.what);
    const auto script = std::make_shared<DiskScript>(4);
    Loader loader(known.files(), std::make_unique<ScriptedDisk>(script));
    std::deque<Target> targets;
    std::vector<std::vector<LoadPart>> loads;
    for (const Extent& extent : extents) {
      targets.emplace_back(extent);
      loads.push_back({targets.back().part()});
    }
    const auto begun = loader.begin(loads, Urgency::Now);
    for (size_t i = 0; i < test.results.size(); ++i) {
      CHECK(script->started(i + 1).offset == test.offsets[i]);
      if (test.results[i] < 0)
        script->finish(i + 1, test.results[i]);
      else
        script->serve(i + 1, static_cast<uint64_t>(test.results[i]));
    }
    for (const auto& load : begun) loader.wait(*load);
    for (const Target& target : targets) CHECK(target.has_come());
    CHECK(script->n_started() == test.results.size());
  }
}

TEST_CASE("a read is not enough before the last byte that any of its loads needs has come") {
  // All in one block, whose order among the pieces is open: whichever comes last, the farthest byte counts.
  for (const bool is_longest_first : {true, false}) {
    CAPTURE(is_longest_first);
    std::vector<Extent> extents = {{0, 0, 3000}, {0, 10, 20}, {0, 100, 50}};
    if (!is_longest_first) std::ranges::reverse(extents);
    const KnownFiles known({2 * kBlock});
    const auto script = std::make_shared<DiskScript>(1);
    Loader loader(known.files(), std::make_unique<ScriptedDisk>(script));
    std::deque<Target> targets;
    std::vector<LoadPart> parts;
    for (const Extent& extent : extents) {
      targets.emplace_back(extent);
      parts.push_back(targets.back().part());
    }
    const auto load = loader.begin(parts, Urgency::Now);
    script->serve(1, 2999);  // the file has shrunk
    CHECK(contains(failure_of(loader, *load), "it has shrunk"));
  }
}

TEST_CASE("a failed read is the failure of its loads and of no other") {
  const KnownFiles known({8 * kMebibyte, kMebibyte});
  const Extent joined[] = {{1, 0, 100}, {1, 100, 100}};
  for (const int error : {EIO, EBADF, ENOMEM}) {
    const auto script = std::make_shared<DiskScript>(8, [&](const DiskRead& read) -> std::optional<int64_t> {
      if (read.file == 1 || read.offset == 2 * kMebibyte) return -error;
      return std::nullopt;
    });
    Loader loader(known.files(), std::make_unique<ScriptedDisk>(script));
    const Target whole({0, 4 * kMebibyte, 2 * kMebibyte}), broken({0, kMebibyte, 3 * kMebibyte}), first(joined[0]),
        second(joined[1]);
    const std::vector<LoadPart> loads[] = {{broken.part()}, {whole.part()}, {first.part()}, {second.part()}};
    const auto begun = loader.begin(loads, Urgency::Soon);
    for (const auto& load : begun) loader.settle(*load);
    const std::string reason = std::generic_category().message(error);
    for (const size_t failed : {0u, 2u, 3u}) {
      CAPTURE(failed);
      CHECK(loader.is_done(*begun[failed]));
      CHECK(loader.has_failed(*begun[failed]));
      for (int times = 0; times < 2; ++times) {
        const std::string sentence = failure_of(loader, *begun[failed]);
        CHECK(contains(sentence, known.path(failed == 0 ? 0 : 1).string()));
        CHECK(contains(sentence, reason));
        CHECK(contains(sentence, failed == 0 ? "at byte 2097152" : "at byte 0"));
      }
    }
    CHECK(!loader.has_failed(*begun[1]));
    loader.wait(*begun[1]);
    CHECK(whole.has_come());
  }
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
