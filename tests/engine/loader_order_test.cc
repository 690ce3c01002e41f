// What the loader reads first, what it gives up, and how it ends: on a disk where a read is done when the test says so.

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "engine/error.h"
#include "engine/store/loader.h"
#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::Error;
using engine::Extent;
using engine::Load;
using engine::Loader;
using engine::LoadPart;
using engine::Urgency;

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kMebibyte = uint64_t{1} << 20;

// A loader on a disk of so many reads at a time, and loads of single blocks that are no neighbours: load i reads block 2 i.
struct Scene {
  KnownFiles known{{64 * kMebibyte / 16}};
  std::shared_ptr<DiskScript> script;
  std::deque<Target> targets;
  std::vector<std::shared_ptr<Load>> loads;
  std::unique_ptr<Loader> loader;  // ends before its memory

  explicit Scene(unsigned depth = 1)
      : script(std::make_shared<DiskScript>(depth)),
        loader(std::make_unique<Loader>(known.files(), std::make_unique<ScriptedDisk>(script))) {}

  size_t begin(Urgency urgency) { return begin(Extent{0, 2 * kBlock * loads.size(), kBlock}, urgency); }
  size_t begin(const Extent& extent, Urgency urgency) {
    targets.emplace_back(extent);
    loads.push_back(loader->begin({targets.back().part()}, urgency));
    return loads.size() - 1;
  }
  // Several loads in one call.
  void begin_together(const std::vector<Extent>& extents, Urgency urgency) {
    std::vector<std::vector<LoadPart>> parts;
    for (const Extent& extent : extents) {
      targets.emplace_back(extent);
      parts.push_back({targets.back().part()});
    }
    for (auto& load : loader->begin(parts, urgency)) loads.push_back(std::move(load));
  }
  // Keeps the disk at work, so that what comes after has to queue. The first read.
  void occupy() {
    begin(Extent{0, 3 * kMebibyte, kBlock}, Urgency::Now);
    script->started(1);
  }
  // Serves reads from the n-th on until the disk has started so many; the offsets in blocks of those.
  std::vector<uint64_t> serve_all(size_t from, size_t n_reads) {
    std::vector<uint64_t> blocks;
    for (size_t n = from; n <= n_reads; ++n) {
      blocks.push_back(script->started(n).offset / kBlock);
      script->serve(n);
    }
    return blocks;
  }
  ~Scene() {  // so that a failing test ends: everything that is begun is answered
    std::jthread answering([this](const std::stop_token& stop) {
      for (size_t n = n_answered + 1; !stop.stop_requested();) {
        if (script->n_started() < n) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          continue;
        }
        script->finish(n++, -EIO);
      }
    });
    loader.reset();
  }
  size_t n_answered = 0;  // by the test
};

using Blocks = std::vector<uint64_t>;

}  // namespace

TEST_CASE("what is urgent is read before what was asked for earlier, and equals in their order") {
  Scene scene;
  scene.occupy();
  const Urgency urgencies[] = {Urgency::Guess, Urgency::Soon, Urgency::Now,
                               Urgency::Guess, Urgency::Now,  Urgency::Soon};
  for (const Urgency urgency : urgencies) scene.begin(urgency);
  scene.script->serve(1);
  CHECK(scene.serve_all(2, 7) == Blocks{6, 10, 4, 12, 2, 8});
  scene.n_answered = 7;
  for (size_t i = 0; i < scene.loads.size(); ++i) {
    scene.loader->wait(*scene.loads[i]);
    CHECK(scene.targets[i].has_come());
  }
}

TEST_CASE("a large load is cut, so that what is urgent does not wait for all of it") {
  Scene scene;
  scene.begin(Extent{0, 100, 3 * kMebibyte}, Urgency::Guess);
  scene.script->started(1);
  scene.begin(Extent{0, 3 * kMebibyte + 500000, 10}, Urgency::Now);
  CHECK(scene.serve_all(1, 5) == Blocks{0, 890, 256, 512, 768});
  scene.n_answered = 5;
  for (size_t i = 0; i < scene.loads.size(); ++i) {
    scene.loader->wait(*scene.loads[i]);
    CHECK(scene.targets[i].has_come());
  }
}

TEST_CASE("there are never more reads in flight than the disk takes") {
  for (const unsigned depth : {1u, 2u, 5u}) {
    CAPTURE(depth);
    Scene scene(depth);
    for (int i = 0; i < 12; ++i) scene.begin(Urgency::Soon);
    scene.script->started(depth);
    scene.serve_all(1, 12);
    scene.n_answered = 12;
    for (const auto& load : scene.loads) scene.loader->wait(*load);
    CHECK(scene.script->most_in_flight() == depth);
  }
}

