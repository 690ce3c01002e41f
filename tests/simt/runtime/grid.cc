#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <algorithm>
#include <chrono>

#include <cxxabi.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <tuple>

#include "tests/simt/runtime/access_counts.h"
#include "tests/simt/runtime/block.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/ordering.h"
#include "tests/simt/runtime/watch.h"

namespace sluice::simt {

uint64_t shared_base = 0;

// ---- kernels

namespace {

struct Tables {
  std::map<int, std::map<std::string_view, const Kernel*>> kernels;  // by architecture
  int architecture = 0;
};
Tables& tables() {
  static Tables all;
  return all;
}

}  // namespace

void register_kernels(int architecture, std::span<const Kernel> kernels) {
  for (const Kernel& kernel : kernels) tables().kernels[architecture].emplace(kernel.name, &kernel);
}
void choose_architecture(int architecture) {
  tables().architecture = architecture;
}
int chosen_architecture() {
  Tables& all = tables();
  if (all.architecture != 0) return all.architecture;
  if (const char* wanted = std::getenv("SIMT_ARCHITECTURE"); wanted != nullptr) return std::atoi(wanted);
  return all.kernels.empty() ? 0 : all.kernels.rbegin()->first;  // the newest
}

const Kernel* find_kernel(std::string_view name) {
  const auto& kernels = tables().kernels[chosen_architecture()];
  const auto found = kernels.find(name);
  return found == kernels.end() ? nullptr : found->second;
}

const ModuleVariable* find_variable(std::string_view name) {
  for (const auto& [kernel_name, kernel] : tables().kernels[chosen_architecture()]) {
    for (const ModuleVariable& variable : kernel->module->variables) {
      if (variable.name == name) return &variable;
    }
  }
  return nullptr;
}

GridOptions& grid_options() {
  static GridOptions options = [] {
    GridOptions o;
    if (const char* order = std::getenv("SIMT_ORDER")) {
      o.order = std::strcmp(order, "reverse") == 0  ? GridOptions::Order::Reverse
                : std::strcmp(order, "random") == 0 ? GridOptions::Order::Random
                                                    : GridOptions::Order::Forward;
    }
    if (const char* seed = std::getenv("SIMT_SEED")) o.seed = std::strtoull(seed, nullptr, 10);
    if (const char* check = std::getenv("SIMT_CHECK")) o.check = std::strcmp(check, "0") != 0;
    if (const char* preempt = std::getenv("SIMT_PREEMPT")) o.preempt = uint32_t(std::strtoul(preempt, nullptr, 10));
    return o;
  }();
  return options;
}

// ---- findings

namespace {
constexpr size_t kMostFindingsOfLaunch = 16;
std::set<std::tuple<std::string, uint32_t, uint32_t>> found_in_launch;
}  // namespace

void begin_findings_of_launch() {
  found_in_launch.clear();
}

std::string readable_name(const char* mangled) {
  int status = 0;
  char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  return name;
}

std::string place_of(uint32_t site) {
  if (site == kNoSite) return "a place that is not known";
  const Module& module = *block.kernel->module;
  const Site& at = module.sites[site];
  if (at.line == 0) return "a place that is not known";
  const char* slash = std::strrchr(module.files[at.file], '/');
  return std::string(slash != nullptr ? slash + 1 : module.files[at.file]) + ":" + std::to_string(at.line);
}

std::string name_of(const ThreadIndex& thread) {
  return "thread (" + std::to_string(thread.x) + "," + std::to_string(thread.y) + "," + std::to_string(thread.z) + ")";
}

void find_fault(const char* what, uint32_t site, const std::string& detail, uint32_t other_site) {
  if (found_in_launch.size() >= kMostFindingsOfLaunch || !found_in_launch.emplace(what, site, other_site).second)
    return;
  std::string sentence = std::string(what) + ": " + (site != kNoSite ? place_of(site) + " in " : "") +
                         readable_name(std::string(block.kernel->name).c_str()) + ", block (" +
                         std::to_string(running.index.x) + "," + std::to_string(running.index.y) + "," +
                         std::to_string(running.index.z) + "): " + detail;
  if (other_site != kNoSite) sentence += " (" + place_of(other_site) + ")";
  report_finding(std::move(sentence));
}

void trap(uint32_t site) {
  find_fault("trap", site, name_of(*this_thread()) + " ends the kernel by a trap");
  abort_grid();
}

void assertion_failed(const std::byte* message, const std::byte*, const std::byte*, uint32_t site) {
  const char* text = nullptr;
  std::memcpy(&text, message, sizeof text);
  find_fault("assertion failed", site, name_of(*this_thread()) + " fails: " + text);
  abort_grid();
}

// Nanoseconds that really passed: what two kernels read tells what the host did between them. Never twice the same.
uint64_t ticks() {
  static uint64_t last = 0;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  last = std::max(last + 32, static_cast<uint64_t>(std::chrono::nanoseconds(now).count()));
  return last;
}
uint32_t warps_in_block() {
  return uint32_t(block.warps.size());
}
uint32_t dynamic_shared_bytes() {
  return block.dynamic_bytes;
}
uint32_t total_shared_bytes() {
  return block.dynamic_bytes + block.kernel->static_shared_bytes;
}
bool is_local_address(uint64_t address) {
  return is_on_a_stack(address);
}
bool is_const_address(uint64_t address) {
  for (const ModuleVariable& variable : block.kernel->module->variables) {
    if (variable.is_constant && address - reinterpret_cast<uint64_t>(variable.data) < variable.bytes) return true;
  }
  return false;
}

// ---- running

namespace {

constexpr uint64_t kSharedWindow = uint64_t(1) << 32;
constexpr size_t kMostSharedBytes = 1 << 20;

void make_shared_window() {
  if (shared_base != 0) return;
  void* memory = mmap(nullptr, kSharedWindow, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kMostSharedBytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  shared_base = reinterpret_cast<uint64_t>(memory);
}

// An access that met no memory, while a kernel runs: the kernel ends. Other faults go to whoever handled them before.
#if defined(__x86_64__)
struct sigaction action_before;

void handle_fault(int signal_number, siginfo_t* info, void* context) {
  if (current_thread == nullptr) {
    sigaction(signal_number, &action_before, nullptr);
    return;  // the instruction faults again
  }
  report_fault_of_memory(reinterpret_cast<uint64_t>(info->si_addr));
  // The handler returns into abort_grid, as if the kernel had called it.
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~greg_t(15)) - 8;
  registers[REG_RIP] = reinterpret_cast<greg_t>(&abort_grid);
}

struct FaultHandler {
  FaultHandler() {
    static thread_local std::byte* stack = [] {
      constexpr size_t kBytes = 256 << 10;
      auto* memory = static_cast<std::byte*>(std::malloc(kBytes));
      stack_t alternative{};
      alternative.ss_sp = memory;
      alternative.ss_size = kBytes;
      sigaltstack(&alternative, nullptr);
      return memory;
    }();
    (void)stack;
    struct sigaction action {};
    action.sa_sigaction = handle_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &action_before);
  }
  ~FaultHandler() { sigaction(SIGSEGV, &action_before, nullptr); }
};
#else
struct FaultHandler {};
#endif

// Every number below n once, in an order that looks random.
uint64_t permuted(uint64_t i, uint64_t n, uint64_t seed) {
  uint64_t step = (seed * 2654435761u) % n | 1;
  while (std::gcd(step, n) != 1) step += 2;
  return uint64_t((UInt128(i) * step + seed) % n);
}

void lay_out_threads(Extent extent) {
  const uint32_t n = extent.x * extent.y * extent.z;
  block.threads.resize(n);
  block.warps.assign((n + 31) / 32, {});
  for (uint32_t i = 0; i < n; ++i) {
    Thread& thread = block.threads[i];
    thread.x = i % extent.x;
    thread.y = i / extent.x % extent.y;
    thread.z = i / (extent.x * extent.y);
    thread.lane = i % 32;
    thread.warp = i / 32;
    thread.linear = i;
  }
  for (uint32_t i = 0; i < block.warps.size(); ++i) {
    Warp& warp = block.warps[i];
    warp.index = i;
    warp.threads = &block.threads[i * 32];
    const uint32_t n_lanes = n - i * 32 < 32 ? n - i * 32 : 32;
    warp.exist = n_lanes == 32 ? 0xffffffffu : (1u << n_lanes) - 1;
  }
  block.n_threads = n;
}

std::mutex running_mutex;

}  // namespace

