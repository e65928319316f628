// The elementwise kernels against their naive twins, on every SIMD target: all lengths around the
// lane counts, special values, and largest errors over the whole range of arguments.
#include "core/kernels/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/kernels/reference_pointwise.h"
#include "tests/core/kernels/pointwise_support.h"

namespace k = tapestry::kernels;
namespace ref = tapestry::kernels::reference;
using tapestry::kDouble;
using tapestry::Real;
using namespace tapestry::testing;

namespace {

constexpr Real kInf = std::numeric_limits<Real>::infinity();
constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

// Distance in units in the last place of `want`; infinite when only one of them is NaN, or
// infinities differ.
double ulps(Real got, Real want) {
  if (std::isnan(got) && std::isnan(want)) return 0;
  if (got == want) return 0;
  if (!std::isfinite(got) || !std::isfinite(want)) return HUGE_VAL;
  const Real size = std::abs(want);
  const Real next = std::nextafter(size, kInf);
  const double unit = std::isinf(next) ? double(size) - double(std::nextafter(size, Real(0)))
                                       : double(next) - double(size);
  return std::abs(static_cast<double>(got) - static_cast<double>(want)) / unit;
}

// Arguments across all magnitudes, both signs, denormals included, and densely in −20 … 20.
std::vector<Real> arguments() {
  std::vector<Real> x = {0,
                         Real(-0.0),
                         kInf,
                         -kInf,
                         kNan,
                         std::numeric_limits<Real>::max(),
                         std::numeric_limits<Real>::lowest(),
                         std::numeric_limits<Real>::denorm_min(),
                         -std::numeric_limits<Real>::denorm_min(),
                         std::numeric_limits<Real>::min(),
                         1,
                         -1,
                         3,
                         -3,
                         Real(88.7),
                         Real(88.8),
                         Real(-87.4),
                         Real(-103.9),
                         Real(-104.1)};
  if constexpr (kDouble) {
    for (std::uint64_t bits = 0; bits < 0x7ff0000000000000; bits += 0x0007123456789abc) {
      x.push_back(static_cast<Real>(std::bit_cast<double>(bits)));
      x.push_back(-x.back());
    }
  } else {
    for (std::uint32_t bits = 0; bits < 0x7f800000; bits += 5003) {
      x.push_back(static_cast<Real>(std::bit_cast<float>(bits)));
      x.push_back(-x.back());
    }
  }
  for (int i = -40000; i <= 40000; ++i) x.push_back(static_cast<Real>(i) * Real(0.0005213));
  for (int i = -4000; i <= 4000; ++i) x.push_back(static_cast<Real>(i) * Real(0.0271));
  return x;
}

using Unary = void (*)(const Real*, Real*, std::int64_t);

struct UnaryCase {
  const char* name;
  Unary kernel, twin;
  double most_ulps;
};

const UnaryCase kUnary[] = {
    {"neg", k::neg, ref::neg, 0},
    {"abs", k::abs, ref::abs, 0},
    {"sign", k::sign, ref::sign, 0},
    {"square", k::square, ref::square, 0},
    {"reciprocal", k::reciprocal, ref::reciprocal, 0},
    {"sqrt", k::sqrt, ref::sqrt, 0},
    {"rsqrt", k::rsqrt, ref::rsqrt, 1},
    {"exp", k::exp, ref::exp, 2},
    {"log", k::log, ref::log, 4},
    {"log1p", k::log1p, ref::log1p, 4},
    {"sin", k::sin, ref::sin, 2},
    {"cos", k::cos, ref::cos, 2},
    {"tanh", k::tanh, ref::tanh, 4},
    {"erf", k::erf, ref::erf, 1},
    {"sigmoid", k::sigmoid, ref::sigmoid, 4},
    {"log_sigmoid", k::log_sigmoid, ref::log_sigmoid, 8},
    {"gelu", k::gelu, ref::gelu, 12},
    {"gelu_tanh", k::gelu_tanh, ref::gelu_tanh, 2},
    {"silu", k::silu, ref::silu, 8},
    {"mish", k::mish, ref::mish, 8},
    {"softsign", k::softsign, ref::softsign, 2},
    {"hardsigmoid", k::hardsigmoid, ref::hardsigmoid, 2},
    {"hardswish", k::hardswish, ref::hardswish, 4},
};

}  // namespace

