// Models in several files, opened from any of them.
#include <doctest/doctest.h>

#include <cstring>

#include "gguf/file.h"
#include "tests/gguf/shard_maker.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

static void write_three_shards(const TestFolder& folder) {
  // As splitters make them: the first may hold metadata alone.
  write_file(shard_path(folder / "model", 0, 3),
             ShardMaker{.number = 0, .count = 3, .n_tensors = 3, .tensors = {}, .architecture = "llama"}.make());
  write_file(shard_path(folder / "model", 1, 3),
             ShardMaker{.number = 1, .count = 3, .n_tensors = 3, .tensors = {"b", "a"}}.make());
  write_file(shard_path(folder / "model", 2, 3),
             ShardMaker{.number = 2, .count = 3, .n_tensors = 3, .tensors = {"c"}}.make());
}

TEST_CASE("A shard's name counts from one with five digits") {
  CHECK(shard_path("dir/model", 0, 3) == "dir/model-00001-of-00003.gguf");
  CHECK(shard_path("m", 11, 12345) == "m-00012-of-12345.gguf");
}

TEST_CASE("A model opens from any of its shards, and a first shard without tensors is fine") {
  TestFolder folder;
  write_three_shards(folder);
  for (uint32_t opened = 0; opened < 3; ++opened) {
    for (Mapping mapping : {Mapping::Map, Mapping::DirectoryOnly}) {
      CAPTURE(opened);
      File file = File::open(shard_path(folder / "model", opened, 3), mapping);
      REQUIRE(file.shards().size() == 3);
      for (uint32_t i = 0; i < 3; ++i) CHECK(file.shards()[i].path == shard_path(folder / "model", i, 3));
      CHECK(file.metadata().get_string("general.architecture") == "llama");
      REQUIRE(file.tensors().size() == 3);
      CHECK(file.tensors()[0].name == "b");
      CHECK(file.tensors()[1].name == "a");
      CHECK(file.tensors()[2].name == "c");
      CHECK(file.tensors()[1].shard == 1);
      CHECK(file.tensors()[2].shard == 2);
      REQUIRE(file.find_tensor("c") == &file.tensors()[2]);
      for (const Tensor& tensor : file.tensors()) {
        std::string bytes = read_file(file.shards()[tensor.shard].path).substr(tensor.file_offset, tensor.bytes);
        REQUIRE(bytes.size() == 32);
        if (mapping == Mapping::Map)
          CHECK(std::memcmp(tensor.data, bytes.data(), bytes.size()) == 0);
        else
          CHECK(tensor.data == nullptr);
      }
    }
  }
}

TEST_CASE("Shards open from a relative path in the current folder") {
  TestFolder folder;
  write_three_shards(folder);
  std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  std::string message = refusal_of("model-00002-of-00003.gguf");
  std::filesystem::current_path(before);
  CHECK(message == "");
}

TEST_CASE("A message about a missing shard begins with the opened path and names the missing one") {
  TestFolder folder;
  write_three_shards(folder);
  std::filesystem::remove(shard_path(folder / "model", 1, 3));
  CHECK(refusal_of(shard_path(folder / "model", 2, 3)) ==
        shard_path(folder / "model", 2, 3).string() + ": Shard 2 of 3 is missing: there is no " +
            shard_path(folder / "model", 1, 3).string() + ". Download it into the same folder.");
}

TEST_CASE("A file that says it is the only one, or merged from shards, opens by itself under any name") {
  TestFolder folder;
  for (int count : {0, 1}) {
    write_file(folder / "merged.gguf",
               ShardMaker{.number = 0, .count = count, .n_tensors = 2, .tensors = {"a", "b"}}.make());
    CHECK(File::open(folder / "merged.gguf").tensors().size() == 2);
  }
  write_file(folder / "m-00001-of-00001.gguf",
             ShardMaker{.number = 0, .count = 1, .n_tensors = 1, .tensors = {"a"}}.make());
  CHECK(File::open(folder / "m-00001-of-00001.gguf").tensors().size() == 1);
  write_file(folder / "m-00001-of-00003.gguf",
             ShardMaker{.number = {}, .count = {}, .n_tensors = {}, .tensors = {"a"}}.make());
  CHECK(File::open(folder / "m-00001-of-00003.gguf").shards().size() == 1);
}

TEST_CASE("Shards that do not give the total of tensors are accepted") {
  TestFolder folder;
  write_file(folder / "m-00001-of-00002.gguf",
             ShardMaker{.number = 0, .count = 2, .n_tensors = {}, .tensors = {"a"}}.make());
  write_file(folder / "m-00002-of-00002.gguf",
             ShardMaker{.number = 1, .count = 2, .n_tensors = {}, .tensors = {"b"}}.make());
  CHECK(File::open(folder / "m-00002-of-00002.gguf").tensors().size() == 2);
}

}  // namespace sluice::gguf::testing
