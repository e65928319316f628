// The checker is checked: what is wrong must be reported, and what is right must not.
#include "tests/support/gradcheck.h"

#include <limits>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/parallel.h"
#include "core/tape.h"

namespace tapestry::testing {
namespace {

/// x³ with a backward that the test chooses.
Tensor cube(const Tensor& x, const std::function<Tensor(const Tensor& g, const Tensor& x)>& slope) {
  return record("cube", {x}, (x * x * x).detach(),
                [x, slope](const Tensor& g, const Needs&) -> Grads { return {slope(g, x)}; });
}

std::string faults(const std::function<Tensor(const Tensor& g, const Tensor& x)>& slope,
                   const CheckOptions& options = {}) {
  const Tensor x = Input({2, 3}).between(0.5, 1.5).make(3);
  std::string text;
  for (const std::string& fault : find_faults(
                                      "cube", {x}, [&] { return cube(x, slope); }, options)
                                      .faults)
    text += fault + "\n";
  return text;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the gradient check accepts a right gradient") {
  CHECK(faults([](const Tensor& g, const Tensor& x) { return g * affine(x * x, 3, 0); },
               {.order = 3}) == "");
}

TEST_CASE("the gradient check catches wrong gradients") {
  SUBCASE("sign") {
    CHECK(
        contains(faults([](const Tensor& g, const Tensor& x) { return g * affine(x * x, -3, 0); }),
                 "order 1 with respect to input 0 is off"));
  }
  SUBCASE("a slightly wrong factor") {
    const Real wrong = kDouble ? Real(3.00001) : Real(3.1);
    CHECK(contains(
        faults([=](const Tensor& g, const Tensor& x) { return g * affine(x * x, wrong, 0); }),
        "order 1"));
  }
  SUBCASE("one wrong element") {
    CHECK(contains(faults([](const Tensor& g, const Tensor& x) {
                     Tensor y = (g * affine(x * x, 3, 0)).clone();
                     y.mutable_data()[4] *= Real(1.05);
                     return y;
                   }),
                   "element 4"));
  }
  SUBCASE("right, but not differentiable again") {
    const std::string text = faults([](const Tensor& g, const Tensor& x) {
      const PauseRecording pause;
      return g * affine(x * x, 3, 0);
    });
    CHECK(!contains(text, "order 1"));
    CHECK(contains(text, "order 2"));
  }
  SUBCASE("differentiable in the upstream gradient only") {
    const std::string text =
        faults([](const Tensor& g, const Tensor& x) { return g * affine((x * x).detach(), 3, 0); });
    CHECK(!contains(text, "order 1"));
    CHECK(contains(text, "order 2 with respect to input 0"));
    CHECK(!contains(text, "upstream"));
  }
  SUBCASE("the fused path differs from the composed one") {
    CHECK(contains(faults([](const Tensor& g, const Tensor& x) {
                     return g * affine(x * x, Tape::recording() ? Real(3.01) : Real(3), 0);
                   }),
                   "composed and fused"));
  }
  SUBCASE("wrong shape") {
    CHECK(contains(
        faults([](const Tensor& g, const Tensor& x) { return sum(g * affine(x * x, 3, 0), {0}); }),
        "has shape [3], not [2, 3]"));
  }
  SUBCASE("a gradient of zeros where the function is flat") {
    const Tensor x = Tensor::ones({3});
    const auto flat = [&] { return affine(sign(x), 0, 0) + x * Tensor::scalar(0); };
    CHECK(!find_faults("flat", {x}, flat).faults.empty());
    CHECK(find_faults("flat", {x}, flat, {.zero_gradient = true}).faults.empty());
  }
  SUBCASE("bits that depend on the number of threads") {
    const Tensor x = Tensor::ones({3});
    const auto f = [&] { return affine(x, 1 + static_cast<Real>(threads()) * Real(1e-3), 0) * x; };
    CheckOptions options;
    CHECK(contains(find_faults("threads", {x}, f, options).faults.at(0), "threads"));
  }
}

TEST_CASE("a linear function must be declared so, and then is held to it") {
  const Tensor x = Input({4}).make(5);
  const auto linear = [&] { return x * Real(3); };
  const auto bent = [&] { return x * x; };
  CHECK(!find_faults("linear", {x}, linear).faults.empty());
  CHECK(find_faults("linear", {x}, linear, {.linear = true}).faults.empty());
  CHECK(!find_faults("bent", {x}, bent, {.linear = true}).faults.empty());
}

TEST_CASE("difference is relative to the largest number, and knows NaN and Inf") {
  const Real inf = std::numeric_limits<Real>::infinity(),
             nan = std::numeric_limits<Real>::quiet_NaN();
  const auto vector = [](std::initializer_list<Real> values) {
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
  };
  CHECK(difference(vector({1, 2}), vector({1, 2})) == 0);
  CHECK(difference(vector({1, 5}), vector({2, 4})) == doctest::Approx(0.25));
  CHECK(difference(vector({1, nan}), vector({1, nan})) == 0);
  CHECK(difference(vector({1, inf}), vector({1, inf})) == 0);
  CHECK(difference(vector({1, inf}), vector({1, -inf})) > 1e300);
  CHECK(difference(vector({1, nan}), vector({1, 0})) > 1e300);
  CHECK(difference(vector({1, 0}), vector({1, nan})) > 1e300);
  CHECK(difference(vector({1}), Tensor::scalar(1)) > 1e300);
}

}  // namespace tapestry::testing
