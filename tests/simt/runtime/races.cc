#include "tests/simt/runtime/races.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/simt/runtime/block.h"
#include "tests/simt/runtime/ordering.h"
#include "tests/simt/runtime/watch.h"

namespace sluice::simt {
namespace {

// Of a byte or a word.
struct Cell {
  uint64_t written_at = 0, read_at = 0;  // 0: never
  uint32_t writer_site = 0, reader_site = 0;
  uint32_t readers = 0;  // since the last write: lanes of the last reader's warp, or warps
  uint16_t writer = 0, reader = 0;
  bool written_strongly = false, read_strongly = false;
  bool is_pending = false;  // an asynchronous copy is on its way to here
  bool readers_are_warps = false;
  bool read_by_other_blocks = false;  // too
};

struct Access {
  const Thread* thread;
  SiteKind kind;
  uint32_t site;
  bool is_shared, is_strong, is_write;
};

bool is_before(const Access& access, uint64_t time, uint32_t thread) {
  if (time <= known_to_all() && (access.is_shared || time < time_of_launch() || time >= time_of_block())) return true;
  if (time < time_of_block())
    return access.is_shared || time < time_of_launch() || is_before_across_blocks({time, thread});
  return is_before_in_block({time, thread}, access.thread->linear);
}

bool readers_are_before(const Access& access, const Cell& cell) {
  const uint64_t time = cell.read_at;
  if (cell.read_by_other_blocks && !access.is_shared) return false;
  if (time < time_of_block()) return is_before(access, time, cell.reader);
  if (time <= known_to_all()) return true;
  for (uint32_t rest = cell.readers; rest != 0; rest &= rest - 1) {
    const uint32_t bit = uint32_t(__builtin_ctz(rest));
    if (!cell.readers_are_warps) {
      if (!is_before_in_block({time, cell.reader / 32u * 32u + bit}, access.thread->linear)) return false;
      continue;
    }
    for (uint32_t lanes = block.warps[bit].exist; lanes != 0; lanes &= lanes - 1) {
      if (!is_before_in_block({time, bit * 32 + uint32_t(__builtin_ctz(lanes))}, access.thread->linear)) return false;
    }
  }
  return true;
}

std::string other_thread(uint64_t time, uint32_t linear) {
  const Thread& thread = block.threads[linear];
  if (time >= time_of_block()) return name_of(thread);
  return name_of(thread) + " of block " + std::to_string(block_at(time));
}

void report_race(const Access& access, uint64_t address, const char* did, uint64_t time, uint32_t thread,
                 uint32_t site) {
  find_fault(access.is_shared ? "shared memory race" : "global memory race", access.site,
             name_of(*access.thread) + (access.is_write ? " writes " : " reads ") + describe_address(address) +
                 ", which " + other_thread(time, thread) + " " + did + " with nothing in between that orders them",
             site);
}

bool was_written(const Access& access, const Cell& cell) {
  return cell.written_at >= (access.is_shared ? time_of_block() : time_of_launch());
}
bool was_read(const Access& access, const Cell& cell) {
  return cell.read_at >= (access.is_shared ? time_of_block() : time_of_launch());
}

// False: something was reported, and the other bytes of the access need not be.
bool check_read(const Access& access, uint64_t address, Cell& cell) {
  const bool is_written = was_written(access, cell);
  if (access.is_shared && !is_written) {
    find_fault("uninitialised shared memory", access.site,
               name_of(*access.thread) + " reads " + describe_address(address) + ", which nobody has written");
    cell.written_at = time_of_block() - 1;
    return false;
  }
  if (is_written && cell.is_pending) {
    find_fault("late wait for cp.async", access.site,
               name_of(*access.thread) + " reads " + describe_address(address) + ", to which a copy by " +
                   other_thread(cell.written_at, cell.writer) + " is on its way that has not been waited for",
               cell.writer_site);
    return false;
  }
  if (is_written && !(access.is_strong && cell.written_strongly) && !is_before(access, cell.written_at, cell.writer)) {
    report_race(access, address, "wrote", cell.written_at, cell.writer, cell.writer_site);
    return false;
  }
  return true;
}

void note_read(const Access& access, Cell& cell) {
  const Thread& thread = *access.thread;
  const uint64_t now = time_now();
  const uint32_t lane_bit = 1u << thread.lane, warp_bit = 1u << thread.warp;
  if (cell.read_at == now && cell.read_strongly <= access.is_strong) {  // often: all lanes read one word
    if (cell.readers_are_warps ? (cell.readers & warp_bit) != 0 : cell.reader / 32u == thread.warp) {
      if (!cell.readers_are_warps) cell.readers |= lane_bit;
      return;
    }
  }
  if (!was_read(access, cell) || readers_are_before(access, cell)) {
    cell.readers = lane_bit;
    cell.readers_are_warps = false;
    cell.read_strongly = access.is_strong;
    cell.read_by_other_blocks = false;
  } else {
    if (cell.read_at < time_of_block()) {  // by another block
      cell.read_by_other_blocks = true;
      cell.readers = lane_bit;
      cell.readers_are_warps = false;
    } else if (cell.readers_are_warps) {
      cell.readers |= warp_bit;
    } else if (cell.reader / 32u == thread.warp) {
      cell.readers |= lane_bit;
    } else {
      cell.readers = 1u << (cell.reader / 32u) | warp_bit;
      cell.readers_are_warps = true;
    }
    cell.read_strongly = cell.read_strongly && access.is_strong;
  }
  cell.read_at = now;
  cell.reader = uint16_t(thread.linear);
  cell.reader_site = access.site;
}

bool check_write(const Access& access, uint64_t address, const Cell& cell) {
  if (was_written(access, cell)) {
    if (cell.is_pending && cell.writer != access.thread->linear) {
      find_fault("late wait for cp.async", access.site,
                 name_of(*access.thread) + " writes " + describe_address(address) + ", to which a copy by " +
                     other_thread(cell.written_at, cell.writer) + " is on its way",
                 cell.writer_site);
      return false;
    }
    if (!(access.is_strong && cell.written_strongly) && !is_before(access, cell.written_at, cell.writer)) {
      report_race(access, address, "wrote", cell.written_at, cell.writer, cell.writer_site);
      return false;
    }
  }
  if (was_read(access, cell) && !(access.is_strong && cell.read_strongly) && !readers_are_before(access, cell)) {
    report_race(access, address, "read", cell.read_at, cell.reader, cell.reader_site);
    return false;
  }
  return true;
}

void note_write(const Access& access, Cell& cell) {
  cell.written_at = time_now();
  cell.writer = uint16_t(access.thread->linear);
  cell.writer_site = access.site;
  cell.written_strongly = access.is_strong;
  cell.is_pending = access.kind == SiteKind::AsyncWrite;
  cell.read_at = 0;
  cell.readers = 0;
  cell.read_by_other_blocks = false;
}

bool look_at(const Access& access, uint64_t address, Cell& cell) {
  const bool reads =
      !access.is_write || (access.kind == SiteKind::Atomic && access.is_shared && !was_written(access, cell));
  const bool is_clean =
      (!reads || check_read(access, address, cell)) && (!access.is_write || check_write(access, address, cell));
  if (access.is_write)
    note_write(access, cell);
  else
    note_read(access, cell);
  return is_clean;
}

Access access_of(SiteKind kind, uint32_t site, bool is_shared) {
  Access access{this_thread(), kind, site, is_shared, false, false};
  access.is_write = kind == SiteKind::Store || kind == SiteKind::StrongStore || kind == SiteKind::Atomic ||
                    kind == SiteKind::AsyncWrite;
  // Volatile accesses to shared memory do not order lanes of a warp, and are taken for plain ones.
  access.is_strong =
      kind == SiteKind::Atomic || (!is_shared && (kind == SiteKind::StrongLoad || kind == SiteKind::StrongStore));
  return access;
}

Cell* shared_cells() {
  // Of the whole shared memory that there may be; untouched parts take no memory.
  static Cell* cells = static_cast<Cell*>(std::calloc(size_t(1) << 20, sizeof(Cell)));
  if (cells == nullptr) throw std::bad_alloc();
  return cells;
}

// Words of global memory get one cell each until something smaller is touched in their page.
struct Page {
  static constexpr uint64_t kBytes = 4096;
  std::vector<Cell> cells = std::vector<Cell>(kBytes / 4);
  bool of_bytes = false;
  uint64_t touched_at = 0;

