// What a store has done since it was made. All zero where the weights are in memory or in a mapped file.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::engine {

struct StoreStatistics {
  bool reads_disk = false;  // weights come from the disk as they are needed
  std::string disk;         // how: "io_uring" or "pread"
  bool disk_is_direct = false;
  bool memory_is_locked = false;
  std::string policy;

  // How the memory is divided, in bytes.
  uint64_t memory_bytes = 0;      // all of it
  uint64_t dense_bytes = 0;       // of all dense weights of the model
  uint64_t dense_kept_bytes = 0;  // of those that stay in memory
  uint64_t read_ahead_bytes = 0;  // room through which the other dense weights pass
  uint64_t expert_bytes = 0;      // of all experts of the model
  uint64_t n_experts = 0;
  uint64_t n_expert_slots = 0;  // experts that memory holds

  // Experts as they were asked for: each once a layer and pass.
  uint64_t n_hits = 0;     // were in memory
  uint64_t n_guessed = 0;  // were in memory, or on their way, because a guess was right
  uint64_t n_misses = 0;   // were read when they were asked for
  uint64_t hit_bytes = 0;
  uint64_t guessed_bytes = 0;
  uint64_t miss_bytes = 0;
  uint64_t dense_read_bytes = 0;  // of dense weights that came from the disk

  // Guesses of what the next layer's router would choose, whether the experts were in memory or not.
  uint64_t n_guesses = 0;        // experts that were named
  uint64_t n_right_guesses = 0;  // and chosen
  uint64_t n_guessable = 0;      // chosen, in layers for which there was a guess

  // The disk.
  uint64_t n_reads = 0;
  uint64_t bytes_read = 0;
  double disk_busy_seconds = 0;  // with a read in flight

  // Time that the evaluating thread stood still.
  double expert_wait_seconds = 0;
  double dense_wait_seconds = 0;
  double embedding_wait_seconds = 0;

  double wait_seconds() const { return expert_wait_seconds + dense_wait_seconds + embedding_wait_seconds; }
  double guess_precision() const {
    return n_guesses > 0 ? static_cast<double>(n_right_guesses) / static_cast<double>(n_guesses) : 0;
  }
  double guess_recall() const {
    return n_guessable > 0 ? static_cast<double>(n_right_guesses) / static_cast<double>(n_guessable) : 0;
  }
};

// What happened between two moments: the counts of `after` less those of `before`.
StoreStatistics since(const StoreStatistics& before, StoreStatistics after);

}  // namespace sluice::engine
