#include "engine/traces/trace_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "engine/error.h"
#include "engine/traces/byte_order.h"
#include "kernels/reference/half.h"

namespace sluice::engine::traces {
namespace {

constexpr char kMagic[8] = {'S', 'L', 'T', 'R', 'A', 'C', 'E', '1'};
constexpr uint32_t kWeightsF16 = 1;
constexpr uint32_t kMostNameBytes = 4096;
// Of the magic and the numbers before expert_layers.
constexpr size_t kFixedBytes = sizeof kMagic + 8 * sizeof(uint32_t);
constexpr size_t kSumBytes = sizeof(uint64_t);
// Of a record before expert_ids, and of that before its check sum.
constexpr size_t kRecordHeadBytes = 16;
constexpr size_t kRecordSumAt = 12;
constexpr float kLargestF16 = 65504;

uint64_t record_bytes(const TraceHeader& header) {
  return kRecordHeadBytes + header.n_choices() * (sizeof(uint16_t) + sizeof(uint16_t));
}

// Of a record, its own place left out.
uint32_t record_sum(std::span<const std::byte> record) {
  return short_check_sum(record.first(kRecordSumAt)) ^ short_check_sum(record.subspan(kRecordHeadBytes));
}

std::string shortened(const std::string& name) {
  return name.substr(0, kMostNameBytes);
}

std::string reason(int code) {
  return std::generic_category().message(code);
}

}  // namespace

TraceWriter::TraceWriter(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  created_ = descriptor_ >= 0;
  if (!created_ && errno == EEXIST) descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor_ < 0)
    throw Error(Error::Kind::Usage, "The trace cannot be written to '" + path.string() + "': " + reason(errno) +
                                        ". Name a file in a folder that can be written.");
}

TraceWriter::~TraceWriter() {
  ::close(descriptor_);
  if (created_ && !begun_) ::unlink(path_.c_str());
}

void TraceWriter::begin(const TraceHeader& header) {
  check_header(header);
  header_ = header;
  header_.model_name = shortened(header.model_name);
  header_.architecture = shortened(header.architecture);
  std::vector<std::byte> bytes;
  put_text(bytes, std::string_view(kMagic, sizeof kMagic));
  put(bytes, static_cast<uint32_t>(kFixedBytes + header.expert_layers.size() * sizeof(uint32_t) +
                                   header_.model_name.size() + header_.architecture.size() + kSumBytes));
  put(bytes, header.n_layers);
  put(bytes, static_cast<uint32_t>(header.expert_layers.size()));
  put(bytes, header.n_experts);
  put(bytes, header.n_used);
  put(bytes, kWeightsF16);
  put(bytes, static_cast<uint32_t>(header_.model_name.size()));
  put(bytes, static_cast<uint32_t>(header_.architecture.size()));
  for (const uint32_t layer : header.expert_layers) put(bytes, layer);
  put_text(bytes, header_.model_name);
  put_text(bytes, header_.architecture);
  put(bytes, check_sum(bytes));
  // A device such as /dev/null has no length.
  if (::ftruncate(descriptor_, 0) != 0 && errno != EINVAL)
    throw Error(Error::Kind::Device, "The trace '" + path_.string() + "' cannot be emptied: " + reason(errno) + ".");
  begun_ = true;
  write(bytes);
}

void TraceWriter::add(const Pass& pass) {
  const size_t n_choices = header_.n_choices();
  std::vector<std::byte> bytes;
  bytes.reserve(pass.n_rows() * record_bytes(header_));
  for (size_t row = 0; row < pass.n_rows(); ++row) {
    const size_t begin = bytes.size();
    put(bytes, pass.tokens[row]);
    put(bytes, static_cast<uint32_t>(pass.first_position + row));
    put(bytes, static_cast<uint32_t>(row));
    put(bytes, uint32_t{0});
    for (size_t i = 0; i < n_choices; ++i) put(bytes, pass.expert_ids[row * n_choices + i]);
    for (size_t i = 0; i < n_choices; ++i)
      put(bytes,
          kernels::reference::f32_to_f16(std::clamp(pass.weights[row * n_choices + i], -kLargestF16, kLargestF16)));
    std::vector<std::byte> sum;
    put(sum, record_sum(std::span(bytes).subspan(begin)));
    std::ranges::copy(sum, bytes.begin() + static_cast<std::ptrdiff_t>(begin + kRecordSumAt));
  }
  write(bytes);
}

void TraceWriter::write(const std::vector<std::byte>& bytes) {
  for (std::span<const std::byte> left(bytes); !left.empty();) {
    const ssize_t n = ::write(descriptor_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw Error(Error::Kind::Device, "The trace '" + path_.string() + "' could not be written on: " + reason(errno) +
                                           ". What it has so far can be read. Make room on the disk, or run without "
                                           "a trace.");
    left = left.subspan(static_cast<size_t>(n));
    bytes_ += static_cast<uint64_t>(n);
  }
}

TraceReader::TraceReader(const std::filesystem::path& path) : path_(path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) refuse("it is a folder");
  file_.open(path, std::ios::binary);
  if (!file_) refuse("it cannot be opened: " + reason(errno));
  read_header();
}

void TraceReader::refuse(const std::string& what) const {
  throw Error(Error::Kind::BadFile,
              "The trace '" + path_.string() + "' cannot be read: " + what + ". Record it again with --trace.");
}

