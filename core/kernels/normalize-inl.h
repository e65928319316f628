// The vector code that the normalization kernels share: statistics and products of runs. Compiled
// once per SIMD target.
#if defined(TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_
#undef TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_
#else
#define TAPESTRY_CORE_KERNELS_NORMALIZE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <hwy/cache_control.h>

#include "core/kernels/normalize_view.h"
#include "core/kernels/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// How a loop over a segment goes on: the next one is `ahead` numbers on.
struct Course {
  std::int64_t ahead;
  bool past_caches;
};
HWY_INLINE Course CourseOf(const NormView& v, std::int64_t ahead) {
  return {ahead, v.size() >= kPastCaches};
}
HWY_INLINE bool IsWholeLines(const Real* y, std::int64_t n) {
  constexpr std::int64_t kLine = 64;
  return reinterpret_cast<std::uintptr_t>(y) % kLine == 0 &&
         n * static_cast<std::int64_t>(sizeof(Real)) % kLine == 0;
}

// Map whose last elements go one by one through the same instructions: sets can be shorter than a
// vector, and then a detour over the stack would take most of the time.
template <class F, class... In>
HWY_INLINE void MapRun(F f, Real* y, std::int64_t n, Course course, const In*... in) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d), ahead = AheadIn(n, course.ahead);
  std::int64_t i = 0;
  const auto four = [&](auto store, auto... also_fetched) HWY_ATTR {
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
      Fetch(4 * lanes, in + i + ahead..., also_fetched + i + ahead...);
      store(f(d, hn::LoadU(d, in + i)...), y + i);
      store(f(d, hn::LoadU(d, in + i + lanes)...), y + i + lanes);
      store(f(d, hn::LoadU(d, in + i + 2 * lanes)...), y + i + 2 * lanes);
      store(f(d, hn::LoadU(d, in + i + 3 * lanes)...), y + i + 3 * lanes);
    }
  };
  if (course.past_caches && IsWholeLines(y, n)) {
    four([d](auto v, Real* to) HWY_ATTR { hn::Stream(v, d, to); });
    hwy::FlushStream();
  } else {
    four([d](auto v, Real* to) HWY_ATTR { hn::StoreU(v, d, to); }, y);
  }
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, in + i)...), d, y + i);
  const hn::CappedTag<Real, 1> one;
  for (; i < n; ++i) y[i] = hn::GetLane(f(one, hn::Set(one, in[i])...));
}

// Σ (x − near) and Σ (x − near)².
HWY_INLINE Pair RunShifted(const Real* x, std::int64_t n, Real near, std::int64_t ahead) {
  return SumPairs(
      [=](auto& a, auto& b, auto v) HWY_ATTR {
        const auto c = hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), near));
        a = hn::Add(a, c);
        b = hn::MulAdd(c, c, b);
      },
      n, ahead, x);
}

HWY_INLINE double RunSum(const Real* x, std::int64_t n) {
  return WidePairs([](auto& a, auto&, auto v) HWY_ATTR { a = hn::Add(a, v); }, n, x).a;
}

// Σ (x − mean) and Σ (x − mean)².
HWY_INLINE Pair RunCentered(const Real* x, std::int64_t n, double mean) {
  return WidePairs(
      [=](auto& a, auto& b, auto v) HWY_ATTR {
        const auto c = hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean));
        a = hn::Add(a, c);
        b = hn::MulAdd(c, c, b);
      },
      n, x);
}

// Note [Two floats]
// ~~~~~~~~~~~~~~~~~
// x − mean in lanes of Real is exact enough if the mean is the sum of two Reals: x − high is exact
// where x is near the mean, and rounds in its own last place elsewhere. Only where rstd leaves the
// range in which its products are safe, wide lanes do it. What is the same for a whole set goes
// into its factors: (x − high − low)·s + t = (x − high)·s + (t − low·s).
struct Center {
  Real high, low, rstd;
  double mean, wide_rstd;
  bool is_safe;
};
// Without branches, so that a loop over sets becomes vectors.
HWY_INLINE bool is_safe(double mean, double rstd) {
  return (rstd > 1e-15) & (rstd < 1e15) & (std::abs(mean) < 1e37);
}
HWY_INLINE Center CenterOf(const NormMoments& m, std::int64_t set) {
  Center c{};
  c.mean = m.mean[set];
  c.wide_rstd = m.rstd[set];
  c.high = static_cast<Real>(c.mean);
  c.low = static_cast<Real>(c.mean - static_cast<double>(c.high));
  c.rstd = static_cast<Real>(c.wide_rstd);
  c.is_safe = is_safe(c.mean, c.wide_rstd);
  return c;
}

