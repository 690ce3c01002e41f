#include "engine/store/vram_statistics.h"

#include <doctest/doctest.h>

using namespace sluice::engine;

TEST_CASE("what happened since a moment is the difference of every count, and sizes are as they are now") {
  VramStatistics before, now;
  before.n_hits = 10, before.n_misses = 20, before.n_read_from_host = 30, before.n_promotions = 3;
  before.n_copied_back = 2, before.copied_back_bytes = 200, before.n_slots = 7;
  now.n_hits = 13, now.n_misses = 25, now.n_read_from_host = 34, now.n_promotions = 9;
  now.n_copied_back = 5, now.copied_back_bytes = 500, now.n_slots = 6;
  const VramStatistics counted = since(before, now);
  CHECK(counted.n_hits == 3);
  CHECK(counted.n_misses == 5);
  CHECK(counted.n_read_from_host == 4);
  CHECK(counted.n_promotions == 6);
  CHECK(counted.n_copied_back == 3);
  CHECK(counted.copied_back_bytes == 300);
  CHECK(counted.n_slots == 6);
  CHECK(counted.n_chosen() == 12);
  CHECK(counted.hit_rate() == doctest::Approx(0.25));  // experts that the GPU read elsewhere are no hits
  CHECK(VramStatistics().hit_rate() == 0);
}