TEST_CASE("hastened loads are read before others, and nothing is made to wait by it") {
  struct Case {
    std::string what;
    std::vector<std::pair<size_t, Urgency>> hastened;  // which, and to what
    Blocks order;
  };
  const Urgency begun[] = {Urgency::Guess, Urgency::Guess, Urgency::Soon, Urgency::Now};  // loads 1, 2, 3, 4
  const Case cases[] = {
      {"none", {}, {8, 6, 2, 4}},
      {"the second guess", {{2, Urgency::Now}}, {8, 4, 6, 2}},
      {"a guess to soon", {{2, Urgency::Soon}}, {8, 6, 4, 2}},
      {"both guesses", {{2, Urgency::Now}, {1, Urgency::Now}}, {8, 4, 2, 6}},
      {"in two steps", {{1, Urgency::Soon}, {1, Urgency::Now}}, {8, 2, 6, 4}},
      {"what is urgent already", {{4, Urgency::Guess}, {3, Urgency::Guess}}, {8, 6, 2, 4}},
  };
  for (const Case& test : cases) {
    CAPTURE(test.what);
    Scene scene;
    scene.occupy();
    for (const Urgency urgency : begun) scene.begin(urgency);
    for (const auto& [load, urgency] : test.hastened) scene.loader->hasten(*scene.loads[load], urgency);
    scene.script->serve(1);
    CHECK(scene.serve_all(2, 5) == test.order);
    scene.n_answered = 5;
  }
}

TEST_CASE("a joined read is as urgent as the most urgent of its loads") {
  struct Case {
    std::string what;
    std::vector<std::pair<size_t, Urgency>> hastened;
    Blocks order;
  };
  // Loads 1 and 2 are joined (block 0), load 3 (block 6) and load 4 (block 8) are alone; all are guesses but load 4, which is soon.
  const Case cases[] = {
      {"none", {}, {8, 0, 6}},
      {"the first", {{1, Urgency::Now}}, {0, 8, 6}},
      {"the second", {{2, Urgency::Now}}, {0, 8, 6}},
      {"both", {{1, Urgency::Now}, {2, Urgency::Now}}, {0, 8, 6}},
      {"one after the other", {{1, Urgency::Soon}, {4, Urgency::Now}, {3, Urgency::Now}, {2, Urgency::Now}}, {8, 6, 0}},
      {"the second later, to more", {{1, Urgency::Soon}, {2, Urgency::Now}}, {0, 8, 6}},
      {"the second later, to less", {{1, Urgency::Now}, {2, Urgency::Soon}}, {0, 8, 6}},
  };
  for (const Case& test : cases) {
    CAPTURE(test.what);
    Scene scene;
    scene.occupy();
    scene.begin_together({{0, 10, 100}, {0, 110, 100}}, Urgency::Guess);
    scene.begin(Urgency::Guess);
    scene.begin(Urgency::Soon);
    for (const auto& [load, urgency] : test.hastened) scene.loader->hasten(*scene.loads[load], urgency);
    scene.script->serve(1);
    CHECK(scene.serve_all(2, 4) == test.order);
    scene.n_answered = 4;
  }
}

TEST_CASE("the rest of a short read is as urgent as its loads are by then") {
  for (const size_t hastened : {1u, 2u}) {  // of two joined guesses
    CAPTURE(hastened);
    Scene scene;
    scene.occupy();
    scene.begin_together({{0, 0, 2 * kBlock}, {0, 2 * kBlock, 2 * kBlock}}, Urgency::Guess);
    scene.loader->hasten(*scene.loads[hastened], Urgency::Now);
    scene.script->serve(1);
    scene.script->started(2);
    scene.begin(Extent{0, 100 * kBlock, 10}, Urgency::Soon);
    scene.begin(Extent{0, 200 * kBlock, 10}, Urgency::Now);
    scene.script->serve(2, kBlock);
    CHECK(scene.serve_all(3, 5) == Blocks{1, 200, 100});
    scene.n_answered = 5;
    for (const auto& load : scene.loads) scene.loader->wait(*load);
    for (const Target& target : scene.targets) CHECK(target.has_come());
  }
}

