// What one run has learned reaches the next one, and a damaged file is no file.

#include "engine/store/heat_map.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <ios>
#include <iterator>
#include <limits>

#include "tests/engine/disk_fixtures.h"
#include "tests/engine/fixtures.h"

namespace sluice::tests {
namespace {

using engine::heat_path;
using engine::read_heat;
using engine::write_heat;

constexpr uint64_t kKey = 0x0123456789abcdef;

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

template <typename T>
void append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// A file with a right check sum, of whatever the header says.
std::string file_of(uint64_t key, uint64_t n_experts, const std::vector<float>& heat) {
  std::string bytes = "SLHEAT01", hashed;
  append(bytes, key);
  append(bytes, n_experts);
  append(hashed, key);
  for (const float uses : heat) {
    append(bytes, uses);
    append(hashed, uses);
  }
  uint64_t check = 0xcbf29ce484222325;
  for (const char byte : hashed) check = (check ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  append(bytes, check);
  return bytes;
}

size_t n_files(const std::filesystem::path& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

// No file of this process may become larger, for as long as it lives.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallFiles() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("heat comes back as it was written, and two models have two files") {
  const ScratchFolder folder;
  for (const size_t n : {0u, 1u, 3u, 58u * 256u}) {
    CAPTURE(n);
    std::vector<float> heat(n);
    for (size_t i = 0; i < n; ++i) heat[i] = static_cast<float>(i % 97) / 7;
    const std::filesystem::path path = heat_path(folder.path() / std::to_string(n) / "deep", kKey);
    write_heat(path, kKey, heat);
    CHECK(read_heat(path, kKey) == heat);
    CHECK(read_heat(path, kKey + 1).empty());
    CHECK(n_files(path.parent_path()) == 1);
  }
  CHECK(heat_path("f", kKey) == std::filesystem::path("f/0123456789abcdef.heat"));
  CHECK(heat_path("f", 1) != heat_path("f", 2));
  CHECK(read_heat(folder.path() / "none", kKey).empty());
  CHECK(read_heat(folder.path(), kKey).empty());
}

TEST_CASE("what a run has learned is mixed half and half with what was known") {
  const ScratchFolder folder;
  const std::filesystem::path path = heat_path(folder.path(), kKey);
  const std::vector<float> first = {1, 0, 0.5f}, second = {0, 2, 0.5f}, mixed = {0.5f, 1, 0.5f},
                           again = {0.25f, 1.5f, 0.5f};
  write_heat(path, kKey, first);
  write_heat(path, kKey, second);
  CHECK(read_heat(path, kKey) == mixed);
  write_heat(path, kKey, second);
  CHECK(read_heat(path, kKey) == again);
  // Of another number of experts, of another model, or damaged: it is replaced.
  const std::vector<float> shorter = {3, 4};
  write_heat(path, kKey, shorter);
  CHECK(read_heat(path, kKey) == shorter);
  write_heat(path, kKey + 1, std::vector<float>{9, 9});
  CHECK(read_heat(path, kKey + 1) == std::vector<float>{9, 9});
  put(path, "rubbish");
  write_heat(path, kKey, shorter);
  CHECK(read_heat(path, kKey) == shorter);
}

TEST_CASE("a file that is cut anywhere, or has a wrong bit anywhere, is not believed") {
  const ScratchFolder folder;
  const std::filesystem::path path = folder.path() / "heat";
  const std::vector<float> heat = {1, 0.25f, 0, 7};
  const std::string whole = file_of(kKey, heat.size(), heat);
  put(path, whole);
  REQUIRE(read_heat(path, kKey) == heat);
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    put(path, whole.substr(0, n));
    CHECK(read_heat(path, kKey).empty());
    for (const int bit : {0, 3, 7}) {
      std::string flipped = whole;
      flipped[n] = static_cast<char>(flipped[n] ^ (1 << bit));
      put(path, flipped);
      CHECK(read_heat(path, kKey).empty());
    }
  }
}

TEST_CASE("numbers that are none, and counts that cannot be, are not believed though the check sum is right") {
  const ScratchFolder folder;
  const std::filesystem::path path = folder.path() / "heat";
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, -0.5f}) {
    CAPTURE(wrong);
    put(path, file_of(kKey, 3, {1, wrong, 2}));
    CHECK(read_heat(path, kKey).empty());
  }
  for (const uint64_t n_experts : {uint64_t{4}, uint64_t{1} << 24, (uint64_t{1} << 24) + 1, uint64_t{1} << 40,
                                   uint64_t{1} << 62, (uint64_t{1} << 62) + 3, ~uint64_t{0}}) {
    CAPTURE(n_experts);
    put(path, file_of(kKey, n_experts, {1, 2, 3}));
    CHECK(read_heat(path, kKey).empty());
  }
  put(path, file_of(kKey, 3, {1, 2, 3}));
  CHECK(read_heat(path, kKey).size() == 3);
}

TEST_CASE("a folder that cannot be written is an error that leaves nothing behind") {
  const ScratchFolder folder;
  put(folder.path() / "file", "");
  const std::vector<float> heat = {1, 2};
  for (const std::filesystem::path& parent : {folder.path() / "file", std::filesystem::path("/proc/sluice")}) {
    CAPTURE(parent.string());
    CHECK_THROWS(write_heat(heat_path(parent, kKey), kKey, heat));
  }
  CHECK(n_files(folder.path()) == 1);
}

TEST_CASE("a disk that is full is an error, and the map that was there stays") {
  // A small one fits in the buffer of a stream and fails when it is closed; a large one fails before.
  for (const size_t n : {100u, 100000u}) {
    CAPTURE(n);
    const ScratchFolder folder;
    const std::filesystem::path path = heat_path(folder.path(), kKey);
    const std::vector<float> heat(n, 0.5f);
    write_heat(path, kKey, heat);
    {
      const SmallFiles limit(64);
      bool has_failed = false;  // nothing may be written meanwhile, and so nothing be said
      try {
        write_heat(path, kKey, heat);
      } catch (const std::exception&) {
        has_failed = true;
      }
      CHECK(has_failed);
    }
    CHECK(read_heat(path, kKey) == heat);
    CHECK(n_files(folder.path()) == 1);
  }
}

TEST_CASE("a model's key is that of its content, whatever the file is called") {
  const ScratchFolder folder;
  const auto key_of = [](const std::filesystem::path& path) {
    const std::filesystem::path paths[] = {path};
    return engine::content_key(gguf::File::open(path), engine::DiskFiles(paths));
  };
  std::vector<uint64_t> keys;
  for (const char* name : kFixtures) keys.push_back(key_of(fixture_path(name)));
  for (size_t i = 0; i < keys.size(); ++i) CHECK(std::ranges::count(keys, keys[i]) == 1);

  const std::filesystem::path copy = folder.path() / "copy.gguf";
  const std::string bytes = bytes_of(fixture_path("llama"));
  put(copy, bytes);
  CHECK(key_of(copy) == key_of(fixture_path("llama")));
  const gguf::File file = gguf::File::open(copy);
  std::string changed = bytes;
  char& middle = changed[file.tensors()[0].file_offset + file.tensors()[0].bytes / 2];
  middle = static_cast<char>(middle ^ 1);
  const std::filesystem::path other = folder.path() / "other.gguf";
  put(other, changed);
  CHECK(key_of(other) != key_of(copy));
}

}  // namespace sluice::tests
