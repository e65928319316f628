// Normalization in many short sets of neighbors: InstanceNorm and GroupNorm on small images. See
// Note [Short sets].
#include "core/kernels/normalize_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/normalize_short.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/normalize-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// Sets that go through the loops together: their numbers stay in the first-level cache.
constexpr std::int64_t kMostSets = 64;
std::int64_t SetsTogether(const NormView& v) {
  return std::clamp<std::int64_t>(4096 / v.inner, 1, kMostSets);
}

// Calls use(set, its center, plane, first element, position in γ and β) for each plane of sets
// begin … end.
template <class F>
HWY_INLINE void EachPlane(const AffineView& a, const NormMoments& m, const Segments& s,
                          std::int64_t begin, std::int64_t end, F use) {
  std::int64_t plane = begin * s.planes, at = plane * s.plane;
  const std::int64_t repeats = a.kept == 1 ? 0 : a.inner / s.plane;  // planes with one γ
  std::int64_t position = a.kept == 1 ? 0 : at / a.inner % a.kept;
  std::int64_t left = a.kept == 1 ? 0 : repeats - at % a.inner / s.plane;
  for (std::int64_t set = begin; set < end; ++set) {
    const Center c = CenterOf(m, set);
    for (std::int64_t p = 0; p < s.planes; ++p, ++plane, at += s.plane) {
      use(set, c, plane, at, position);
      if (a.kept > 1 && --left == 0) {
        left = repeats;
        if (++position == a.kept) position = 0;
      }
    }
  }
}

// Σ f(values…) like SumPairs, but with nothing after the last full vector except a masked one;
// `beyond`: so many numbers may be read behind the run.
template <class F, class... In>
HWY_INLINE Pair SumShort(F f, std::int64_t n, std::int64_t beyond, const In*... in) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  const std::int64_t rest = n % lanes;
  if (n > kTerms * lanes || (rest != 0 && beyond < lanes)) return SumPairs(f, n, n, in...);
  auto a = hn::Zero(d), b = a;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(a, b, hn::LoadU(d, in + i)...);
  if (rest != 0) {
    auto c = hn::Zero(d), e = c;
    f(c, e, hn::LoadU(d, in + i)...);
    const auto used = hn::FirstN(d, static_cast<std::size_t>(rest));
    a = hn::Add(a, hn::IfThenElseZero(used, c));
    b = hn::Add(b, hn::IfThenElseZero(used, e));
  }
  return {static_cast<double>(SumLanes(d, a)), static_cast<double>(SumLanes(d, b))};
}

// y = f(values…). With `beyond` numbers behind the run that come later in its loop, whole vectors
// are written over them.
template <class F, class... In>
HWY_INLINE void MapShort(F f, Real* y, std::int64_t n, std::int64_t beyond, const In*... in) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  if (n % lanes != 0 && beyond < lanes) return MapRun(f, y, n, {0, false}, in...);
  for (std::int64_t i = 0; i < n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, in + i)...), d, y + i);
}

template <class Bending>
void ForwardShortBent(Bending bend, const Real* x, Real* y, const NormView& v, const AffineView& a,
                      double eps, bool centered, const NormMoments& m, double* variance) {
  const Segments parts = segments(v, a);
  const std::int64_t block = SetsTogether(v);
  const auto some_sets = [&](std::int64_t begin, std::int64_t end) HWY_ATTR HWY_FLATTEN {
    HWY_ALIGN double near[kMostSets], sum[kMostSets], squares[kMostSets];
    for (std::int64_t first = begin; first < end; first += block) {
      const std::int64_t n = std::min(block, end - first), stop = end * v.inner;
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t at = (first + k) * v.inner;
        const Real middle = centered ? x[at] : 0;
        const Pair rest = SumShort(
            [=](auto& p, auto& q, auto u) HWY_ATTR {
              const auto c = hn::Sub(u, hn::Set(hn::DFromV<decltype(u)>(), middle));
              p = hn::Add(p, c);
              q = hn::MulAdd(c, c, q);
            },
            v.inner, stop - at - v.inner, x + at);
        near[k] = static_cast<double>(middle);
        sum[k] = centered ? rest.a : 0;
        squares[k] = rest.b;
      }
      // Statistics of several sets side by side: roots and quotients take long.
      const WideTag d;
      const NormMoments here{m.mean + first, m.rstd + first};
      bool exact = true;
      std::int64_t k = 0;
      for (; k + LaneCount(d) <= n; k += LaneCount(d)) {
        exact = Finish(d, v, here, variance + first, eps, k, hn::Load(d, near + k),
                       hn::Load(d, sum + k), hn::Load(d, squares + k)) &&
                exact;
      }
      for (; k < n; ++k) {
        exact =
            FinishOne(v, here, variance + first, eps, k, near[k], {sum[k], squares[k]}) && exact;
      }
      if (!exact) {
        for (std::int64_t set = first; set < first + n; ++set) {
          WideMoments(x, v, eps, centered, m, variance, set, [&](auto use) {
            use(0, Segment{set * v.inner, v.inner, set, 0});
          });
        }
      }
      EachPlane(a, m, parts, first, first + n,
                [&](std::int64_t, const Center& c, std::int64_t, std::int64_t at,
                    std::int64_t position) HWY_ATTR {
                  const Real gamma = GammaAt(a, position), beta = BetaAt(a, position);
                  const Line line(c, gamma, beta);
                  if (!c.is_safe) {
                    ApplyRunWide(x + at, y + at, parts.plane, c, gamma, beta, a.slope);
                    return;
                  }
                  MapShort(
                      [=](auto e, auto u) HWY_ATTR {
                        const auto z = line(e, u);
                        return bend(e, z, z);
                      },
                      y + at, parts.plane, stop - at - parts.plane, x + at);
                });
    }
  };
  parallel_for(v.sets(), grain(v.inner), some_sets);
}

