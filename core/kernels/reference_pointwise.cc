#include "core/kernels/reference_pointwise.h"

#include <cmath>
#include <numbers>
#include <type_traits>
#include <vector>

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
void rectify(const Real* x, Real* y, std::uint64_t* closed, std::int64_t n, Real slope) {
  for (std::int64_t i = 0; i < n; ++i) {
    const bool below = x[i] <= 0;
    y[i] = !below ? x[i] : slope == 0 ? 0 : slope * x[i];
    if (closed == nullptr) continue;
    if (i % 64 == 0) closed[i / 64] = 0;
    closed[i / 64] |= std::uint64_t{below} << i % 64;
  }
}
void gate(const Real* g, const std::uint64_t* closed, Real* dx, std::int64_t n, Real slope) {
  for (std::int64_t i = 0; i < n; ++i) {
    const bool below = (closed[i / 64] >> i % 64 & 1U) != 0;
    dx[i] = !below ? g[i] : slope == 0 ? 0 : slope * g[i];
  }
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

namespace {

// y of each set = finish(start combined by step with every x of the set, in order).
template <class T, class Step>
void reduce(const Real* x, T* y, const ReduceView& v, Wide start, Step step) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      Wide total = start;
      for (std::int64_t i = 0; i < v.reduced; ++i) {
        total = step(total, static_cast<Wide>(x[(o * v.reduced + i) * v.inner + j]));
      }
      y[o * v.inner + j] = static_cast<T>(total);
    }
  }
}

}  // namespace

void sum(const Real* x, double* y, const ReduceView& view) {
  reduce(x, y, view, 0, [](Wide a, Wide v) { return a + v; });
}
void sum_of_squares(const Real* x, double* y, const ReduceView& view) {
  reduce(x, y, view, 0, [](Wide a, Wide v) { return a + v * v; });
}
void prod(const Real* x, double* y, const ReduceView& view) {
  reduce(x, y, view, 1, [](Wide a, Wide v) { return a * v; });
}
void max(const Real* x, Real* y, const ReduceView& view) {
  reduce(x, y, view, -HUGE_VAL, [](Wide a, Wide v) { return a != a || a > v ? a : v; });
}
void min(const Real* x, Real* y, const ReduceView& view) {
  reduce(x, y, view, HUGE_VAL, [](Wide a, Wide v) { return a != a || a < v ? a : v; });
}
void argmax(const Real* x, std::int32_t* y, const ReduceView& v) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      const auto at = [&](std::int64_t i) { return x[(o * v.reduced + i) * v.inner + j]; };
      std::int64_t best = 0;
      for (std::int64_t i = 1; i < v.reduced; ++i) {
        if (!std::isnan(at(best)) && (std::isnan(at(i)) || at(i) > at(best))) best = i;
      }
      y[o * v.inner + j] = static_cast<std::int32_t>(best);
    }
  }
}
void cumsum(const Real* x, Real* y, const ReduceView& v, bool reverse) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      for (std::int64_t i = 0; i < v.reduced; ++i) {
        Wide total = 0;
        for (std::int64_t k = reverse ? i : 0; k < (reverse ? v.reduced : i + 1); ++k) {
          total += static_cast<Wide>(x[(o * v.reduced + k) * v.inner + j]);
        }
        y[(o * v.reduced + i) * v.inner + j] = static_cast<Real>(total);
      }
    }
  }
}

namespace {

// Calls use(position of an element) for the elements of set (batch b, kept k).
template <class F>
void each_of_set(const NormView& v, std::int64_t set, F use) {
  const std::int64_t b = set / v.kept, k = set % v.kept;
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t i = 0; i < v.inner; ++i) use(((b * v.outer + o) * v.kept + k) * v.inner + i);
  }
}

Wide gamma_at(const AffineView& a, std::int64_t at) {
  return a.gamma == nullptr ? 1 : static_cast<Wide>(a.gamma[at / a.inner % a.kept]);
}
Wide beta_at(const AffineView& a, std::int64_t at) {
  return a.beta == nullptr ? 0 : static_cast<Wide>(a.beta[at / a.inner % a.kept]);
}
// By how much the slope multiplies what belongs to the normalized number `hat` at this place.
Wide bend_at(const AffineView& a, std::int64_t at, Wide hat) {
  return gamma_at(a, at) * hat + beta_at(a, at) > 0 ? 1 : static_cast<Wide>(a.slope);
}
Real forward_at(const AffineView& a, std::int64_t at, Wide hat) {
  return static_cast<Real>(bend_at(a, at, hat) * (gamma_at(a, at) * hat + beta_at(a, at)));
}

}  // namespace

