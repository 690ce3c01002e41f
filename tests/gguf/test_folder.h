// A folder for each test case, and what its files say.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "gguf/file.h"
#include "tests/scratch_folder.h"

namespace sluice::gguf::testing {

using TestFolder = tests::ScratchFolder;

void write_file(const std::filesystem::path& path, const std::string& bytes);
std::string read_file(const std::filesystem::path& path);

// What gguf::Error says when the file is opened, or an empty string when it opens.
std::string refusal_of(const std::filesystem::path& path, Mapping mapping = Mapping::Map);

// The bytes of a string, for the writer.
std::span<const std::byte> as_bytes(std::string_view text);

}  // namespace sluice::gguf::testing
