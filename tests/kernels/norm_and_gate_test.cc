// Root mean square norm, softmax, and the gates.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/rms_norm.h"
#include "kernels/reference/softmax.h"
#include "kernels/reference/swiglu.h"

using namespace sluice::kernels::reference;
using doctest::Approx;

TEST_CASE("rms_norm divides each row by its root mean square and multiplies by the weight, also in place") {
  const std::vector<float> x = {3, 4, 0, 0, 0, 0, 1, 1, 1}, weight = {1, 2, -1};
  std::vector<float> out(9);
  rms_norm(x.data(), weight.data(), 3, 3, 0, out.data());
  const float first = std::sqrt(25.0f / 3);
  CHECK(out[0] == Approx(3 / first));
  CHECK(out[1] == Approx(8 / first));
  CHECK(out[6] == 1);
  CHECK(out[8] == -1);
  CHECK(std::isnan(out[3]));  // a row of zeros, without epsilon
  std::vector<float> in_place = x;
  rms_norm(in_place.data(), nullptr, 3, 3, 1e-6f, in_place.data());
  CHECK(in_place[1] == Approx(4 / first));
  CHECK(in_place[3] == 0);
}

TEST_CASE("epsilon stands inside the root, and squares do not overflow") {
  const float small[] = {1e-3f, -1e-3f};
  float out[2];
  rms_norm(small, nullptr, 1, 2, 1e-6f, out);
  CHECK(out[0] == Approx(1 / std::sqrt(2.0)));
  const float large[] = {3e30f, 3e30f};
  rms_norm(large, nullptr, 1, 2, 1e-6f, out);
  CHECK(out[1] == Approx(1));
}

TEST_CASE("softmax sums to one, keeps ratios, and does not mind a shift or large numbers") {
  for (float shift : {0.0f, -80.0f, 1e4f, 3e38f}) {
    const std::vector<float> x = {1 + shift, shift, 2 + shift, shift};
    std::vector<float> out(4);
    softmax(x.data(), 4, out.data());
    double sum = 0;
    for (float p : out) sum += p;
    CHECK(sum == Approx(1).epsilon(1e-6));
    if (shift < 1e5f) CHECK(out[2] / out[1] == Approx(std::exp(2.0)).epsilon(1e-3));
  }
  const float one = -5;
  float out;
  softmax(&one, 1, &out);
  CHECK(out == 1);
}

TEST_CASE("masked entries of softmax are zero, and a row without others is zeros") {
  float x[] = {-INFINITY, 0, -INFINITY, 0};
  softmax(x, 4, x);
  CHECK(x[0] == 0);
  CHECK(x[1] == 0.5f);
  CHECK(x[3] == 0.5f);
  float masked[] = {-INFINITY, -INFINITY};
  softmax(masked, 2, masked);
  CHECK(masked[0] == 0);
  CHECK(masked[1] == 0);
  float undefined[] = {0, NAN, 1};
  softmax(undefined, 3, undefined);
  for (float p : undefined) CHECK(std::isnan(p));
}

TEST_CASE("sigmoid and silu have their known values and limits") {
  CHECK(sigmoid(0) == 0.5f);
  CHECK(sigmoid(2) == Approx(0.8807970779778823));
  CHECK(sigmoid(-2) == Approx(0.11920292202211757));
  CHECK(sigmoid(1000) == 1);
  CHECK(sigmoid(-1000) == 0);
  CHECK(sigmoid(-INFINITY) == 0);
  CHECK(silu(0) == 0);
  CHECK(silu(1) == Approx(0.7310585786300049));
  CHECK(silu(-1) == Approx(-0.2689414213699951));
  CHECK(silu(1e30f) == 1e30f);
  CHECK(silu(-1e30f) == 0);
  CHECK(silu(INFINITY) == INFINITY);
  CHECK(silu(-INFINITY) == 0);
  CHECK(silu(-std::numeric_limits<float>::max()) == 0);
}

TEST_CASE("swiglu gates up by silu of gate, also in place") {
  float gate[] = {1, 0, -1}, up[] = {2, 5, -4};
  swiglu(gate, up, 3, up);
  CHECK(up[0] == Approx(2 * 0.7310585786300049));
  CHECK(up[1] == 0);
  CHECK(up[2] == Approx(4 * 0.2689414213699951));
}
