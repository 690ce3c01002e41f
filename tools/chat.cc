// sluice chat: a conversation on standard input and output.
#include <array>
#include <memory>

#include "tools/answer.h"
#include "tools/commands.h"
#include "tools/conversation.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/line_reader.h"
#include "tools/model_flags.h"
#include "tools/report.h"
#include "tools/sampling_flags.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

using tokenizer::ChatTemplate;
using tokenizer::Role;
using Event = LineReader::Event;

static constexpr const char* kChatNotes = R"(
Every line is a message. A line that ends in a backslash goes on in the next one; lines between """ and """ are one message.
A line that begins with / is a command: /help lists them; // begins a message with one slash. Answers go to stdout,
everything else to stderr. The first Ctrl-C stops an answer and keeps the conversation, the second ends the program.
A message or command that fails in a chat read from a pipe makes the exit status 2 at its end.

Examples:
  sluice chat model.gguf
  sluice chat model.gguf --system "You are a pirate." --temp 0.6
  printf 'Hello!\nWhat did I say?\n' | sluice chat model.gguf --quiet
)";

struct ChatFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::string chat_template;
  std::string system;
  std::string load;
};

class Chat {
 public:
  // trace: null, or it outlives the chat.
  Chat(ChatFlags& flags, std::shared_ptr<const engine::Model> model, ChatTemplate chat_template,
       engine::traces::TraceWriter* trace)
      : flags_(flags), model_(std::move(model)), template_(chat_template), session_(open_session(model_, flags.model)) {
    record_trace(session_, trace);
  }

  // Until /bye or the end of input. Returns the exit status.
  int talk();

  Conversation& conversation() { return conversation_; }

 private:
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    void (Chat::*act)(const std::string& argument);
  };
  static const std::array<Command, 9> kCommands;

  Event read_message(std::string& message);
  Event read_block(std::string& message);
  Event read_line(const char* prompt, std::string& line);
  void obey(const std::string& line);
  void answer_last();
  void note(const std::string& text) const { write_stderr(styled(Style::Dim, text + "\n")); }
  void complain(const std::string& sentence) {
    print_error(sentence);
    failed_ = true;
  }
  std::string argument_of(const char* name, const std::string& argument) const;

  void help(const std::string& argument);
  void clear(const std::string& argument);
  void regenerate(const std::string& argument);
  void undo(const std::string& argument);
  void set(const std::string& argument);
  void save(const std::string& argument);
  void load(const std::string& argument);
  void system(const std::string& argument);
  void bye(const std::string& argument);

  ChatFlags& flags_;
  std::shared_ptr<const engine::Model> model_;
  ChatTemplate template_;
  engine::Session session_;
  Conversation conversation_;
  LineReader reader_;
  uint64_t n_answers_ = 0;  // given since the seed was set: each answer draws with a seed of its own
  bool done_ = false;
  bool failed_ = false;
};

const std::array<Chat::Command, 9> Chat::kCommands = {{
    {"/help", "", "List the commands", &Chat::help},
    {"/clear", "", "Forget all messages but the system text", &Chat::clear},
    {"/regen", "", "Answer the last message again", &Chat::regenerate},
    {"/undo", "", "Take back the last message and its answer", &Chat::undo},
    {"/set", "NAME VALUE", "Change a setting, such as temp 0.7; alone: show all", &Chat::set},
    {"/save", "FILE", "Write the conversation to FILE as JSON", &Chat::save},
    {"/load", "FILE", "Go on with the conversation in FILE", &Chat::load},
    {"/system", "TEXT", "Set the system text; \"\" takes it away; alone: show it", &Chat::system},
    {"/bye", "", "End the chat", &Chat::bye},
}};

