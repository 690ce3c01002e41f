#include "tokenizer/chat_formats.h"

namespace sluice::tokenizer {
namespace {

// DeepSeek's marks have the bars of U+FF5C and the spaces of U+2581.
constexpr std::string_view kDeepseekUser = "<｜User｜>";
constexpr std::string_view kDeepseekAssistant = "<｜Assistant｜>";
constexpr std::string_view kDeepseekEnd = "<｜end▁of▁sentence｜>";

std::vector<ChatFormat> make_formats() {
  const RoleMarks chatml_system{"<|im_start|>system\n", "<|im_end|>\n"};
  const RoleMarks chatml_user{"<|im_start|>user\n", "<|im_end|>\n"};
  const RoleMarks chatml_assistant{"<|im_start|>assistant\n", "<|im_end|>\n"};
  const auto chatml = [&](std::string_view name, std::string_view default_system) {
    return ChatFormat{
        name,          {}, false, render_marked, chatml_system, chatml_user, chatml_assistant, chatml_assistant.before,
        default_system};
  };
  const auto kimi = [&](std::string_view name, std::string_view default_system) {
    return ChatFormat{name,
                      {},
                      false,
                      render_marked,
                      {"<|im_system|>system<|im_middle|>", "<|im_end|>"},
                      {"<|im_user|>user<|im_middle|>", "<|im_end|>"},
                      {"<|im_assistant|>assistant<|im_middle|>", "<|im_end|>"},
                      "<|im_assistant|>assistant<|im_middle|>",
                      default_system};
  };
  const auto llama3 = [&](std::string_view name, auto* render) {
    return ChatFormat{name,
                      {},
                      true,
                      render,
                      {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
                      {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
                      {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
                      "<|start_header_id|>assistant<|end_header_id|>\n\n",
                      {},
                      true};
  };
  const auto deepseek = [&](std::string_view name, std::string_view open, bool drops_thinking) {
    return ChatFormat{name, {}, true,  render_deepseek3, {}, {kDeepseekUser, {}}, {kDeepseekAssistant, kDeepseekEnd},
                      open, {}, false, drops_thinking};
  };
  std::vector<ChatFormat> formats = {
      chatml("chatml", {}),
      chatml("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
      chatml("qwen1.5", "You are a helpful assistant"),
      chatml("qwen2", "You are a helpful assistant."),
      chatml("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
      chatml("qwen3", {}),
      chatml("qwen3-thinking", {}),
      kimi("kimi-k2", "You are Kimi, an AI assistant created by Moonshot AI."),
      kimi("kimi-k2-0711", "You are a helpful assistant"),
      llama3("llama3", render_marked),
      llama3("llama3.1", render_llama31),
      {"llama2", {"llama2-sys"}, true, render_llama2, {}, {}, {}, {}, {}},
      {"mistral-v0", {}, true, render_mistral_system_first, {}, {"[INST] ", " [/INST]"}, {{}, "</s>"}, {}, {}},
      {"mistral-v0.1", {}, true, render_mistral_system_first, {}, {"[INST] ", " [/INST]"}, {{}, "</s> "}, {}, {}},
      {"mistral-v1",
       {"mixtral-instruct", "mixtral"},
       true,
       render_mistral_system_first,
       {},
       {" [INST] ", " [/INST]"},
       {" ", "</s>"},
       {},
       {}},
      {"mistral-v3", {}, true, render_mistral_system_last, {}, {"[INST] ", "[/INST]"}, {" ", "</s>"}, {}, {}, true},
      {"mistral-v3-tekken", {}, true, render_mistral_system_last, {}, {"[INST]", "[/INST]"}, {{}, "</s>"}, {}, {}},
      {"mistral-v7",
       {},
       true,
       render_marked,
       {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"},
       {"[INST] ", "[/INST]"},
       {" ", "</s>"},
       {},
       {}},
      {"mistral-v7-tekken",
       {},
       true,
       render_marked,
       {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"},
       {"[INST]", "[/INST]"},
       {{}, "</s>"},
       {},
       {}},
      {"zephyr",
       {},
       false,
       render_marked,
       {"<|system|>\n", "</s>\n"},
       {"<|user|>\n", "</s>\n"},
       {"<|assistant|>\n", "</s>\n"},
       "<|assistant|>\n",
       {}},
      {"phi3",
       {"phi-3"},
       false,
       render_marked,
       {"<|system|>\n", "<|end|>\n"},
       {"<|user|>\n", "<|end|>\n"},
       {"<|assistant|>\n", "<|end|>\n"},
       "<|assistant|>\n",
       {}},
      {"vicuna", {}, true, render_marked, {{}, " "}, {"USER: ", " "}, {"ASSISTANT: ", "</s>"}, "ASSISTANT:", {}},
      {"vicuna-lines",
       {},
       false,
       render_marked,
       {{}, "\n\n"},
       {"USER: ", "\n"},
       {"ASSISTANT: ", "</s>\n"},
       "ASSISTANT:",
       {}},
      {"vicuna-orca",
       {},
       false,
       render_marked,
       {"SYSTEM: ", "\n"},
       {"USER: ", "\n"},
       {"ASSISTANT: ", "</s>\n"},
       "ASSISTANT:",
       {}},
      {"deepseek-coder",
       {"deepseek"},
       true,
       render_deepseek_coder,
       {},
       {"### Instruction:\n", "\n"},
       {"### Response:\n", "\n<|EOT|>\n"},
       "### Response:\n",
       {}},
      {"deepseek2",
       {"deepseek-llm", "deepseek-v2"},
       true,
       render_marked,
       {{}, "\n\n"},
       {"User: ", "\n\n"},
       {"Assistant: ", kDeepseekEnd},
       "Assistant:",
       {}},
      deepseek("deepseek3", kDeepseekAssistant, false),
      deepseek("deepseek-r1", kDeepseekAssistant, true),
      deepseek("deepseek-r1-think", "<｜Assistant｜><think>\n", true),
      {"deepseek3.1",
       {"deepseek-v3.1"},
       true,
       render_deepseek31,
       {},
       {kDeepseekUser, {}},
       {"<｜Assistant｜></think>", kDeepseekEnd},
       "<｜Assistant｜></think>",
       {}},
  };
  for (ChatFormat& format : formats) {
    if (format.name.starts_with("qwen3")) format.render = render_qwen3;
    if (format.name == "qwen3-thinking") format.open = "<|im_start|>assistant\n<think>\n";
    if (format.name == "deepseek3") format.aliases = {"deepseek-v3"};
  }
  return formats;
}

}  // namespace

const std::vector<ChatFormat>& chat_formats() {
  static const std::vector<ChatFormat> formats = make_formats();
  return formats;
}

}  // namespace sluice::tokenizer
