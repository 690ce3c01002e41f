// Ctrl-C: the first stops what is going on, the second ends the program.
#pragma once

namespace sluice::tools {

// While it lives, SIGINT is counted instead of killing: ask interrupted(). When the count reaches `fatal_at` the
// program ends at once with status 130. One at a time. A SIGINT that the parent told us to ignore stays ignored.
class InterruptGuard {
 public:
  static constexpr int kNever = 1 << 30;
  explicit InterruptGuard(int fatal_at = 2);
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();

  static bool interrupted();
};

}  // namespace sluice::tools
