#include "tools/input.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "tools/exit_codes.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

static std::string read_all(int descriptor, const std::string& name) {
  std::string text;
  std::array<char, 1 << 16> piece{};
  while (true) {
    ssize_t n_bytes = ::read(descriptor, piece.data(), piece.size());
    if (n_bytes == 0) return text;
    if (n_bytes > 0) {
      text.append(piece.data(), static_cast<size_t>(n_bytes));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd readable{descriptor, POLLIN, 0};
      ::poll(&readable, 1, -1);
    } else if (errno != EINTR) {
      throw UsageError(format("cannot read %s: %s; expected a readable text file; check the name and its permissions",
                              printable(name).c_str(), std::strerror(errno)));
    }
  }
}

std::string read_stdin() {
  if (::fcntl(STDIN_FILENO, F_GETFD) < 0) return {};  // started with standard input closed
  constexpr int kPatienceMilliseconds = 2000;
  pollfd readable{STDIN_FILENO, POLLIN, 0};
  if (::poll(&readable, 1, kPatienceMilliseconds) == 0) {
    write_stderr("waiting for text on standard input (end it with Ctrl-D)\n");
  }
  return read_all(STDIN_FILENO, "standard input");
}

std::string read_text(const std::filesystem::path& path) {
  if (path == "-") return read_stdin();
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw UsageError(format("cannot open %s: %s; expected a readable text file; check the name and its permissions",
                            printable(path.string()).c_str(), std::strerror(errno)));
  }
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};
  return read_all(descriptor, path.string());
}

}  // namespace sluice::tools
