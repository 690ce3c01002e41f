#include "tests/simt/runtime/watch.h"

#include <algorithm>

#include "tests/simt/runtime/access_counts.h"
#include "tests/simt/runtime/memory_map.h"
#include "tests/simt/runtime/races.h"

namespace sluice::simt {

bool watching = false;

namespace {

bool is_write(SiteKind kind) {
  return kind == SiteKind::Store || kind == SiteKind::Atomic || kind == SiteKind::StrongStore ||
         kind == SiteKind::AsyncWrite;
}

std::string verb(SiteKind kind, uint32_t bytes) {
  const char* word = kind == SiteKind::Atomic ? "changes " : is_write(kind) ? "writes " : "reads ";
  return word + std::to_string(bytes) + " bytes ";
}

// The allocation or variable of the last access that lay in one, because the next often lies in the same.
struct Stretch {
  uint64_t begin = 0, end = 0;
};
Stretch last_stretch;

const ModuleVariable* variable_at(uint64_t address) {
  for (const ModuleVariable& variable : block.kernel->module->variables) {
    if (address - reinterpret_cast<uint64_t>(variable.data) < variable.bytes) return &variable;
  }
  return nullptr;
}

const SharedVariable* shared_variable_at(uint32_t offset) {
  for (const SharedVariable& variable : block.kernel->shared_variables) {
    if (offset - variable.offset < variable.bytes) return &variable;
  }
  return nullptr;
}

[[noreturn]] void die(const char* what, uint32_t site, const std::string& detail) {
  find_fault(what, site, detail);
  abort_grid();
}

// Returns when the device of the launch may touch all bytes. True: other threads may touch them too.
bool check_global(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site) {
  if (address >= last_stretch.begin && address + bytes <= last_stretch.end) return true;
  const std::string who = name_of(*this_thread()) + " " + verb(kind, bytes);
  if (const auto found = find_memory(reinterpret_cast<const void*>(address))) {
    const uint64_t begin = reinterpret_cast<uint64_t>(found->data);
    if (!found->is_live) die("use after free", site, who + describe_address(address) + " after it was freed");
    if (address < begin || address + bytes > begin + found->bytes) {
      die("global memory out of bounds", site, who + "at " + describe_address(address));
    }
    if (found->kind == MemoryKind::Device && found->device != block.device) {
      die("another device's memory", site,
          who + "at " + describe_address(address) + ", which is that of device " + std::to_string(found->device) +
              "; the kernel runs on device " + std::to_string(block.device));
    }
    last_stretch = {begin, begin + found->bytes};
    return true;
  }
  if (const ModuleVariable* variable = variable_at(address)) {
    const uint64_t begin = reinterpret_cast<uint64_t>(variable->data);
    if (address + bytes > begin + variable->bytes)
      die("global memory out of bounds", site, who + "at " + describe_address(address));
    if (variable->is_constant && is_write(kind)) die("write to constant memory", site, who + "of " + variable->name);
    return !variable->is_constant;
  }
  if (is_on_a_stack(address)) return false;  // a local variable by a generic address
  const uint64_t parameters = reinterpret_cast<uint64_t>(block.parameters);
  if (address - parameters < block.kernel->parameter_bytes) return false;
  // Behind a module's variable there may be another one, or nothing.
  for (const ModuleVariable& variable : block.kernel->module->variables) {
    const uint64_t end = reinterpret_cast<uint64_t>(variable.data) + variable.bytes;
    if (address - end < 64) die("global memory out of bounds", site, who + "behind the end of " + variable.name);
  }
  if (address < 1 << 16) die("global memory out of bounds", site, who + "at the address " + std::to_string(address));
  die("host pointer", site, who + "at " + describe_address(address));
}

void check_shared(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site) {
  const uint64_t offset = address - shared_base;
  const uint64_t dynamic = block.kernel->dynamic_shared_offset;
  if (offset >= dynamic && offset + bytes <= dynamic + block.dynamic_bytes) return;
  const SharedVariable* variable = shared_variable_at(uint32_t(offset));
  if (variable != nullptr && offset + bytes <= variable->offset + variable->bytes) return;
  die("shared memory out of bounds", site,
      name_of(*this_thread()) + " " + verb(kind, bytes) + "at " + describe_address(address));
}

// Vectors are at most 16 bytes and must be aligned to their size.
void check_alignment(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site) {
  if ((address & (bytes - 1)) == 0) return;
  die("misaligned access", site,
      name_of(*this_thread()) + " " + verb(kind, bytes) + "at " + describe_address(address) +
          ", which is not a multiple of " + std::to_string(bytes));
}

}  // namespace

std::string describe_address(uint64_t address) {
  if (is_shared_address(address)) {
    const uint32_t offset = shared_offset(address);
    const uint32_t dynamic = block.kernel->dynamic_shared_offset;
    if (offset >= dynamic) {
      return "byte " + std::to_string(offset - dynamic) + " of " + std::to_string(block.dynamic_bytes) +
             " of dynamic shared memory";
    }
    const SharedVariable* nearest = nullptr;
    for (const SharedVariable& variable : block.kernel->shared_variables) {
      // What begins before it, else the first.
      if (nearest == nullptr ||
          (variable.offset <= offset && (nearest->offset > offset || variable.offset > nearest->offset))) {
        nearest = &variable;
      }
    }
    if (nearest == nullptr)
      return "the shared address " + std::to_string(offset) + " of a kernel without shared memory";
    return "byte " + std::to_string(int64_t(offset) - int64_t(nearest->offset)) + " of the " +
           std::to_string(nearest->bytes) + " of " + readable_name(nearest->name);
  }
  if (const ModuleVariable* variable = variable_at(address)) {
    return "byte " + std::to_string(address - reinterpret_cast<uint64_t>(variable->data)) + " of " +
           readable_name(variable->name);
  }
  char text[120];
  if (const auto found = find_memory(reinterpret_cast<const void*>(address))) {
    std::snprintf(text, sizeof text, "byte %lld of %s of %zu bytes",
                  static_cast<long long>(address - reinterpret_cast<uint64_t>(found->data)),
                  found->kind == MemoryKind::Device ? "an allocation" : "pinned memory", found->bytes);
  } else {
    std::snprintf(text, sizeof text, "the address 0x%llx, which is not memory of the device",
                  static_cast<unsigned long long>(address));
  }
  return text;
}

void begin_watching_launch() {
  last_stretch = {};
}

void check_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site) {
  check_alignment(address, bytes, kind, site);
  if (is_shared_address(address)) {
    check_shared(address, bytes, kind, site);
    order_shared_access(address, bytes, kind, site);
  } else {
    if (check_global(address, bytes, kind, site)) order_global_access(address, bytes, kind, site);
  }
}

void watch_access(uint64_t address, uint32_t site) {
  const Site& at = block.kernel->module->sites[site];
  const GridOptions& options = grid_options();
  if (options.preempt != 0 && next_random() % options.preempt == 0) give_turn();
  if (counting) count_access(address, site);
  if (options.check) check_access(address, at.bytes, at.kind, site);
}

void report_fault_of_memory(uint64_t address) {
  const Thread* thread = this_thread();
  const std::string detail = name_of(*thread) + " touches " + describe_address(address);
  if (is_shared_address(address)) return find_fault("shared memory out of bounds", kNoSite, detail);
  if (const auto found = find_memory(reinterpret_cast<const void*>(address))) {
    return find_fault(found->is_live ? "global memory out of bounds" : "use after free", kNoSite, detail);
  }
  find_fault("global memory out of bounds", kNoSite, detail);
}

}  // namespace sluice::simt
