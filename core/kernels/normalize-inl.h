// The vector code that the normalization kernels share: sums and products of runs. Compiled once
// per SIMD target.
#if defined(TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_
#undef TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_
#else
#define TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "core/kernels/normalize_view.h"
#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

using Wide = hn::Vec<WideTag>;

// Σ f(values…) of one or two arrays in wide lanes, two sums at a time.
struct Pair {
  double a, b;
};
template <class F, class... In>
HWY_INLINE Pair SumPairs(F f, std::int64_t n, const In*... in) {
  const WideTag d;
  const std::int64_t lanes = LaneCount(d);
  Wide a0 = hn::Zero(d), b0 = a0, a1 = a0, b1 = a0;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    f(a0, b0, LoadWide(d, in + i)...);
    f(a1, b1, LoadWide(d, in + i + lanes)...);
  }
  Pair sum{SumLanes(d, hn::Add(a0, a1)), SumLanes(d, hn::Add(b0, b1))};
  if (i < n) {
    // Lane by lane, because zeros in unused lanes would not be neutral once a mean is subtracted.
    const hn::CappedTag<double, 1> one;
    auto a = hn::Zero(one), b = a;
    for (; i < n; ++i) f(a, b, hn::Set(one, static_cast<double>(in[i]))...);
    sum.a += hn::GetLane(a);
    sum.b += hn::GetLane(b);
  }
  return sum;
}

HWY_INLINE double RunSum(const Real* x, std::int64_t n) {
  return SumPairs([](auto& a, auto&, auto v) HWY_ATTR { a = hn::Add(a, v); }, n, x).a;
}

// Σ (x − mean) and Σ (x − mean)².
HWY_INLINE Pair RunCentered(const Real* x, std::int64_t n, double mean) {
  return SumPairs(
      [=](auto& a, auto& b, auto v) HWY_ATTR {
        const auto c = hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean));
        a = hn::Add(a, c);
        b = hn::MulAdd(c, c, b);
      },
      n, x);
}

// Σ g and Σ g·(x − mean).
HWY_INLINE Pair RunGradient(const Real* g, const Real* x, std::int64_t n, double mean) {
  return SumPairs(
      [=](auto& a, auto& b, auto u, auto v) HWY_ATTR {
        a = hn::Add(a, u);
        b = hn::MulAdd(u, hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean)), b);
      },
      n, g, x);
}
// The same of γ·g, with a γ for each element.
HWY_INLINE Pair RunGradient(const Real* g, const Real* x, const Real* gamma, std::int64_t n,
                            double mean) {
  return SumPairs(
      [=](auto& a, auto& b, auto u, auto v, auto s) HWY_ATTR {
        const auto h = hn::Mul(u, s);
        a = hn::Add(a, h);
        b = hn::MulAdd(h, hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean)), b);
      },
      n, g, x, gamma);
}

// Note [Two floats]
// ~~~~~~~~~~~~~~~~~
// x − mean in lanes of Real is exact enough if the mean is the sum of two Reals: x − high is exact
// where x is near the mean, and rounds in its own last place elsewhere. Only where rstd leaves the
// range in which its products are safe, wide lanes do it.
struct Center {
  Real high, low, rstd;
  double mean, wide_rstd;
  bool is_safe;
};
HWY_INLINE Center CenterOf(const NormMoments& m, std::int64_t set) {
  Center c{};
  c.mean = m.mean[set];
  c.wide_rstd = m.rstd[set];
  c.high = static_cast<Real>(c.mean);
  c.low = static_cast<Real>(c.mean - static_cast<double>(c.high));
  c.rstd = static_cast<Real>(c.wide_rstd);
  c.is_safe = c.wide_rstd > 1e-30 && c.wide_rstd < 1e30 && std::abs(c.mean) < 1e37;
  return c;
}

template <class D, class V>
HWY_INLINE V Normalized(D d, V x, const Center& c) {
  return hn::Mul(hn::Sub(hn::Sub(x, hn::Set(d, c.high)), hn::Set(d, c.low)), hn::Set(d, c.rstd));
}
HWY_INLINE Wide NormalizedWide(WideTag d, Wide x, const Center& c) {
  return hn::Mul(hn::Sub(x, hn::Set(d, c.mean)), hn::Set(d, c.wide_rstd));
}

HWY_INLINE void ApplyRun(const Real* x, Real* y, std::int64_t n, const Center& c, Real gamma,
                         Real beta) {
  if (!c.is_safe) {
    MapWide(
        [&](auto d, auto v) HWY_ATTR {
          return hn::MulAdd(NormalizedWide(d, v, c), hn::Set(d, double(gamma)),
                            hn::Set(d, double(beta)));
        },
        y, n, x);
    return;
  }
  const RealTag tag;
  const auto high = hn::Set(tag, c.high), low = hn::Set(tag, c.low);
  const auto scale = hn::Set(tag, static_cast<Real>(c.wide_rstd * double(gamma))),
             shift = hn::Set(tag, beta);
  Map([&](auto, auto v)
          HWY_ATTR { return hn::MulAdd(hn::Sub(hn::Sub(v, high), low), scale, shift); },
      y, n, x);
}

// With a γ and a β for each element; either may be nullptr.
HWY_INLINE void ApplyRow(const Real* x, Real* y, std::int64_t n, const Center& c, const Real* gamma,
                         const Real* beta) {
  if (!c.is_safe) {
    MapWide([&](auto d, auto v) HWY_ATTR { return NormalizedWide(d, v, c); }, y, n, x);
    if (gamma != nullptr)
      Map([](auto, auto u, auto s) HWY_ATTR { return hn::Mul(u, s); }, y, n, y, gamma);
    if (beta != nullptr)
      Map([](auto, auto u, auto s) HWY_ATTR { return hn::Add(u, s); }, y, n, y, beta);
  } else if (gamma != nullptr && beta != nullptr) {
    Map([&](auto d, auto v, auto s, auto t)
            HWY_ATTR { return hn::MulAdd(Normalized(d, v, c), s, t); },
        y, n, x, gamma, beta);
  } else if (gamma != nullptr) {
    Map([&](auto d, auto v, auto s) HWY_ATTR { return hn::Mul(Normalized(d, v, c), s); }, y, n, x,
        gamma);
  } else {
    Map([&](auto d, auto v, auto t) HWY_ATTR { return hn::Add(Normalized(d, v, c), t); }, y, n, x,
        beta);
  }
}

// Mean, variance and rstd of a set whose elements less `mean` sum to `rest`: a, their squares: b.
HWY_INLINE void Finish(const NormView& v, const NormMoments& m, double* variance, double eps,
                       std::int64_t set, double mean, Pair rest) {
  const double share = 1 / static_cast<double>(v.count());
  m.mean[set] = mean + rest.a * share;
  variance[set] = std::max(0.0, (rest.b - rest.a * rest.a * share) * share);
  m.rstd[set] = 1 / std::sqrt(variance[set] + eps);
}

// dx = rstd·(γ·g − mean_h − x̂·mean_hx) with the two means of a set.
struct Means {
  double h, hx;
};

HWY_INLINE Means MeansOf(NormKind kind, double h, double hx, std::int64_t count) {
  const double n = static_cast<double>(count);
  return {kind == NormKind::kCentered ? h / n : 0, kind == NormKind::kFixed ? 0 : hx / n};
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
