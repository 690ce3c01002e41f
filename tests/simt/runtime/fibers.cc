#include "tests/simt/runtime/fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <new>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace sluice::simt {
namespace {

std::vector<std::unique_ptr<Stack>> all_stacks;
std::vector<Stack*> free_stacks;

// All stacks lie in few large stretches, so that asking whether an address is on one of them is quick.
struct Stretch {
  std::byte* memory;
  size_t bytes;
};
std::vector<Stretch> stretches;

void make_stacks() {
  constexpr size_t kStacks = 256;
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  const size_t step = kStackBytes + page;
  void* memory =
      mmap(nullptr, kStacks * step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stretches.push_back({static_cast<std::byte*>(memory), kStacks * step});
  for (size_t i = 0; i < kStacks; ++i) {
    std::byte* begin = static_cast<std::byte*>(memory) + i * step;
    mprotect(begin, page, PROT_NONE);
    all_stacks.push_back(std::make_unique<Stack>());
    all_stacks.back()->memory = begin + page;
    free_stacks.push_back(all_stacks.back().get());
  }
}

}  // namespace

Stack* take_stack() {
  if (free_stacks.empty()) make_stacks();
  Stack* stack = free_stacks.back();
  free_stacks.pop_back();
  return stack;
}

void return_stack(Stack* stack) {
  free_stacks.push_back(stack);
}

bool is_on_a_stack(uint64_t address) {
  for (const Stretch& stretch : stretches) {
    if (address - reinterpret_cast<uint64_t>(stretch.memory) < stretch.bytes) return true;
  }
  return false;
}

#if defined(__x86_64__)

// The registers that a function must keep are pushed, the stacks are exchanged, and those of the other are popped.
extern "C" void sluice_simt_switch(void** from, void* to);
asm(R"(.text
.globl sluice_simt_switch
.hidden sluice_simt_switch
.type sluice_simt_switch,@function
sluice_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sluice_simt_switch,.-sluice_simt_switch
)");

void switch_context(void** from, void* to) {
  sluice_simt_switch(from, to);
}

void prepare_stack(Stack* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack->memory + kStackBytes - 64);
  *--top = nullptr;  // as if `entry` had been called from nowhere: the stack is aligned as at a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  stack->context = top;
}

#else

void switch_context(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

void prepare_stack(Stack* stack, void (*entry)()) {
  // A context that was switched away from lies on its own stack; one that has not begun lies at the stack's low end.
  auto* context = new (stack->memory) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack->memory + sizeof(ucontext_t);
  context->uc_stack.ss_size = kStackBytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  stack->context = context;
}

#endif

}  // namespace sluice::simt
