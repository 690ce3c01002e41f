// The writer fails clean: no half-written file stands under the target's name, nor any temporary one beside it.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <stdexcept>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

static size_t count_files(const TestFolder& folder) {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++n;
  return n;
}

static std::string refusal_of(const Writer& writer, const std::filesystem::path& path) {
  try {
    writer.write(path);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

static Writer::DataSource zeros(size_t bytes) {
  return [data = std::vector<std::byte>(bytes)] { return std::span<const std::byte>(data); };
}

TEST_CASE("The target is replaced only by a whole file") {
  TestFolder folder;
  write_file(folder / "m.gguf", "the old file");
  Writer writer;
  writer.add_tensor("good", TensorType::F32, {8}, zeros(32));
  writer.add_tensor("bad", TensorType::F32, {8}, zeros(31));
  std::string message = refusal_of(writer, folder / "m.gguf");
  CHECK(message ==
        (folder / "m.gguf").string() + ": The tensor 'bad' was given 31 bytes of data, but its shape has 32.");
  CHECK(read_file(folder / "m.gguf") == "the old file");
  CHECK(count_files(folder) == 1);

  Writer second;
  second.add_tensor("good", TensorType::F32, {8}, zeros(32));
  CHECK(refusal_of(second, folder / "m.gguf") == "");
  CHECK(File::open(folder / "m.gguf").tensors().size() == 1);
  CHECK(count_files(folder) == 1);
}

TEST_CASE("A tensor that comes in pieces is written whole, and refused when the pieces are not its bytes") {
  TestFolder folder;
  const std::vector<std::byte> data(64, std::byte{7});
  const auto in_pieces_of = [&](size_t bytes, uint64_t last) {
    return [&data, bytes, last](uint64_t offset) {
      return offset < last ? std::span(data).subspan(offset, bytes) : std::span<const std::byte>();
    };
  };
  Writer writer;
  writer.add_tensor_in_pieces("w", TensorType::I8, {64}, in_pieces_of(16, 64));
  writer.write(folder / "m.gguf");
  const File file = File::open(folder / "m.gguf");
  CHECK(std::ranges::equal(std::span(file.tensors()[0].data, 64), data));

  Writer short_one;
  short_one.add_tensor_in_pieces("w", TensorType::I8, {64}, in_pieces_of(16, 48));
  CHECK(refusal_of(short_one, folder / "n.gguf").find("was given 48 bytes of data, but its shape has 64.") !=
        std::string::npos);
  Writer long_one;
  long_one.add_tensor_in_pieces("w", TensorType::I8, {63}, in_pieces_of(16, 64));
  CHECK(refusal_of(long_one, folder / "n.gguf").find("was given 64 bytes of data, but its shape has 63.") !=
        std::string::npos);
  CHECK_THROWS_AS(short_one.add_tensor_in_pieces("x", TensorType::I8, {64}, {}), Error);
  CHECK(count_files(folder) == 1);
}

TEST_CASE("A hole has its size and reads as zeros between tensors that are written") {
  TestFolder folder;
  const std::vector<std::byte> data(44, std::byte{7});
  const auto sevens = [&] { return std::span<const std::byte>(data); };
  Writer writer;
  writer.add_hole("first", TensorType::F32, {1 << 20, 3});
  writer.add_tensor("written", TensorType::F32, {11}, sevens);
  writer.add_hole("odd", TensorType::F32, {11});
  writer.add_tensor("last", TensorType::F32, {11}, sevens);
  writer.write(folder / "m.gguf");
  const File file = File::open(folder / "m.gguf");
  const auto count = [&](const char* name, int value) {
    const Tensor& tensor = *file.find_tensor(name);
    const std::span bytes(tensor.data, tensor.bytes);
    return std::ranges::count(bytes, static_cast<std::byte>(value));
  };
  CHECK(count("first", 0) == 12 << 20);
  CHECK(count("written", 7) == 44);
  CHECK(count("odd", 0) == 44);
  CHECK(count("last", 7) == 44);

  Writer nothing;
  nothing.add_hole("only", TensorType::F32, {11});
  nothing.write(folder / "m.gguf");
  CHECK(File::open(folder / "m.gguf").find_tensor("only")->bytes == 44);
  CHECK(std::filesystem::file_size(folder / "m.gguf") % 32 == 0);

  Writer too_large;
  too_large.add_hole("one", TensorType::I8, {uint64_t{1} << 62});
  too_large.add_hole("two", TensorType::I8, {uint64_t{1} << 62});
  CHECK(refusal_of(too_large, folder / "n.gguf").find("File too large") != std::string::npos);
  CHECK(count_files(folder) == 1);
}

TEST_CASE("A data source that throws leaves nothing behind") {
  TestFolder folder;
  Writer writer;
  writer.add_tensor("w", TensorType::F32, {8},
                    []() -> std::span<const std::byte> { throw std::runtime_error("no data"); });
  CHECK_THROWS_WITH_AS(writer.write(folder / "m.gguf"), "no data", std::runtime_error);
  CHECK(count_files(folder) == 0);
}

TEST_CASE("Data are asked for one tensor at a time, in order, and only when writing") {
  TestFolder folder;
  std::string order;
  std::vector<std::byte> only_buffer(32);
  Writer writer;
  for (char name : {'a', 'b', 'c'})
    writer.add_tensor(std::string(1, name), TensorType::I8, {32}, [&, name] {
      order += name;
      std::fill(only_buffer.begin(), only_buffer.end(), static_cast<std::byte>(name));
      return std::span<const std::byte>(only_buffer);
    });
  CHECK(order == "");
  writer.write(folder / "m.gguf");
  CHECK(order == "abc");
  File file = File::open(folder / "m.gguf");
  for (const Tensor& tensor : file.tensors()) CHECK(static_cast<char>(tensor.data[31]) == tensor.name[0]);
}

TEST_CASE("A disk that takes no more gives a whole sentence and leaves nothing behind") {
  TestFolder folder;
  Writer writer;
  writer.add_tensor("w", TensorType::I8, {1 << 20}, zeros(1 << 20));
  CHECK(
      refusal_of(writer, folder / "no folder/m.gguf").find("The file cannot be created: No such file or directory.") !=
      std::string::npos);
  std::filesystem::create_directory(folder / "taken.gguf");
  CHECK(refusal_of(writer, folder / "taken.gguf").find("The finished file cannot be given its name: Is a directory.") !=
        std::string::npos);
  std::filesystem::remove(folder / "taken.gguf");

  // A limit on the size of files stands in for a full disk.
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1 << 16;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message = refusal_of(writer, folder / "m.gguf");
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  ::signal(SIGXFSZ, old_handler);
  CHECK(message == (folder / "m.gguf").string() + ": Writing failed: File too large. Check the folder and the disk.");
  CHECK(count_files(folder) == 0);
}

TEST_CASE("What cannot be read back cannot be written") {
  TestFolder folder;
  Writer writer;
  CHECK_THROWS_AS(writer.add_tensor("", TensorType::F32, {8}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor(std::string(1025, 'x'), TensorType::F32, {8}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", TensorType::F32, {}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", TensorType::F32, {1, 1, 1, 1, 8}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", TensorType::F32, {8, 0}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", TensorType::Q4_K, {128, 2}, zeros(144)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", TensorType::F32, {uint64_t{1} << 62}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", static_cast<TensorType>(4), {32}, zeros(32)), Error);
  CHECK_THROWS_AS(writer.add_tensor("w", TensorType::F32, {8}, nullptr), Error);
  CHECK(refusal_of(writer, folder / "empty.gguf") == "");

  Writer twice;
  twice.add_tensor("w", TensorType::F32, {8}, zeros(32));
  twice.add_tensor("w", TensorType::F32, {8}, zeros(32));
  CHECK(refusal_of(twice, folder / "m.gguf").find("The tensor 'w' was added twice.") != std::string::npos);

  Writer misaligned;
  misaligned.metadata().set("general.alignment", make_uint32(24));
  CHECK(refusal_of(misaligned, folder / "m.gguf").find("(general.alignment) is 24, but must be") != std::string::npos);

  Writer nameless;
  nameless.metadata().set("", make_uint32(1));
  CHECK(refusal_of(nameless, folder / "m.gguf").find("has a name of 0 bytes") != std::string::npos);

  Writer mistyped;
  mistyped.metadata().set("key", {ValueType::Uint8, uint64_t{256}});
  CHECK(refusal_of(mistyped, folder / "m.gguf")
            .find("The metadata key 'key' cannot be written: the number 256 does not fit the type uint8.") !=
        std::string::npos);
  CHECK(count_files(folder) == 1);
}

}  // namespace sluice::gguf::testing