TEST_CASE("one-operand kernels stay within their stated errors, everywhere") {
  const std::vector<Real> x = arguments();
  const auto n = static_cast<std::int64_t>(x.size());
  std::vector<Real> got(x.size()), want(x.size());
  for (const UnaryCase& c : kUnary) {
    CAPTURE(c.name);
    c.twin(x.data(), want.data(), n);
    on_every_target([&] {
      c.kernel(x.data(), got.data(), n);
      double worst = 0;
      Real where = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = ulps(got[i], want[i]);
        if (error > worst) worst = error, where = x[i];
      }
      CAPTURE(where);
      // The twin rounds twice when it computes in long double; and gelu's exponential multiplies
      // the rounding of x² by x², which only the float build has wider lanes against.
      const bool tail = c.kernel == k::gelu || c.kernel == k::gelu_tanh;
      CHECK(worst <= (kDouble ? tail ? 4096 : std::max(1.0, c.most_ulps) : c.most_ulps));
    });
  }
}

TEST_CASE("powers are right within one unit of the last place, special arguments exactly") {
  const Real inf = std::numeric_limits<Real>::infinity();
  Numbers x = numbers(4000, -30, 30);
  for (const Real value : numbers(400, 1e-3, 1e-2)) x.push_back(value);
  for (const double size : {1e-44, 1e-38, 1e-20, 1e20, 3e38}) {
    x.push_back(static_cast<Real>(size));
    x.push_back(static_cast<Real>(-size));
  }
  for (const Real value :
       {Real(0), Real(-0.0), Real(1), Real(-1), inf, -inf, std::numeric_limits<Real>::quiet_NaN()})
    x.push_back(value);
  const auto n = static_cast<std::int64_t>(x.size());
  on_every_target([&] {
    for (const double exponent : {0.0, 3.0, 4.0, -2.0, -3.0, 7.0, 64.0, 65.0, -101.0, 1.7, -0.3,
                                  0.1, 1e-3, 40.5, -1e4 - 0.5}) {
      CAPTURE(exponent);
      const Real p = static_cast<Real>(exponent);
      Numbers got(x.size());
      k::pow(x.data(), got.data(), n, p);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const Real want = static_cast<Real>(
            std::pow(static_cast<long double>(x[i]), static_cast<long double>(p)));
        if (std::isnan(want) && std::isnan(got[i])) continue;
        CAPTURE(x[i]);
        const bool same = got[i] == want && std::signbit(got[i]) == std::signbit(want);
        if (!same) CHECK(ulps(got[i], want) <= 1);
      }
    }
  });
}

TEST_CASE("one-operand kernels agree with their twins at every length and offset") {
  on_every_target([] {
    for (const UnaryCase& c : kUnary) {
      CAPTURE(std::string(c.name));
      for (std::int64_t n = 0; n <= 67; ++n) {
        const Numbers x = numbers(n + 3, -4, 4, static_cast<std::uint64_t>(n));
        Numbers got(x.size() + 1, 77), want(x.size() + 1, 77);
        c.kernel(x.data() + n % 3, got.data() + 1, n);
        c.twin(x.data() + n % 3, want.data() + 1, n);
        CHECK(relative_error(got, want) <= 4 * kRounding);
        CHECK(got.back() == 77);  // nothing beyond the end is written
      }
    }
  });
}

