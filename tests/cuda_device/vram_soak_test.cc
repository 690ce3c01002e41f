// The tier of VRAM under everything at once: sessions that grow, fork, go back and end, experts that come and go, RAM and disk beneath,
// and allocations, copies, launches and reads that fail at random places. Every answer is the CPU's, or there is a sentence and what follows
// is right again. Some seeds always; others, for as many seconds as SLUICE_SOAK_SECONDS says (60), from SLUICE_SOAK on when it is set.

#include <cerrno>
#include <chrono>
#include <cstdlib>

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "tests/cuda_device/vram_sizes.h"
#include "tests/engine/disk_fixtures.h"
#include "tests/engine/store_fixtures.h"

using namespace sluice;
using engine::DeviceKind;
using simt::FaultPoint;

namespace {

// Of the models with experts: one size of them, and several.
constexpr const char* kModels[] = {"qwen3moe", "deepseek2-kimi-k2", "deepseek2-r1-ud", "deepseek2-v3"};

struct Told {
  double sum_of_kl = 0;
  uint64_t n_right = 0, n_errors = 0, n_promotions = 0, n_given_back = 0, n_failed_copies = 0, n_read = 0;
  void add(const Told& other) {
    sum_of_kl += other.sum_of_kl;
    n_right += other.n_right;
    n_errors += other.n_errors;
    n_promotions += other.n_promotions;
    n_given_back += other.n_given_back;
    n_failed_copies += other.n_failed_copies;
    n_read += other.n_read;
  }
};

class Soak {
 public:
  // checks: also each access of the kernels, which takes ten times as long.
  Soak(uint64_t seed, bool checks) : dice_(seed * 7919 + 1), name_(kModels[dice_.below(std::size(kModels))]) {
    golden_ = tests::read_golden(name_);
    golden_.tokens.resize(std::min<size_t>(golden_.tokens.size(), 24));
    engine::ModelOptions options = tests::options_for(DeviceKind::Cpu);
    options.latent_attention = engine::LatentAttention::Absorbed;  // else passes of other lengths round differently
    expected_ = tests::answer(tests::fixture_path(name_), options, golden_.tokens, 0, 5);
    options.device = DeviceKind::Cuda;
    options.vram_bytes =
        tests::vram_without(tests::fixture_path(name_), 0.01 * static_cast<double>(dice_.between(25, 75)));
    options.promotion.has_thread = dice_.chance(50);
    options.promotion.must_pay = dice_.chance(20);
    options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
    options.sharing.reads_host = dice_.chance(50);
    options.store.policy = engine::kPolicies[dice_.below(std::size(engine::kPolicies))];
    if (dice_.chance(70)) {
      const tests::StoreSizes sizes = tests::store_sizes(tests::fixture_path(name_), 64);
      options.store.storage = engine::Storage::Disk;
      options.store.store_bytes = sizes.least + dice_.below(sizes.all - sizes.least);
    }
    options.store.wrap_disk = [this](std::unique_ptr<engine::Disk> disk) {
      return std::make_unique<tests::MeddlingDisk>(std::move(disk), [this](const engine::DiskRead& read, int64_t n) {
        for (const iovec& part : read.to) simt::host_touches(part.iov_base, part.iov_len, true);
        return reads_fail_ ? int64_t{-EIO} : n;
      });
    };
    simt::GpuOptions gpu;
    gpu.effects = static_cast<simt::Effects>(dice_.below(3));
    gpu.seed = seed;
    gpu.goes_on_after_seconds = 0.001;
    gpu.host_functions_may_wait = true;  // where streams cannot wait by themselves, because asking for it failed
    tests::fresh_gpu(gpu, checks);
    model_ = engine::Model::open(tests::fixture_path(name_), options);
    session_options_ = options.session;
  }

  Told run(int n_steps) {
    for (int step = 0; step < n_steps; ++step) {
      if (dice_.chance(25)) inject();
      reads_fail_ = dice_.chance(6);
      try {
        one_step();
      } catch (const engine::Error& error) {
        ++told_.n_errors;
        CHECK(std::string(error.what()).size() > 20);
        CHECK(std::string(error.what()).ends_with('.'));
      }
      reads_fail_ = false;
    }
    // What was injected and has met nobody yet may still do so.
    int n_right = 0;
    for (int tries = 0; n_right < 2 && tries < 2 * n_steps; ++tries) {
      try {
        engine::Session session(model_, session_options_);
        append(session, golden_.tokens.size());
        ++n_right;
      } catch (const engine::Error&) {
        n_right = 0;
      }
    }
    CHECK(n_right == 2);
    const engine::VramStatistics vram = model_->vram_statistics();
    told_.n_promotions = vram.n_promotions;
    told_.n_given_back = vram.n_slots_given_back;
    told_.n_failed_copies = vram.n_failed_copies;
    told_.n_read = model_->store_statistics().n_reads;
    sessions_.clear();
    model_ = nullptr;
    CHECK(simt::take_findings() == std::vector<std::string>());
    return told_;
  }
  const std::string& name() const { return name_; }