void TraceReader::read_header() {
  std::vector<std::byte> bytes(kFixedBytes);
  const auto read = [&](size_t at) {
    const auto wanted = static_cast<std::streamsize>(bytes.size() - at);
    return file_.read(reinterpret_cast<char*>(bytes.data() + at), wanted) && file_.gcount() == wanted;
  };
  if (!read(0)) refuse("it is shorter than the head of a trace");
  if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    refuse(std::memcmp(bytes.data(), kMagic, sizeof kMagic - 1) == 0 ? "it is of another version than this program's"
                                                                     : "it does not begin like a trace");
  const auto number = [&](size_t index) { return take<uint32_t>(bytes, sizeof kMagic + index * sizeof(uint32_t)); };
  const uint32_t header_bytes = number(0), n_expert_layers = number(2), name_bytes = number(6),
                 architecture_bytes = number(7);
  header_.n_layers = number(1);
  header_.n_experts = number(3);
  header_.n_used = number(4);
  if (n_expert_layers > kMostLayers || name_bytes > kMostNameBytes || architecture_bytes > kMostNameBytes ||
      header_bytes != kFixedBytes + n_expert_layers * sizeof(uint32_t) + name_bytes + architecture_bytes + kSumBytes)
    refuse("its head is damaged");
  if (number(5) != kWeightsF16) refuse("its weights are in a form that this program does not know");
  bytes.resize(header_bytes);
  if (!read(kFixedBytes)) refuse("its head is not whole");
  const size_t sum_at = header_bytes - kSumBytes;
  if (take<uint64_t>(bytes, sum_at) != check_sum(std::span(bytes).first(sum_at))) refuse("its head is damaged");
  for (uint32_t i = 0; i < n_expert_layers; ++i)
    header_.expert_layers.push_back(take<uint32_t>(bytes, kFixedBytes + i * sizeof(uint32_t)));
  const auto* names = reinterpret_cast<const char*>(bytes.data() + sum_at) - name_bytes - architecture_bytes;
  header_.model_name.assign(names, name_bytes);
  header_.architecture.assign(names + name_bytes, architecture_bytes);
  try {
    check_header(header_);
  } catch (const Error& error) {
    refuse("its head says what cannot be. " + std::string(error.what()));
  }
  record_.resize(record_bytes(header_));
  last_chosen_.assign(header_.n_experts, 0);
}

bool TraceReader::read_record() {
  if (file_.eof()) return false;
  const auto wanted = static_cast<std::streamsize>(record_.size());
  file_.read(reinterpret_cast<char*>(record_.data()), wanted);
  if (file_.bad()) refuse("the disk failed after " + std::to_string(n_tokens_) + " tokens");
  if (file_.gcount() != wanted) {
    cut_bytes_ = static_cast<uint64_t>(file_.gcount());
    return false;
  }
  check_record();
  ++n_tokens_;
  return true;
}

void TraceReader::check_record() {
  const auto damaged = [&](const char* what) {
    refuse("its token " + std::to_string(n_tokens_) + " is damaged (" + what + ")");
  };
  if (take<uint32_t>(record_, kRecordSumAt) != record_sum(record_)) damaged("its check sum is another one");
  if (take<int32_t>(record_, 0) < 0) damaged("its id is negative");
  const size_t n_choices = header_.n_choices();
  for (size_t i = 0; i < n_choices; ++i) {
    if (i % header_.n_used == 0) ++n_layers_read_;
    const auto expert = take<uint16_t>(record_, kRecordHeadBytes + i * sizeof(uint16_t));
    if (expert >= header_.n_experts) damaged("it names an expert that does not exist");
    if (std::exchange(last_chosen_[expert], n_layers_read_) == n_layers_read_) damaged("it names an expert twice");
    const auto weight = take<uint16_t>(record_, kRecordHeadBytes + (n_choices + i) * sizeof(uint16_t));
    if (!std::isfinite(kernels::reference::f16_to_f32(weight))) damaged("a weight is not a finite number");
  }
}

bool TraceReader::next(Pass& pass) {
  pass = {};
  const size_t n_choices = header_.n_choices();
  while (ahead_ || read_record()) {
    const auto position = take<uint32_t>(record_, 4), row = take<uint32_t>(record_, 8);
    if (row == 0 && pass.n_rows() > 0) {
      ahead_ = true;
      return true;
    }
    ahead_ = false;
    if (row == 0) pass.first_position = position;
    if (row != pass.n_rows() || position != pass.first_position + row)
      refuse("its token " + std::to_string(n_tokens_ - 1) + " does not follow the one before it");
    pass.tokens.push_back(take<int32_t>(record_, 0));
    for (size_t i = 0; i < n_choices; ++i)
      pass.expert_ids.push_back(take<uint16_t>(record_, kRecordHeadBytes + i * sizeof(uint16_t)));
    for (size_t i = 0; i < n_choices; ++i)
      pass.weights.push_back(kernels::reference::f16_to_f32(
          take<uint16_t>(record_, kRecordHeadBytes + (n_choices + i) * sizeof(uint16_t))));
  }
  return pass.n_rows() > 0;
}

Trace read_trace(const std::filesystem::path& path) {
  TraceReader reader(path);
  Trace trace{reader.header(), {}, 0};
  for (Pass pass; reader.next(pass);) trace.passes.push_back(std::move(pass));
  trace.cut_bytes = reader.cut_bytes();
  return trace;
}

}  // namespace sluice::engine::traces
