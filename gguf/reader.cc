#include "gguf/reader.h"

#include <algorithm>

#include "gguf/message.h"

namespace sluice::gguf {

static constexpr const char* kDownloadAgain = "The download is incomplete or the file is damaged; download it again.";

Reader::Reader(const InputFile& file)
    : file_(file), window_(static_cast<size_t>(std::min<uint64_t>(file.bytes(), 1 << 18))) {}

void Reader::fill_window() {
  window_begin_ = 0;
  // Not beyond the size the file had when it was opened: all checks go by that size.
  size_t wanted = static_cast<size_t>(std::min<uint64_t>(window_.size(), remaining()));
  window_end_ = file_.read_at(position_, std::span(window_).first(wanted));
  if (window_end_ == 0)
    fail(path(), "The file became shorter while it was read. Wait until its download or copy has finished.");
}

void Reader::read_bytes(void* destination, size_t bytes) {
  if (bytes > remaining())
    fail(path(), "The file ends inside ", subject_, ": ", counted(bytes, "byte"), " should follow byte ", position_,
         ", but the file has ", counted(file_.bytes(), "byte"), " in all. ", kDownloadAgain);
  auto* out = static_cast<std::byte*>(destination);
  while (bytes > 0) {
    if (window_begin_ == window_end_) fill_window();
    size_t n = std::min(bytes, window_end_ - window_begin_);
    std::memcpy(out, window_.data() + window_begin_, n);
    out += n;
    bytes -= n;
    window_begin_ += n;
    position_ += n;
  }
}

std::string Reader::read_string(uint64_t longest) {
  auto length = read<uint64_t>();
  if (length > remaining())
    fail(path(), "The file ends inside ", subject_, ": a string of ", counted(length, "byte"), " should follow byte ",
         position_, ", but only ", counted(remaining(), "byte"), " are left. ", kDownloadAgain);
  if (length > longest)
    fail(path(), "A string in ", subject_, " has ", counted(length, "byte"), ", more than the ", longest,
         " that are allowed there. The file is damaged; download it again.");
  std::string text(static_cast<size_t>(length), '\0');
  if (length <= window_end_ - window_begin_) {
    std::memcpy(text.data(), window_.data() + window_begin_, text.size());
    window_begin_ += text.size();
    position_ += text.size();
  } else {
    read_bytes(text.data(), text.size());
  }
  return text;
}

void Reader::require(uint64_t count, uint64_t smallest_bytes, const char* noun) const {
  if (count <= remaining() / smallest_bytes) return;
  fail(path(), "The file ends inside ", subject_, ": ", counted(count, noun), " of at least ",
       counted(smallest_bytes, "byte"), " each should follow byte ", position_, ", but only ",
       counted(remaining(), "byte"), " are left. ", kDownloadAgain);
}

}  // namespace sluice::gguf
