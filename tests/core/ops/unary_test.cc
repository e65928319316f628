#include "core/ops/unary.h"

#include <cmath>
#include <limits>
#include <numbers>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/tape.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

struct Row {
  std::string name;
  std::function<Tensor(const Tensor&)> op;
  std::function<double(double)> reference;
  double low = -2, high = 2;
  std::vector<double> kinks = {};
  CheckOptions options = {};
};

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double limited(double x, double low, double high) { return std::min(std::max(x, low), high); }

constexpr double kSeluScale = 1.0507009873554805, kSeluAlpha = 1.6732632423543772;
const CheckOptions kLinear{.linear = true};
const CheckOptions kThird{.order = 3};

std::vector<Row> rows() {
  using T = const Tensor&;
  return {
      {"neg", [](T x) { return neg(x); }, [](double x) { return -x; }, -2, 2, {}, kLinear},
      {"exp", [](T x) { return exp(x); }, [](double x) { return std::exp(x); }, -2, 2, {}, kThird},
      {"log", [](T x) { return log(x); }, [](double x) { return std::log(x); }, 0.5, 2, {}, kThird},
      {"log1p", [](T x) { return log1p(x); }, [](double x) { return std::log1p(x); }, -0.5, 2},
      {"sqrt", [](T x) { return sqrt(x); }, [](double x) { return std::sqrt(x); }, 0.5, 2},
      {"rsqrt", [](T x) { return rsqrt(x); }, [](double x) { return 1 / std::sqrt(x); }, 0.5, 2},
      {"reciprocal", [](T x) { return reciprocal(x); }, [](double x) { return 1 / x; }, 0.5, 2},
      {"square", [](T x) { return square(x); }, [](double x) { return x * x; }},
      {"abs",
       [](T x) { return abs(x); },
       [](double x) { return std::abs(x); },
       -2,
       2,
       {0},
       kLinear},
      {"sign",
       [](T x) { return sign(x); },
       [](double x) { return x > 0 ? 1.0 : -1.0; },
       -2,
       2,
       {0},
       {.zero_gradient = true}},
      {"sin", [](T x) { return sin(x); }, [](double x) { return std::sin(x); }, -2, 2, {}, kThird},
      {"cos", [](T x) { return cos(x); }, [](double x) { return std::cos(x); }},
      {"tanh",
       [](T x) { return tanh(x); },
       [](double x) { return std::tanh(x); },
       -2,
       2,
       {},
       kThird},
      {"erf", [](T x) { return erf(x); }, [](double x) { return std::erf(x); }},
      {"sigmoid", [](T x) { return sigmoid(x); }, sigmoid_of, -3, 3, {}, kThird},
      {"log_sigmoid", [](T x) { return log_sigmoid(x); },
       [](double x) { return -std::log1p(std::exp(-x)); }},
      {"relu",
       [](T x) { return relu(x); },
       [](double x) { return std::max(x, 0.0); },
       -2,
       2,
       {0},
       kLinear},
      {"leaky_relu",
       [](T x) { return leaky_relu(x, Real(0.2)); },
       [](double x) { return x > 0 ? x : 0.2 * x; },
       -2,
       2,
       {0},
       kLinear},
      {"elu",
       [](T x) { return elu(x, Real(1.3)); },
       [](double x) { return x > 0 ? x : 1.3 * std::expm1(x); },
       -2,
       2,
       {0}},
      {"selu",
       [](T x) { return selu(x); },
       [](double x) { return kSeluScale * (x > 0 ? x : kSeluAlpha * std::expm1(x)); },
       -2,
       2,
       {0}},
      {"gelu",
       [](T x) { return gelu(x); },
       [](double x) { return x * normal_cdf(x); },
       -3,
       3,
       {},
       kThird},
      {"gelu tanh", [](T x) { return gelu(x, GeluForm::kTanh); },
       [](double x) {
         return 0.5 * x *
                (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
       },
       -3, 3},
      {"silu",
       [](T x) { return silu(x); },
       [](double x) { return x * sigmoid_of(x); },
       -3,
       3,
       {},
       kThird},
      {"mish", [](T x) { return mish(x); },
       [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, -3, 3},
      {"softplus", [](T x) { return softplus(x); },
       [](double x) { return std::log1p(std::exp(x)); }, -3, 3},
      {"softplus beta",
       [](T x) { return softplus(x, 3, 4); },
       [](double x) { return 3 * x > 4 ? x : std::log1p(std::exp(3 * x)) / 3; },
       -2,
       2,
       {4.0 / 3}},
      {"softsign",
       [](T x) { return softsign(x); },
       [](double x) { return x / (1 + std::abs(x)); },
       -2,
       2,
       {0}},
      {"hardsigmoid",
       [](T x) { return hardsigmoid(x); },
       [](double x) { return limited(x + 3, 0, 6) / 6; },
       -4,
       4,
       {-3, 3},
       kLinear},
      {"hardswish",
       [](T x) { return hardswish(x); },
       [](double x) { return x * limited(x + 3, 0, 6) / 6; },
       -4,
       4,
       {-3, 3}},
      {"clamp",
       [](T x) { return clamp(x, Real(-0.75), 1); },
       [](double x) { return limited(x, -0.75, 1); },
       -2,
       2,
       {-0.75, 1},
       kLinear},
      {"hardtanh",
       [](T x) { return hardtanh(x); },
       [](double x) { return limited(x, -1, 1); },
       -2,
       2,
       {-1, 1},
       kLinear},
      {"affine",
       [](T x) { return affine(x, Real(-1.5), 2); },
       [](double x) { return 2 - 1.5 * x; },
       -2,
       2,
       {},
       kLinear},
      {"pow 3",
       [](T x) { return pow(x, 3); },
       [](double x) { return x * x * x; },
       -2,
       2,
       {},
       kThird},
      {"pow -1.5", [](T x) { return pow(x, Real(-1.5)); },
       [](double x) { return std::pow(x, -1.5); }, 0.5, 2},
      {"pow 1", [](T x) { return pow(x, 1); }, [](double x) { return x; }, -2, 2, {}, kLinear},
      {"pow 0.5", [](T x) { return pow(x, Real(0.5)); }, [](double x) { return std::sqrt(x); }, 0.5,
       2},
      {"pow 0",
       [](T x) { return pow(x, 0); },
       [](double) { return 1.0; },
       -2,
       2,
       {},
       {.zero_gradient = true}},
  };
}

/// The gradient of op at the single number x.
Real slope(const std::function<Tensor(const Tensor&)>& op, double x) {
  Tape tape;
  const Tensor at = tape.watch(Tensor::scalar(static_cast<Real>(x)));
  return tape.gradient(op(at), {at})[0].item();
}

Real value(const std::function<Tensor(const Tensor&)>& op, double x) {
  return op(Tensor::scalar(static_cast<Real>(x))).item();
}

}  // namespace

TEST_CASE("unary ops: gradient") {
  for (const Row& row : rows()) {
    CheckOptions options = row.options;
    options.reference = elementwise(row.reference);
    check_op(row.name, {Input({3, 5}).between(row.low, row.high).away_from(row.kinks)}, row.op,
             options);
  }
}

TEST_CASE("unary ops: every size, and bits that do not depend on threads") {
  for (const Row& row : rows()) {
    for (const std::int64_t size : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 65}) {
      const Tensor x = Input({size}).between(row.low, row.high).away_from(row.kinks).make(7);
      const double error = difference(row.op(x), elementwise(row.reference)({x}));
      CHECK_MESSAGE(error <= (kDouble ? 1e-13 : 2e-6), row.name, " of size ", size, ": ", error);
    }
    const Tensor scalar = Tensor::scalar(static_cast<Real>(row.high * 0.9));
    CHECK(difference(row.op(scalar), elementwise(row.reference)({scalar})) < 2e-6);
    check_op_threads(row.name, {Input({3, 50001}).between(row.low, row.high)}, row.op);
  }
}

