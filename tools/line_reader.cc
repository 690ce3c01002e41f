#include "tools/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>

#include "tools/interrupt.h"
#include "tools/terminal.h"

#if SLUICE_HAVE_LIBEDIT
#include <histedit.h>
#endif

namespace sluice::tools {

struct LineReader::State {
  bool terminal = stdin_is_terminal();
  std::string buffer;  // read but not yet given out
  std::string prompt;
#if SLUICE_HAVE_LIBEDIT
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::filesystem::path history_file;
#endif
};

// read() from standard input that no Ctrl-C can slip past: one that comes between the look at the flag and the read would leave
// the read waiting. So SIGINT is let in only while ppoll() waits. -1 with EINTR when interrupted.
static ssize_t read_or_interrupt(char* to, size_t capacity) {
  sigset_t interrupt, before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &interrupt, &before);
  pollfd input{STDIN_FILENO, POLLIN, 0};
  int ready = 0;
  if (!InterruptGuard::interrupted()) ready = ::ppoll(&input, 1, nullptr, &before);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (ready > 0) return ::read(STDIN_FILENO, to, capacity);
  if (ready == 0) errno = EINTR;
  return -1;
}

#if SLUICE_HAVE_LIBEDIT

static constexpr int kHistoryLines = 1000;

static std::filesystem::path find_history_file() {
  std::filesystem::path folder;
  const char* state_home = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if (state_home != nullptr && *state_home == '/') {
    folder = state_home;
  } else if (home != nullptr && *home == '/') {
    folder = std::filesystem::path(home) / ".local" / "state";
  } else {
    return {};
  }
  std::error_code failure;
  std::filesystem::create_directories(folder / "sluice", failure);
  return failure ? std::filesystem::path() : folder / "sluice" / "history";
}

// Reads one character for libedit. Its own reader would go on after Ctrl-C.
static int read_character(EditLine*, wchar_t* character) {
  std::mbstate_t shift{};
  while (true) {
    char byte = 0;
    ssize_t n_bytes = read_or_interrupt(&byte, 1);
    if (n_bytes == 0) return 0;
    if (n_bytes < 0) {
      if (errno == EINTR && !InterruptGuard::interrupted()) continue;
      return -1;
    }
    size_t used = std::mbrtowc(character, &byte, 1, &shift);
    if (used == static_cast<size_t>(-2)) continue;  // in the midst of a character
    if (used != static_cast<size_t>(-1)) return 1;
    shift = {};  // invalid: drop it
  }
}

static void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
}

LineReader::LineReader() : state_(std::make_unique<State>()) {
  if (!state_->terminal || !stderr_is_terminal()) return;
  use_utf8();
  state_->editor = el_init("sluice", stdin, stderr, stderr);
  if (state_->editor == nullptr) return;
  state_->history = history_init();
  HistEvent event;
  if (state_->history != nullptr) {
    history(state_->history, &event, H_SETSIZE, kHistoryLines);
    history(state_->history, &event, H_SETUNIQUE, 1);
    state_->history_file = find_history_file();
    if (!state_->history_file.empty()) history(state_->history, &event, H_LOAD, state_->history_file.c_str());
    el_set(state_->editor, EL_HIST, history, state_->history);
  }
  el_set(state_->editor, EL_CLIENTDATA, state_.get());
  el_set(state_->editor, EL_PROMPT, static_cast<char* (*)(EditLine*)>([](EditLine* editor) {
           void* data = nullptr;
           el_get(editor, EL_CLIENTDATA, &data);
           return static_cast<State*>(data)->prompt.data();
         }));
  el_set(state_->editor, EL_SIGNAL, 0);
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_source(state_->editor, nullptr);  // the user's ~/.editrc
  el_set(state_->editor, EL_GETCFN, read_character);
}

LineReader::~LineReader() {
  if (state_->history != nullptr) history_end(state_->history);
  if (state_->editor != nullptr) el_end(state_->editor);
}

void LineReader::remember(const std::string& input) {
  if (state_->history == nullptr || input.empty()) return;
  HistEvent event;
  history(state_->history, &event, H_ENTER, input.c_str());
  if (!state_->history_file.empty()) history(state_->history, &event, H_SAVE, state_->history_file.c_str());
}

#else

LineReader::LineReader() : state_(std::make_unique<State>()) {}
LineReader::~LineReader() = default;
void LineReader::remember(const std::string&) {}

#endif

// A line from the buffer and the descriptor, without an editor.
static LineReader::Event read_plain(std::string& buffer, std::string& line) {
  size_t searched = 0;
  while (true) {
    size_t newline = buffer.find('\n', searched);
    if (newline != std::string::npos) {
      line = buffer.substr(0, newline);
      buffer.erase(0, newline + 1);
      return LineReader::Event::Line;
    }
    searched = buffer.size();
    std::array<char, 4096> piece{};
    ssize_t n_bytes = read_or_interrupt(piece.data(), piece.size());
    if (n_bytes > 0) {
      buffer.append(piece.data(), static_cast<size_t>(n_bytes));
    } else if (n_bytes < 0 && errno == EINTR) {
      if (!InterruptGuard::interrupted()) continue;
      buffer.clear();
      return LineReader::Event::Interrupted;
    } else {
      if (buffer.empty()) return LineReader::Event::End;
      line = std::move(buffer);  // the last line has no newline
      buffer.clear();
      return LineReader::Event::Line;
    }
  }
}

LineReader::Event LineReader::read(const std::string& prompt, std::string& line) {
  InterruptGuard guard(InterruptGuard::kNever);
  line.clear();
#if SLUICE_HAVE_LIBEDIT
  if (state_->editor != nullptr) {
    state_->prompt = prompt;
    int n_bytes = 0;
    const char* text = el_gets(state_->editor, &n_bytes);
    bool interrupted = InterruptGuard::interrupted();
    if (interrupted) el_reset(state_->editor);
    if (interrupted || text == nullptr || n_bytes <= 0) write_stderr("\n");
    if (interrupted) return Event::Interrupted;
    if (text == nullptr || n_bytes <= 0) return Event::End;
    line.assign(text, static_cast<size_t>(n_bytes));
    if (line.ends_with('\n')) line.pop_back();
    return Event::Line;
  }
#endif
  if (state_->terminal) write_stderr(prompt);
  Event event = read_plain(state_->buffer, line);
  if (state_->terminal && event != Event::Line) write_stderr("\n");
  return event;
}

}  // namespace sluice::tools