 private:
  void inject() {
    constexpr FaultPoint kPoints[] = {FaultPoint::Malloc,     FaultPoint::HostAlloc, FaultPoint::Copy,
                                      FaultPoint::Copy,       FaultPoint::Launch,    FaultPoint::GraphInstantiate,
                                      FaultPoint::EventCreate};
    const FaultPoint point = kPoints[dice_.below(std::size(kPoints))];
    const bool is_memory = point == FaultPoint::Malloc || point == FaultPoint::HostAlloc;
    simt::inject_fault({point, dice_.between(1, 30), is_memory ? 2 : 999, is_memory ? dice_.between(1, 3) : 1});
  }

  void append(engine::Session& session, size_t n) {
    const size_t at = session.tokens().size();
    n = std::min(n, golden_.tokens.size() - at);
    if (n == 0) return;
    session.append(std::span(golden_.tokens).subspan(at, n));
    check(session);
  }
  void check(const engine::Session& session) {
    if (session.logits().empty()) return;
    const size_t row = (session.tokens().size() - 1) * golden_.n_vocabulary;
    const auto expected = std::span(expected_.logits).subspan(row, golden_.n_vocabulary);
    // A rounding of the 8-bit forms that falls to the other side is the most that may differ; a wrong expert is far more.
    const double kl = engine::kl_divergence(expected, session.logits());
    CHECK(kl < 3e-3);
    told_.sum_of_kl += kl;
    ++told_.n_right;
  }

  void one_step() {
    constexpr size_t kMostSessions = 6;
    if (sessions_.empty() || (sessions_.size() < kMostSessions && dice_.chance(15)))
      sessions_.push_back(std::make_unique<engine::Session>(model_, session_options_));
    const size_t which = dice_.below(sessions_.size());
    engine::Session& session = *sessions_[which];
    if (session.tokens().size() == golden_.tokens.size()) session.truncate(dice_.below(golden_.tokens.size()));
    switch (dice_.below(12)) {
      case 0:
        sessions_.erase(sessions_.begin() + static_cast<std::ptrdiff_t>(which));
        break;
      case 1:
        if (sessions_.size() < kMostSessions) {
          sessions_.push_back(std::make_unique<engine::Session>(session.fork()));
          append(*sessions_.back(), 1);
        }
        break;
      case 2: {
        engine::Session again(model_, session_options_);
        again.restore(session.snapshot());
        check(again);
        append(again, 2);
        break;
      }
      case 3:
        give_back();
        break;
      case 4:
        append_together();
        break;
      case 5:
        append(session, dice_.between(2, 12));
        break;
      default:
        append(session, 1);
    }
  }
  void give_back() {
    engine::ForwardContext& context = model_->forward_context();
    if (!context.host || context.host->tier() == nullptr) return;
    context.host->tier()->give_back(*context.stream, dice_.between(1, 20000));
  }
  void append_together() {
    std::vector<engine::Session*> sessions;
    std::vector<std::vector<int32_t>> tokens;
    for (const auto& session : sessions_) {
      const size_t at = session->tokens().size();
      if (at == golden_.tokens.size()) continue;
      sessions.push_back(session.get());
      tokens.push_back({golden_.tokens[at]});
    }
    if (sessions.empty()) return;
    engine::append_batch(sessions, tokens);
    for (const engine::Session* session : sessions) check(*session);
  }

  tests::Dice dice_;
  std::string name_;
  tests::Golden golden_;
  tests::Answer expected_;
  std::atomic<bool> reads_fail_ = false;
  engine::SessionOptions session_options_;
  std::shared_ptr<const engine::Model> model_;
  std::vector<std::unique_ptr<engine::Session>> sessions_;
  Told told_;
};

}  // namespace

TEST_CASE("sessions of every kind, experts that come and go, and whatever fails give the CPU's answers or a sentence") {
  const char* const asked = std::getenv("SLUICE_SOAK");
  const char* const given_seconds = std::getenv("SLUICE_SOAK_SECONDS");
  const double seconds = given_seconds != nullptr ? std::strtod(given_seconds, nullptr) : 60;
  const auto begin = std::chrono::steady_clock::now();
  const auto goes_on = [&](int n) {
    if (asked == nullptr) return n < 5;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < seconds;
  };
  uint64_t seed = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 1;
  Told all;
  for (int n = 0; goes_on(n); ++n, ++seed) {
    CAPTURE(seed);
    Soak soak(seed, asked != nullptr && n % 8 == 7);
    CAPTURE(soak.name());
    all.add(soak.run(asked != nullptr ? 200 : 50));
  }
  MESSAGE("seeds up to " << seed - 1 << ": " << all.n_right << " answers, " << all.n_errors << " errors, "
                         << all.n_promotions << " promotions, " << all.n_failed_copies << " copies that failed, "
                         << all.n_given_back << " slots given back, " << all.n_read << " reads");
  CHECK(all.sum_of_kl < 3e-4 * static_cast<double>(all.n_right));
  CHECK(all.n_right > 100);
  CHECK(all.n_errors > 5);
  CHECK(all.n_promotions > 20);
  CHECK(all.n_given_back > 10);
}