GridResult run_grid(const Kernel& kernel, Extent grid, Extent extent, uint32_t dynamic_shared_bytes,
                    const std::byte* parameters, int device) {
  std::lock_guard lock(running_mutex);
  make_shared_window();
  const GridOptions& options = grid_options();
  block.kernel = &kernel;
  block.parameters = parameters;
  block.device = device;
  block.dynamic_bytes = dynamic_shared_bytes;
  running = {extent, grid, {}, kernel.dynamic_shared_offset};
  begin_findings_of_launch();
  const uint64_t n_threads = uint64_t(extent.x) * extent.y * extent.z;
  const uint64_t n_blocks = uint64_t(grid.x) * grid.y * grid.z;
  const uint64_t shared_end = kernel.dynamic_shared_offset + uint64_t(dynamic_shared_bytes);
  if (n_threads == 0 || n_threads > 1024 || n_blocks == 0 || shared_end > kMostSharedBytes) {
    find_fault("impossible launch", kNoSite,
               "a block of " + std::to_string(n_threads) + " threads (1 to 1024), " + std::to_string(n_blocks) +
                   " blocks and " + std::to_string(dynamic_shared_bytes) + " bytes of dynamic shared memory");
    return GridResult::Aborted;
  }
  lay_out_threads(extent);
  begin_watching_launch();
  begin_ordering_of_launch();
  begin_counting_launch(n_blocks);
  const FaultHandler handler;
  GridResult result = GridResult::Done;
  for (uint64_t i = 0; i < n_blocks; ++i) {
    const uint64_t linear = options.order == GridOptions::Order::Forward   ? i
                            : options.order == GridOptions::Order::Reverse ? n_blocks - 1 - i
                                                                           : permuted(i, n_blocks, options.seed);
    const Extent index{uint32_t(linear % grid.x), uint32_t(linear / grid.x % grid.y),
                       uint32_t(linear / (uint64_t(grid.x) * grid.y))};
    running.index = index;
    std::memset(reinterpret_cast<void*>(shared_base), 0xff, shared_end);  // no number, also where nothing is checked
    counting = wants_counts();
    watching = options.check || options.preempt != 0 || counting;
    begin_ordering_of_block();
    begin_counting_block();
    const bool is_done = run_block(index, uint32_t(linear));
    end_counting_block();
    if (!is_done) {
      result = GridResult::Aborted;
      break;
    }
  }
  end_counting_launch();
  return result;
}

}  // namespace sluice::simt
