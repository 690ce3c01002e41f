// GGUF files of a few kilobytes for the command line tests, written into a folder of this process.
#pragma once

#include <filesystem>
#include <string>

namespace sluice::test {

// Ends with the process.
const std::filesystem::path& scratch_folder();
// The path of a file in it.
std::string scratch(const std::string& name);

// A vocabulary of bytes and a few control tokens, a ChatML template, and some tensors of a mixture of experts.
std::string chat_model();
// The same without a template.
std::string base_model();
// The same with a template of no known family.
std::string odd_template_model();

// Writes a file into the folder and returns its path.
std::string write_file(const std::string& name, const std::string& content);
std::string read_file(const std::filesystem::path& path);

}  // namespace sluice::test
