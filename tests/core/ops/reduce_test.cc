#include "core/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;

/// Reduces by a function of the numbers of each set: the slow and obvious way.
Function reduced(const Axes& axes, bool keepdim,
                 std::function<double(const std::vector<double>&)> f) {
  return [=](const std::vector<Tensor>& inputs) {
    const Tensor& x = inputs.at(0);
    const std::vector<int> which = normalize_axes("test", x.shape(), axes);
    const Shape kept = reduced_shape(x.shape(), which, true);
    std::vector<std::vector<double>> sets(static_cast<std::size_t>(kept.size()));
    for (std::int64_t i = 0; i < x.size(); ++i) {
      std::int64_t rest = i, set = 0, step = 1;
      for (int axis = x.rank() - 1; axis >= 0; --axis) {
        const std::int64_t at = rest % x.dim(axis);
        rest /= x.dim(axis);
        if (kept[axis] != 1) set += at * step;
        step *= kept[axis];
      }
      sets[static_cast<std::size_t>(set)].push_back(
          static_cast<double>(x.data()[static_cast<std::size_t>(i)]));
    }
    std::vector<Real> values;
    for (const std::vector<double>& numbers : sets) values.push_back(static_cast<Real>(f(numbers)));
    return Tensor::from(values, reduced_shape(x.shape(), which, keepdim));
  };
}

double sum_of(const std::vector<double>& x) {
  double total = 0;
  for (const double value : x) total += value;
  return total;
}

double squares_about(const std::vector<double>& x, double center) {
  double total = 0;
  for (const double value : x) total += (value - center) * (value - center);
  return total;
}

double var_of(const std::vector<double>& x, double less) {
  const double n = static_cast<double>(x.size());
  return squares_about(x, sum_of(x) / n) / (n - less);
}

const std::vector<Axes>& axis_choices() {
  static const std::vector<Axes> choices{{}, {0}, {1}, {2}, {-1}, {0, 2}, {1, 2}, {2, 0}, {0, 1}};
  return choices;
}

}  // namespace

TEST_CASE("reductions: gradient over every choice of axes") {
  for (const Axes& axes : axis_choices()) {
    for (const bool keep : {false, true}) {
      const Shape shape{3, 4, 3};  // stddev of two numbers would have no second derivative
      check_op("sum", {shape}, [&](T x) { return sum(x, axes, {keep}); },
               {.linear = true, .reference = reduced(axes, keep, sum_of)});
      check_op("mean", {shape}, [&](T x) { return mean(x, axes, {keep}); },
               {.linear = true, .reference = reduced(axes, keep, [](const auto& x) {
                                  return sum_of(x) / static_cast<double>(x.size());
                                })});
      check_op("var", {shape}, [&](T x) { return var(x, axes, {.keepdim = keep}); },
               {.reference = reduced(axes, keep, [](const auto& x) { return var_of(x, 1); })});
      check_op("var biased", {shape},
               [&](T x) { return var(x, axes, {.unbiased = false, .keepdim = keep}); },
               {.reference = reduced(axes, keep, [](const auto& x) { return var_of(x, 0); })});
      check_op("stddev", {Input(shape).distinct()},
               [&](T x) { return stddev(x, axes, {.keepdim = keep}); },
               {.reference =
                    reduced(axes, keep, [](const auto& x) { return std::sqrt(var_of(x, 1)); })});
      check_op("max", {Input(shape).distinct()}, [&](T x) { return max(x, axes, {keep}); },
               {.linear = true, .reference = reduced(axes, keep, [](const auto& x) {
                                  return *std::max_element(x.begin(), x.end());
                                })});
      check_op("min", {Input(shape).distinct()}, [&](T x) { return min(x, axes, {keep}); },
               {.linear = true, .reference = reduced(axes, keep, [](const auto& x) {
                                  return *std::min_element(x.begin(), x.end());
                                })});
      check_op("prod", {Input(shape).between(0.7, 1.3)}, [&](T x) { return prod(x, axes, {keep}); },
               {.reference = reduced(axes, keep, [](const auto& x) {
                  double product = 1;
                  for (const double value : x) product *= value;
                  return product;
                })});
      check_op("logsumexp", {shape}, [&](T x) { return logsumexp(x, axes, {keep}); },
               {.reference = reduced(axes, keep, [](const auto& x) {
                  double total = 0;
                  for (const double value : x) total += std::exp(value);
                  return std::log(total);
                })});
      check_op("norm", {Input(shape).away_from({0})},
               [&](T x) { return norm(x, axes, {.keepdim = keep}); },
               {.reference = reduced(
                    axes, keep, [](const auto& x) { return std::sqrt(squares_about(x, 0)); })});
      check_op("norm eps", {shape},
               [&](T x) { return norm(x, axes, {.eps = Real(0.5), .keepdim = keep}); },
               {.reference = reduced(axes, keep, [](const auto& x) {
                  return std::sqrt(squares_about(x, 0) + 0.5);
                })});
    }
    check_op("center", {{2, 3, 4}}, [&](T x) { return center(x, axes); },
             {.linear = true, .reference = [&](const std::vector<Tensor>& x) {
                return x[0] - reduced(axes, true, [](const auto& numbers) {
                         return sum_of(numbers) / static_cast<double>(numbers.size());
                       })(x);
              }});
  }
}