void norm_forward(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                  bool centered, const NormMoments& m, double* variance) {
  for (std::int64_t set = 0; set < v.sets(); ++set) {
    Wide mean = 0, square = 0;
    if (centered) each_of_set(v, set, [&](std::int64_t at) { mean += static_cast<Wide>(x[at]); });
    mean /= static_cast<Wide>(v.count());
    each_of_set(v, set, [&](std::int64_t at) {
      const Wide rest = static_cast<Wide>(x[at]) - mean;
      square += rest * rest;
    });
    const Wide var = square / static_cast<Wide>(v.count());
    const Wide rstd = 1 / std::sqrt(var + static_cast<Wide>(eps));
    each_of_set(v, set, [&](std::int64_t at) {
      const Wide hat = (static_cast<Wide>(x[at]) - mean) * rstd;
      y[at] = forward_at(a, at, hat);
    });
    m.mean[set] = static_cast<double>(mean);
    m.rstd[set] = static_cast<double>(rstd);
    variance[set] = static_cast<double>(var);
  }
}

void norm_apply(const Real* x, Real* y, const NormView& v, const AffineView& a,
                const NormMoments& m) {
  for (std::int64_t set = 0; set < v.sets(); ++set) {
    each_of_set(v, set, [&](std::int64_t at) {
      const Wide hat = (static_cast<Wide>(x[at]) - m.mean[set]) * m.rstd[set];
      y[at] = forward_at(a, at, hat);
    });
  }
}

void norm_backward(const Real* g, const Real* x, Real* dx, const NormView& v, const AffineView& a,
                   const NormMoments& m, NormKind kind, Real* dgamma, Real* dbeta) {
  std::vector<Wide> scales(static_cast<std::size_t>(a.kept)), shifts(scales.size());
  for (std::int64_t set = 0; set < v.sets(); ++set) {
    const auto hat = [&](std::int64_t at) {
      return (static_cast<Wide>(x[at]) - m.mean[set]) * m.rstd[set];
    };
    const auto upstream = [&](std::int64_t at) {
      return bend_at(a, at, hat(at)) * static_cast<Wide>(g[at]);
    };
    Wide h = 0, hx = 0;
    each_of_set(v, set, [&](std::int64_t at) {
      const Wide up = upstream(at);
      h += gamma_at(a, at) * up;
      hx += gamma_at(a, at) * up * hat(at);
      const auto to = static_cast<std::size_t>(at / a.inner % a.kept);
      scales[to] += up * hat(at);
      shifts[to] += up;
    });
    h = kind == NormKind::kCentered ? h / static_cast<Wide>(v.count()) : 0;
    hx = kind == NormKind::kFixed ? 0 : hx / static_cast<Wide>(v.count());
    if (dx == nullptr) continue;
    each_of_set(v, set, [&](std::int64_t at) {
      dx[at] = static_cast<Real>(m.rstd[set] * (gamma_at(a, at) * upstream(at) - h - hat(at) * hx));
    });
  }
  for (std::size_t j = 0; j < scales.size(); ++j) {
    if (dgamma != nullptr) dgamma[j] = static_cast<Real>(scales[j]);
    if (dbeta != nullptr) dbeta[j] = static_cast<Real>(shifts[j]);
  }
}

void norm_second(const Real* v, const Real* h, const Real* x, Real* dx, const NormView& view,
                 const NormMoments& m, NormKind kind) {
  for (std::int64_t set = 0; set < view.sets(); ++set) {
    const Wide rstd = m.rstd[set];
    const auto hat = [&](std::int64_t at) {
      return (static_cast<Wide>(x[at]) - m.mean[set]) * rstd;
    };
    const auto mean = [&](auto term) {
      Wide total = 0;
      each_of_set(view, set, [&](std::int64_t at) { total += term(at); });
      return total / static_cast<Wide>(view.count());
    };
    const bool centered = kind == NormKind::kCentered;
    const Wide mean_h = centered ? mean([&](std::int64_t at) { return Wide(h[at]); }) : 0;
    const Wide mean_v = centered ? mean([&](std::int64_t at) { return Wide(v[at]); }) : 0;
    const Wide a = mean([&](std::int64_t at) { return Wide(h[at]) * hat(at); });
    const Wide b = mean([&](std::int64_t at) { return Wide(v[at]) * hat(at); });
    const Wide both = mean([&](std::int64_t at) { return (h[at] - mean_h) * (v[at] - mean_v); });
    each_of_set(view, set, [&](std::int64_t at) {
      dx[at] = static_cast<Real>(
          -rstd * rstd *
          (hat(at) * (both - 3 * a * b) + b * (h[at] - mean_h) + a * (v[at] - mean_v)));
    });
  }
}

