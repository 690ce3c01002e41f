// A kernel for one program: loads a static ELF program from the disk, starts it in ring 0, and says where it faults.
//
// Sector 0 of the disk: | "ARG!" | bytes of the program u32 | arguments, separated by spaces, to the end of a line |, then the
// program.
#include "tests/emulator/guest/machine.h"

void* memcpy(void* to, const void* from, size_t n) {
  void* at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n)::"memory");
  return to;
}
void* memset(void* to, int value, size_t n) {
  void* at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
  return to;
}

void put_byte(uint8_t byte) {
  out_byte(0x378, byte);
  out_byte(0x37a, 0x0d);  // strobe on, and off
  out_byte(0x37a, 0x0c);
}
void put_text(const char* text) {
  while (*text != 0) put_byte((uint8_t)*text++);
}
static void put_number(uint64_t value, uint64_t base) {
  char digits[24];
  int at = sizeof digits;
  digits[--at] = 0;
  do digits[--at] = "0123456789abcdef"[value % base];
  while ((value /= base) != 0);
  put_text(digits + at);
}
void put_decimal(uint64_t value) {
  put_number(value, 10);
}
void put_hex(uint64_t value) {
  put_text("0x");
  put_number(value, 16);
}

void quit(int status) {
  put_text("\n=== EXIT ");
  put_decimal((uint64_t)status);
  put_text("\n");
  for (const char* word = "Shutdown"; *word != 0; ++word) out_byte(0x8900, (uint8_t)*word);  // the emulator listens there
  for (;;) __asm__ volatile("cli; hlt");
}

// Sectors of 512 bytes from the first IDE disk, by programmed input.
static void read_disk(uint32_t sector, uint32_t n, uint8_t* to) {
  while (n > 0) {
    const uint32_t here = n > 128 ? 128 : n;
    out_byte(0x1f6, (uint8_t)(0xe0 | (sector >> 24 & 15)));
    out_byte(0x1f2, (uint8_t)here);
    out_byte(0x1f3, (uint8_t)sector);
    out_byte(0x1f4, (uint8_t)(sector >> 8));
    out_byte(0x1f5, (uint8_t)(sector >> 16));
    out_byte(0x1f7, 0x20);
    for (uint32_t i = 0; i < here; ++i) {
      uint8_t state;
      while (((state = in_byte(0x1f7)) & 0x80) != 0) {
      }
      if ((state & 1) != 0) {
        put_text("The disk cannot be read.");
        quit(127);
      }
      while ((in_byte(0x1f7) & 8) == 0) {
      }
      uint64_t words = 256;
      __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(0x1f0) : "memory");
    }
    sector += here;
    n -= here;
  }
}

// Called by the entries of faults, with what lies on the stack.
struct FaultFrame {
  uint64_t number, error, rip, cs, flags, rsp, ss;
};
void fault(const struct FaultFrame* frame) {
  uint64_t address;
  __asm__ volatile("mov %%cr2,%0" : "=r"(address));
  put_text("\n[fault ");
  put_decimal(frame->number);
  put_text(frame->number == 6 ? " (an instruction that this CPU does not have) at " : " at ");
  put_hex(frame->rip);
  put_text(", address ");
  put_hex(address);
  put_text(", bytes");
  for (int i = 0; i < 12; ++i) {
    put_text(" ");
    put_hex(((const uint8_t*)frame->rip)[i]);
  }
  put_text("]\n");
  quit(frame->number == 6 ? 132 : 139);
}

extern void system_call_entry(void);
extern uint8_t fault_entries[];