TEST_CASE("unary ops: gradients at kinks are those documented") {
  using T = const Tensor&;
  CHECK(slope([](T x) { return abs(x); }, 0) == 0);
  CHECK(slope([](T x) { return relu(x); }, 0) == 0);
  CHECK(slope([](T x) { return leaky_relu(x, Real(0.25)); }, 0) == Real(0.25));
  CHECK(slope([](T x) { return hardsigmoid(x); }, 3) == 0);
  CHECK(slope([](T x) { return hardsigmoid(x); }, -3) == 0);
  CHECK(slope([](T x) { return hardswish(x); }, 3) == doctest::Approx(1.5));
  CHECK(slope([](T x) { return hardswish(x); }, -3) == doctest::Approx(-0.5));
  CHECK(slope([](T x) { return hardswish(x); }, 5) == 1);
  CHECK(slope([](T x) { return clamp(x, -1, 1); }, 1) == 1);
  CHECK(slope([](T x) { return clamp(x, -1, 1); }, -1) == 1);
  CHECK(slope([](T x) { return clamp(x, -1, 1); }, 1.5) == 0);
  CHECK(slope([](T x) { return hardtanh(x); }, 1) == 0);
  CHECK(slope([](T x) { return pow(x, 0); }, 0) == 0);
  CHECK(slope([](T x) { return pow(x, 2); }, 0) == 0);
  CHECK(std::isinf(slope([](T x) { return pow(x, Real(0.5)); }, 0)));
  CHECK(slope([](T x) { return softplus(x); }, 1000) == 1);
  CHECK(slope([](T x) { return softplus(x); }, -1000) == 0);
  CHECK(slope([](T x) { return sigmoid(x); }, -1000) == 0);
  CHECK(slope([](T x) { return softsign(x); }, 0) == 1);
}