void softmax(const Real* x, Real* y, const ReduceView& v) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      const auto at = [&](std::int64_t i) { return (o * v.reduced + i) * v.inner + j; };
      Wide largest = -HUGE_VAL, total = 0;
      for (std::int64_t i = 0; i < v.reduced; ++i)
        largest = std::fmax(largest, static_cast<Wide>(x[at(i)]));
      for (std::int64_t i = 0; i < v.reduced; ++i) total += std::exp(x[at(i)] - largest);
      for (std::int64_t i = 0; i < v.reduced; ++i)
        y[at(i)] = static_cast<Real>(std::exp(x[at(i)] - largest) / total);
    }
  }
}
void log_softmax(const Real* x, Real* y, const ReduceView& v) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      const auto at = [&](std::int64_t i) { return (o * v.reduced + i) * v.inner + j; };
      Wide largest = -HUGE_VAL, total = 0;
      for (std::int64_t i = 0; i < v.reduced; ++i)
        largest = std::fmax(largest, static_cast<Wide>(x[at(i)]));
      for (std::int64_t i = 0; i < v.reduced; ++i) total += std::exp(x[at(i)] - largest);
      for (std::int64_t i = 0; i < v.reduced; ++i)
        y[at(i)] = static_cast<Real>(x[at(i)] - largest - std::log(total));
    }
  }
}
void softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& v) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      const auto at = [&](std::int64_t i) { return (o * v.reduced + i) * v.inner + j; };
      Wide total = 0;
      for (std::int64_t i = 0; i < v.reduced; ++i) total += static_cast<Wide>(g[at(i)]) * y[at(i)];
      for (std::int64_t i = 0; i < v.reduced; ++i)
        dx[at(i)] = static_cast<Real>(y[at(i)] * (g[at(i)] - total));
    }
  }
}
void log_softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& v) {
  for (std::int64_t o = 0; o < v.outer; ++o) {
    for (std::int64_t j = 0; j < v.inner; ++j) {
      const auto at = [&](std::int64_t i) { return (o * v.reduced + i) * v.inner + j; };
      Wide total = 0;
      for (std::int64_t i = 0; i < v.reduced; ++i) total += static_cast<Wide>(g[at(i)]);
      for (std::int64_t i = 0; i < v.reduced; ++i) {
        dx[at(i)] = static_cast<Real>(g[at(i)] - std::exp(static_cast<Wide>(y[at(i)])) * total);
      }
    }
  }
}

void sgd_step(Real* p, const Real* g, Real* buffer, std::int64_t n, const SgdStep& s) {
  for (std::int64_t i = 0; i < n; ++i) {
    double d = g[i] + s.weight_decay * p[i];
    if (s.momentum != 0) {
      const double velocity = s.first ? d : s.momentum * buffer[i] + (1 - s.dampening) * d;
      buffer[i] = static_cast<Real>(velocity);
      d = s.nesterov ? d + s.momentum * velocity : velocity;
    }
    p[i] = static_cast<Real>(p[i] - s.lr * d);
  }
}

void adam_step(Real* p, const Real* g, Real* m, Real* v, Real* largest, std::int64_t n,
               const AdamStep& s) {
  const double correction1 = 1 - std::pow(s.beta1, s.t), correction2 = 1 - std::pow(s.beta2, s.t);
  for (std::int64_t i = 0; i < n; ++i) {
    double value = p[i], d = g[i];
    if (s.decoupled) {
      value -= s.lr * s.weight_decay * value;
    } else {
      d += s.weight_decay * value;
    }
    const double mean = s.beta1 * m[i] + (1 - s.beta1) * d;
    double square = s.beta2 * v[i] + (1 - s.beta2) * d * d;
    m[i] = static_cast<Real>(mean);
    v[i] = static_cast<Real>(square);
    if (largest != nullptr) {
      square = std::fmax(square, static_cast<double>(largest[i]));
      largest[i] = static_cast<Real>(square);
    }
    p[i] = static_cast<Real>(value -
                             s.lr / correction1 * mean / (std::sqrt(square / correction2) + s.eps));
  }
}

void rmsprop_step(Real* p, const Real* g, Real* v, Real* mean, Real* buffer, std::int64_t n,
                  const RmspropStep& s) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = g[i] + s.weight_decay * p[i];
    double square = s.alpha * v[i] + (1 - s.alpha) * d * d;
    v[i] = static_cast<Real>(square);
    if (mean != nullptr) {
      const double middle = s.alpha * mean[i] + (1 - s.alpha) * d;
      mean[i] = static_cast<Real>(middle);
      square = std::fmax(0.0, square - middle * middle);
    }
    double way = d / (std::sqrt(square) + s.eps);
    if (buffer != nullptr) {
      way += s.momentum * buffer[i];
      buffer[i] = static_cast<Real>(way);
    }
    p[i] = static_cast<Real>(p[i] - s.lr * way);
  }
}

void adagrad_step(Real* p, const Real* g, Real* sum, std::int64_t n, const AdagradStep& s) {
  const double size = s.lr / (1 + static_cast<double>(s.t - 1) * s.lr_decay);
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = g[i] + s.weight_decay * p[i];
    const double total = sum[i] + d * d;
    sum[i] = static_cast<Real>(total);
    p[i] = static_cast<Real>(p[i] - size * d / (std::sqrt(total) + s.eps));
  }
}

}  // namespace tapestry::kernels::reference
