#include "core/ops/arithmetic.h"

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "core/tape.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;

/// The element of `x` that broadcasting puts at flat position i of `shape`, by division.
Real broadcast_at(const Tensor& x, const Shape& shape, std::int64_t i) {
  std::int64_t position = 0, step = 1;
  for (int back = 1; back <= x.rank(); ++back) {
    const std::int64_t at = i % shape[-back];
    i /= shape[-back];
    if (x.dim(-back) != 1) position += at * step;
    step *= x.dim(-back);
  }
  return x.data()[static_cast<std::size_t>(position)];
}

struct Binary {
  std::string name;
  std::function<Tensor(T, T)> op;
  std::function<double(double, double)> reference;
  bool linear = false;
};

const std::vector<Binary>& binaries() {
  static const std::vector<Binary> ops{
      {"add", [](T a, T b) { return a + b; }, [](double a, double b) { return a + b; }, true},
      {"sub", [](T a, T b) { return a - b; }, [](double a, double b) { return a - b; }, true},
      {"mul", [](T a, T b) { return a * b; }, [](double a, double b) { return a * b; }},
      {"div", [](T a, T b) { return a / b; }, [](double a, double b) { return a / b; }},
      {"pow", [](T a, T b) { return pow(a, b); },
       [](double a, double b) { return std::pow(a, b); }},
      {"maximum", [](T a, T b) { return maximum(a, b); },
       [](double a, double b) { return std::max(a, b); }, true},
      {"minimum", [](T a, T b) { return minimum(a, b); },
       [](double a, double b) { return std::min(a, b); }, true},
  };
  return ops;
}

struct Shapes {
  Shape a, b;
};
const std::vector<Shapes>& broadcasts() {
  static const std::vector<Shapes> shapes{
      {{3, 5}, {3, 5}},
      {{3, 5}, {5}},
      {{5}, {3, 5}},
      {{3, 1}, {1, 5}},
      {{2, 3, 4}, {3, 1}},
      {{2, 1, 3}, {4, 1}},
      {{}, {7}},
      {{2, 3}, {}},
      {{1}, {1}},
      {{}, {}},
      {{2, 1, 2, 1, 3}, {2, 1}},
      {{1, 4, 1}, {2, 1, 3}},
  };
  return shapes;
}

// Positive, and apart: for div, pow, and the kink where maximum and minimum change sides.
Input left(const Shape& shape) { return Input(shape).between(0.6, 1.2).distinct(); }
Input right(const Shape& shape) { return Input(shape).between(1.4, 2).distinct(); }

}  // namespace

TEST_CASE("binary ops: gradient with every kind of broadcasting") {
  for (const Binary& op : binaries()) {
    for (const Shapes& shapes : broadcasts()) {
      const auto reference = [&](const std::vector<Tensor>& x) {
        Tensor y = Tensor::empty(broadcast_shapes("test", x[0].shape(), x[1].shape()));
        for (std::int64_t i = 0; i < y.size(); ++i) {
          y.mutable_data()[static_cast<std::size_t>(i)] = static_cast<Real>(
              op.reference(static_cast<double>(broadcast_at(x[0], y.shape(), i)),
                           static_cast<double>(broadcast_at(x[1], y.shape(), i))));
        }
        return y;
      };
      // maximum(a, b) ignores the smaller side, whose gradient is rightly 0.
      if (op.name == "maximum" || op.name == "minimum") continue;
      check_op(op.name + " " + shapes.a.str() + shapes.b.str(), {left(shapes.a), right(shapes.b)},
               op.op, {.linear = op.linear, .reference = reference});
      CHECK(difference(op.op(left({0, 3}).make(1), right({3}).make(1)), Tensor::empty({0, 3})) ==
            0);
    }
  }
}