TEST_CASE("unary ops: NaN gives NaN, and nothing overflows where the limit is finite") {
  using T = const Tensor&;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  for (const Row& row : rows()) {
    if (row.name == "pow 0") continue;  // x⁰ is 1, as IEEE 754 has it
    CHECK_MESSAGE(std::isnan(value(row.op, nan)), row.name);
  }
  CHECK(value([](T x) { return sigmoid(x); }, inf) == 1);
  CHECK(value([](T x) { return sigmoid(x); }, -inf) == 0);
  CHECK(value([](T x) { return tanh(x); }, -inf) == -1);
  CHECK(value([](T x) { return erf(x); }, inf) == 1);
  CHECK(value([](T x) { return log_sigmoid(x); }, -1000) == -1000);
  CHECK(value([](T x) { return softplus(x); }, 1000) == 1000);
  CHECK(value([](T x) { return softplus(x); }, -inf) == 0);
  CHECK(value([](T x) { return log(x); }, 0) == -inf);
  CHECK(value([](T x) { return rsqrt(x); }, 0) == inf);
  CHECK(value([](T x) { return relu(x); }, -inf) == 0);
  CHECK(value([](T x) { return sign(x); }, 0) == 0);
}

TEST_CASE("prelu: gradient for one slope, and for one per channel") {
  check_op("prelu", {Input({2, 3, 4}).away_from({0}), Input({3}).between(0.1, 0.5)},
           [](const Tensor& x, const Tensor& w) { return prelu(x, w); },
           {.reference = [](const std::vector<Tensor>& x) {
             Tensor y = x[0].clone();
             for (std::size_t i = 0; i < 24; ++i) {
               if (Real& v = y.mutable_data()[i]; v < 0) v *= x[1].data()[i / 4 % 3];
             }
             return y;
           }});
  check_op("prelu one", {Input({2, 3}).away_from({0}), Input({1}).between(0.1, 0.5)},
           [](const Tensor& x, const Tensor& w) { return prelu(x, w); });
  CHECK(error_text([] { prelu(Tensor::ones({2, 3}), Tensor::ones({4})); }).find("prelu") == 0);
}

TEST_CASE("unary ops: refused arguments") {
  CHECK(error_text([] { clamp(Tensor::ones({2}), 1, -1); }) ==
        "clamp: the lower bound 1 is above the upper bound -1");
  CHECK(error_text([] { hardtanh(Tensor::ones({2}), 1, 0); }) ==
        "hardtanh: the lower bound 1 is above the upper bound 0");
  CHECK(error_text([] { gelu_form("fast"); }) ==
        "gelu: there is no approximation called \"fast\"\n  hint  use none or tanh");
  CHECK(gelu_form("none") == GeluForm::kExact);
  CHECK(gelu_form("tanh") == GeluForm::kTanh);
  CHECK(error_text([] { exp(Tensor()); }).find("undefined Tensor") != std::string::npos);
}

}  // namespace tapestry::testing
