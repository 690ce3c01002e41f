#include "tests/gguf/test_folder.h"

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace sluice::gguf::testing {

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
