#include "tools/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tools/text_format.h"

namespace sluice::tools {

// Writes all bytes; returns 0 or errno.
static int write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd writable{descriptor, POLLOUT, 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

void write_stdout(std::string_view bytes) {
  int failure = write_all(STDOUT_FILENO, bytes);
  if (failure == 0) return;
  throw OutputError(
      format("cannot write standard output: %s; make room or send it elsewhere and run again", std::strerror(failure)),
      failure == EPIPE);
}

void write_stderr(std::string_view text) {
  write_all(STDERR_FILENO, text);
}

bool stdin_is_terminal() {
  return ::isatty(STDIN_FILENO) != 0;
}
bool stdout_is_terminal() {
  return ::isatty(STDOUT_FILENO) != 0;
}
bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) != 0;
}

static bool dumb_terminal() {
  const char* kind = std::getenv("TERM");
  return kind == nullptr || std::string_view(kind) == "dumb";
}

static bool uses_styles() {
  const char* no_color = std::getenv("NO_COLOR");
  return stderr_is_terminal() && !dumb_terminal() && (no_color == nullptr || *no_color == '\0');
}

std::string styled(Style style, std::string_view text) {
  if (!uses_styles()) return std::string(text);
  int code = 1;
  switch (style) {
    case Style::Bold:
      code = 1;
      break;
    case Style::Dim:
      code = 2;
      break;
    case Style::Red:
      code = 31;
      break;
    case Style::Yellow:
      code = 33;
      break;
  }
  return format("\033[%dm", code) + std::string(text) + "\033[0m";
}

void print_error(std::string_view sentence) {
  write_stderr(styled(Style::Red, "error:") + " " + std::string(sentence) + "\n");
}

void print_note(std::string_view sentence) {
  write_stderr("note: " + std::string(sentence) + "\n");
}

void print_warning(std::string_view sentence) {
  write_stderr(styled(Style::Yellow, "warning:") + " " + std::string(sentence) + "\n");
}

static constexpr auto kBarDelay = std::chrono::milliseconds(300);
static constexpr auto kBarInterval = std::chrono::milliseconds(100);
static constexpr auto kLineInterval = std::chrono::seconds(5);
static constexpr size_t kBarCells = 30;

static size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

Progress::Progress(std::string label, Unit unit, bool enabled)
    : label_(std::move(label)), unit_(unit), enabled_(enabled) {
  bool bar = stderr_is_terminal() && !dumb_terminal();
  next_ = bar ? began_ + kBarDelay : began_ + kLineInterval;
}

void Progress::update(uint64_t done, uint64_t total) {
  Clock::time_point now = Clock::now();
  if (!enabled_ || total == 0 || now < next_) return;
  done = std::min(done, total);
  double share = static_cast<double>(done) / static_cast<double>(total);
  std::string amount = unit_ == Unit::Bytes ? format_bytes(done) + " of " + format_bytes(total)
                                            : format_count(done) + " of " + format_count(total) + " tokens";
  std::string elapsed = format_seconds(std::chrono::duration<double>(now - began_).count());
  std::string tail = format("%3d%% ", static_cast<int>(share * 100)) + amount + ", " + elapsed;
  if (!stderr_is_terminal() || dumb_terminal()) {
    write_stderr(label_ + " " + tail + "\n");
    next_ = now + kLineInterval;
    return;
  }
  auto filled = static_cast<size_t>(share * kBarCells);
  std::string line = label_ + " [" + std::string(filled, '#') + std::string(kBarCells - filled, '.') + "] " + tail;
  size_t columns = terminal_columns();
  if (line.size() >= columns) line = label_ + " " + tail;
  if (line.size() >= columns) line.resize(columns - 1);
  write_stderr("\r" + line + "\033[K");
  drawn_ = true;
  next_ = now + kBarInterval;
}

void Progress::finish() {
  if (drawn_) write_stderr("\r\033[K");
  drawn_ = false;
  enabled_ = false;
}

}  // namespace sluice::tools
