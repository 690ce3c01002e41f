#include <algorithm>
#include <functional>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

bool overlap(const MemoryRange& a, const MemoryRange& b) {
  const std::less<const std::byte*> before;
  return a.bytes > 0 && b.bytes > 0 && before(a.data, b.data + b.bytes) && before(b.data, a.data + a.bytes);
}

bool is_before(const MemoryRange& a, const MemoryRange& b) {
  return std::less<const std::byte*>()(a.data, b.data);
}

struct Conflict {
  const MemoryRange *one = nullptr, *other = nullptr;
};

// Both by address, and each without overlaps of its own.
std::optional<Conflict> find_conflict(const std::vector<MemoryRange>& ranges, const std::vector<MemoryRange>& others) {
  for (size_t i = 0, j = 0; i < ranges.size() && j < others.size();) {
    const MemoryRange &a = ranges[i], &b = others[j];
    if ((a.writes || b.writes) && !(a.is_atomic && b.is_atomic) && overlap(a, b)) return Conflict{&a, &b};
    if (a.data + a.bytes < b.data + b.bytes)
      ++i;
    else
      ++j;
  }
  return std::nullopt;
}

// Range for range, as much written as in the other ones.
bool covers(const std::vector<MemoryRange>& ranges, const std::vector<MemoryRange>& others) {
  return std::equal(ranges.begin(), ranges.end(), others.begin(), others.end(), [](const auto& a, const auto& b) {
    return a.data == b.data && a.bytes == b.bytes && (a.writes || !b.writes) && (!a.is_atomic || b.is_atomic);
  });
}

std::string who(const Access& access, bool writes) {
  const std::string where = access.lane == 0 ? "the host" : "stream " + std::to_string(access.lane);
  return access.name + " of " + where + (writes ? " (writes)" : " (reads)");
}

}  // namespace

void join(VectorClock& clock, const VectorClock& other) {
  if (clock.size() < other.size()) clock.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

bool is_ordered_before(int lane, uint32_t sequence, const VectorClock& clock) {
  const auto i = static_cast<size_t>(lane);
  return sequence <= (i < clock.size() ? clock[i] : 0);
}

void check_access(Machine& machine, Access access) {
  if (!machine.options.check_races || access.ranges.empty()) return;
  std::sort(access.ranges.begin(), access.ranges.end(), is_before);
  bool is_reported = false;
  std::erase_if(machine.accesses, [&](const Access& other) {
    // What happens later and is not ordered with the other one is not ordered with this one either: it would find them both.
    if (is_ordered_before(other.lane, other.sequence, access.clock)) return covers(access.ranges, other.ranges);
    if (is_ordered_before(access.lane, access.sequence, other.clock) || is_reported) return false;
    if (const auto conflict = find_conflict(other.ranges, access.ranges)) {
      report_finding("stream race: " + who(other, conflict->one->writes) + " and " +
                     who(access, conflict->other->writes) +
                     " touch the same memory with no event or synchronisation between them");
      is_reported = true;  // one for each operation is enough
    }
    return false;
  });
  machine.accesses.push_back(std::move(access));
}

void forget_ordered_accesses(Machine& machine) {
  // What is still to happen may be unordered with what the host knows of, if it was started before the host knew.
  std::erase_if(machine.accesses, [&](const Access& access) {
    if (!is_ordered_before(access.lane, access.sequence, machine.host_clock)) return false;
    for (const Lane& lane : machine.lanes) {
      for (const OperationPointer& operation : lane.pending) {
        if (!is_ordered_before(access.lane, access.sequence, operation->clock)) return false;
      }
    }
    return true;
  });
}

void host_touches(const void* data, size_t bytes, bool writes) {
  Machine& m = machine();
  const Lock lock(m.mutex);
  const uint32_t sequence = ++m.lanes[0].n_operations;
  if (m.host_clock.empty()) m.host_clock.resize(1);
  m.host_clock[0] = sequence;
  check_access(m, {"an access", 0, sequence, m.host_clock, {{static_cast<const std::byte*>(data), bytes, writes}}});
}

void host_acquires(const void* data, size_t bytes) {
  Machine& m = machine();
  Lock lock(m.mutex);
  // The word may be there already while the kernel that wrote it runs on another thread: what it touched is known at its end.
  const auto is_running = [](const OperationPointer& operation) {
    return operation->effect == Operation::Effect::Running && operation->work.kind == WorkKind::Kernel;
  };
  m.changed.wait(lock, [&] {
    return std::none_of(m.lanes.begin(), m.lanes.end(), [&](const Lane& lane) {
      return std::any_of(lane.pending.begin(), lane.pending.end(), is_running);
    });
  });
  const MemoryRange range{static_cast<const std::byte*>(data), bytes, false};
  VectorClock known;
  for (const Access& access : m.accesses) {
    for (const MemoryRange& written : access.ranges) {
      if (written.writes && overlap(written, range)) join(known, access.clock);
    }
  }
  join(m.host_clock, known);
}

}  // namespace sluice::simt
