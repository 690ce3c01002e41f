#include "gguf/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "gguf/directory.h"
#include "gguf/limits.h"
#include "gguf/message.h"

namespace sluice::gguf {

namespace {

// A file under a temporary name beside its target. It takes the target's name in finish(); without that it is removed.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& target) : target_(target) {
    static std::atomic<unsigned> serial = 0;
    temporary_ = joined(target.string(), ".", ::getpid(), "-", serial++, ".partial");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) refuse("The file cannot be created", errno);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!finished_ && !temporary_.empty()) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::write(descriptor_, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) refuse("Writing failed", errno);
      bytes = bytes.subspan(static_cast<size_t>(n));
      position_ += static_cast<uint64_t>(n);
    }
  }

  void pad_to(uint64_t alignment) {
    static constexpr std::byte kZeros[4096] = {};
    uint64_t missing = (alignment - position_ % alignment) % alignment;
    for (; missing > 0;) {
      uint64_t n = std::min<uint64_t>(missing, sizeof kZeros);
      write(std::span(kZeros).first(n));
      missing -= n;
    }
  }

  // Makes the file longer by zeros that are not written.
  void skip(uint64_t bytes) {
    const uint64_t end = position_ + bytes;
    if (end > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) refuse("Writing failed", EFBIG);
    const auto offset = static_cast<off_t>(end);
    if (::ftruncate(descriptor_, offset) != 0 || ::lseek(descriptor_, offset, SEEK_SET) < 0)
      refuse("A hole cannot be made", errno);
    position_ = end;
  }

  void skip_to(uint64_t alignment) { skip((alignment - position_ % alignment) % alignment); }

  void finish() {
    // Without this a crash of the machine could leave the new name on a file whose data never reached the disk.
    if (::fsync(descriptor_) != 0) refuse("Writing failed", errno);
    if (::close(std::exchange(descriptor_, -1)) != 0) refuse("Writing failed", errno);
    if (std::rename(temporary_.c_str(), target_.c_str()) != 0)
      refuse("The finished file cannot be given its name", errno);
    finished_ = true;
  }

 private:
  [[noreturn]] void refuse(const char* what, int code) const {
    const char* advice =
        code == ENOSPC || code == EDQUOT ? " Make room on the disk." : " Check the folder and the disk.";
    fail(target_, what, ": ", std::generic_category().message(code), ".", advice);
  }

  std::filesystem::path target_;
  std::string temporary_;
  int descriptor_ = -1;
  uint64_t position_ = 0;
  bool finished_ = false;
};

// Puts the head of the file together in memory; it is a few megabytes at most.
class Head {
 public:
  template <class T>
  void put(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
  }

  void put_string(std::string_view text) {
    put<uint64_t>(text.size());
    const auto* raw = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), raw, raw + text.size());
  }

  void put_value(const Value& value) {
    if (const auto* number = std::get_if<uint64_t>(&value.data)) return put_integer(value.type, *number);
    if (const auto* number = std::get_if<int64_t>(&value.data))
      return put_integer(value.type, static_cast<uint64_t>(*number));
    if (const auto* number = std::get_if<double>(&value.data)) return put_float(value.type, *number);
    if (const auto* truth = std::get_if<bool>(&value.data)) return put<uint8_t>(*truth);
    if (const auto* text = std::get_if<std::string>(&value.data)) return put_string(*text);
    put_array(*std::get<std::shared_ptr<const Array>>(value.data));
  }

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  // The low bytes of a two's complement number are the number in a narrower type that it fits.
  void put_integer(ValueType type, uint64_t value) {
    switch (type) {
      case ValueType::Uint8:
      case ValueType::Int8:
      case ValueType::Bool:
        return put(static_cast<uint8_t>(value));
      case ValueType::Uint16:
      case ValueType::Int16:
        return put(static_cast<uint16_t>(value));
      case ValueType::Uint32:
      case ValueType::Int32:
        return put(static_cast<uint32_t>(value));
      default:
        return put(value);
    }
  }

  void put_float(ValueType type, double value) {
    if (type == ValueType::Float32) return put(static_cast<float>(value));
    put(value);
  }

  void put_array(const Array& array) {
    put(static_cast<uint32_t>(array.element_type));
    put<uint64_t>(array.size());
    for (uint64_t value : array.unsigned_values) put_integer(array.element_type, value);
    for (int64_t value : array.signed_values) put_integer(array.element_type, static_cast<uint64_t>(value));
    for (double value : array.float_values) put_float(array.element_type, value);
    for (const std::string& text : array.strings) put_string(text);
    for (const Array& inner : array.arrays) put_array(inner);
  }

  std::vector<std::byte> bytes_;
};