template <class Bending>
void BackwardShortBent(Bending bend, const Real* g, const Real* x, Real* dx, const NormView& v,
                       const AffineView& a, const NormMoments& m, NormKind kind, Pair* sums) {
  const Segments parts = segments(v, a);
  const std::int64_t block = SetsTogether(v);
  const double share = 1 / static_cast<double>(v.inner);
  const auto some_sets = [&](std::int64_t begin, std::int64_t end) HWY_ATTR HWY_FLATTEN {
    Pair totals[kMostSets];
    for (std::int64_t first = begin; first < end; first += block) {
      const std::int64_t last = std::min(end, first + block), stop = end * v.inner;
      std::fill_n(totals, last - first, Pair{0, 0});
      EachPlane(a, m, parts, first, last,
                [&](std::int64_t set, const Center& c, std::int64_t plane, std::int64_t at,
                    std::int64_t position) HWY_ATTR {
                  const Real gamma = GammaAt(a, position), beta = BetaAt(a, position);
                  const Line line(c, gamma, beta);
                  if (c.is_safe) {
                    const Pair pair = SumShort(
                        [=](auto& p, auto& q, auto w, auto u) HWY_ATTR {
                          const hn::DFromV<decltype(u)> d;
                          const auto h = bend(d, line(d, u), w);
                          p = hn::Add(p, h);
                          q = hn::MulAdd(h, hn::Sub(u, hn::Set(d, line.high)), q);
                        },
                        parts.plane, stop - at - parts.plane, g + at, x + at);
                    sums[plane] = {pair.a, (pair.b - double(c.low) * pair.a) * c.wide_rstd};
                  } else {
                    sums[plane] = RunGradientWide(g + at, x + at, nullptr, parts.plane, c);
                  }
                  Pair& total = totals[set - first];
                  total = {total.a + double(gamma) * sums[plane].a,
                           total.b + double(gamma) * sums[plane].b};
                });
      if (dx == nullptr) continue;
      EachPlane(a, m, parts, first, last,
                [&](std::int64_t set, const Center& c, std::int64_t, std::int64_t at,
                    std::int64_t position) HWY_ATTR {
                  const Means means = MeansOf(kind, totals[set - first], share);
                  const Real gamma = GammaAt(a, position), beta = BetaAt(a, position);
                  const Line line(c, gamma, beta);
                  if (!c.is_safe) {
                    const WideGradient wide{c, means, double(gamma)};
                    MapWide([&](auto d, auto w, auto u) HWY_ATTR { return wide(d, w, u); }, dx + at,
                            parts.plane, g + at, x + at);
                    return;
                  }
                  MapShort([=, gradient = Gradient(c, means, double(gamma))](auto d, auto w, auto u)
                               HWY_ATTR { return gradient(d, bend(d, line(d, u), w), u); },
                           dx + at, parts.plane, stop - at - parts.plane, g + at, x + at);
                });
    }
  };
  parallel_for(v.sets(), grain(v.inner), some_sets);
}

void ForwardShort(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                  bool centered, const NormMoments& m, double* variance) {
  WithBend(a.slope,
           [&](auto bend) { ForwardShortBent(bend, x, y, v, a, eps, centered, m, variance); });
}
void BackwardShort(const Real* g, const Real* x, Real* dx, const NormView& v, const AffineView& a,
                   const NormMoments& m, NormKind kind, Pair* sums) {
  WithBend(a.slope, [&](auto bend) { BackwardShortBent(bend, g, x, dx, v, a, m, kind, sums); });
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(ForwardShort);
void norm_forward_short(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                        bool centered, const NormMoments& m, double* variance) {
  HWY_DYNAMIC_DISPATCH(ForwardShort)(x, y, v, a, eps, centered, m, variance);
}
HWY_EXPORT(BackwardShort);
void norm_backward_short(const Real* g, const Real* x, Real* dx, const NormView& v,
                         const AffineView& a, const NormMoments& m, NormKind kind, Pair* sums) {
  HWY_DYNAMIC_DISPATCH(BackwardShort)(g, x, dx, v, a, m, kind, sums);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
