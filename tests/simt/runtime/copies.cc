// cp.async: the data is there after the wait that covers it, and not before. The destination is written when the copy is issued in
// reverse order, when it is waited for in forward order, and at either in random order; a program must not notice.
#include <cstring>

#include "tests/simt/runtime/block.h"
#include "tests/simt/runtime/watch.h"

namespace sluice::simt {
namespace {

void transfer(const PendingCopy& copy) {
  std::byte data[16] = {};
  std::memcpy(data, reinterpret_cast<const void*>(copy.from), copy.source_bytes);
  std::memcpy(reinterpret_cast<void*>(copy.to), data, copy.bytes);
}

bool arrives_at_once() {
  switch (grid_options().order) {
    case GridOptions::Order::Forward:
      return false;
    case GridOptions::Order::Reverse:
      return true;
    case GridOptions::Order::Random:
      return next_random() & 1;
  }
  return false;
}

// Those of groups before `end` arrive.
void finish_copies(uint32_t end) {
  Thread* thread = this_thread();
  size_t n_kept = 0;
  for (size_t i = 0; i < thread->copies.size(); ++i) {
    const PendingCopy copy = thread->copies[i];
    if (copy.group >= end) {
      thread->copies[n_kept++] = copy;
      continue;
    }
    if (!copy.is_there) transfer(copy);
    if (grid_options().check) check_access(copy.to, copy.bytes, SiteKind::Store, copy.to_site);
  }
  thread->copies.resize(n_kept);
}

}  // namespace

void copy_later(uint64_t to, uint64_t from, uint32_t bytes, uint32_t source_bytes, uint32_t to_site,
                uint32_t from_site) {
  Thread* thread = this_thread();
  if (source_bytes > bytes) source_bytes = bytes;
  if (watching) {
    if (source_bytes != 0) watch_access(from, from_site);
    watch_access(to, to_site);
  }
  PendingCopy copy{to, from, bytes, source_bytes, thread->copy_group, to_site, arrives_at_once()};
  if (copy.is_there) transfer(copy);
  thread->copies.push_back(copy);
}

void commit_copies() {
  ++this_thread()->copy_group;
}

void wait_for_copies(uint32_t groups_left) {
  const uint32_t group = this_thread()->copy_group;
  finish_copies(group > groups_left ? group - groups_left : 0);
}

void wait_for_all_copies() {
  commit_copies();
  wait_for_copies(0);
}

}  // namespace sluice::simt
