// What the SIMD kernels share: walking arrays in vectors, with the rest handled by the same lane
// code, and wide (double) lanes over arrays of Real. Compiled once per SIMD target; include it
// after hwy/foreach_target.h.
#if defined(TAPESTRY_CORE_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAPESTRY_CORE_KERNELS_SIMD_INL_H_
#undef TAPESTRY_CORE_KERNELS_SIMD_INL_H_
#else
#define TAPESTRY_CORE_KERNELS_SIMD_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "core/real.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using RealTag = hn::ScalableTag<Real>;
// Double lanes, and as many lanes of Real as go with them. In the double build both are the same.
using WideTag = hn::ScalableTag<double>;
using NarrowTag = hn::Rebind<Real, WideTag>;

template <class D>
HWY_INLINE std::int64_t LaneCount(D d) {
  return static_cast<std::int64_t>(hn::Lanes(d));
}

// Note [Tails]
// ~~~~~~~~~~~~
// The last count < lanes elements travel through an aligned array on the stack. Highway's masked
// loads may read beyond the array on some targets, and a scalar loop could round differently than
// the lanes do.
template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const hn::TFromD<D>* from, std::int64_t count) {
  HWY_ALIGN hn::TFromD<D> part[hn::MaxLanes(d)] = {};
  std::memcpy(part, from, static_cast<std::size_t>(count) * sizeof(part[0]));
  return hn::Load(d, part);
}

template <class D>
HWY_INLINE void StorePart(D d, hn::Vec<D> v, hn::TFromD<D>* to, std::int64_t count) {
  HWY_ALIGN hn::TFromD<D> part[hn::MaxLanes(d)];
  hn::Store(v, d, part);
  std::memcpy(to, part, static_cast<std::size_t>(count) * sizeof(part[0]));
}

// y[i] = f(d, in[i]...) for i < n. `y` may be one of the inputs.
template <class F, class... In>
HWY_INLINE void Map(F f, Real* y, std::int64_t n, const In*... in) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, in + i)...), d, y + i);
  if (i < n) StorePart(d, f(d, LoadPart(d, in + i, n - i)...), y + i, n - i);
}

#ifdef TAPESTRY_DOUBLE
template <class V>
HWY_INLINE V Widen(WideTag, V v) {
  return v;
}
template <class V>
HWY_INLINE V Narrow(NarrowTag, V v) {
  return v;
}
#else
template <class V>
HWY_INLINE hn::Vec<WideTag> Widen(WideTag d, V v) {
  return hn::PromoteTo(d, v);
}
template <class V>
HWY_INLINE hn::Vec<NarrowTag> Narrow(NarrowTag d, V v) {
#if HWY_TARGET == HWY_SCALAR || \
    HWY_TARGET == HWY_EMU128  // their DemoteTo turns Inf into the largest number
  HWY_ALIGN double wide[hn::MaxLanes(d)];
  HWY_ALIGN Real narrow[hn::MaxLanes(d)];
  hn::Store(v, WideTag(), wide);
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) narrow[i] = static_cast<Real>(wide[i]);
  return hn::Load(d, narrow);
#else
  return hn::DemoteTo(d, v);
#endif
}
#endif

HWY_INLINE hn::Vec<WideTag> LoadWide(WideTag d, const Real* from) {
  return Widen(d, hn::LoadU(NarrowTag(), from));
}
HWY_INLINE hn::Vec<WideTag> LoadWidePart(WideTag d, const Real* from, std::int64_t count) {
  return Widen(d, LoadPart(NarrowTag(), from, count));
}

// Map in double lanes, rounded to Real once at the end: for functions that lose digits on the way.
template <class F, class... In>
HWY_INLINE void MapWide(F f, Real* y, std::int64_t n, const In*... in) {
  const WideTag d;
  const NarrowTag dr;
  const std::int64_t lanes = LaneCount(d);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(Narrow(dr, f(d, LoadWide(d, in + i)...)), dr, y + i);
  }
  if (i < n) StorePart(dr, Narrow(dr, f(d, LoadWidePart(d, in + i, n - i)...)), y + i, n - i);
}

// f on each lane by itself, for what has no vector form.
template <class D, class F, class... V>
HWY_INLINE hn::Vec<D> PerLane(D d, F f, V... v) {
  constexpr std::size_t kLanes = hn::MaxLanes(D());
  constexpr std::size_t kInputs = sizeof...(V);
  HWY_ALIGN hn::TFromD<D> in[kInputs][kLanes];
  std::size_t k = 0;
  (hn::Store(v, d, in[k++]), ...);
  HWY_ALIGN hn::TFromD<D> out[kLanes] = {};
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) {
    if constexpr (kInputs == 1) {
      out[i] = f(in[0][i]);
    } else {
      out[i] = f(in[0][i], in[1][i]);
    }
  }
  return hn::Load(d, out);
}

template <class D>
HWY_INLINE hn::TFromD<D> SumLanes(D d, hn::Vec<D> v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
