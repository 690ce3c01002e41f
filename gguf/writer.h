// Writes GGUF version 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gguf/error.h"
#include "gguf/metadata.h"
#include "gguf/tensor_type.h"

namespace sluice::gguf {

// Collects metadata and a tensor directory, then streams the file out. The data of a tensor is asked for when its turn
// comes, so a model of any size is written with one tensor in memory. The file appears under its name only when it is
// whole.
class Writer {
 public:
  // Fills or returns the tensor's bytes; the span must stay valid until the next call and have exactly the tensor's
  // size.
  using DataSource = std::function<std::span<const std::byte>()>;
  // The tensor's bytes from `offset` on, as many as the source likes to give at once: at least one, and at most what is
  // missing. The span must stay valid until the next call.
  using PieceSource = std::function<std::span<const std::byte>(uint64_t offset)>;

  Metadata& metadata() { return metadata_; }

  // dims fastest first, 1 to 4 of them, none zero; dims[0] a multiple of the type's block. Throws Error.
  void add_tensor(std::string name, TensorType type, std::vector<uint64_t> dims, DataSource data);
  // The same for a tensor that need not be in memory whole.
  void add_tensor_in_pieces(std::string name, TensorType type, std::vector<uint64_t> dims, PieceSource piece);
  // A tensor of zeros that are never written: a hole, which takes no room where the file system has holes.
  void add_hole(std::string name, TensorType type, std::vector<uint64_t> dims);

  // `general.alignment` in the metadata is obeyed (32 when absent). Throws Error.
  void write(const std::filesystem::path& path) const;

 private:
  struct Entry {
    std::string name;
    TensorType type;
    std::vector<uint64_t> dims;
    uint64_t bytes;
    PieceSource piece;
    bool whole;  // the first piece must be all of it
    bool is_hole() const { return !piece; }
  };
  void add(std::string name, TensorType type, std::vector<uint64_t> dims, PieceSource piece, bool whole);

  Metadata metadata_;
  std::vector<Entry> tensors_;
};

}  // namespace sluice::gguf
