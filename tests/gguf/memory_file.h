// A file in memory with a path, for tests that rewrite one thousands of times: some file systems push a file to the
// disk whenever it is rewritten.
#pragma once

#include <filesystem>
#include <string>

namespace sluice::gguf::testing {

class MemoryFile {
 public:
  MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  // Replaces the contents. No File may have it open.
  void assign(const std::string& bytes);
  std::filesystem::path path() const;

 private:
  int descriptor_ = -1;
};

}  // namespace sluice::gguf::testing