static std::string trimmed(const std::string& text) {
  size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

void Chat::help(const std::string&) {
  for (const Command& command : kCommands) {
    write_stderr(format("%-20s %s\n", (std::string(command.name) + " " + command.argument).c_str(), command.help));
  }
  write_stderr(
      "A line ending in \\ goes on in the next; \"\"\" begins and ends a message of several lines; // begins one "
      "with a slash.\n");
}

void Chat::clear(const std::string&) {
  conversation_.clear();
  note("the conversation is empty");
}

void Chat::regenerate(const std::string&) {
  if (conversation_.ends_with(Role::Assistant)) conversation_.drop_last();
  if (!conversation_.ends_with(Role::User)) return complain("there is nothing to answer again; send a message first");
  answer_last();
}

void Chat::undo(const std::string&) {
  if (conversation_.ends_with(Role::Assistant)) conversation_.drop_last();
  if (!conversation_.ends_with(Role::User)) return complain("there is nothing to take back; the conversation is empty");
  conversation_.drop_last();
  note("took back the last message");
}

void Chat::set(const std::string& argument) {
  if (argument.empty()) {
    for (const std::string& name : sampling_names()) {
      write_stderr(format("%-18s %s\n", name.c_str(), sampling_value(flags_.sampling, name).c_str()));
    }
    return;
  }
  size_t space = argument.find_first_of(" \t");
  if (space == std::string::npos) {
    throw UsageError("/set needs a name and a value; found only '" + printable(argument, 60) +
                     "'; write for example /set temp 0.7");
  }
  std::string name = argument.substr(0, space);
  set_sampling(flags_.sampling, name, trimmed(argument.substr(space)));
  if (name == "seed") n_answers_ = 0;
  note(name + " is " + sampling_value(flags_.sampling, name));
}

std::string Chat::argument_of(const char* name, const std::string& argument) const {
  if (!argument.empty()) return argument;
  throw UsageError(std::string(name) + " needs the name of a file; found none; write for example " + name +
                   " talk.json");
}

void Chat::save(const std::string& argument) {
  conversation_.save(argument_of("/save", argument), flags_.model.path);
  note(format("saved %zu messages", conversation_.messages().size()));
}

void Chat::load(const std::string& argument) {
  conversation_.load(argument_of("/load", argument));
  note(format("loaded %zu messages", conversation_.messages().size()) +
       (conversation_.ends_with(Role::User) ? "; /regen answers the last one" : ""));
}

void Chat::system(const std::string& argument) {
  if (argument.empty()) {
    std::string text = conversation_.system();
    return note(text.empty() ? "there is no system text" : printable(text));
  }
  conversation_.set_system(argument == "\"\"" ? "" : argument);
  note(argument == "\"\"" ? "the system text is gone" : "the system text is set");
}

void Chat::bye(const std::string&) {
  done_ = true;
}

void Chat::obey(const std::string& line) {
  size_t space = line.find_first_of(" \t");
  std::string name = line.substr(0, space);
  std::string argument = space == std::string::npos ? "" : trimmed(line.substr(space));
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    names.emplace_back(command.name);
    if (name != command.name) continue;
    if (*command.argument == '\0' && !argument.empty()) {
      return complain(name + " takes nothing; found '" + printable(argument, 60) + "'; write it alone");
    }
    try {
      return (this->*command.act)(argument);
    } catch (const UsageError& error) {
      return complain(error.what());
    }
  }
  std::string nearest = nearest_word(name, names);
  complain("there is no command '" + printable(name, 60) + "'; " +
           (nearest.empty() ? "" : "did you mean " + nearest + "? ") +
           "/help lists them; begin with // to send a line that starts with a slash");
}

void Chat::answer_last() {
  engine::GenerateOptions options = flags_.sampling.options;
  options.sampling.seed += n_answers_++;
  options.starts_thinking = opens_thinking(template_, conversation_.messages());
  char last = ' ';
  auto on_text = [&](std::string_view text) {
    if (text.empty()) return;
    write_stdout(text);
    last = text.back();
  };
  engine::Generation generation;
  try {
    std::vector<engine::TokenId> prompt = template_.encode(model_->tokenizer(), conversation_.messages(), true);
    generation = answer(session_, prompt, options, on_text, !flags_.model.quiet);
  } catch (const engine::Error& error) {
    if (error.kind() != engine::Error::Kind::Usage) throw;
    conversation_.drop_last();
    return complain(std::string(error.what()) + " (the message was taken back; /clear and /undo make room)");
  }
  bool nothing = generation.text.empty() && generation.stop == engine::StopReason::Cancelled;
  if (!nothing && last != '\n') write_stdout("\n");
  if (!flags_.model.quiet) write_stderr(styled(Style::Dim, report_line(generation)));
  if (nothing) {
    conversation_.drop_last();
    return note("stopped before the first word; the message was taken back");
  }
  conversation_.add_assistant(generation.text);
  if (generation.stop == engine::StopReason::Context) {
    print_warning(
        format("the context of %u tokens is full, the answer ends here; /clear and /undo make room, -c gives "
               "more",
               session_.n_context()));
  }
}