// Note [Bends]
// ~~~~~~~~~~~~
// A (leaky) ReLU after the norm is done in passing: a bend gives v where z = γ·x̂ + β is above 0,
// and slope·v elsewhere. Forward v is z; backward it is the gradient, and z is computed anew from
// x. By the same instructions it gets the same bits, so its sign need not be kept. Where Reals are
// not safe, Backward bends the gradient beforehand.
struct Straight {
  template <class D, class V>
  HWY_INLINE V operator()(D, V, V v) const {
    return v;
  }
};
struct Cut {  // slope 0, and 0 of infinities, too
  template <class D, class V>
  HWY_INLINE V operator()(D d, V z, V v) const {
    return hn::IfThenZeroElse(hn::Le(z, hn::Zero(d)), v);
  }
};
struct Bend {
  Real slope;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V z, V v) const {
    return hn::IfThenElse(hn::Le(z, hn::Zero(d)), hn::Mul(v, hn::Set(d, slope)), v);
  }
};
template <class Use>
HWY_INLINE void WithBend(Real slope, Use use) {
  if (slope == 1) {
    use(Straight());
  } else if (slope == 0) {
    use(Cut());
  } else {
    use(Bend{slope});
  }
}

// z from x, in runs with one mean and variance, one γ and one β.
struct Line {
  HWY_INLINE Line(const Center& c, Real gamma, Real beta) : high(c.high) {
    const double scale = c.wide_rstd * double(gamma);
    factor = static_cast<Real>(scale);
    shift = static_cast<Real>(double(beta) - double(c.low) * scale);
  }
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::MulAdd(hn::Sub(x, hn::Set(d, high)), hn::Set(d, factor), hn::Set(d, shift));
  }
  Real high, factor, shift;
};
HWY_INLINE Real GammaAt(const AffineView& a, std::int64_t position) {
  return a.gamma == nullptr ? 1 : a.gamma[position];
}
HWY_INLINE Real BetaAt(const AffineView& a, std::int64_t position) {
  return a.beta == nullptr ? 0 : a.beta[position];
}

template <class D, class V>
HWY_INLINE V Normalized(D d, V x, const Center& c) {
  return hn::Mul(hn::Sub(hn::Sub(x, hn::Set(d, c.high)), hn::Set(d, c.low)), hn::Set(d, c.rstd));
}
HWY_INLINE Wide NormalizedWide(WideTag d, Wide x, const Center& c) {
  return hn::Mul(hn::Sub(x, hn::Set(d, c.mean)), hn::Set(d, c.wide_rstd));
}

// Σ h and Σ h·x̂ of a run, where h = up(d, g, x, more…): the gradient, bent, and times γ where that
// goes along with the run. Where Reals are safe.
template <class Up, class... More>
HWY_INLINE Pair RunGradient(Up up, const Center& c, std::int64_t n, std::int64_t ahead,
                            const Real* g, const Real* x, const More*... more) {
  const Pair pair = SumPairs(
      [=, high = c.high](auto& a, auto& b, auto u, auto v, auto... w) HWY_ATTR {
        const hn::DFromV<decltype(v)> d;
        const auto h = up(d, u, v, w...);
        a = hn::Add(a, h);
        b = hn::MulAdd(h, hn::Sub(v, hn::Set(d, high)), b);
      },
      n, ahead, g, x, more...);
  return {pair.a, (pair.b - static_cast<double>(c.low) * pair.a) * c.wide_rstd};
}
// Where they are not; of g, or of γ·g.
inline HWY_NOINLINE Pair RunGradientWide(const Real* g, const Real* x, const Real* gamma,
                                         std::int64_t n, Center c) {
  const auto sum = [&](auto& a, auto& b, auto h, auto v) HWY_ATTR {
    const hn::DFromV<decltype(v)> d;
    a = hn::Add(a, h);
    b = hn::MulAdd(h, hn::Mul(hn::Sub(v, hn::Set(d, c.mean)), hn::Set(d, c.wide_rstd)), b);
  };
  if (gamma == nullptr) return WidePairs(sum, n, g, x);
  return WidePairs([&](auto& a, auto& b, auto u, auto v, auto s)
                       HWY_ATTR { sum(a, b, hn::Mul(u, s), v); },
                   n, g, x, gamma);
}
// Either, of the gradient as it came.
HWY_INLINE Pair RunGradient(const Real* g, const Real* x, std::int64_t n, const Center& c,
                            std::int64_t ahead) {
  if (!c.is_safe) return RunGradientWide(g, x, nullptr, n, c);
  return RunGradient([](auto, auto u, auto) HWY_ATTR { return u; }, c, n, ahead, g, x);
}