  void split() {
    std::vector<Cell> bytes(kBytes);
    for (size_t i = 0; i < kBytes; ++i) bytes[i] = cells[i / 4];
    cells = std::move(bytes);
    of_bytes = true;
  }
};
std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
uint64_t last_page_number = ~uint64_t(0);
Page* last_page = nullptr;

Page& page_of(uint64_t address) {
  const uint64_t number = address / Page::kBytes;
  if (number != last_page_number) {
    std::unique_ptr<Page>& page = pages[number];
    if (!page) page = std::make_unique<Page>();
    last_page_number = number;
    last_page = page.get();
  }
  if (last_page->touched_at < time_of_launch()) {
    last_page->touched_at = time_of_launch();
  }
  return *last_page;
}

}  // namespace

void forget_marks_of_global_memory() {
  constexpr size_t kMostPages = 4096;  // 128 MiB of marks
  if (pages.size() < kMostPages) return;
  pages.clear();
  last_page_number = ~uint64_t(0);
}

void order_shared_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site) {
  const Access access = access_of(kind, site, true);
  Cell* cells = shared_cells() + shared_offset(address);
  bool is_clean = true;
  for (uint32_t i = 0; i < bytes; ++i) {
    if (is_clean)
      is_clean = look_at(access, address + i, cells[i]);
    else if (access.is_write)
      note_write(access, cells[i]);
  }
}

