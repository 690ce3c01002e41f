// What the kernel of the emulated machine is made of: its memory map, ports, and the parts of itself.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Physical memory, which is also virtual memory. The kernel lies at 1 MiB, its stacks below; the program where it was linked.
enum {
  kFaultStack = 0xa0000,
  kHeapEnd = 0x1f000000,
  kStackTop = 0x1ff00000,
  kImageAt = 0x20000000,  // the program's file
  kMapsAt = 0x28000000,
  kMapsEnd = 0x3f000000,
};

static inline void out_byte(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0,%1" ::"a"(value), "Nd"(port));
}
static inline uint8_t in_byte(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1,%0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void write_register(uint32_t number, uint64_t value) {  // model-specific
  __asm__ volatile("wrmsr" ::"c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}
// The emulator counts one for each instruction.
static inline uint64_t n_instructions(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

void* memcpy(void* to, const void* from, size_t n);
void* memset(void* to, int value, size_t n);

// The only output: bytes to the parallel port, which the emulator appends to a file.
void put_byte(uint8_t byte);
void put_text(const char* text);
void put_decimal(uint64_t value);
void put_hex(uint64_t value);

// Says how the program ended and switches the machine off.
__attribute__((noreturn)) void quit(int status);

// Where the program's heap begins: set once, before it runs.
void set_heap(uint64_t begin);
int64_t system_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);