Event Chat::read_line(const char* prompt, std::string& line) {
  Event event = reader_.read(prompt, line);
  if (event != Event::Line) return event;
  if (line.ends_with('\r')) line.pop_back();
  reader_.remember(line);
  return event;
}

// The rest of a message after its opening """.
Event Chat::read_block(std::string& message) {
  std::string line = message.substr(3);
  message.clear();
  while (!line.ends_with("\"\"\"")) {
    message += line + "\n";
    Event event = read_line("... ", line);
    if (event == Event::End)
      complain("the message has no end; found the end of input, expected \"\"\"; it was not sent");
    if (event != Event::Line) return event;
  }
  message += line.substr(0, line.size() - 3);
  if (message.starts_with('\n')) message.erase(0, 1);  // """ alone on its line
  if (message.ends_with('\n')) message.pop_back();
  return Event::Line;
}

Event Chat::read_message(std::string& message) {
  Event event = read_line("> ", message);
  if (event != Event::Line) return event;
  if (message.starts_with("\"\"\"")) return read_block(message);
  if (message.starts_with('/') && !message.starts_with("//")) {
    obey(message);
    message.clear();
    return Event::Line;
  }
  if (message.starts_with('/')) message.erase(0, 1);
  while (message.ends_with('\\')) {
    message.back() = '\n';
    std::string line;
    event = read_line("... ", line);
    if (event == Event::Interrupted) return event;
    if (event == Event::End) break;
    message += line;
  }
  return Event::Line;
}

int Chat::talk() {
  bool interrupted_before = false;
  while (!done_) {
    std::string message;
    Event event = read_message(message);
    if (event == Event::End) break;
    if (event == Event::Interrupted) {
      if (interrupted_before || !stdin_is_terminal()) return kExitInterrupted;
      note("Ctrl-C again or /bye ends the chat");
      interrupted_before = true;
      continue;
    }
    interrupted_before = false;
    if (trimmed(message).empty() || done_) continue;
    conversation_.add_user(message);
    answer_last();
  }
  return failed_ && !stdin_is_terminal() ? kExitUsage : kExitOk;
}

static int chat(ChatFlags& flags) {
  const auto trace = open_trace(flags.model);
  auto model = open_model(flags.model);
  settle_sampling(flags.sampling, model->vocabulary_size());
  ChatTemplate chat_template = choose_template(*model, flags.chat_template);
  Chat chat(flags, model, chat_template, trace.get());
  if (!flags.load.empty()) chat.conversation().load(flags.load);
  if (!flags.system.empty()) chat.conversation().set_system(flags.system);
  if (stdin_is_terminal()) {
    write_stderr(styled(Style::Dim, "template " + std::string(chat_template.name()) +
                                        "; /help lists the commands, /bye or Ctrl-D ends the chat\n"));
  }
  return chat.talk();
}

Action prepare_chat(CLI::App& app) {
  auto flags = std::make_shared<ChatFlags>();
  add_positional(app, "MODEL", flags->model.path, "GGUF file, or any shard of one").required();
  add_text(app, "--chat-template", "NAME", flags->chat_template, "This template instead of the file's own");
  add_text(app, "--system", "TEXT", flags->system, "System text");
  add_text(app, "--load", "FILE", flags->load, "Begin with a conversation that /save wrote");
  add_model_flags(app, flags->model);
  add_trace_flag(app, flags->model);
  add_sampling_flags(app, flags->sampling);
  set_notes(app, kChatNotes);
  return [flags] { return chat(*flags); };
}

}  // namespace sluice::tools
