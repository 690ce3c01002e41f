// Every broken file is refused with its own message, and none allocates what it claims.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "gguf/file.h"
#include "tests/gguf/hostile_files.h"
#include "tests/gguf/raw_gguf.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

TEST_CASE("Every broken file is refused with the message that fits it, mapped or not") {
  TestFolder folder;
  std::set<std::string> names;
  for (const HostileFile& hostile : hostile_files()) {
    CAPTURE(hostile.name);
    CHECK(names.insert(hostile.name).second);
    std::filesystem::path path = write_hostile_file(folder.path(), hostile);
    for (Mapping mapping : {Mapping::Map, Mapping::DirectoryOnly}) {
      std::string message = refusal_of(path, mapping);
      CAPTURE(message);
      CHECK(message.starts_with(path.parent_path().string()));  // a shard's message may name another shard
      CHECK(message.find(".gguf: ") != std::string::npos);
      CHECK(message.ends_with("."));
      CHECK_MESSAGE(message.find(hostile.message) != std::string::npos, hostile.message);
    }
  }
  CHECK(names.size() >= 45);
}

TEST_CASE("A path that is no regular file is refused by what it is") {
  TestFolder folder;
  CHECK(refusal_of(folder / "none.gguf") ==
        (folder / "none.gguf").string() + ": No such file. Check the path, or download the model first.");
  CHECK(refusal_of(folder.path()).find("This is a directory, not a model file.") != std::string::npos);
  write_file(folder / "file", "");
  CHECK(refusal_of(folder / "file/model.gguf").find("No such file.") != std::string::npos);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(refusal_of(folder / "pipe").find("This is a device, a pipe or a socket") != std::string::npos);
  CHECK(refusal_of("/dev/zero").find("This is a device, a pipe or a socket") != std::string::npos);
}

TEST_CASE("A file that may not be read is refused for that reason") {
  TestFolder folder;
  write_file(folder / "secret.gguf", RawGguf(0, 0));
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  REQUIRE(::chmod((folder / "secret.gguf").c_str(), 0) == 0);
  // The superuser may read everything, so it becomes somebody else meanwhile.
  const bool is_superuser = ::geteuid() == 0;
  if (is_superuser) REQUIRE(::seteuid(65534) == 0);
  std::string message = refusal_of(folder / "secret.gguf");
  if (is_superuser) REQUIRE(::seteuid(0) == 0);
  CHECK(message.find("No permission to read this file.") != std::string::npos);
}

// The file keeps its beginning and claims `bytes` bytes, of which the disk stores none.
static void extend_sparsely(const std::filesystem::path& path, uint64_t bytes) {
  REQUIRE(::truncate(path.c_str(), static_cast<off_t>(bytes)) == 0);
}

TEST_CASE("Counts that a large file could hold are refused before memory is taken for them") {
  TestFolder folder;
  const uint64_t bytes = uint64_t{130} << 30;
  const uint64_t many = uint64_t{1} << 33;
  struct Case {
    ValueType element;
    uint64_t count;
  };
  for (Case c : {Case{ValueType::Uint8, many},
                 {ValueType::String, many},
                 {ValueType::Array, many},
                 {ValueType::Uint8, 80 << 20}}) {
    write_file(folder / "large.gguf",
               RawGguf(0, 1).key("a", ValueType::Array).u32(static_cast<uint32_t>(c.element)).u64(c.count));
    extend_sparsely(folder / "large.gguf", bytes);
    CHECK(refusal_of(folder / "large.gguf", Mapping::DirectoryOnly).find("take more than the 512 MiB of memory") !=
          std::string::npos);
  }
  write_file(folder / "large.gguf", RawGguf(0, 1).key("a", ValueType::String).u64(many));
  extend_sparsely(folder / "large.gguf", bytes);
  CHECK(refusal_of(folder / "large.gguf", Mapping::DirectoryOnly)
            .find("A string in the metadata key 'a' has 8589934592 bytes") != std::string::npos);
}

TEST_CASE("The directory of a file of 130 GB is read without its data") {
  TestFolder folder;
  const uint64_t values = uint64_t{1} << 35;
  write_file(folder / "large.gguf", RawGguf(1, 0).tensor("w", {values}, TensorType::F32, 0).data(0));
  uint64_t bytes = 64 + 4 * values;
  extend_sparsely(folder / "large.gguf", bytes);
  File file = File::open(folder / "large.gguf", Mapping::DirectoryOnly);
  REQUIRE(file.tensors().size() == 1);
  CHECK(file.tensors()[0].bytes == 4 * values);
  CHECK(file.tensors()[0].data == nullptr);
  CHECK(file.shards()[0].file_bytes == bytes);

  extend_sparsely(folder / "large.gguf", bytes - 1);
  CHECK(refusal_of(folder / "large.gguf", Mapping::DirectoryOnly)
            .find("the file has 137438953535 bytes, but its tensors need 137438953536.") != std::string::npos);
}

}  // namespace sluice::gguf::testing