void order_global_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site) {
  const Access access = access_of(kind, site, false);
  Page& page = page_of(address);  // an aligned access lies in one page
  if (bytes < 4 && !page.of_bytes) page.split();
  const uint64_t in_page = address % Page::kBytes;
  const uint32_t step = page.of_bytes ? 1 : 4;
  bool is_clean = true;
  for (uint32_t i = 0; i < bytes; i += step) {
    Cell& cell = page.cells[(in_page + i) / step];
    if (is_clean)
      is_clean = look_at(access, address + i, cell);
    else if (access.is_write)
      note_write(access, cell);
  }
}

std::vector<TouchedRange> ranges_of_last_launch() {
  std::vector<std::pair<uint64_t, const Page*>> touched;
  for (const auto& [number, page] : pages) {
    if (page->touched_at == time_of_launch()) touched.emplace_back(number, page.get());
  }
  std::sort(touched.begin(), touched.end());
  std::vector<TouchedRange> ranges;
  for (const auto& [number, page] : touched) {
    const uint64_t step = page->of_bytes ? 1 : 4;
    for (size_t i = 0; i < page->cells.size(); ++i) {
      const Cell& cell = page->cells[i];
      const bool is_written = cell.written_at >= time_of_launch();
      if (!is_written && cell.read_at < time_of_launch()) continue;
      const bool is_strong = is_written ? cell.written_strongly : cell.read_strongly;
      const uint64_t address = number * Page::kBytes + i * step;
      const bool goes_on = !ranges.empty() && ranges.back().address + ranges.back().bytes == address &&
                           ranges.back().is_written == is_written && ranges.back().is_strong == is_strong;
      if (goes_on)
        ranges.back().bytes += step;
      else
        ranges.push_back({address, step, is_written, is_strong});
    }
  }
  return ranges;
}

}  // namespace sluice::simt
