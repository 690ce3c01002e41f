// The file: "SLHEAT01", the model's key, the number of experts (u64 each), that many float32, and a check sum of all before it
// (u64). Little-endian.

#include "engine/store/heat_map.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <system_error>

namespace sluice::engine {
namespace {

constexpr char kMagic[8] = {'S', 'L', 'H', 'E', 'A', 'T', '0', '1'};
constexpr uint64_t kMostExperts = uint64_t{1} << 24;

// FNV-1a: enough to tell models and damage apart; nobody attacks a cache of one's own.
struct Hash {
  uint64_t value = 0xcbf29ce484222325;
  void add(const void* data, size_t bytes) {
    const auto* at = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < bytes; ++i) value = (value ^ at[i]) * 0x100000001b3;
  }
  void add(uint64_t number) { add(&number, sizeof number); }
};

}  // namespace

uint64_t content_key(const gguf::File& file, const DiskFiles& files) {
  Hash hash;
  for (const gguf::Tensor& tensor : file.tensors()) {
    hash.add(tensor.name.data(), tensor.name.size());
    for (const uint64_t dim : tensor.dims) hash.add(dim);
    hash.add(static_cast<uint64_t>(tensor.type));
    hash.add(tensor.shard);
    hash.add(tensor.file_offset);
  }
  // A block of the data at some places: two models of one shape differ everywhere.
  constexpr size_t kSamples = 8;
  const uint64_t block = files.block_bytes();
  struct AlignedDelete {
    std::align_val_t alignment;
    void operator()(void* memory) const { ::operator delete(memory, alignment); }
  };
  const std::align_val_t alignment{block};
  const std::unique_ptr<void, AlignedDelete> memory(::operator new(block, alignment), AlignedDelete{alignment});
  const size_t n_tensors = file.tensors().size();
  for (size_t i = 0; i < std::min(kSamples, n_tensors); ++i) {
    const gguf::Tensor& tensor = file.tensors()[i * n_tensors / kSamples % n_tensors];
    const uint64_t middle = (tensor.file_offset + tensor.bytes / 2) / block * block;
    const ssize_t n = ::pread(files.descriptor(tensor.shard), memory.get(), block, static_cast<off_t>(middle));
    if (n > 0) hash.add(memory.get(), static_cast<size_t>(n));
  }
  return hash.value;
}

std::filesystem::path heat_path(const std::filesystem::path& folder, uint64_t model_key) {
  char name[32];
  std::snprintf(name, sizeof name, "%016llx.heat", static_cast<unsigned long long>(model_key));
  return folder / name;
}

std::vector<float> read_heat(const std::filesystem::path& path, uint64_t model_key) {
  std::ifstream file(path, std::ios::binary);
  char magic[sizeof kMagic];
  uint64_t key = 0, n_experts = 0, check = 0;
  file.read(magic, sizeof magic);
  file.read(reinterpret_cast<char*>(&key), sizeof key);
  file.read(reinterpret_cast<char*>(&n_experts), sizeof n_experts);
  if (!file || std::memcmp(magic, kMagic, sizeof kMagic) != 0 || key != model_key || n_experts > kMostExperts)
    return {};
  std::vector<float> heat(n_experts);
  file.read(reinterpret_cast<char*>(heat.data()), static_cast<std::streamsize>(n_experts * sizeof(float)));
  file.read(reinterpret_cast<char*>(&check), sizeof check);
  Hash hash;
  hash.add(key);
  hash.add(heat.data(), heat.size() * sizeof(float));
  if (!file || check != hash.value) return {};
  if (!std::ranges::all_of(heat, [](float uses) { return std::isfinite(uses) && uses >= 0; })) return {};
  return heat;
}

void write_heat(const std::filesystem::path& path, uint64_t model_key, std::span<const float> heat) {
  std::vector<float> mixed(heat.begin(), heat.end());
  const std::vector<float> before = read_heat(path, model_key);
  if (before.size() == mixed.size())
    for (size_t i = 0; i < mixed.size(); ++i) mixed[i] = 0.5f * (mixed[i] + before[i]);
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
  std::filesystem::path partial = path;
  partial += "." + std::to_string(::getpid()) + ".part";
  try {
    std::ofstream file;
    file.exceptions(std::ios::failbit | std::ios::badbit);
    file.open(partial, std::ios::binary);
    const uint64_t n_experts = mixed.size();
    Hash hash;
    hash.add(model_key);
    hash.add(mixed.data(), mixed.size() * sizeof(float));
    file.write(kMagic, sizeof kMagic);
    file.write(reinterpret_cast<const char*>(&model_key), sizeof model_key);
    file.write(reinterpret_cast<const char*>(&n_experts), sizeof n_experts);
    file.write(reinterpret_cast<const char*>(mixed.data()), static_cast<std::streamsize>(n_experts * sizeof(float)));
    file.write(reinterpret_cast<const char*>(&hash.value), sizeof hash.value);
    file.close();  // a destructor would keep to itself that the disk is full
    std::filesystem::rename(partial, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw;
  }
}

}  // namespace sluice::engine