// Where Reals are not safe. Not inlined: the usual loops around the call stay small, and the center
// in registers.
inline HWY_NOINLINE void ApplyRunWide(const Real* x, Real* y, std::int64_t n, Center c, Real gamma,
                                      Real beta, Real slope) {
  MapWide(
      [&](auto d, auto v) HWY_ATTR {
        return hn::MulAdd(NormalizedWide(d, v, c), hn::Set(d, double(gamma)),
                          hn::Set(d, double(beta)));
      },
      y, n, x);
  WithBend(slope, [&](auto bend) HWY_ATTR {
    Map([=](auto d, auto z) HWY_ATTR { return bend(d, z, z); }, y, n, y);
  });
}

HWY_INLINE void ApplyRun(const Real* x, Real* y, std::int64_t n, const Center& c, Real gamma,
                         Real beta, Real slope, Course course) {
  if (!c.is_safe) return ApplyRunWide(x, y, n, c, gamma, beta, slope);
  const Line line(c, gamma, beta);
  WithBend(slope, [&](auto bend) HWY_ATTR {
    MapRun(
        [=](auto d, auto v) HWY_ATTR {
          const auto z = line(d, v);
          return bend(d, z, z);
        },
        y, n, course, x);
  });
}

// With a γ and a β for each element; either may be nullptr.
HWY_INLINE void ApplyRow(const Real* x, Real* y, std::int64_t n, const Center& c, const Real* gamma,
                         const Real* beta, Real slope, Course course) {
  WithBend(slope, [&](auto bend) HWY_ATTR {
    const auto bent = [=](auto d, auto z) HWY_ATTR { return bend(d, z, z); };
    // Rows follow each other without gaps: fetching ahead would only cost time.
    const auto map = [&](auto f, const auto*... in) HWY_ATTR {
      if (course.past_caches) {
        MapRun(f, y, n, course, in...);
      } else {
        Map(f, y, n, in...);
      }
    };
    if (!c.is_safe) {
      MapWide([&](auto d, auto v) HWY_ATTR { return NormalizedWide(d, v, c); }, y, n, x);
      if (gamma != nullptr)
        Map([](auto, auto u, auto s) HWY_ATTR { return hn::Mul(u, s); }, y, n, y, gamma);
      if (beta != nullptr)
        Map([](auto, auto u, auto s) HWY_ATTR { return hn::Add(u, s); }, y, n, y, beta);
      Map(bent, y, n, y);
    } else if (gamma != nullptr && beta != nullptr) {
      map([=, c = c](auto d, auto v, auto s, auto t)
              HWY_ATTR { return bent(d, hn::MulAdd(Normalized(d, v, c), s, t)); },
          x, gamma, beta);
    } else if (gamma != nullptr) {
      map([=, c = c](auto d, auto v, auto s)
              HWY_ATTR { return bent(d, hn::Mul(Normalized(d, v, c), s)); },
          x, gamma);
    } else {
      map([=, c = c](auto d, auto v, auto t)
              HWY_ATTR { return bent(d, hn::Add(Normalized(d, v, c), t)); },
          x, beta);
    }
  });
}

