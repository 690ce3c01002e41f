// How fast a disk is, read past the page cache (O_DIRECT).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "engine/device/direct_alignment.h"

namespace sluice::engine {

struct ReadTest {
  uint64_t piece_bytes = uint64_t{1} << 20;  // of one read, at a random multiple of it; a multiple of 4096
  uint32_t n_in_flight = 8;                  // reads at a time, each by a thread of its own
  uint64_t most_bytes = uint64_t{1} << 30;   // no piece is read twice
  double most_seconds = 1;
};

struct ReadRate {
  uint64_t bytes = 0;  // that were read; 0: there was too little to measure
  double seconds = 0;
  bool is_direct = false;     // false: direct reads were refused, and the page cache may have served some
  bool is_in_memory = false;  // a file lies in a file system without a disk (tmpfs)
  bool has_holes = false;     // the files take less room on the disk than their sizes say: holes cost no reading
  DirectAlignment alignment;  // of the first file

  double bytes_per_second() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
};

// Reads pieces of the files as the test says. Page cache that holds parts of them stays, unless direct reads are
// refused. Throws Error(BadFile) for what is no readable file, Error(Device) when reading fails.
ReadRate measure_reads(std::span<const std::filesystem::path> files, const ReadTest& test = {});

// The same from a file of random bytes that is written into the folder and removed; writing stops after 5 seconds.
// Throws Error(Device) when the folder takes none.
ReadRate measure_reads_in_folder(const std::filesystem::path& folder, uint64_t file_bytes = uint64_t{256} << 20,
                                 const ReadTest& test = {});

}  // namespace sluice::engine
