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
#include "core/kernels/simd_info.h"

namespace k = tapestry::kernels;
namespace ref = tapestry::kernels::reference;
using tapestry::kDouble;
using tapestry::Real;

namespace {

constexpr Real kInf = std::numeric_limits<Real>::infinity();
constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

// Runs `check` on each target of this processor.
template <class F>
void on_every_target(F check) {
  const std::string usual(k::simd_target());
  for (const std::string& target : k::simd_targets()) {
    k::force_simd_target(target);
    CAPTURE(target);
    check();
  }
  k::force_simd_target(usual);
}

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
    for (std::uint32_t bits = 0; bits < 0x7f800000; bits += 20011) {
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
    {"relu", k::relu, ref::relu, 0},
    {"gelu", k::gelu, ref::gelu, 2},
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