TEST_CASE("kernels with parameters, and gradients, agree with their twins") {
  const auto check = [](const char* name, auto kernel, auto twin, auto... args) {
    CAPTURE(std::string(name));
    for (const std::int64_t n : {0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 67}) {
      const Numbers g = numbers(n, -2, 2, 5), x = numbers(n, -4, 4, 6);
      Numbers got(x.size()), want(x.size());
      if constexpr (requires { kernel(g.data(), x.data(), got.data(), n, args...); }) {
        kernel(g.data(), x.data(), got.data(), n, args...);
        twin(g.data(), x.data(), want.data(), n, args...);
      } else {
        kernel(x.data(), got.data(), n, args...);
        twin(x.data(), want.data(), n, args...);
      }
      CHECK(relative_error(got, want) <= 4 * kRounding);
    }
  };
  using Binary = void (*)(const Real*, const Real*, Real*, std::int64_t);
  using Power = void (*)(const Real*, Real*, std::int64_t, Real);
  on_every_target([&] {
    check("affine", k::affine, ref::affine, Real(1.5), Real(-0.25));
    check("scale", k::affine, ref::affine, Real(1.5), Real(0));
    check("shift", k::affine, ref::affine, Real(1), Real(0.3));
    check("pow", static_cast<Power>(k::pow), static_cast<Power>(ref::pow), Real(3));
    check("pow", static_cast<Power>(k::pow), static_cast<Power>(ref::pow), Real(0.3));
    check("elu", k::elu, ref::elu, Real(0.7), Real(1.1));
    check("softplus", k::softplus, ref::softplus, Real(2), Real(5));
    check("clamp", k::clamp, ref::clamp, Real(-0.5), Real(0.75));
    check("tanh_grad", static_cast<Binary>(k::tanh_grad), static_cast<Binary>(ref::tanh_grad));
    check("sigmoid_grad", static_cast<Binary>(k::sigmoid_grad),
          static_cast<Binary>(ref::sigmoid_grad));
    check("clamp_grad", k::clamp_grad, ref::clamp_grad, Real(-0.5), Real(0.75), true);
    check("clamp_grad", k::clamp_grad, ref::clamp_grad, Real(-0.5), Real(0.75), false);
    check("elu_grad", k::elu_grad, ref::elu_grad, Real(0.7), Real(1.1));
    check("gelu_grad", static_cast<Binary>(k::gelu_grad), static_cast<Binary>(ref::gelu_grad));
    check("gelu_tanh_grad", static_cast<Binary>(k::gelu_tanh_grad),
          static_cast<Binary>(ref::gelu_tanh_grad));
    check("silu_grad", static_cast<Binary>(k::silu_grad), static_cast<Binary>(ref::silu_grad));
    check("softplus_grad", k::softplus_grad, ref::softplus_grad, Real(2), Real(5));
  });
}

TEST_CASE("rectify and its gate agree with their twins, number by number and bit by bit") {
  on_every_target([] {
    for (const std::int64_t n : {1, 3, 8, 31, 63, 64, 65, 127, 200, 513}) {
      const auto size = static_cast<std::size_t>(n), words = (size + 63) / 64;
      const Numbers x = numbers(n, -2, 2, 1), g = numbers(n, -2, 2, 2);
      for (const Real slope : {Real(0), Real(0.2), Real(-1.5)}) {
        Numbers got(size), want(size), unkept(size), got_dx(size), want_dx(size);
        std::vector<std::uint64_t> closed(words), bits(words);
        k::rectify(x.data(), got.data(), closed.data(), n, slope);
        k::rectify(x.data(), unkept.data(), nullptr, n, slope);
        ref::rectify(x.data(), want.data(), bits.data(), n, slope);
        CHECK(got == want);
        CHECK(unkept == want);
        closed.back() &= ~std::uint64_t{0} >> (63 - (size - 1) % 64);
        CHECK(closed == bits);
        k::gate(g.data(), closed.data(), got_dx.data(), n, slope);
        ref::gate(g.data(), bits.data(), want_dx.data(), n, slope);
        CHECK(got_dx == want_dx);
      }
    }
  });
}

