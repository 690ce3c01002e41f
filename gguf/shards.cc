#include "gguf/shards.h"

#include <cctype>
#include <cstdio>
#include <string>
#include <string_view>

#include "gguf/message.h"

namespace sluice::gguf {

std::filesystem::path shard_path(const std::filesystem::path& prefix, uint32_t index, uint32_t count) {
  char suffix[48];
  std::snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", index + 1, count);
  return prefix.string() + suffix;
}

static std::optional<uint32_t> parse_five_digits(std::string_view text) {
  uint32_t value = 0;
  if (text.size() != 5) return std::nullopt;
  for (char c : text) {
    if (!std::isdigit(static_cast<unsigned char>(c))) return std::nullopt;
    value = value * 10 + static_cast<uint32_t>(c - '0');
  }
  return value;
}

std::optional<ShardName> parse_shard_name(const std::filesystem::path& path) {
  constexpr std::string_view kPattern = "-00001-of-00003.gguf";
  std::string text = path.string();
  if (text.size() <= kPattern.size()) return std::nullopt;
  std::string_view suffix = std::string_view(text).substr(text.size() - kPattern.size());
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || suffix.substr(15) != ".gguf") return std::nullopt;
  std::optional<uint32_t> number = parse_five_digits(suffix.substr(1, 5));
  std::optional<uint32_t> count = parse_five_digits(suffix.substr(10, 5));
  if (!number || !count || *number == 0 || *number > *count) return std::nullopt;
  return ShardName{text.substr(0, text.size() - kPattern.size()), *number - 1, *count};
}

SplitKeys read_split_keys(const Metadata& metadata) {
  return {metadata.get_unsigned("split.count").value_or(0), metadata.get_unsigned("split.no"),
          metadata.get_unsigned("split.tensors.count")};
}

ShardName locate_shard(const std::filesystem::path& path, const SplitKeys& keys) {
  if (!keys.number)
    fail(path, "The file says it is one of ", keys.count,
         " shards, but not which one (split.no is missing). Download or split the model again.");
  if (*keys.number >= keys.count)
    fail(path, "The file says it is shard ", *keys.number + 1, " of ", keys.count,
         ", which cannot be. Download or split the model again.");
  std::optional<ShardName> name = parse_shard_name(path);
  if (!name)
    fail(path, "The file is shard ", *keys.number + 1, " of ", keys.count,
         " of a model, but its name does not end as that of a shard does, so the others cannot be found. Give it back "
         "its "
         "name, which ends in \"",
         shard_path("", static_cast<uint32_t>(*keys.number), static_cast<uint32_t>(keys.count)).string(), "\".");
  if (name->index != *keys.number || name->count != keys.count)
    fail(path, "The name says shard ", name->index + 1, " of ", name->count, ", but the file is shard ",
         *keys.number + 1, " of ", keys.count,
         ". It was renamed or mixed up with another; download it again under its own name.");
  return *name;
}

void check_shard(const std::filesystem::path& path, uint32_t index, const Metadata& other,
                 const std::filesystem::path& opened, const Metadata& opened_metadata) {
  constexpr const char* kMixed = " Shards of different models are mixed up; download them all from one place.";
  SplitKeys keys = read_split_keys(other);
  SplitKeys expected = read_split_keys(opened_metadata);
  if (keys.count != expected.count)
    fail(path, "This file should be shard ", index + 1, " of ", expected.count, ", as ", opened.string(),
         " says, but it says ",
         keys.count < 2 ? std::string("that it is a whole model") : joined("that there are ", keys.count, " shards"),
         ".", kMixed);
  locate_shard(path, keys);
  if (keys.n_tensors != expected.n_tensors) {
    auto text = [](std::optional<uint64_t> n) { return n ? std::to_string(*n) : std::string("no number"); };
    fail(path, "The tensors of all shards (split.tensors.count) are ", text(keys.n_tensors), " here, but ",
         text(expected.n_tensors), " in ", opened.string(), ".", kMixed);
  }
  auto architecture = other.get_string("general.architecture");
  auto expected_architecture = opened_metadata.get_string("general.architecture");
  if (architecture && expected_architecture && *architecture != *expected_architecture)
    fail(path, "The architecture is ", in_quotes(*architecture), " here, but ", in_quotes(*expected_architecture),
         " in ", opened.string(), ".", kMixed);
}

}  // namespace sluice::gguf