void refuse_without_source(const std::string& name, const Writer::PieceSource& piece) {
  if (!piece) throw Error(joined("The tensor ", in_quotes(name), " has no source of data."));
}

}  // namespace

void Writer::add_tensor(std::string name, TensorType type, std::vector<uint64_t> dims, DataSource data) {
  PieceSource piece;
  if (data) piece = [data = std::move(data)](uint64_t) { return data(); };
  refuse_without_source(name, piece);
  add(std::move(name), type, std::move(dims), std::move(piece), true);
}

void Writer::add_tensor_in_pieces(std::string name, TensorType type, std::vector<uint64_t> dims, PieceSource piece) {
  refuse_without_source(name, piece);
  add(std::move(name), type, std::move(dims), std::move(piece), false);
}

void Writer::add_hole(std::string name, TensorType type, std::vector<uint64_t> dims) {
  add(std::move(name), type, std::move(dims), nullptr, false);
}

void Writer::add(std::string name, TensorType type, std::vector<uint64_t> dims, PieceSource piece, bool whole) {
  auto refuse = [&](const std::string& reason) {
    throw Error(joined("The tensor ", in_quotes(name), " ", reason, "."));
  };
  if (name.empty()) throw Error("A tensor without a name cannot be written.");
  if (name.size() > kMaxTensorNameBytes) refuse(joined("has a name longer than ", kMaxTensorNameBytes, " bytes"));
  if (!find_type_layout(static_cast<uint32_t>(type))) refuse("has a type that the format does not have");
  Tensor measured;
  measured.type = type;
  measured.n_dims = static_cast<uint32_t>(std::min<size_t>(dims.size(), 5));
  std::copy_n(dims.begin(), std::min(dims.size(), measured.dims.size()), measured.dims.begin());
  if (std::string fault = measure(measured); !fault.empty()) refuse(fault);
  tensors_.push_back({std::move(name), type, std::move(dims), measured.bytes, std::move(piece), whole});
}

void Writer::write(const std::filesystem::path& path) const {
  uint64_t alignment = metadata_.get_unsigned("general.alignment").value_or(kDefaultAlignment);
  if (!is_valid_alignment(alignment))
    fail(path, "The alignment (general.alignment) is ", alignment, ", but must be a power of two from ", kMinAlignment,
         " to ", kMaxAlignment, ".");

  Head head;
  head.put<uint32_t>(0x46554747);  // "GGUF"
  head.put<uint32_t>(3);
  head.put<uint64_t>(tensors_.size());
  head.put<uint64_t>(metadata_.entries().size());
  for (const auto& [key, value] : metadata_.entries()) {
    if (key.empty() || key.size() > kMaxKeyBytes)
      fail(path, "The metadata key ", in_quotes(key), " has a name of ", counted(key.size(), "byte"), ", but 1 to ",
           kMaxKeyBytes, " are allowed.");
    if (std::string fault = find_fault(value); !fault.empty())
      fail(path, "The metadata key ", in_quotes(key), " cannot be written: ", fault, ".");
    head.put_string(key);
    head.put(static_cast<uint32_t>(value.type));
    head.put_value(value);
  }
  std::unordered_set<std::string_view> names;
  uint64_t offset = 0;
  for (const Entry& tensor : tensors_) {
    if (!names.insert(tensor.name).second) fail(path, "The tensor ", in_quotes(tensor.name), " was added twice.");
    head.put_string(tensor.name);
    head.put(static_cast<uint32_t>(tensor.dims.size()));
    for (uint64_t length : tensor.dims) head.put(length);
    head.put(static_cast<uint32_t>(tensor.type));
    head.put(offset);
    std::optional<uint64_t> end = checked_add(offset, tensor.bytes);
    if (end) end = checked_align(*end, alignment);
    if (!end) fail(path, "The tensors together have more bytes than a file can hold.");
    offset = *end;
  }

  OutputFile file(path);
  file.write(head.bytes());
  file.pad_to(alignment);
  for (const Entry& tensor : tensors_) {
    if (tensor.is_hole()) {
      file.skip(tensor.bytes);
      file.skip_to(alignment);
      continue;
    }
    for (uint64_t done = 0; done < tensor.bytes;) {
      const std::span<const std::byte> data = tensor.piece(done);
      const uint64_t missing = tensor.bytes - done;
      if (data.empty() || data.size() > missing || (tensor.whole && data.size() != missing))
        fail(path, "The tensor ", in_quotes(tensor.name), " was given ", counted(done + data.size(), "byte"),
             " of data, but its shape has ", tensor.bytes, ".");
      file.write(data);
      done += data.size();
    }
    file.pad_to(alignment);
  }
  file.finish();
}

}  // namespace sluice::gguf
