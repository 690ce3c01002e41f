#include "tests/gguf/test_folder.h"

#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace sluice::gguf::testing {

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "sluice-gguf-XXXXXX").string();
  if (!::mkdtemp(name.data())) throw std::runtime_error("no folder for the tests: " + name);
  path_ = name;
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string refusal_of(const std::filesystem::path& path, Mapping mapping) {
  try {
    File::open(path, mapping);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace sluice::gguf::testing
