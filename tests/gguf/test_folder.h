// A folder of its own for each test case, removed at the end.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "gguf/file.h"

namespace sluice::gguf::testing {

class TestFolder {
 public:
  TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  ~TestFolder();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

void write_file(const std::filesystem::path& path, const std::string& bytes);
std::string read_file(const std::filesystem::path& path);

// What gguf::Error says when the file is opened, or an empty string when it opens.
std::string refusal_of(const std::filesystem::path& path, Mapping mapping = Mapping::Map);

// The bytes of a string, for the writer.
std::span<const std::byte> as_bytes(std::string_view text);

}  // namespace sluice::gguf::testing
