#include "tests/tools/small_files.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "gguf/writer.h"

namespace sluice::test {

struct ScratchFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("sluice-tools-test-" + std::to_string(::getpid()));
  ScratchFolder() { std::filesystem::create_directories(path); }
  ~ScratchFolder() {
    std::error_code failure;
    std::filesystem::remove_all(path, failure);
  }
};

const std::filesystem::path& scratch_folder() {
  static const ScratchFolder folder;
  return folder.path;
}

std::string scratch(const std::string& name) {
  return (scratch_folder() / name).string();
}

static void add_vocabulary(gguf::Metadata& metadata) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> kinds = {2, 3, 3};
  for (int byte = 0; byte < 256; byte++) {
    char spelling[8];
    std::snprintf(spelling, sizeof(spelling), "<0x%02X>", byte);
    tokens.emplace_back(spelling);
    kinds.push_back(6);
  }
  for (const char* control : {"<|im_start|>", "<|im_end|>"}) {
    tokens.emplace_back(control);
    kinds.push_back(3);
  }
  tokens.emplace_back("\xe2\x96\x81");  // how this kind of vocabulary spells a space
  kinds.push_back(1);
  metadata.add("tokenizer.ggml.model", gguf::make_string("llama"));
  metadata.add("tokenizer.ggml.scores", gguf::make_float32_array(std::vector<float>(tokens.size(), 0.0F)));
  metadata.add("tokenizer.ggml.tokens", gguf::make_string_array(std::move(tokens)));
  metadata.add("tokenizer.ggml.token_type", gguf::make_int32_array(kinds));
  metadata.add("tokenizer.ggml.bos_token_id", gguf::make_uint32(1));
  metadata.add("tokenizer.ggml.eos_token_id", gguf::make_uint32(2));
  metadata.add("tokenizer.ggml.add_bos_token", gguf::make_bool(true));
  metadata.add("tokenizer.ggml.add_space_prefix", gguf::make_bool(false));
}

static std::string write_model(const std::string& name, const std::string& chat_template) {
  std::filesystem::path path = scratch_folder() / name;
  if (std::filesystem::exists(path)) return path.string();
  gguf::Writer writer;
  gguf::Metadata& metadata = writer.metadata();
  metadata.add("general.architecture", gguf::make_string("deepseek2"));
  metadata.add("general.name", gguf::make_string("a \033[31mcoloured\033[0m name"));
  metadata.add("deepseek2.expert_count", gguf::make_uint32(4));
  metadata.add("deepseek2.expert_used_count", gguf::make_uint32(2));
  add_vocabulary(metadata);
  if (!chat_template.empty()) metadata.add("tokenizer.chat_template", gguf::make_string(chat_template));
  static const std::vector<std::byte> zeros(1 << 16);
  auto add = [&](const char* tensor, gguf::TensorType type, std::vector<uint64_t> dims, size_t bytes) {
    writer.add_tensor(tensor, type, std::move(dims), [bytes] { return std::span(zeros).first(bytes); });
  };
  add("token_embd.weight", gguf::TensorType::F32, {32, 8}, 1024);
  add("blk.0.attn_norm.weight", gguf::TensorType::F32, {32}, 128);
  add("blk.0.attn_q.weight", gguf::TensorType::F16, {32, 8}, 512);
  add("blk.0.ffn_down.weight", gguf::TensorType::Q8_0, {32, 8}, 272);
  add("blk.1.ffn_gate_inp.weight", gguf::TensorType::F32, {32, 4}, 512);
  add("blk.1.ffn_down_exps.weight", gguf::TensorType::Q4_0, {32, 8, 4}, 576);
  add("blk.1.ffn_down_shexp.weight", gguf::TensorType::Q8_0, {32, 8}, 272);
  add("output.weight", gguf::TensorType::F32, {32, 8}, 1024);
  writer.write(path);
  return path.string();
}

std::string chat_model() {
  return write_model("chat.gguf",
                     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                     "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
                     "{% endif %}");
}
std::string base_model() {
  return write_model("base.gguf", "");
}
std::string odd_template_model() {
  return write_model("odd.gguf", "{{ messages | odd }}");
}

std::string write_file(const std::string& name, const std::string& content) {
  std::filesystem::path path = scratch_folder() / name;
  std::ofstream(path, std::ios::binary) << content;
  return path.string();
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace sluice::test
