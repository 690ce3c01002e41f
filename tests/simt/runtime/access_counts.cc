#include "tests/simt/runtime/access_counts.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "tests/simt/runtime/block.h"

namespace sluice::simt {

bool counting = false;

namespace {

uint64_t most_blocks = 0;
std::vector<AccessCounts> finished;

// Of the launch that runs.
AccessCounts counts;
std::map<std::tuple<uint16_t, uint32_t, Space, SiteKind>, LineCounts> lines;
std::unordered_map<uint64_t, uint32_t> bytes_read;  // by sector: a bit for each byte

// Of the block that runs. The lanes of a warp make one request together: the nth time that each comes to an instruction.
struct Request {
  uint32_t lanes = 0;
  uint64_t addresses[32];
};
std::vector<std::vector<Request>> requests;  // [warp * n_sites + site][n]
std::vector<uint32_t> n_accesses;            // [thread * n_sites + site]
std::vector<uint32_t> n_entries;             // [thread * n_code_blocks + code block]

template <class Action>
void for_each_address(const Request& request, Action action) {
  for (uint32_t rest = request.lanes; rest != 0; rest &= rest - 1) {
    action(uint32_t(std::countr_zero(rest)), request.addresses[std::countr_zero(rest)]);
  }
}

bool is_load(SiteKind kind) {
  return kind == SiteKind::Load || kind == SiteKind::StrongLoad || kind == SiteKind::AsyncRead;
}

void count_global(const Request& request, const Site& site, LineCounts& line) {
  std::set<uint64_t> sectors, addresses;
  for_each_address(request, [&](uint32_t, uint64_t address) {
    for (uint64_t sector = address / 32; sector <= (address + site.bytes - 1) / 32; ++sector) sectors.insert(sector);
    addresses.insert(address);
    if (is_load(site.kind)) {
      for (uint64_t at = address; at < address + site.bytes; ++at) bytes_read[at / 32] |= 1u << at % 32;
    }
  });
  // Accesses may overlap: bytes that lie under several count once.
  uint64_t distinct = 0, end = 0;
  for (uint64_t address : addresses) {
    distinct += address + site.bytes - std::max(address, std::min(end, address + site.bytes));
    end = address + site.bytes;
  }
  line.sectors += sectors.size();
  line.least_sectors += (distinct + 31) / 32;
  if (is_load(site.kind) || site.kind == SiteKind::Atomic) counts.sectors_read += sectors.size();
  if (!is_load(site.kind)) counts.sectors_written += sectors.size();
}

// 32 banks of 4 bytes; a warp's accesses of 8 bytes go in two halves, of 16 in quarters. Lanes that want one word share it.
void count_shared(const Request& request, const Site& site, LineCounts& line) {
  const uint32_t group = site.bytes == 16 ? 8 : site.bytes == 8 ? 16 : 32;
  for (uint32_t first = 0; first < 32; first += group) {
    std::set<uint64_t> words;
    for_each_address(request, [&](uint32_t lane, uint64_t address) {
      if (lane / group != first / group) return;
      for (uint64_t word = address / 4; word <= (address + site.bytes - 1) / 4; ++word) words.insert(word);
    });
    uint64_t in_bank[32] = {}, most = 0;
    for (uint64_t word : words) most = std::max(most, ++in_bank[word % 32]);
    line.wavefronts += most;
    line.least_wavefronts += (words.size() + 31) / 32;
  }
}

}  // namespace

void count_accesses(uint64_t n_blocks) {
  most_blocks = n_blocks;
}

std::vector<AccessCounts> take_access_counts() {
  return std::exchange(finished, {});
}

bool wants_counts() {
  return counts.n_counted_blocks < most_blocks;
}

void begin_counting_launch(uint64_t n_blocks) {
  counts = {};
  counts.kernel = block.kernel->name;
  counts.n_blocks = n_blocks;
  lines.clear();
  bytes_read.clear();
}

void begin_counting_block() {
  if (!counting) return;
  const Module& module = *block.kernel->module;
  requests.assign(block.warps.size() * module.n_sites, {});
  n_accesses.assign(size_t(block.n_threads) * module.n_sites, 0);
  n_entries.assign(size_t(block.n_threads) * module.n_blocks, 0);
}

void count_block(uint32_t code_block) {
  ++n_entries[size_t(current_thread->linear) * block.kernel->module->n_blocks + code_block];
}

void count_access(uint64_t address, uint32_t site) {
  const uint32_t n_sites = block.kernel->module->n_sites;
  const Thread& thread = *this_thread();
  std::vector<Request>& of_warp = requests[size_t(thread.warp) * n_sites + site];
  const uint32_t n = n_accesses[size_t(thread.linear) * n_sites + site]++;
  if (of_warp.size() <= n) of_warp.resize(n + 1);
  of_warp[n].lanes |= 1u << thread.lane;
  of_warp[n].addresses[thread.lane] = address;
}

void end_counting_block() {
  if (!counting) return;
  counting = false;
  ++counts.n_counted_blocks;
  const Module& module = *block.kernel->module;
  for (uint32_t warp = 0; warp < block.warps.size(); ++warp) {
    for (uint32_t site_number = 0; site_number < module.n_sites; ++site_number) {
      const Site& site = module.sites[site_number];
      for (const Request& request : requests[size_t(warp) * module.n_sites + site_number]) {
        if (request.lanes == 0) continue;
        const uint64_t address = request.addresses[std::countr_zero(request.lanes)];
        if (is_on_a_stack(address)) continue;  // a local variable by a generic address
        const Space space = is_shared_address(address) ? Space::Shared : Space::Global;
        LineCounts& line = lines[{site.file, site.line, space, site.kind}];
        line.space = space;
        line.kind = site.kind;
        line.file = module.files[site.file];
        line.line = site.line;
        ++line.requests;
        line.bytes_asked += uint64_t(std::popcount(request.lanes)) * site.bytes;
        if (space == Space::Shared)
          count_shared(request, site, line);
        else
          count_global(request, site, line);
      }
    }
    // Lanes that part execute different blocks of code; those that go together come to each as often as the one that does most.
    const uint32_t first = warp * 32, end = std::min(first + 32, block.n_threads);
    for (uint32_t code_block = 0; code_block < module.n_blocks; ++code_block) {
      uint64_t entries = 0;
      for (uint32_t thread = first; thread < end; ++thread) {
        entries = std::max<uint64_t>(entries, n_entries[size_t(thread) * module.n_blocks + code_block]);
      }
      if (entries == 0) continue;
      for (int c = 0; c < kInstructionClasses; ++c)
        counts.instructions[size_t(c)] += entries * module.blocks[code_block].counts[c];
    }
  }
}

void end_counting_launch() {
  if (counts.n_counted_blocks == 0) return;
  for (const auto& [key, line] : lines) counts.lines.push_back(line);
  counts.distinct_sectors_read = bytes_read.size();
  for (const auto& [sector, bytes] : bytes_read) counts.distinct_bytes_read += uint64_t(std::popcount(bytes));
  finished.push_back(std::move(counts));
  counts = {};
}

}  // namespace sluice::simt
