// Thousands of tokens through stores of little memory: nothing may pile up. The smallest store of one model always; of several, and
// others of chosen sizes, when SLUICE_SOAK is set to a number, which chooses them.

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "engine/placement/memory.h"
#include "tests/engine/disk_fixtures.h"
#include "tests/engine/store_fixtures.h"

namespace sluice::tests {

TEST_CASE("memory stays flat and answers stay the same through 2000 tokens from the disk") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  MESSAGE("not run: a sanitizer keeps memory that was freed");
  return;
#endif
  const char* asked = std::getenv("SLUICE_SOAK");
  constexpr int kTokens = 2000, kSettled = 500;
  constexpr uint64_t kMebibyte = uint64_t{1} << 20;
  Dice dice(asked != nullptr ? std::strtoull(asked, nullptr, 10) : 0);
  for (const std::string name : {"deepseek2-v3", "llama-mixtral", "deepseek2-r1-ud"}) {
    const Golden golden = read_golden(name);
    const StoreSizes sizes = store_sizes(fixture_path(name), 64);
    for (const uint64_t more :
         {uint64_t{0}, dice.below(sizes.all - sizes.least), dice.below(sizes.all - sizes.least)}) {
      for (const engine::DiskAccess access : {engine::DiskAccess::Automatic, engine::DiskAccess::Pread}) {
        if (asked == nullptr && (name != "llama-mixtral" || more != 0 || access == engine::DiskAccess::Pread)) continue;
        CAPTURE(name);
        CAPTURE(more);
        engine::ModelOptions options = disk_options(sizes.least + more);
        options.store.access = access;
        const auto model = open_fixture(name, options);
        engine::Session session(model, model->options().session);
        std::vector<float> first_answer;
        uint64_t settled_bytes = 0;
        for (int n = 1; n <= kTokens; ++n) {
          const size_t at = session.tokens().size();
          session.append(std::span(golden.tokens).subspan(at, 1));
          if (session.tokens().size() == golden.tokens.size()) {
            const std::vector<float> answer(session.logits().begin(), session.logits().end());
            if (first_answer.empty()) first_answer = answer;
            CHECK(std::memcmp(answer.data(), first_answer.data(), answer.size() * sizeof(float)) == 0);
            session.truncate(0);
          }
          if (n == kSettled) settled_bytes = engine::resident_bytes();
        }
        const uint64_t bytes = engine::resident_bytes();
        const engine::StoreStatistics counts = model->store_statistics();
        MESSAGE(name << ", store of " << sizes.least + more << " bytes of " << sizes.all << ", " << counts.disk
                     << ": resident " << settled_bytes / 1024 << " KiB after " << kSettled << " tokens, "
                     << bytes / 1024 << " KiB after " << kTokens << "; " << counts.n_reads << " reads");
        CHECK(bytes <= settled_bytes + 2 * kMebibyte);
        CHECK(bytes + 2 * kMebibyte >= settled_bytes);
      }
    }
  }
}

}  // namespace sluice::tests
