// Traces as files. All numbers are little-endian.
//
//   magic             8 bytes "SLTRACE1": the last letter is the version
//   header_bytes      u32, from the magic to the check sum and with it
//   n_layers          u32, of the model
//   n_expert_layers   u32, L
//   n_experts         u32, of each of these layers, at most 65536
//   n_used            u32, U, of these by a token
//   weight_form       u32, 1: f16
//   name_bytes        u32, at most 4096
//   architecture_bytes  u32, at most 4096
//   expert_layers     u32 [L], ascending
//   name, architecture
//   check sum         u64, FNV-1a of all bytes before it
//
// and then, as often as a token was evaluated:
//
//   token             i32, its id
//   position          u32, in its sequence
//   row               u32, in its pass: 0 begins one
//   check sum         u32, of what stands before it and, exclusive or, of what stands after it: of each the FNV-1a sum's halves,
//                     exclusive or
//   expert_ids        u16 [L, U], in the order in which the router gave them, different within a layer
//   weights           f16 [L, U]
//
// So a token takes 16 + 4 L U bytes, 1.8 KiB in DeepSeek-R1, and a file that was cut anywhere reads back up to its last whole
// token. The same run writes the same bytes, whatever the number of threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "engine/traces/trace.h"

namespace sluice::engine::traces {

// More than any model has: what exceeds them is damaged.
inline constexpr uint32_t kMostLayers = 65536;
inline constexpr uint32_t kMostExperts = 65536;
inline constexpr uint64_t kMostTokenBytes = uint64_t{16} << 20;

// Not thread-safe.
class TraceWriter {
 public:
  // Sees that the path can be written, before a long run; what lies there stays until begin(). Throws Error(Usage).
  explicit TraceWriter(const std::filesystem::path& path);
  // A file that it made and that never began is removed.
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  // Once, before the first add(). Throws Error(BadFile) for a header that is none, Error(Device) when the disk takes no more.
  void begin(const TraceHeader& header);
  // The pass is with the system when it returns: an end of the process does not lose it. Throws Error(Device); the file is then
  // whole up to some token of the pass.
  void add(const Pass& pass);

  uint64_t bytes() const { return bytes_; }  // written so far

 private:
  void write(const std::vector<std::byte>& bytes);

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool created_ = false;
  bool begun_ = false;
  TraceHeader header_;
  uint64_t bytes_ = 0;
};

// Reads pass by pass. Trusts nothing in the file. Not thread-safe.
class TraceReader {
 public:
  // Throws Error(BadFile): no such file, none of this version, or damaged.
  explicit TraceReader(const std::filesystem::path& path);

  const TraceHeader& header() const { return header_; }
  // The next pass; false at the end. Throws Error(BadFile) for a record that is damaged.
  bool next(Pass& pass);
  // Bytes after the last whole token, known when next() has returned false: the run was interrupted.
  uint64_t cut_bytes() const { return cut_bytes_; }

 private:
  [[noreturn]] void refuse(const std::string& what) const;
  void read_header();
  bool read_record();  // into record_; false when no whole one is left
  void check_record();

  std::filesystem::path path_;
  std::ifstream file_;
  TraceHeader header_;
  std::vector<std::byte> record_;
  std::vector<uint64_t> last_chosen_;  // of each expert: the layer of the file in which it was chosen last, from 1
  uint64_t n_layers_read_ = 0;
  uint64_t n_tokens_ = 0;
  bool ahead_ = false;  // record_ begins the next pass
  uint64_t cut_bytes_ = 0;
};

// All of it.
struct Trace {
  TraceHeader header;
  std::vector<Pass> passes;
  uint64_t cut_bytes = 0;
};
Trace read_trace(const std::filesystem::path& path);

}  // namespace sluice::engine::traces
