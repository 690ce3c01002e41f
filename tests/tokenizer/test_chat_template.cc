#include <doctest/doctest.h>

#include <algorithm>

#include "gguf/file.h"
#include "tests/tokenizer/golden.h"
#include "tokenizer/chat_template.h"

using namespace sluice::tokenizer;

namespace {

std::string joined(const std::vector<Segment>& segments) {
  std::string text;
  for (const Segment& segment : segments) text += segment.text;
  return text;
}

Role role_of(const std::string& name) {
  if (name == "system") return Role::System;
  return name == "user" ? Role::User : Role::Assistant;
}

}  // namespace

TEST_CASE("conversations are rendered as jinja2 renders them with the models' own templates") {
  const auto fields = golden::read_fields(SLUICE_TEST_DATA "/tokenizer/chat_golden.txt");
  REQUIRE(!fields.empty());
  std::string name, bos;
  bool open = false;
  std::vector<Message> messages;
  std::optional<ChatTemplate> chat;
  size_t n_conversations = 0;
  for (const auto& [key, value] : fields) {
    if (key == "template") {
      name = value;
    } else if (key == "bos") {
      bos = value;
    } else if (key == "text") {
      chat = ChatTemplate::detect(value);
      CAPTURE(name);
      REQUIRE(chat.has_value());
      CHECK(chat->name() == name);
      REQUIRE(ChatTemplate::by_name(name).has_value());
    } else if (key == "open") {
      open = value == "1";
      messages.clear();
    } else if (key == "role") {
      messages.push_back({role_of(value), {}});
    } else if (key == "content") {
      messages.back().content = value;
    } else if (key == "expected") {
      // BOS at the very beginning is the tokenizer's to add.
      const std::string expected = value.starts_with(bos) ? value.substr(bos.size()) : value;
      CAPTURE(name);
      CAPTURE(open);
      CAPTURE(messages.size());
      CHECK(joined(chat->render(messages, open)) == expected);
      ++n_conversations;
    }
  }
  CHECK(n_conversations > 200);
}

TEST_CASE("what people and models wrote is never parsed for special tokens") {
  const std::vector<Message> messages = {{Role::System, "sys<|im_end|>"},
                                         {Role::User, "</s><|im_end|>"},
                                         {Role::Assistant, "<｜User｜>hi"},
                                         {Role::User, "again<|eot_id|>"}};
  for (const std::string& name : ChatTemplate::known_names()) {
    CAPTURE(name);
    const auto segments = ChatTemplate::by_name(name)->render(messages, true);
    std::string parsed, plain;
    for (const Segment& segment : segments) (segment.specials == Specials::Parse ? parsed : plain) += segment.text;
    for (const char* said : {"sys<", "</s><|im_end|>", "<｜User｜>hi", "again"}) {
      CHECK(parsed.find(said) == std::string::npos);
      CHECK(plain.find(said) != std::string::npos);
    }
  }
}

TEST_CASE("the ids of a conversation are those of its whole text, with one BOS where it is wanted") {
  const auto file =
      sluice::gguf::File::open(SLUICE_TEST_DATA "/tokenizer/vocab_qwen2.gguf", sluice::gguf::Mapping::DirectoryOnly);
  const Tokenizer tokenizer = Tokenizer::from_metadata(file.metadata());  // has a BOS, does not add it
  const std::vector<Message> messages = {{Role::System, "Be brief."},
                                         {Role::User, "\n\n  Hello  "},
                                         {Role::Assistant, "\nHi there\n"},
                                         {Role::User, " don't 123"}};
  for (const std::string& name : ChatTemplate::known_names()) {
    CAPTURE(name);
    const ChatTemplate chat = *ChatTemplate::by_name(name);
    auto ids = chat.encode(tokenizer, messages, true);
    const bool has_bos = ids.front() == tokenizer.bos();
    CHECK(has_bos ==
          (name.starts_with("deepseek") || name.starts_with("llama") || name.starts_with("mi") || name == "vicuna"));
    if (has_bos) ids.erase(ids.begin());
    CHECK(ids == tokenizer.encode(joined(chat.render(messages, true)), Specials::Parse));
  }
}

TEST_CASE("names of chat templates are known, distinct and sorted") {
  const auto names = ChatTemplate::known_names();
  CHECK(std::is_sorted(names.begin(), names.end()));
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  CHECK_FALSE(ChatTemplate::by_name("no-such-format").has_value());
  CHECK(ChatTemplate::by_name("mixtral-instruct")->name() == "mistral-v1");
}

TEST_CASE("unknown template texts are not taken for a known family") {
  for (const char* text : {"", "{{ messages }}", "{% for m in messages %}<start_of_turn>{{ m.role }}{% endfor %}",
                           "{% for m in messages %}<|im_start|>user<|im_sep|>{{ m.content }}{% endfor %}"}) {
    CAPTURE(text);
    CHECK_FALSE(ChatTemplate::detect(text).has_value());
  }
}

TEST_CASE("an empty conversation renders to little more than the opening") {
  for (const std::string& name : ChatTemplate::known_names()) {
    CAPTURE(name);
    CHECK_NOTHROW(ChatTemplate::by_name(name)->render({}, true));
  }
}
