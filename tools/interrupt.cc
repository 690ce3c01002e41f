#include "tools/interrupt.h"

#include <unistd.h>
#include <csignal>

#include <atomic>

#include "tools/exit_codes.h"

namespace sluice::tools {

// The handler touches only these and calls only functions that POSIX lists as safe in one.
static std::atomic<int> interrupt_count{0};
static std::atomic<int> fatal_count{InterruptGuard::kNever};
static struct sigaction previous_action;
static_assert(std::atomic<int>::is_always_lock_free);

static void on_interrupt(int) {
  if (interrupt_count.fetch_add(1) + 1 < fatal_count.load()) return;
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, "\n", 1);
  ::_exit(kExitInterrupted);
}

InterruptGuard::InterruptGuard(int fatal_at) {
  interrupt_count = 0;
  fatal_count = fatal_at;
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a waiting read() must come back
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, nullptr, &previous_action);
  if (previous_action.sa_handler != SIG_IGN) sigaction(SIGINT, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &previous_action, nullptr);
}

bool InterruptGuard::interrupted() {
  return interrupt_count.load() > 0;
}

}  // namespace sluice::tools
