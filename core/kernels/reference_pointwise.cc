#include "core/kernels/reference_pointwise.h"

#include <cmath>
#include <numbers>
#include <type_traits>

namespace tapestry::kernels::reference {
namespace {

// Wider than Real, so that a twin's result is the rounded exact value.
using Wide = std::conditional_t<kDouble, long double, double>;

template <class F>
void each(const Real* x, Real* y, std::int64_t n, F f) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<Real>(f(static_cast<Wide>(x[i])));
}

template <class F>
void each(const Real* g, const Real* x, Real* y, std::int64_t n, F f) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<Real>(g[i] * f(static_cast<Wide>(x[i])));
}

Real at(const Rows& rows, std::int64_t i, std::int64_t j) {
  return rows.data[i * rows.row + j * rows.step];
}

template <class F>
void each(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n, F f) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < n; ++j) y[i * n + j] = f(at(a, i, j), at(b, i, j));
  }
}

Wide logistic(Wide x) { return 1 / (1 + std::exp(-x)); }
Wide normal_cdf(Wide x) { return std::erfc(-x / std::numbers::sqrt2_v<Wide>) / 2; }
Wide normal_density(Wide x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<Wide>);
}
Wide gelu_tanh_argument(Wide x) {
  return std::sqrt(2 / std::numbers::pi_v<Wide>) * (x + Wide(0.044715L) * x * x * x);
}
// x·p, with the limit −0 where p has become 0 before x is −Inf.
Wide gated(Wide x, Wide p) { return p == 0 ? Wide(-0.0) : x * p; }

}  // namespace

void neg(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return -v; });
}
void abs(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::abs(v); });
}
void sign(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return v > 0 ? 1 : v < 0 ? -1 : v; });
}
void square(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return v * v; });
}
void reciprocal(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return 1 / v; });
}
void sqrt(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::sqrt(v); });
}
void rsqrt(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return 1 / std::sqrt(v); });
}
void exp(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::exp(v); });
}
void log(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::log(v); });
}
void log1p(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::log1p(v); });
}
void sin(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::sin(v); });
}
void cos(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::cos(v); });
}
void tanh(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::tanh(v); });
}
void erf(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return std::erf(v); });
}
void sigmoid(const Real* x, Real* y, std::int64_t n) { each(x, y, n, logistic); }
void log_sigmoid(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n,
       [](Wide v) { return v < 0 ? v - std::log1p(std::exp(v)) : -std::log1p(std::exp(-v)); });
}
void relu(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return v <= 0 ? 0 : v; });
}
void gelu(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return gated(v, normal_cdf(v)); });
}
void gelu_tanh(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return gated(v, logistic(2 * gelu_tanh_argument(v))); });
}
void silu(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return gated(v, logistic(v)); });
}
void mish(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return gated(v, std::tanh(v > 40 ? v : std::log1p(std::exp(v)))); });
}
void softsign(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n,
       [](Wide v) { return std::isinf(v) ? std::copysign(Wide(1), v) : v / (1 + std::abs(v)); });
}
void hardsigmoid(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return v <= -3 ? 0 : v >= 3 ? 1 : (v + 3) / 6; });
}
void hardswish(const Real* x, Real* y, std::int64_t n) {
  each(x, y, n, [](Wide v) { return v <= -3 ? 0 : v >= 3 ? v : v * (v + 3) / 6; });
}

void affine(const Real* x, Real* y, std::int64_t n, Real scale, Real shift) {
  each(x, y, n, [=](Wide v) { return scale * v + shift; });
}
void pow(const Real* x, Real* y, std::int64_t n, Real exponent) {
  each(x, y, n, [=](Wide v) { return std::pow(v, static_cast<Wide>(exponent)); });
}
void leaky_relu(const Real* x, Real* y, std::int64_t n, Real slope) {
  each(x, y, n, [=](Wide v) { return v > 0 ? v : slope * v; });
}
void elu(const Real* x, Real* y, std::int64_t n, Real alpha, Real scale) {
  each(x, y, n, [=](Wide v) { return scale * (v > 0 ? v : alpha * std::expm1(v)); });
}
void softplus(const Real* x, Real* y, std::int64_t n, Real beta, Real threshold) {
  each(x, y, n,
       [=](Wide v) { return beta * v > threshold ? v : std::log1p(std::exp(beta * v)) / beta; });
}
void clamp(const Real* x, Real* y, std::int64_t n, Real low, Real high) {
  each(x, y, n, [=](Wide v) { return v < low ? low : v > high ? high : v; });
}

void tanh_grad(const Real* g, const Real* y, Real* dx, std::int64_t n) {
  each(g, y, dx, n, [](Wide v) { return 1 - v * v; });
}
void sigmoid_grad(const Real* g, const Real* y, Real* dx, std::int64_t n) {
  each(g, y, dx, n, [](Wide v) { return v * (1 - v); });
}
void relu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dx[i] = x[i] <= 0 ? 0 : g[i];
}
void leaky_relu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real slope) {
  each(g, x, dx, n, [=](Wide v) { return v <= 0 ? slope : Wide(1); });
}
void clamp_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real low, Real high,
                bool bounds) {
  for (std::int64_t i = 0; i < n; ++i) {
    const bool outside = bounds ? x[i] < low || x[i] > high : x[i] <= low || x[i] >= high;
    dx[i] = outside ? 0 : g[i];
  }
}
void elu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real alpha, Real scale) {
  each(g, x, dx, n, [=](Wide v) { return scale * (v > 0 ? 1 : alpha * std::exp(v)); });
}
void gelu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  each(g, x, dx, n, [](Wide v) { return normal_cdf(v) + v * normal_density(v); });
}
void gelu_tanh_grad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  each(g, x, dx, n, [](Wide v) {
    const Wide t = std::tanh(gelu_tanh_argument(v));
    const Wide slope = std::sqrt(2 / std::numbers::pi_v<Wide>) * (1 + 3 * Wide(0.044715L) * v * v);
    return (1 + t) / 2 + v / 2 * (1 - t * t) * slope;
  });
}
void silu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  each(g, x, dx, n, [](Wide v) { return logistic(v) * (1 + v * (1 - logistic(v))); });
}
void softplus_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real beta,
                   Real threshold) {
  each(g, x, dx, n, [=](Wide v) { return beta * v > threshold ? 1 : logistic(beta * v); });
}

void add(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) { return u + v; });
}
void sub(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) { return u - v; });
}
void mul(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) { return u * v; });
}
void div(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) { return u / v; });
}
void pow(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n,
       [](Real u, Real v) { return static_cast<Real>(std::pow(Wide(u), Wide(v))); });
}
void maximum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) { return u != u || u > v ? u : v; });
}
void minimum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) { return u != u || u < v ? u : v; });
}
void larger_share(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  each(a, b, y, rows, n, [](Real u, Real v) {
    return u < v ? Real(0) : u == v ? Real(0.5) : Real(1);
  });
}
void where(const Rows& c, const Rows& a, const Rows& b, Real* y, std::int64_t rows,
           std::int64_t n) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < n; ++j)
      y[i * n + j] = at(c, i, j) != 0 ? at(a, i, j) : at(b, i, j);
  }
}

}  // namespace tapestry::kernels::reference