TEST_CASE("maximum and minimum: gradient, NaN, and shares of equals") {
  for (const Binary& op : {binaries()[5], binaries()[6]}) {
    check_op(op.name,
             {Input({2, 3}).values({1, -2, 3, 0.5, -1, 2}), Input({3}).values({0, 0.25, 2.5})},
             op.op, {.linear = true});
    const Real nan = std::numeric_limits<Real>::quiet_NaN();
    const Tensor y = op.op(Tensor::from({nan, 1}, {2}), Tensor::from({1, nan}, {2}));
    CHECK(std::isnan(y.data()[0]));
    CHECK(std::isnan(y.data()[1]));
    Tape tape;
    const Tensor a = tape.watch(Tensor::scalar(2)), b = tape.watch(Tensor::scalar(2));
    const auto g = tape.gradient(op.op(a, b), {a, b});
    CHECK(g[0].item() == Real(0.5));
    CHECK(g[1].item() == Real(0.5));
  }
}

TEST_CASE("where: gradient, and what is not selected does not matter") {
  const auto condition = [](const Shape& shape) { return Input(shape).values({0, 1, -2}).fixed(); };
  check_op("where", {condition({3}), Input({2, 3}), Input({2, 1})},
           [](T c, T a, T b) { return where(c, a, b); }, {.linear = true});
  check_op("where scalar", {condition({3, 1}), Input({}), Input({3, 2})},
           [](T c, T a, T b) { return where(c, a, b); }, {.linear = true});
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  const Tensor y =
      where(Tensor::from({1, 0}, {2}), Tensor::from({1, nan}, {2}), Tensor::from({nan, 2}, {2}));
  CHECK(y.to_vector() == std::vector<Real>{1, 2});
}

TEST_CASE("operators with numbers: gradient") {
  check_op(
      "numbers", {Input({5}).between(0.5, 2)},
      [](T x) {
        return (Real(2) - x) / Real(4) + Real(3) / x - Real(1) / (x + 1) * Real(2) + (-x);
      },
      {.reference = elementwise([](double x) { return (2 - x) / 4 + 3 / x - 2 / (x + 1) - x; })});
  check_op("Real op x", {Input({5})},
           [](T x) { return Real(2) * x + (Real(1) + x) - (x - Real(4)); },
           {.linear = true, .reference = elementwise([](double x) { return 2 * x + 5; })});
}

TEST_CASE("binary ops: bits do not depend on threads, gradients of repeated operands included") {
  for (const Binary& op : binaries()) {
    check_op_threads(op.name, {left({300, 401}), right({401})}, op.op);
    check_op_threads(op.name, {left({300, 401}), right({300, 1})}, op.op);
  }
}

TEST_CASE("pow of tensors: gradients at zero") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({0, 0, 0}, {3}));
  const Tensor p = tape.watch(Tensor::from({0, 1, 2}, {3}));
  const auto g = tape.vjp(pow(x, p), Tensor::ones({3}), std::vector<Tensor>{x, p});
  CHECK(g[0].to_vector() == std::vector<Real>{0, 1, 0});
  CHECK(g[1].to_vector() == std::vector<Real>{0, 0, 0});
}

TEST_CASE("one tensor twice: both gradients count") {
  check_op("x·x", {Input({4})}, [](T x) { return x * x; });
  check_op("x/(x + 1)", {Input({4}).between(0.5, 2)}, [](T x) { return x / (x + 1); });
}

TEST_CASE("shapes that do not broadcast are named with a hint") {
  for (const Binary& op : binaries()) {
    CHECK(error_text([&] {
            op.op(Tensor::ones({2, 3}), Tensor::ones({2, 4}));
          }) ==
          op.name +
              ": shapes do not broadcast: 3 against 4 at axis 1 from the end\n"
              "  a     [2, 3]\n"
              "  b     [2, 4]\n"
              "  hint  extents must be equal, or one of them 1; reshape or transpose one operand");
  }
  CHECK(error_text([] {
          where(Tensor::ones({2}), Tensor::ones({3}), Tensor::ones({3}));
        }).find("where: shapes do not broadcast: 2 against 3") == 0);
}

}  // namespace tapestry::testing
