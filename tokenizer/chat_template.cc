#include "tokenizer/chat_template.h"

#include <algorithm>

#include "tokenizer/chat_formats.h"

namespace sluice::tokenizer {
namespace {

const ChatFormat& format_of(int family) {
  return chat_formats()[static_cast<size_t>(family)];
}

// Template texts write line breaks in their strings as \n or as they are: make both one.
std::string with_line_breaks(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("\\n")) {
      result += '\n';
      ++i;
    } else {
      result += text[i];
    }
  }
  return result;
}

// The name of the format that a file's template text writes, recognised by the marks in it; empty when none is.
std::string_view recognise(std::string_view text) {
  const auto has = [&](std::string_view mark) { return text.find(mark) != std::string_view::npos; };
  if (has("<|im_middle|>")) return has("You are a helpful assistant") ? "kimi-k2-0711" : "kimi-k2";
  if (has("<|im_sep|>")) return {};  // Phi-4
  if (has("<|im_start|>")) {
    if (has("named SmolLM, trained by Hugging Face<|im_end|>")) return "smollm2";
    if (has("<|im_start|>assistant\n<think>\n'") && has("reasoning_content")) return "qwen3-thinking";
    if (has("last_query_index")) return "qwen3";
    if (has("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")) return "qwen2.5";
    if (has("system\nYou are a helpful assistant.<|im_end|>")) return "qwen2";
    if (has("system\nYou are a helpful assistant<|im_end|>")) return "qwen1.5";
    return "chatml";
  }
  if (has("<|start_header_id|>")) return has("Cutting Knowledge Date") ? "llama3.1" : "llama3";
  if (has("<｜Assistant｜>")) {
    if (has("<｜Assistant｜></think>") || (has("'</think>'}}") && has("thinking"))) return "deepseek3.1";
    if (has("<｜Assistant｜><think>\n")) return "deepseek-r1-think";
    return has("</think>") ? "deepseek-r1" : "deepseek3";
  }
  if (has("'User: ' + message['content'] + '\n\n'")) return "deepseek2";
  if (has("### Instruction:") && has("<|EOT|>")) return "deepseek-coder";
  if (has("[INST]")) {
    if (has("[SYSTEM_PROMPT]")) return has("[SYSTEM_PROMPT] ") ? "mistral-v7" : "mistral-v7-tekken";
    if (has("<<SYS>>")) return "llama2";
    if (has("[AVAILABLE_TOOLS]")) return has("[INST] ") ? "mistral-v3" : "mistral-v3-tekken";
    if (has(" [INST] ")) return "mistral-v1";
    return has("eos_token + ' '") ? "mistral-v0.1" : "mistral-v0";
  }
  if (has("<|user|>") || has("'<|' + message['role'] + '|>'")) {
    if (has("<|end|>")) return "phi3";
    if (has("<|assistant|>") && has("eos_token") && !has("[gMASK]")) return "zephyr";
    return {};
  }
  if (has("USER: ") && has("ASSISTANT:")) {
    if (has("SYSTEM: ")) return "vicuna-orca";
    return has("</s>\n") ? "vicuna-lines" : "vicuna";
  }
  return {};
}

}  // namespace

std::optional<ChatTemplate> ChatTemplate::by_name(std::string_view name) {
  const std::vector<ChatFormat>& formats = chat_formats();
  for (size_t family = 0; family < formats.size(); ++family) {
    const auto& aliases = formats[family].aliases;
    if (formats[family].name == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end()) {
      return ChatTemplate(static_cast<int>(family));
    }
  }
  return std::nullopt;
}

std::optional<ChatTemplate> ChatTemplate::detect(std::string_view template_text) {
  const std::string_view name = recognise(with_line_breaks(template_text));
  return name.empty() ? std::nullopt : by_name(name);
}

std::vector<std::string> ChatTemplate::known_names() {
  std::vector<std::string> names;
  for (const ChatFormat& format : chat_formats()) {
    names.emplace_back(format.name);
    names.insert(names.end(), format.aliases.begin(), format.aliases.end());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string_view ChatTemplate::name() const {
  return format_of(family_).name;
}

std::vector<Segment> ChatTemplate::render(std::span<const Message> messages, bool open_assistant) const {
  PromptWriter out;
  format_of(family_).render(format_of(family_), messages, open_assistant, out);
  return out.take();
}

std::vector<TokenId> ChatTemplate::encode(const Tokenizer& tokenizer, std::span<const Message> messages,
                                          bool open_assistant) const {
  std::vector<TokenId> ids = tokenizer.encode(render(messages, open_assistant));
  const auto bos = tokenizer.bos();
  const bool wants_bos = tokenizer.adds_bos() || format_of(family_).begins_with_bos;
  if (wants_bos && bos && (ids.empty() || ids.front() != *bos)) ids.insert(ids.begin(), *bos);
  return ids;
}

}  // namespace sluice::tokenizer
