// The Linux system calls that a static C++ program without threads and files makes (numbers of x86-64).
#include "tests/emulator/guest/machine.h"

enum { kNoEntry = -2, kBadFile = -9, kNoMemory = -12, kInvalid = -22, kNotATerminal = -25, kNotSeekable = -29, kNoCall = -38 };

static uint64_t heap_begin, heap_end;
static uint64_t maps_end = kMapsAt, highest_map = kMapsAt;

void set_heap(uint64_t begin) {
  heap_begin = heap_end = begin;
}

static int64_t write_all(const uint8_t* bytes, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) put_byte(bytes[i]);
  return (int64_t)n;
}

static int64_t move_heap(uint64_t end) {
  if (end >= heap_begin && end < kHeapEnd) {
    if (end > heap_end) memset((void*)heap_end, 0, end - heap_end);
    heap_end = end;
  }
  return (int64_t)heap_end;
}

// Memory begins as zeros, so only what was handed out before is cleared: clearing costs emulated time.
static int64_t map_memory(uint64_t bytes) {
  const uint64_t size = (bytes + 4095) & ~4095ul, large = 2 << 20;
  const uint64_t at = size >= large ? (maps_end + large - 1) & ~(large - 1) : maps_end;
  if (at + size > kMapsEnd) return kNoMemory;
  if (at < highest_map) memset((void*)at, 0, (at + size < highest_map ? at + size : highest_map) - at);
  maps_end = at + size;
  if (maps_end > highest_map) highest_map = maps_end;
  return (int64_t)at;
}

static int64_t unmap_memory(uint64_t at, uint64_t bytes) {
  if (at + ((bytes + 4095) & ~4095ul) == maps_end) maps_end = at;  // the last of them; others are kept
  return 0;
}

static int64_t remap_memory(uint64_t at, uint64_t bytes, uint64_t new_bytes) {
  if (new_bytes <= bytes) return (int64_t)at;
  const int64_t to = map_memory(new_bytes);
  if (to > 0) memcpy((void*)to, (const void*)at, bytes);
  return to;
}

static int64_t describe_file(uint8_t* stat) {  // a terminal-like device
  memset(stat, 0, 144);
  *(uint32_t*)(stat + 24) = 020620;
  *(uint64_t*)(stat + 56) = 4096;
  return 0;
}

int64_t system_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  (void)e;
  switch (number) {
    case 1:  // write
      return a == 1 || a == 2 ? write_all((const uint8_t*)b, c) : kBadFile;
    case 20: {  // writev
      int64_t n = 0;
      const uint64_t* pieces = (const uint64_t*)b;  // of an address and a length
      for (uint64_t i = 0; i < c; ++i) n += write_all((const uint8_t*)pieces[2 * i], pieces[2 * i + 1]);
      return n;
    }
    case 12:  // brk
      return move_heap(a);
    case 9:  // mmap, of no file
      return (d & 0x20) != 0 ? map_memory(b) : kNoMemory;
    case 11:  // munmap
      return unmap_memory(a, b);
    case 25:  // mremap
      return remap_memory(a, b, c);
    case 158:                    // arch_prctl
      if (a != 0x1002) return kInvalid;
      write_register(0xc0000100, b);  // the base of fs: thread-local data
      return 0;
    case 228: {  // clock_gettime: an instruction is a nanosecond
      const uint64_t now = n_instructions();
      ((uint64_t*)b)[0] = now / 1000000000;
      ((uint64_t*)b)[1] = now % 1000000000;
      return 0;
    }
    case 318:  // getrandom
      memset((void*)a, 1, b);
      return (int64_t)b;
    case 5:    // fstat
      return describe_file((uint8_t*)b);
    case 262:  // newfstatat
      return *(const char*)b != 0 ? kNoEntry : describe_file((uint8_t*)c);
    case 302:  // prlimit64: 8 MiB of stack
      if (d != 0) {
        ((uint64_t*)d)[0] = 8 << 20;
        ((uint64_t*)d)[1] = ~0ul;
      }
      return 0;
    case 63:  // uname
      memset((void*)a, 0, 390);
      memcpy((void*)a, "Linux", 6);
      memcpy((void*)(a + 130), "6.1.0", 6);
      return 0;
    case 204:  // sched_getaffinity: one CPU
      if (b < 8) return kInvalid;
      *(uint64_t*)c = 1;
      return 8;
    case 0:    // read: at the end
    case 3:    // close
    case 10:   // mprotect
    case 13:   // rt_sigaction
    case 14:   // rt_sigprocmask
    case 28:   // madvise
    case 131:  // sigaltstack
    case 202:  // futex: nobody waits
    case 273:  // set_robust_list
    case 102:  // getuid and the like
    case 104:
    case 107:
    case 108:
      return 0;
    case 39:   // getpid
    case 186:  // gettid
    case 218:  // set_tid_address
      return 1;
    case 2:  // open and the like: there are no files
    case 21:
    case 89:
    case 257:
    case 267:
      return kNoEntry;
    case 8:
      return kNotSeekable;
    case 16:
      return kNotATerminal;
    case 334:  // rseq
      return kNoCall;
    case 60:  // exit
    case 231:
      quit((int)a);
    case 200:  // tkill, tgkill: the program aborts
    case 234:
      quit(134);
    default:
      put_text("[system call ");
      put_decimal(number);
      put_text(" is not known]\n");
      return kNoCall;
  }
}
