// Reads the head of a file from front to back; never beyond its end, and never more than a buffer ahead.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "gguf/mapping.h"

namespace sluice::gguf {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read and written as they lie in memory");

// It reads through a buffer and not through the mapping: a file that shrinks meanwhile then gives an Error instead of a
// signal, and looking at the head of a file needs no mapping at all.
class Reader {
 public:
  explicit Reader(const InputFile& file);

  const std::filesystem::path& path() const { return file_.path(); }
  uint64_t position() const { return position_; }
  uint64_t remaining() const { return file_.bytes() - position_; }

  // What is being read, for messages: "the metadata key 'general.name'".
  void set_subject(std::string subject) { subject_ = std::move(subject); }
  const std::string& subject() const { return subject_; }

  template <class T>
  T read() {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    if (window_begin_ + sizeof(T) <= window_end_) {
      std::memcpy(&value, window_.data() + window_begin_, sizeof(T));
      window_begin_ += sizeof(T);
      position_ += sizeof(T);
    } else {
      read_bytes(&value, sizeof(T));
    }
    return value;
  }

  // A 64-bit length and that many bytes. `longest` bounds the length beside the end of the file.
  std::string read_string(uint64_t longest);

  void read_bytes(void* destination, size_t bytes);

  // Throws Error unless `count` things of at least `smallest_bytes` each can still follow. Call it before allocating.
  void require(uint64_t count, uint64_t smallest_bytes, const char* noun) const;

 private:
  void fill_window();

  const InputFile& file_;
  uint64_t position_ = 0;  // in the file, of the next byte to hand out
  std::vector<std::byte> window_;
  size_t window_begin_ = 0;  // the next byte to hand out
  size_t window_end_ = 0;
  std::string subject_;
};

}  // namespace sluice::gguf
