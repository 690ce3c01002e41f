// What a run has learned of which experts a model uses, kept for the next one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "engine/store/disk.h"
#include "gguf/file.h"

namespace sluice::engine {

// A number that two files share when they hold the same tensors in the same places and the samples of their bytes are equal:
// what a heat map belongs to, wherever the file lies and whatever its name is.
uint64_t content_key(const gguf::File& file, const DiskFiles& files);

// Where the heat of a model is kept.
std::filesystem::path heat_path(const std::filesystem::path& folder, uint64_t model_key);

// Uses a token of every layer's experts, as DiskStore::heat() gives them. Empty when there is no such file, or it is of another
// model or damaged.
std::vector<float> read_heat(const std::filesystem::path& path, uint64_t model_key);

// Mixes with what the file had, half and half, so that a single run does not erase what many have taught. Writes beside the file
// and renames, so that nobody reads half a map. Throws std::filesystem::filesystem_error or std::ios_base::failure.
void write_heat(const std::filesystem::path& path, uint64_t model_key, std::span<const float> heat);

}  // namespace sluice::engine