TEST_CASE("reductions: third-order gradient") {
  check_op("logsumexp", {{2, 3}}, [](T x) { return logsumexp(x, {1}); }, {.order = 3});
  check_op("stddev", {Input({2, 4}).distinct()}, [](T x) { return stddev(x, {1}); }, {.order = 3});
  check_op("prod", {Input({2, 4}).away_from({0})}, [](T x) { return prod(x, {1}); }, {.order = 3});
}

TEST_CASE("prod: gradient with none, one and two zeros") {
  for (const std::vector<double>& numbers : {std::vector<double>{1, 2, 3}, {0, 2, 3}, {2, 0, 3}}) {
    check_op("prod", {Input({3}).values(numbers)}, [](T x) { return prod(x); });
  }
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({0, 2, 0}, {3}));
  CHECK(tape.gradient(prod(x), {x})[0].to_vector() == std::vector<Real>{0, 0, 0});
}

TEST_CASE("max and min: NaN wins, and the first of equals gets the gradient") {
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  CHECK(std::isnan(max(Tensor::from({1, nan, 3}, {3})).item()));
  CHECK(std::isnan(min(Tensor::from({1, nan, 3}, {3})).item()));
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({1, 3, 3, 1}, {4}));
  CHECK(tape.gradient(max(x), {x})[0].to_vector() == std::vector<Real>{0, 1, 0, 0});
  CHECK(tape.gradient(min(x), {x})[0].to_vector() == std::vector<Real>{1, 0, 0, 0});
  const Tensor y = tape.watch(Tensor::from({3, 3, 1, 2, 3, 0, 2, 2}, {2, 2, 2}));
  CHECK(tape.gradient(sum(max(y, {0, 2})), {y})[0].to_vector() ==
        std::vector<Real>{1, 0, 0, 1, 0, 0, 0, 0});
  CHECK(tape.gradient(sum(max(y, {0})), {y})[0].to_vector() ==
        std::vector<Real>{1, 1, 0, 1, 0, 0, 1, 0});
}

TEST_CASE("argmax: first of equals, NaN first, any axis") {
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  const Tensor x = Tensor::from({1, 5, 5, 7, 2, nan}, {2, 3});
  CHECK(argmax(x) == std::vector<std::int32_t>{1, 2});
  CHECK(argmax(x, 0) == std::vector<std::int32_t>{1, 0, 1});
  CHECK(error_text([] { argmax(Tensor::empty({2, 0})); }).find("argmax") == 0);
}

TEST_CASE("cumsum, sum_to and broadcast_to: gradient") {
  for (const int axis : {0, 1, -1}) {
    check_op("cumsum", {{2, 3, 4}}, [&](T x) { return cumsum(x, axis); }, {.linear = true});
  }
  CHECK(cumsum(Tensor::from({1, 2, 3, 4}, {2, 2}), 0).to_vector() == std::vector<Real>{1, 2, 4, 6});
  CHECK(cumsum(Tensor::from({1, 2, 3, 4}, {2, 2}), 1).to_vector() == std::vector<Real>{1, 3, 3, 7});
  for (const Shape& small : {Shape{}, Shape{4}, Shape{3, 1}, Shape{2, 1, 4}, Shape{2, 3, 4}}) {
    check_op("sum_to", {{2, 3, 4}}, [&](T x) { return sum_to(x, small); }, {.linear = true});
    check_op("broadcast_to", {Input(small)},
             [](T x) {
               return broadcast_to(x, {2, 3, 4});
             },
             {.linear = true});
    // They are transposes: ⟨broadcast(a), b⟩ = ⟨a, sum_to(b)⟩.
    const Tensor a = Input(small).make(1), b = Input({2, 3, 4}).make(2);
    CHECK(sum(broadcast_to(a, b.shape()) * b).item() ==
          doctest::Approx(sum(a * sum_to(b, small)).item()).epsilon(1e-5));
  }
}