// Mean, variance and rstd of the sets from `first` on, one in each lane, whose elements less `near`
// sum to a, and their squares to b. Whether that was exact with a number of the set for `near`:
// nothing overflowed or vanished, and it was at most four deviations from the mean, so that the
// difference below keeps all but four bits. A set of one value, as of a dead channel, is exact too.
template <class D, class V>
HWY_INLINE bool Finish(D d, const NormView& v, const NormMoments& m, double* variance, double eps,
                       std::int64_t first, V near, V a, V b) {
  const auto number = [d](double value) HWY_ATTR { return hn::Set(d, value); };
  const V share = number(1 / static_cast<double>(v.count()));
  const V zero = hn::Zero(d), mean = hn::MulAdd(a, share, near);
  const V var = hn::Max(zero, hn::Mul(hn::Sub(b, hn::Mul(hn::Mul(a, a), share)), share));
  hn::StoreU(mean, d, m.mean + first);
  hn::StoreU(var, d, variance + first);
  hn::StoreU(hn::Div(number(1), hn::Sqrt(hn::Add(var, number(eps)))), d, m.rstd + first);
  const V off = hn::Sub(mean, near);
  const auto moderate = hn::And(hn::Gt(var, number(1e-30)), hn::Lt(var, number(1e30)));
  const auto close = hn::Le(hn::Mul(off, off), hn::Mul(number(16), var));
  const auto one_value = hn::And(hn::Eq(a, zero), hn::Eq(b, zero));
  const bool may_be_constant = eps > 0;
  const auto exact = hn::And(moderate, close);
  return hn::AllTrue(d, may_be_constant ? hn::Or(exact, one_value) : exact);
}

// The same for one set.
HWY_INLINE bool FinishOne(const NormView& v, const NormMoments& m, double* variance, double eps,
                          std::int64_t set, double near, Pair rest) {
  const hn::CappedTag<double, 1> d;
  return Finish(d, v, m, variance, eps, set, hn::Set(d, near), hn::Set(d, rest.a),
                hn::Set(d, rest.b));
}

// Two passes in wide lanes, for what one pass cannot do exactly. each(use) visits the set's
// segments.
template <class Each>
HWY_INLINE void WideMoments(const Real* x, const NormView& v, double eps, bool centered,
                            const NormMoments& m, double* variance, std::int64_t set, Each each) {
  double sum = 0;
  if (centered) each([&](std::int64_t, const Segment& s) { sum += RunSum(x + s.at, s.n); });
  const double mean = sum / static_cast<double>(v.count());
  Pair rest{0, 0};
  each([&](std::int64_t, const Segment& s) {
    const Pair part = RunCentered(x + s.at, s.n, mean);
    rest = {rest.a + part.a, rest.b + part.b};
  });
  if (!centered) rest.a = 0;
  FinishOne(v, m, variance, eps, set, mean, rest);
}

// dx = rstd·(γ·g − mean_h − x̂·mean_hx) with the two means of a set.
struct Means {
  double h, hx;
};

// From the sums of a set; share = 1/count.
HWY_INLINE Means MeansOf(NormKind kind, const Pair& sum, double share) {
  return {kind == NormKind::kCentered ? sum.a * share : 0,
          kind == NormKind::kFixed ? 0 : sum.b * share};
}

// dx from γ·g, or from g with a γ that is the same throughout, and x: scale·g − (slope·(x − high) +
// shift).
struct Gradient {
  HWY_INLINE Gradient(const Center& c, const Means& means, double gamma)
      : high(c.high),
        scale(static_cast<Real>(gamma * c.wide_rstd)),
        slope(static_cast<Real>(means.hx * c.wide_rstd * c.wide_rstd)),
        shift(static_cast<Real>((means.h - static_cast<double>(c.low) * means.hx * c.wide_rstd) *
                                c.wide_rstd)) {}
  template <class D, class V>
  HWY_INLINE V operator()(D d, V u, V v) const {
    const V rest = hn::MulAdd(hn::Sub(v, hn::Set(d, high)), hn::Set(d, slope), hn::Set(d, shift));
    return hn::MulSub(u, hn::Set(d, scale), rest);
  }
  Real high, scale, slope, shift;
};
// The same where Reals are not safe.
struct WideGradient {
  const Center& c;
  const Means& means;
  double gamma;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V u, V v) const {
    const V h = hn::Sub(hn::Mul(u, hn::Set(d, gamma)), hn::Set(d, means.h));
    const V all = hn::NegMulAdd(NormalizedWide(d, v, c), hn::Set(d, means.hx), h);
    return hn::Mul(all, hn::Set(d, c.wide_rstd));
  }
};

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