TEST_CASE("a load is given up unless something of it is on its way") {
  Scene scene;
  const size_t in_flight = scene.begin(Extent{0, 0, 2 * kMebibyte}, Urgency::Guess);  // the second half of it is queued
  scene.script->started(1);
  const size_t queued = scene.begin(Extent{0, 3 * kMebibyte, 100}, Urgency::Guess);
  const size_t kept = scene.begin(Extent{0, 2 * kMebibyte + 50000, 2 * kBlock}, Urgency::Soon);
  CHECK(!scene.loader->cancel(*scene.loads[in_flight]));
  CHECK(scene.loader->cancel(*scene.loads[queued]));
  CHECK(scene.loader->is_done(*scene.loads[queued]));
  CHECK(scene.loader->has_failed(*scene.loads[queued]));
  CHECK_THROWS_AS(scene.loader->wait(*scene.loads[queued]), Error);
  CHECK(!scene.loader->cancel(*scene.loads[queued]));
  scene.serve_all(1, 3);
  scene.n_answered = 3;
  scene.loader->wait(*scene.loads[in_flight]);
  scene.loader->wait(*scene.loads[kept]);
  CHECK(scene.targets[in_flight].has_come());
  CHECK(scene.targets[kept].has_come());
  CHECK(!scene.loader->cancel(*scene.loads[kept]));
  CHECK(!scene.loader->has_failed(*scene.loads[kept]));
  CHECK(scene.targets[queued].memory.is_untouched());
  CHECK(scene.script->n_started() == 3);
  CHECK(scene.loader->counts().n_cancelled == 1);
}

TEST_CASE("a load whose bytes come with a neighbour's is not given up, and both come") {
  Scene scene;
  scene.occupy();
  scene.begin_together({{0, 0, 5000}, {0, 5000, 5000}}, Urgency::Guess);
  CHECK(!scene.loader->cancel(*scene.loads[1]));
  CHECK(!scene.loader->cancel(*scene.loads[2]));
  scene.serve_all(1, 2);
  scene.n_answered = 2;
  for (const auto& load : scene.loads) scene.loader->wait(*load);
  for (const Target& target : scene.targets) CHECK(target.has_come());
}

TEST_CASE("who waits for a load that another thread gives up is told") {
  Scene scene;
  scene.occupy();
  const size_t given_up = scene.begin(Urgency::Guess);
  std::atomic<bool> is_told = false;
  std::thread waiting([&] {
    scene.loader->settle(*scene.loads[given_up]);
    is_told = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // until it waits
  CHECK(scene.loader->cancel(*scene.loads[given_up]));
  for (int i = 0; i < 1000 && !is_told; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(is_told);
  scene.script->serve(1);  // whoever waits is woken by this at the latest
  scene.n_answered = 1;
  waiting.join();
}

TEST_CASE("a loader that ends waits for what is in flight and starts nothing more") {
  for (const unsigned depth : {1u, 3u}) {
    CAPTURE(depth);
    const KnownFiles known({kMebibyte});
    const auto script = std::make_shared<DiskScript>(depth);
    std::deque<Target> targets;
    auto loader = std::make_unique<Loader>(known.files(), std::make_unique<ScriptedDisk>(script));
    for (uint64_t i = 0; i < 6; ++i) {
      targets.emplace_back(Extent{0, 2 * i * kBlock, kBlock});
      loader->begin({targets.back().part()}, Urgency::Soon);
    }
    script->started(depth);
    std::atomic<bool> has_ended = false;
    std::thread ending([&] {
      loader.reset();
      has_ended = true;
    });
    for (unsigned n = 1; n <= depth; ++n) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      CHECK(!has_ended);
      script->serve(n);
    }
    ending.join();
    CHECK(script->n_started() == depth);
    for (size_t i = 0; i < targets.size(); ++i) {
      CAPTURE(i);
      CHECK((i < depth ? targets[i].has_come() : targets[i].memory.is_untouched()));
    }
  }
}

TEST_CASE("a loader that has nothing to do, and one that has just begun, end at once") {
  const KnownFiles known({kMebibyte});
  for (int i = 0; i < 50; ++i) {
    for (const auto make : {engine::make_uring_disk, engine::make_pread_disk}) {
      auto disk = make(known.files());
      if (!disk) continue;
      Target target({0, 4000, 500000});
      Loader loader(known.files(), std::move(disk));
      if (i % 2 == 0) loader.begin({target.part()}, Urgency::Soon);
    }
  }
}

}  // namespace sluice::tests
