// How the loader joins reads, goes on with those that come short, and whose failure a failed one is.

#include <doctest/doctest.h>

#include <cerrno>

#include "engine/error.h"
#include "engine/store/loader.h"
#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::DiskRead;
using engine::Extent;
using engine::Loader;
using engine::LoadPart;
using engine::Urgency;

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kMebibyte = uint64_t{1} << 20;

}  // namespace

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

}  // namespace sluice::tests
