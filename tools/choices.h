// Words for choices of the engine, the same in flags and in files.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "engine/options.h"

namespace sluice::tools {

template <typename Value, size_t n>
using Words = std::array<std::pair<const char*, Value>, n>;

inline constexpr Words<engine::CacheType, 4> kCacheWords = {{{"f16", engine::CacheType::F16},
                                                             {"bf16", engine::CacheType::BF16},
                                                             {"q8_0", engine::CacheType::Q8_0},
                                                             {"f32", engine::CacheType::F32}}};
inline constexpr Words<engine::Residency, 3> kResidencyWords = {
    {{"auto", engine::Residency::Automatic}, {"file", engine::Residency::File}, {"fast", engine::Residency::Fast}}};
inline constexpr Words<engine::Storage, 3> kStorageWords = {
    {{"auto", engine::Storage::Automatic}, {"mapped", engine::Storage::Mapped}, {"disk", engine::Storage::Disk}}};

inline constexpr Words<engine::DeviceKind, 3> kDeviceWords = {
    {{"auto", engine::DeviceKind::Automatic}, {"cpu", engine::DeviceKind::Cpu}, {"cuda", engine::DeviceKind::Cuda}}};

template <typename Value, size_t n>
std::vector<std::string> all_words(const Words<Value, n>& words) {
  std::vector<std::string> all;
  for (const auto& [word, value] : words) all.emplace_back(word);
  return all;
}
template <typename Value, size_t n>
const char* word_of(const Words<Value, n>& words, Value value) {
  for (const auto& [word, known] : words)
    if (known == value) return word;
  return "unknown";
}

}  // namespace sluice::tools
