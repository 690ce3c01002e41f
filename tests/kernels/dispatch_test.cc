// Levels of instruction sets: what is found, what is chosen, and what serves a level that has no kernel of its own.

#include "kernels/cpu/dispatch.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels/cpu/isa_features.h"

using namespace sluice::kernels;

namespace {

constexpr Isa kLevels[] = {Isa::Reference, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni};

}  // namespace

TEST_CASE("a level without a kernel of its own uses that of the next lower level that has one") {
  int reference = 0, avx2 = 0, avx512 = 0, vnni = 0;
  ByIsa<int> all{&reference, &avx2, &avx512, &vnni};
  CHECK(all.at(Isa::Reference) == &reference);
  CHECK(all.at(Isa::Avx2) == &avx2);
  CHECK(all.at(Isa::Avx512) == &avx512);
  CHECK(all.at(Isa::Avx512Vnni) == &vnni);
  ByIsa<int> some{.reference = &reference, .avx2 = &avx2};
  CHECK(some.at(Isa::Avx512Vnni) == &avx2);
  CHECK(some.level(Isa::Avx512) == Isa::Avx2);
  CHECK(some.at(Isa::Reference) == &reference);
  ByIsa<int> higher{.avx512_vnni = &vnni};
  CHECK(higher.at(Isa::Avx512) == nullptr);
  CHECK(higher.level(Isa::Avx512) == Isa::Reference);
  CHECK(ByIsa<int>{}.at(Isa::Avx512Vnni) == nullptr);
}

TEST_CASE("the best level of the machine is chosen, and SLUICE_ISA can name any that it has") {
  Isa best = Isa::Reference;
  for (const Isa isa : kLevels) {
    const std::string name(isa_name(isa));
    if (machine_has(isa)) {
      best = isa;
      CHECK(choose_isa(name.c_str()) == isa);
    } else {
      CHECK_THROWS_WITH_AS(choose_isa(name.c_str()), doctest::Contains("but this machine lacks"),
                           std::invalid_argument);
    }
  }
  CHECK(choose_isa(nullptr) == best);
  CHECK(choose_isa("") == best);
  CHECK_THROWS_WITH_AS(choose_isa("avx1024"),
                       "SLUICE_ISA is 'avx1024'; it can be one of reference, avx2, avx512, avx512-vnni.",
                       std::invalid_argument);
  if (const char* forced = std::getenv("SLUICE_ISA")) CHECK(isa_name(chosen_isa()) == forced);
}

TEST_CASE("a level is there when all its features and those of the levels below are") {
  for (const Isa isa : kLevels) {
    const auto features = isa_features();
    const bool all = std::ranges::all_of(features, [&](const IsaFeature& f) { return f.isa > isa || f.found; });
    CHECK(machine_has(isa) == all);
  }
  CHECK(machine_has(Isa::Reference));
}

TEST_CASE("every kernel is served by a level no higher than the one that runs, and rises with it") {
  for (const Isa most : kLevels)
    for (const KernelLevel& kernel : kernel_levels(most)) {
      CAPTURE(kernel.name);
      CHECK(kernel.isa <= most);
    }
  const auto low = kernel_levels(Isa::Reference), high = kernel_levels(Isa::Avx512Vnni);
  REQUIRE(low.size() == high.size());
  for (size_t i = 0; i < low.size(); ++i) CHECK(low[i].isa <= high[i].isa);
}
