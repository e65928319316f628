// Sums in lanes of Real and of double, for the kernels that reduce and normalize. Compiled once per
// SIMD target, like simd-inl.h.
#if defined(TAPESTRY_CORE_KERNELS_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAPESTRY_CORE_KERNELS_SUMS_INL_H_
#undef TAPESTRY_CORE_KERNELS_SUMS_INL_H_
#else
#define TAPESTRY_CORE_KERNELS_SUMS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include <hwy/cache_control.h>

#include "core/kernels/pair.h"
#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

using Wide = hn::Vec<WideTag>;

// Σ f(values…) in wide lanes, two sums at a time: where a float would overflow, or cancel.
template <class F, class... In>
HWY_INLINE Pair WidePairs(F f, std::int64_t n, const In*... in) {
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

// Note [Sums in floats]
// ~~~~~~~~~~~~~~~~~~~~~
// Widening every number to double costs several times the arithmetic on it. So lanes of Real add up
// kTerms terms each, and only these sums are widened. Each is wrong by at most (kTerms + 2)·2⁻²⁴ of
// the sum of magnitudes, 6e-7; as rounding errors have either sign, many of them come to less than
// one rounding. Where a common mean would make this inexact, a number near it is subtracted first.
constexpr std::int64_t kTerms = 8;

#ifdef TAPESTRY_DOUBLE
HWY_INLINE Wide AddWide(Wide sum, hn::Vec<RealTag> part) { return hn::Add(sum, part); }
#else
HWY_INLINE Wide AddWide(Wide sum, hn::Vec<RealTag> part) {
  const RealTag d;
  const WideTag w;
  HWY_ALIGN Real lanes[hn::MaxLanes(d)];
  hn::Store(part, d, lanes);
  for (std::int64_t i = 0; i < LaneCount(d); i += LaneCount(w))
    sum = hn::Add(sum, LoadWide(w, lanes + i));
  return sum;
}
#endif

// Note [Prefetching]
// ~~~~~~~~~~~~~~~~~~
// The processor fetches ahead while addresses go up, but only within a page, and it needs a few
// misses on each page to notice. Segments are about a page long or lie a stride apart, so these
// misses are most of the time. Loops over segments therefore ask for the same place of the segment
// `ahead` numbers on, which is the one visited next; those over a segment that is longer than the
// first-level cache ask for its own next page. Beyond the end of an array this does nothing.
HWY_INLINE std::int64_t AheadIn(std::int64_t n, std::int64_t ahead) {
  constexpr std::int64_t kPage = 4096 / sizeof(Real), kFirstLevel = 8 * kPage;
  return n > kFirstLevel ? kPage : ahead;
}

template <class... In>
HWY_INLINE void Fetch(std::int64_t n, const In*... in) {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Real));
  for (std::int64_t i = 0; i < n; i += kLine) (hwy::Prefetch(in + i), ...);
}

// Adds the lanes to as many sums in memory.
template <class D>
HWY_INLINE void AddLanes(D d, hn::Vec<D> part, double* to) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    *to += static_cast<double>(hn::GetLane(part));
  } else {
    const WideTag w;
    HWY_ALIGN Real lanes[hn::MaxLanes(D())];
    hn::Store(part, d, lanes);
    for (std::int64_t i = 0; i < LaneCount(d); i += LaneCount(w))
      hn::StoreU(hn::Add(hn::LoadU(w, to + i), LoadWide(w, lanes + i)), w, to + i);
  }
}

// Σ f(values…) in lanes of Real, two sums at a time; f(a, b, values…) adds to a and b.
template <class F, class... In>
HWY_INLINE Pair SumPairs(F f, std::int64_t n, std::int64_t ahead, const In*... in) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d), step = 4 * lanes;
  ahead = AheadIn(n, ahead);
  Pair sum{0, 0};
  std::int64_t i = 0;
  auto a0 = hn::Zero(d), b0 = a0;
  if (n >= step) {
    const WideTag w;
    Wide a = hn::Zero(w), b = a;
    while (i + step <= n) {
      auto a1 = hn::Zero(d), a2 = a1, a3 = a1, b1 = a1, b2 = a1, b3 = a1;
      a0 = a1, b0 = a1;
      for (const std::int64_t end = std::min(n - step + 1, i + kTerms * step); i < end; i += step) {
        f(a0, b0, hn::LoadU(d, in + i)...);
        f(a1, b1, hn::LoadU(d, in + i + lanes)...);
        f(a2, b2, hn::LoadU(d, in + i + 2 * lanes)...);
        f(a3, b3, hn::LoadU(d, in + i + 3 * lanes)...);
        Fetch(step, in + i + ahead...);
      }
      a = AddWide(a, hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)));
      b = AddWide(b, hn::Add(hn::Add(b0, b1), hn::Add(b2, b3)));
    }
    sum = {SumLanes(w, a), SumLanes(w, b)};
    a0 = hn::Zero(d), b0 = a0;
  }
  if (i + lanes <= n) {
    for (; i + lanes <= n; i += lanes) f(a0, b0, hn::LoadU(d, in + i)...);
    sum.a += static_cast<double>(SumLanes(d, a0));
    sum.b += static_cast<double>(SumLanes(d, b0));
  }
  if (i < n) {
    const hn::CappedTag<Real, 1> one;
    auto a = hn::Zero(one), b = a;
    for (; i < n; ++i) f(a, b, hn::Set(one, in[i])...);
    sum.a += static_cast<double>(hn::GetLane(a));
    sum.b += static_cast<double>(hn::GetLane(b));
  }
  return sum;
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