TEST_CASE("reductions: exact where float32 sums are not") {
  // 2²⁴ ones: adding them one by one in float32 stops at 16777216 too, so add one more.
  CHECK(sum(Tensor::ones({(1 << 24) + 2})).item() == Real((1 << 24) + 2));
  CHECK(mean(Tensor::full({300, 1001}, Real(0.1))).item() ==
        doctest::Approx(static_cast<double>(Real(0.1))).epsilon(kDouble ? 1e-12 : 1e-8));
  const Tensor far = Tensor::from({10000, 10001, 10002, 10003}, {4});
  CHECK(var(far).item() == doctest::Approx(5.0 / 3));
  CHECK(var(Tensor::full({1000}, Real(1e8))).item() == 0);
  // The mean, 2²⁴ + 4/3, is no float.
  const Real big = Real(1 << 24);
  CHECK(difference(center(Tensor::from({big, big + 2, big + 2}, {3})),
                   Tensor::from({Real(-4.0 / 3), Real(2.0 / 3), Real(2.0 / 3)}, {3})) < 1e-6);
  CHECK(norm(Tensor::full({4}, Real(1e30))).item() == doctest::Approx(2e30));
  CHECK(logsumexp(Tensor::full({2}, 1000)).item() == doctest::Approx(1000 + std::log(2.0)));
  const Real inf = std::numeric_limits<Real>::infinity();
  CHECK(logsumexp(Tensor::full({3}, -inf)).item() == -inf);
  Tape tape;
  const Tensor zero = tape.watch(Tensor::zeros({3}));
  CHECK(tape.gradient(norm(zero, {}, {.eps = Real(1e-6)}), {zero})[0].to_vector() ==
        std::vector<Real>{0, 0, 0});
}

TEST_CASE("norm and std without eps: gradient 0 where they are 0, of any order") {
  // Row 0 is all zeros, row 1 has length 5.
  const Tensor x = Tensor::from({0, 0, 3, 4}, {2, 2});
  const std::vector<Real> first{0, 0, Real(0.6), Real(0.8)};
  {
    Tape tape;
    const Tensor y = norm(tape.watch(x), {1});
    CHECK(difference(tape.gradient(sum(y), {x})[0], Tensor::from(first, {2, 2})) < 1e-6);
  }
  {
    Tape tape;
    const Tensor g = tape.gradient(sum(norm(tape.watch(x), {1})), {x}, {.create_graph = true})[0];
    CHECK(difference(g, Tensor::from(first, {2, 2})) < 1e-6);
    // d/dx Σ g²/2 = H·g with H = (1 − u·uᵀ)/|x|, which has g = u in its kernel; 0 at the zeros.
    const Tensor h = tape.gradient(sum(square(g)), {x}, {.create_graph = true})[0];
    CHECK(difference(h, Tensor::zeros({2, 2})) < 1e-6);
    const Tensor weighted = tape.gradient(sum(g * Tensor::from({1, 2, 1, 0}, {2, 2})), {x})[0];
    const std::vector<Real> hessian{0, 0, Real(16.0 / 125), Real(-12.0 / 125)};
    CHECK(difference(weighted, Tensor::from(hessian, {2, 2})) < 1e-6);
  }
  {
    Tape tape;
    const Tensor constant = tape.watch(Tensor::full({3}, 7));
    CHECK(tape.gradient(stddev(constant), {constant})[0].to_vector() == std::vector<Real>{0, 0, 0});
  }
}

TEST_CASE("reductions: empty sets and single elements") {
  CHECK(sum(Tensor::empty({0})).item() == 0);
  CHECK(prod(Tensor::empty({0})).item() == 1);
  CHECK(sum(Tensor::empty({2, 0}), {1}).to_vector() == std::vector<Real>{0, 0});
  CHECK(sum(Tensor::empty({0, 2}), {1}).shape() == Shape{0});
  CHECK(sum(Tensor::scalar(3)).item() == 3);
  CHECK(var(Tensor::ones({1}), {}, {.unbiased = false}).item() == 0);
  for (const auto& f : std::vector<std::function<Tensor()>>{
           [] { return mean(Tensor::empty({0})); },
           [] {
             return max(Tensor::empty({2, 0}), {1});
           },
           [] { return min(Tensor::empty({0})); }, [] { return var(Tensor::ones({1})); },
           [] {
             return stddev(Tensor::ones({3, 1}), {1});
           }}) {
    CHECK(error_text([&] { f(); }) != "");
  }
}

TEST_CASE("reductions: missing and repeated axes are refused") {
  CHECK(error_text([] {
          sum(Tensor::ones({2, 3}), {2});
        }).find("sum: axis 2 does not exist, there are 2\n  input  [2, 3]") == 0);
  CHECK(error_text([] {
          mean(Tensor::ones({2, 3}), {1, -1});
        }) == "mean: axis 1 is named twice\n  input  [2, 3]");
  CHECK(error_text([] {
          broadcast_to(Tensor::ones({2, 3}), {3});
        }) == "broadcast_to: [2, 3] does not broadcast to [3]");
}

TEST_CASE("reductions: bits do not depend on threads") {
  for (const Axes& axes : {Axes{}, Axes{0}, Axes{1}, Axes{0, 2}}) {
    const Input input = Input({20, 301, 33}).distinct();
    check_op_threads("sum", {input}, [&](T x) { return sum(x, axes); });
    check_op_threads("var", {input}, [&](T x) { return var(x, axes); });
    check_op_threads("max", {input}, [&](T x) { return max(x, axes); });
    check_op_threads("logsumexp", {input}, [&](T x) { return logsumexp(x, axes); });
    check_op_threads("norm", {input}, [&](T x) { return norm(x, axes); });
    check_op_threads("center", {input}, [&](T x) { return center(x, axes); });
  }
}

}  // namespace tapestry::testing
