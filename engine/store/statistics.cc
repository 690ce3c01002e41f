#include "engine/store/statistics.h"

namespace sluice::engine {

StoreStatistics since(const StoreStatistics& before, StoreStatistics after) {
  for (uint64_t StoreStatistics::*count :
       {&StoreStatistics::n_hits, &StoreStatistics::n_guessed, &StoreStatistics::n_misses, &StoreStatistics::hit_bytes,
        &StoreStatistics::guessed_bytes, &StoreStatistics::miss_bytes, &StoreStatistics::dense_read_bytes,
        &StoreStatistics::n_guesses, &StoreStatistics::n_right_guesses, &StoreStatistics::n_guessable,
        &StoreStatistics::n_reads, &StoreStatistics::bytes_read})
    after.*count -= before.*count;
  for (double StoreStatistics::*seconds :
       {&StoreStatistics::disk_busy_seconds, &StoreStatistics::expert_wait_seconds,
        &StoreStatistics::dense_wait_seconds, &StoreStatistics::embedding_wait_seconds})
    after.*seconds -= before.*seconds;
  return after;
}

}  // namespace sluice::engine
