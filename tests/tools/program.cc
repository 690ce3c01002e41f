#include "tests/tools/program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace sluice::test {

using Clock = std::chrono::steady_clock;
static constexpr auto kPatience = std::chrono::seconds(60);

[[noreturn]] static void become_program(const std::vector<std::string>& arguments,
                                        const std::map<std::string, std::string>& environment) {
  std::vector<char*> words = {const_cast<char*>(SLUICE_PROGRAM)};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  ::execv(SLUICE_PROGRAM, words.data());
  ::_exit(127);
}

static int wait_for(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// False at the end of the stream.
static bool read_some(int descriptor, std::string& text) {
  std::array<char, 4096> piece{};
  ssize_t n_bytes = ::read(descriptor, piece.data(), piece.size());
  if (n_bytes > 0) text.append(piece.data(), static_cast<size_t>(n_bytes));
  return n_bytes > 0 || (n_bytes < 0 && errno == EINTR);
}

Outcome call_with(const Call& call) {
  ::signal(SIGPIPE, SIG_IGN);  // the program may end before it has read all its input
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0 ||
      ::pipe2(err.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("cannot make pipes");
  }
  pid_t process = ::fork();
  if (process == 0) {
    int target = out[1];
    if (!call.redirect_out.empty()) target = ::open(call.redirect_out.c_str(), O_WRONLY);
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(target, STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    become_program(call.arguments, call.environment);
  }
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  Outcome outcome;
  std::string_view input = call.input;
  bool out_open = true;
  bool err_open = true;
  auto deadline = Clock::now() + kPatience;
  while (out_open || err_open) {
    if (input.empty() && in[1] >= 0) {
      ::close(in[1]);
      in[1] = -1;
    }
    std::array<pollfd, 3> waiting = {
        {{out_open ? out[0] : -1, POLLIN, 0}, {err_open ? err[0] : -1, POLLIN, 0}, {in[1], POLLOUT, 0}}};
    ::poll(waiting.data(), waiting.size(), 10);
    if (waiting[0].revents != 0) out_open = read_some(out[0], outcome.out);
    if (waiting[1].revents != 0) err_open = read_some(err[0], outcome.err);
    if (waiting[2].revents != 0) {
      ssize_t written = ::write(in[1], input.data(), std::min<size_t>(input.size(), 4096));
      input.remove_prefix(written > 0 ? static_cast<size_t>(written) : input.size());
    }
    if (call.watch) call.watch(outcome.out, process);
    if (Clock::now() > deadline) ::kill(process, SIGKILL);
  }
  ::close(out[0]);
  ::close(err[0]);
  if (in[1] >= 0) ::close(in[1]);
  outcome.exit_code = wait_for(process);
  return outcome;
}

Outcome call(std::vector<std::string> arguments, std::string input) {
  return call_with(Call{std::move(arguments), std::move(input), {}, {}, {}});
}

Screen call_on_terminal(const std::vector<std::string>& arguments, const std::vector<Typing>& typings,
                        const std::map<std::string, std::string>& environment) {
  int terminal = -1;
  winsize size{24, 80, 0, 0};
  pid_t process = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (process < 0) throw std::runtime_error("cannot make a pseudo-terminal");
  if (process == 0) become_program(arguments, environment);
  Screen screen;
  size_t next = 0;
  size_t seen = 0;  // of the screen, up to the last cue
  auto deadline = Clock::now() + kPatience;
  bool open = true;
  while (open) {
    pollfd readable{terminal, POLLIN, 0};
    ::poll(&readable, 1, 10);
    if (readable.revents != 0) open = read_some(terminal, screen.text);
    if (next < typings.size()) {
      size_t place = screen.text.find(typings[next].cue, seen);
      if (place != std::string::npos) {
        seen = place + typings[next].cue.size();
        // A person types after the prompt has been drawn; the line editor sets the terminal up in that moment.
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        const std::string& text = typings[next++].text;
        if (::write(terminal, text.data(), text.size()) < 0) break;
      }
    }
    if (Clock::now() > deadline) ::kill(process, SIGKILL);
  }
  ::close(terminal);
  screen.exit_code = wait_for(process);
  return screen;
}

}  // namespace sluice::test
