// A regular file opened for reading, and its read-only memory mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace sluice::gguf {

// Owns the descriptor. Movable, not copyable.
class InputFile {
 public:
  // Throws Error when the path is missing, forbidden, a directory or anything else that is not a regular file.
  explicit InputFile(const std::filesystem::path& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;
  ~InputFile();

  const std::filesystem::path& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }

  // Reads up to buffer.size() bytes from `offset` and returns how many; fewer only at the end of the file. Throws
  // Error.
  size_t read_at(uint64_t offset, std::span<std::byte> buffer) const;

 private:
  friend class FileMapping;
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
};

// The whole of a file in memory, read-only. It outlives the InputFile it was made from. Movable, not copyable.
class FileMapping {
 public:
  explicit FileMapping(const InputFile& file);
  FileMapping(FileMapping&& other) noexcept;
  FileMapping& operator=(FileMapping&&) = delete;
  ~FileMapping();

  const std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace sluice::gguf
