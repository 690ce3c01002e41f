// Stacks of their own for the threads of a block, and switching between them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::simt {

inline constexpr size_t kStackBytes = 256 << 10;  // of a thread; only what it touches takes memory

struct Stack {
  std::byte* memory = nullptr;  // kStackBytes, behind an inaccessible page
  void* context = nullptr;      // where a fiber that does not run goes on
};

Stack* take_stack();
void return_stack(Stack* stack);
bool is_on_a_stack(uint64_t address);

// Makes the stack one that begins with `entry` when it is switched to. entry must not return.
void prepare_stack(Stack* stack, void (*entry)());
// Goes on at `to`; returns when someone switches to *from.
void switch_context(void** from, void* to);

}  // namespace sluice::simt
