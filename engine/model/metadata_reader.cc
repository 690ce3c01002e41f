#include "engine/model/metadata_reader.h"

#include <cmath>
#include <utility>

namespace sluice::engine {

static constexpr int64_t kLargestCount = (int64_t{1} << 31) - 1;

MetadataReader::MetadataReader(const gguf::File& file, std::string architecture)
    : file_(file), architecture_(std::move(architecture)) {}

std::string MetadataReader::full_key(std::string_view key) const {
  return architecture_ + "." + std::string(key);
}

void MetadataReader::refuse(std::string_view key, std::string_view why) const {
  throw Error(Error::Kind::BadFile,
              "The metadata key '" + full_key(key) + "' " + std::string(why) +
                  "; the file is damaged or was made by a converter that this version does not know.");
}

bool MetadataReader::contains(std::string_view key) const {
  return file_.metadata().contains(full_key(key));
}

int64_t MetadataReader::count_or_zero(std::string_view key) const {
  const auto value = file_.metadata().get_unsigned(full_key(key));
  if (!value) return 0;
  if (*value > static_cast<uint64_t>(kLargestCount))
    refuse(key, "is " + std::to_string(*value) + ", which is too large");
  return static_cast<int64_t>(*value);
}

int64_t MetadataReader::count(std::string_view key, int64_t fallback) const {
  if (!contains(key)) return fallback;
  const int64_t value = count_or_zero(key);
  if (value == 0) refuse(key, "is 0 where at least 1 is needed");
  return value;
}

int64_t MetadataReader::count(std::string_view key) const {
  if (!contains(key)) refuse(key, "is missing");
  return count(key, 0);
}

float MetadataReader::number(std::string_view key, float fallback) const {
  const auto value = file_.metadata().get_float(full_key(key));
  if (!value) return fallback;
  if (!std::isfinite(*value) || std::fabs(*value) > 3e38) refuse(key, "is not a finite number");
  return static_cast<float>(*value);
}

float MetadataReader::number(std::string_view key) const {
  if (!contains(key)) refuse(key, "is missing");
  return number(key, 0);
}

bool MetadataReader::flag(std::string_view key, bool fallback) const {
  return file_.metadata().get_bool(full_key(key)).value_or(fallback);
}

std::string MetadataReader::text(std::string_view key, std::string_view fallback) const {
  return std::string(file_.metadata().get_string(full_key(key)).value_or(fallback));
}

}  // namespace sluice::engine