// Faults get a stack of their own (the first of a task state segment): the program uses memory below its stack pointer.
static void take_faults_and_system_calls(void) {
  struct __attribute__((packed)) Gate {
    uint16_t low, selector;
    uint8_t stack, kind;
    uint16_t middle;
    uint32_t high, zero;
  };
  static struct Gate gates[32];
  static uint32_t task_state[26];
  static uint64_t descriptors[7] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff};
  const uint64_t task = (uint64_t)task_state;
  descriptors[5] = 103 | (task & 0xffffff) << 16 | 0x89ul << 40 | (task >> 24 & 0xff) << 56;
  descriptors[6] = task >> 32;
  const uint64_t fault_stack = kFaultStack;
  memcpy((uint8_t*)task_state + 0x24, &fault_stack, sizeof fault_stack);
  for (int i = 0; i < 32; ++i) {
    const uint64_t entry = (uint64_t)fault_entries + 16 * (uint64_t)i;
    gates[i] = (struct Gate){(uint16_t)entry, 0x18, 1, 0x8e, (uint16_t)(entry >> 16), (uint32_t)(entry >> 32), 0};
  }
  const struct __attribute__((packed)) {
    uint16_t limit;
    uint64_t base;
  } descriptors_at = {sizeof descriptors - 1, (uint64_t)descriptors}, gates_at = {sizeof gates - 1, (uint64_t)gates};
  __asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(descriptors_at), "m"(gates_at), "r"(0x28));
  write_register(0xc0000081, (uint64_t)0x18 << 32);
  write_register(0xc0000082, (uint64_t)system_call_entry);
  write_register(0xc0000084, 0);
}

struct Program {
  uint64_t entry, headers, n_headers;
};

// Copies the segments of the ELF file at kImageAt to their places.
static struct Program load_program(void) {
  const uint8_t* image = (const uint8_t*)kImageAt;
  if (*(const uint32_t*)image != 0x464c457f || *(const uint16_t*)(image + 16) != 2) {
    put_text("The program must be a static ELF file at a fixed address.");
    quit(126);
  }
  const uint64_t headers_at = *(const uint64_t*)(image + 32);
  struct Program program = {*(const uint64_t*)(image + 24), 0, *(const uint16_t*)(image + 56)};
  uint64_t end = 0;
  for (uint64_t i = 0; i < program.n_headers; ++i) {
    const uint8_t* header = image + headers_at + 56 * i;
    if (*(const uint32_t*)header != 1) continue;  // nothing to load
    const uint64_t offset = *(const uint64_t*)(header + 8), address = *(const uint64_t*)(header + 16);
    const uint64_t file_bytes = *(const uint64_t*)(header + 32), bytes = *(const uint64_t*)(header + 40);
    memcpy((void*)address, image + offset, file_bytes);
    memset((void*)(address + file_bytes), 0, bytes - file_bytes);
    if (offset <= headers_at && headers_at < offset + file_bytes) program.headers = address + headers_at - offset;
    if (address + bytes > end) end = address + bytes;
  }
  set_heap((end + 4095) & ~4095ul);
  return program;
}

// What Linux puts on the stack: arguments, an empty environment, and what the C library wants to know.
static uint64_t fill_stack(const struct Program* program, char* arguments) {
  static char name[] = "program";
  static const uint8_t random_bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  static uint64_t words[128];
  uint64_t n = 1, argc = 0;
  words[n++] = (uint64_t)name;
  ++argc;
  for (char* at = arguments; *at != 0 && argc < 32;) {
    while (*at == ' ') *at++ = 0;
    if (*at == 0) break;
    words[n++] = (uint64_t)at;
    ++argc;
    while (*at != 0 && *at != ' ') ++at;
  }
  words[0] = argc;
  words[n++] = 0;
  words[n++] = 0;
  const uint64_t known[][2] = {{3, program->headers}, {4, 56}, {5, program->n_headers}, {6, 4096}, {7, 0}, {8, 0},
                               {9, program->entry},   {11, 0}, {12, 0},                 {13, 0},   {14, 0}, {16, 0},
                               {17, 100},             {23, 0}, {25, (uint64_t)random_bytes}, {31, (uint64_t)name},
                               {51, 3632},            {0, 0}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
    words[n++] = known[i][0];
    words[n++] = known[i][1];
  }
  const uint64_t stack = (kStackTop - n * 8) & ~15ul;
  memcpy((void*)stack, words, n * 8);
  return stack;
}

void start_kernel(void) {
  take_faults_and_system_calls();
  static uint8_t head[513];
  read_disk(0, 1, head);
  const uint32_t bytes = *(const uint32_t*)(head + 4);
  read_disk(1, (bytes + 511) / 512, (uint8_t*)kImageAt);
  char* arguments = (char*)head + 8;
  for (char* at = arguments; *at != 0; ++at)
    if (*at == '\n') *at = 0;
  const struct Program program = load_program();
  const uint64_t stack = fill_stack(&program, arguments);
  __asm__ volatile("mov %0,%%rsp; xor %%edx,%%edx; xor %%ebp,%%ebp; jmp *%1" ::"r"(stack), "r"(program.entry));
}