TEST_CASE("gradients at kinks, bounds and NaN are the documented ones") {
  on_every_target([] {
    const Numbers x = {0, Real(-0.0), 1, -1, kNan};
    const Numbers g(x.size(), 1);
    Numbers dx(x.size());
    Numbers y(x.size());
    std::uint64_t closed = 0;
    k::rectify(x.data(), y.data(), &closed, 5, 0);
    CHECK((closed & 0b11111) == 0b01011);
    k::gate(g.data(), &closed, dx.data(), 5, 0);
    CHECK(dx == Numbers{0, 0, 1, 0, 1});
    k::gate(g.data(), &closed, dx.data(), 5, Real(0.25));
    CHECK(dx == Numbers{Real(0.25), Real(0.25), 1, Real(0.25), 1});
    k::clamp_grad(g.data(), x.data(), dx.data(), 5, -1, 1, true);
    CHECK(dx == Numbers{1, 1, 1, 1, 1});
    k::clamp_grad(g.data(), x.data(), dx.data(), 5, -1, 1, false);
    CHECK(dx == Numbers{1, 1, 0, 0, 1});
    // A gate closes also when the gradient is infinite: 0·Inf would be NaN.
    const Numbers infinite(x.size(), kInf);
    k::gate(infinite.data(), &closed, dx.data(), 4, 0);
    CHECK(dx[3] == 0);
  });
}

TEST_CASE("special values of functions with parameters") {
  on_every_target([] {
    const Numbers x = {kNan, kInf, -kInf};
    Numbers y(3);
    k::clamp(x.data(), y.data(), 3, Real(-0.5), Real(0.75));
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == Real(0.75));
    CHECK(y[2] == Real(-0.5));
    k::softplus(x.data(), y.data(), 3, 1, 20);
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == kInf);
    CHECK(y[2] == 0);
    k::elu(x.data(), y.data(), 3, 2, 1);
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == kInf);
    CHECK(y[2] == -2);
    k::rectify(x.data(), y.data(), nullptr, 3, Real(0.5));
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == kInf);
    CHECK(y[2] == -kInf);
    k::rectify(x.data(), y.data(), nullptr, 3, 0);
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == kInf);
    CHECK(y[2] == 0);
  });
}

TEST_CASE("two-operand kernels agree with their twins for repeated and walked operands") {
  using Kernel = void (*)(const k::Rows&, const k::Rows&, Real*, std::int64_t, std::int64_t);
  struct Case {
    const char* name;
    Kernel kernel, twin;
  };
  const Case cases[] = {{"add", k::add, ref::add},
                        {"sub", k::sub, ref::sub},
                        {"mul", k::mul, ref::mul},
                        {"div", k::div, ref::div},
                        {"pow", k::pow, ref::pow},
                        {"maximum", k::maximum, ref::maximum},
                        {"minimum", k::minimum, ref::minimum},
                        {"larger_share", k::larger_share, ref::larger_share}};
  on_every_target([&] {
    for (const Case& c : cases) {
      CAPTURE(std::string(c.name));
      for (std::int64_t n = 1; n <= 35; ++n) {
        constexpr std::int64_t kRows = 3;
        Numbers a = numbers(kRows * n, 0.5, 3, 1), b = numbers(kRows * n, 0.5, 3, 2);
        a[0] = b[0];  // a tie
        if (n > 1) a[1] = kNan;
        for (const auto& [row_a, step_a] : {std::pair(n, std::int64_t{1}),
                                            {std::int64_t{0}, std::int64_t{1}},
                                            {std::int64_t{1}, std::int64_t{0}},
                                            {std::int64_t{0}, std::int64_t{0}}}) {
          for (const auto& [row_b, step_b] : {std::pair(n, std::int64_t{1}),
                                              {std::int64_t{0}, std::int64_t{1}},
                                              {std::int64_t{1}, std::int64_t{0}}}) {
            const k::Rows left{a.data(), row_a, step_a}, right{b.data(), row_b, step_b};
            Numbers got(a.size()), want(a.size());
            c.kernel(left, right, got.data(), kRows, n);
            c.twin(left, right, want.data(), kRows, n);
            CHECK(relative_error(got, want) <= kRounding);
            c.kernel(right, left, got.data(), kRows, n);
            c.twin(right, left, want.data(), kRows, n);
            CHECK(relative_error(got, want) <= kRounding);
            Numbers chosen(a.size());
            const Numbers condition = {1, 0, kNan};
            const k::Rows flags{condition.data(), 1, 0};
            k::where(flags, left, right, chosen.data(), kRows, n);
            ref::where(flags, left, right, want.data(), kRows, n);
            CHECK(relative_error(chosen, want) == 0);
          }
        }
      }
    }
  });
}
