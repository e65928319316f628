#include "core/kernels/elementwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/elementwise.cc"
#include <algorithm>
#include <cmath>
#include <cstring>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// Note [NaN in selects]
// ~~~~~~~~~~~~~~~~~~~~~
// Min and Max of a NaN and a number give either, depending on the processor. So limits are written
// as comparisons, which are false for NaN, with the side that keeps x chosen then.

void Neg(const Real* x, Real* y, std::int64_t n) {
  Map([](auto, auto v) HWY_ATTR { return hn::Neg(v); }, y, n, x);
}
void Abs(const Real* x, Real* y, std::int64_t n) {
  Map([](auto, auto v) HWY_ATTR { return hn::Abs(v); }, y, n, x);
}
void Sign(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        const auto one = hn::CopySign(hn::Set(d, Real(1)), v);
        return hn::IfThenElse(hn::Gt(hn::Abs(v), hn::Zero(d)), one, v);
      },
      y, n, x);
}
void Square(const Real* x, Real* y, std::int64_t n) {
  Map([](auto, auto v) HWY_ATTR { return hn::Mul(v, v); }, y, n, x);
}
void Reciprocal(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return hn::Div(hn::Set(d, Real(1)), v); }, y, n, x);
}
void Sqrt(const Real* x, Real* y, std::int64_t n) {
  Map([](auto, auto v) HWY_ATTR { return hn::Sqrt(v); }, y, n, x);
}
void Rsqrt(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return hn::Div(hn::Set(d, Real(1)), hn::Sqrt(v)); }, y, n, x);
}
void Affine(const Real* x, Real* y, std::int64_t n, Real scale, Real shift) {
  // A shift of 0 is left out: −0 + 0 would lose its sign, and a product alone rounds the same on
  // every target.
  if (shift == 0) {
    Map([=](auto d, auto v) HWY_ATTR { return hn::Mul(v, hn::Set(d, scale)); }, y, n, x);
  } else if (scale == 1) {
    Map([=](auto d, auto v) HWY_ATTR { return hn::Add(v, hn::Set(d, shift)); }, y, n, x);
  } else {
    Map([=](auto d, auto v)
            HWY_ATTR { return hn::MulAdd(v, hn::Set(d, scale), hn::Set(d, shift)); },
        y, n, x);
  }
}

template <class D>
HWY_INLINE std::uint64_t ToBits(D d, hn::Mask<D> mask) {
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  if constexpr (hn::MaxLanes(D()) <= 8) return bytes[0];
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}
template <class D>
HWY_INLINE hn::Mask<D> FromBits(D d, std::uint64_t word) {
  return hn::LoadMaskBits(d, reinterpret_cast<const std::uint8_t*>(&word));
}

template <bool kZero, class D, class V, class M>
HWY_INLINE V Bend(D d, M closed, V v, Real slope) {
  if constexpr (kZero) return hn::IfThenZeroElse(closed, v);
  return hn::IfThenElse(closed, hn::Mul(v, hn::Set(d, slope)), v);
}

template <bool kZero, bool kKeep>
void RectifyLoop(const Real* x, Real* y, std::uint64_t* closed, std::int64_t n, Real slope) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  for (; n > 0; n -= 64, x += 64, y += 64) {
    const std::int64_t count = std::min<std::int64_t>(n, 64);
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < count; i += lanes) {
      const bool whole = i + lanes <= count;
      const auto v = whole ? hn::LoadU(d, x + i) : LoadPart(d, x + i, count - i);
      const auto below = hn::Le(v, hn::Zero(d));
      const auto bent = Bend<kZero>(d, below, v, slope);
      if (whole) {
        hn::StoreU(bent, d, y + i);
      } else {
        StorePart(d, bent, y + i, count - i);
      }
      if constexpr (kKeep) word |= ToBits(d, below) << i;
    }
    if constexpr (kKeep) *closed++ = word;
  }
}
void Rectify(const Real* x, Real* y, std::uint64_t* closed, std::int64_t n, Real slope) {
  if (closed == nullptr) {
    slope == 0 ? RectifyLoop<true, false>(x, y, closed, n, slope)
               : RectifyLoop<false, false>(x, y, closed, n, slope);
  } else {
    slope == 0 ? RectifyLoop<true, true>(x, y, closed, n, slope)
               : RectifyLoop<false, true>(x, y, closed, n, slope);
  }
}

template <bool kZero>
void GateLoop(const Real* g, const std::uint64_t* closed, Real* dx, std::int64_t n, Real slope) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  for (; n > 0; n -= 64, g += 64, dx += 64) {
    const std::int64_t count = std::min<std::int64_t>(n, 64);
    const std::uint64_t word = *closed++;
    for (std::int64_t i = 0; i < count; i += lanes) {
      const auto mask = FromBits(d, word >> i);
      if (i + lanes <= count) {
        hn::StoreU(Bend<kZero>(d, mask, hn::LoadU(d, g + i), slope), d, dx + i);
      } else {
        StorePart(d, Bend<kZero>(d, mask, LoadPart(d, g + i, count - i), slope), dx + i, count - i);
      }
    }
  }
}
void Gate(const Real* g, const std::uint64_t* closed, Real* dx, std::int64_t n, Real slope) {
  slope == 0 ? GateLoop<true>(g, closed, dx, n, slope) : GateLoop<false>(g, closed, dx, n, slope);
}

template <class D, class V>
HWY_INLINE V Limit(D d, V v, Real low, Real high) {
  const V lowest = hn::Set(d, low), highest = hn::Set(d, high);
  const V raised = hn::IfThenElse(hn::Lt(v, lowest), lowest, v);
  return hn::IfThenElse(hn::Gt(raised, highest), highest, raised);
}
void Clamp(const Real* x, Real* y, std::int64_t n, Real low, Real high) {
  Map([=](auto d, auto v) HWY_ATTR { return Limit(d, v, low, high); }, y, n, x);
}
void Hardsigmoid(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        return hn::Div(Limit(d, hn::Add(v, hn::Set(d, Real(3))), 0, 6), hn::Set(d, Real(6)));
      },
      y, n, x);
}
void Hardswish(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        const auto three = hn::Set(d, Real(3));
        const auto bend =
            hn::Mul(v, hn::Div(Limit(d, hn::Add(v, three), 0, 6), hn::Set(d, Real(6))));
        return hn::IfThenZeroElse(hn::Le(v, hn::Neg(three)),
                                  hn::IfThenElse(hn::Ge(v, three), v, bend));
      },
      y, n, x);
}
void Softsign(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        const auto one = hn::Set(d, Real(1));
        const auto size = hn::Abs(v);
        const auto limit = hn::Set(d, std::numeric_limits<Real>::max());
        return hn::IfThenElse(hn::Gt(size, limit), hn::CopySign(one, v),
                              hn::Div(v, hn::Add(one, size)));
      },
      y, n, x);
}

void TanhGrad(const Real* g, const Real* y, Real* dx, std::int64_t n) {
  Map(
      [](auto d, auto u, auto t) HWY_ATTR {
        const auto one = hn::Set(d, Real(1));
        return hn::Mul(u,
                       hn::Mul(hn::Sub(one, t), hn::Add(one, t)));  // 1 − t² would cancel near ±1
      },
      dx, n, g, y);
}
void SigmoidGrad(const Real* g, const Real* y, Real* dx, std::int64_t n) {
  Map([](auto d, auto u, auto s)
          HWY_ATTR { return hn::Mul(u, hn::Mul(s, hn::Sub(hn::Set(d, Real(1)), s))); },
      dx, n, g, y);
}
void ClampGrad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real low, Real high,
               bool bounds) {
  if (bounds) {
    Map(
        [=](auto d, auto u, auto v) HWY_ATTR {
          const auto outside = hn::Or(hn::Lt(v, hn::Set(d, low)), hn::Gt(v, hn::Set(d, high)));
          return hn::IfThenZeroElse(outside, u);
        },
        dx, n, g, x);
  } else {
    Map(
        [=](auto d, auto u, auto v) HWY_ATTR {
          const auto outside = hn::Or(hn::Le(v, hn::Set(d, low)), hn::Ge(v, hn::Set(d, high)));
          return hn::IfThenZeroElse(outside, u);
        },
        dx, n, g, x);
  }
}

template <class F>
HWY_INLINE void ZipRows(F f, const Rows& a, const Rows& b, Real* y, std::int64_t rows,
                        std::int64_t n) {
  const RealTag d;
  if (a.step == 1 && b.step == 1) {
    for (std::int64_t i = 0; i < rows; ++i)
      Map(f, y + i * n, n, a.data + i * a.row, b.data + i * b.row);
  } else if (a.step == 1) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const auto repeated = hn::Set(d, b.data[i * b.row]);
      Map([&](auto dv, auto v) HWY_ATTR { return f(dv, v, repeated); }, y + i * n, n,
          a.data + i * a.row);
    }
  } else {
    for (std::int64_t i = 0; i < rows; ++i) {
      const auto repeated = hn::Set(d, a.data[i * a.row]);
      const Real* from = b.data + i * b.row;
      if (b.step == 1) {
        Map([&](auto dv, auto v) HWY_ATTR { return f(dv, repeated, v); }, y + i * n, n, from);
      } else {
        const auto value = f(d, repeated, hn::Set(d, *from));
        Map([&](auto, auto) HWY_ATTR { return value; }, y + i * n, n, y + i * n);
      }
    }
  }
}

void Add(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows([](auto, auto u, auto v) HWY_ATTR { return hn::Add(u, v); }, a, b, y, rows, n);
}
void Sub(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows([](auto, auto u, auto v) HWY_ATTR { return hn::Sub(u, v); }, a, b, y, rows, n);
}
void Mul(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows([](auto, auto u, auto v) HWY_ATTR { return hn::Mul(u, v); }, a, b, y, rows, n);
}
void Div(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows([](auto, auto u, auto v) HWY_ATTR { return hn::Div(u, v); }, a, b, y, rows, n);
}
void PowRows(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows(
      [](auto d, auto u, auto v) HWY_ATTR {
        return PerLane(
            d, [](Real base, Real exponent) { return std::pow(base, exponent); }, u, v);
      },
      a, b, y, rows, n);
}
template <class V>
HWY_INLINE V EitherNan(V u, V v, V y) {
  return hn::IfThenElse(hn::Eq(u, u), hn::IfThenElse(hn::Eq(v, v), y, v), u);
}
void Maximum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows([](auto, auto u, auto v) HWY_ATTR { return EitherNan(u, v, hn::Max(u, v)); }, a, b, y,
          rows, n);
}
void Minimum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows([](auto, auto u, auto v) HWY_ATTR { return EitherNan(u, v, hn::Min(u, v)); }, a, b, y,
          rows, n);
}
void LargerShare(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) {
  ZipRows(
      [](auto d, auto u, auto v) HWY_ATTR {
        const auto tie = hn::IfThenElse(hn::Eq(u, v), hn::Set(d, Real(0.5)), hn::Set(d, Real(1)));
        return hn::IfThenZeroElse(hn::Lt(u, v), tie);
      },
      a, b, y, rows, n);
}

void Where(const Rows& c, const Rows& a, const Rows& b, Real* y, std::int64_t rows,
           std::int64_t n) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < n; j += lanes) {
      const std::int64_t count = HWY_MIN(lanes, n - j);
      const auto load = [&](const Rows& from) HWY_ATTR {
        const Real* at = from.data + i * from.row + j * from.step;
        if (from.step == 0) return hn::Set(d, *at);
        return count == lanes ? hn::LoadU(d, at) : LoadPart(d, at, count);
      };
      const auto chosen = hn::IfThenElse(hn::Eq(load(c), hn::Zero(d)), load(b), load(a));
      if (count == lanes) {
        hn::StoreU(chosen, d, y + i * n + j);
      } else {
        StorePart(d, chosen, y + i * n + j, count);
      }
    }
  }
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

// One exported function: its lanes are chosen when the program runs.
#define TAPESTRY_UNARY(name, Name) \
  HWY_EXPORT(Name);                \
  void name(const Real* x, Real* y, std::int64_t n) { HWY_DYNAMIC_DISPATCH(Name)(x, y, n); }
#define TAPESTRY_BINARY(name, Name)                                                     \
  HWY_EXPORT(Name);                                                                     \
  void name(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n) { \
    HWY_DYNAMIC_DISPATCH(Name)(a, b, y, rows, n);                                       \
  }
#define TAPESTRY_GRADIENT(name, Name)                                 \
  HWY_EXPORT(Name);                                                   \
  void name(const Real* g, const Real* x, Real* dx, std::int64_t n) { \
    HWY_DYNAMIC_DISPATCH(Name)(g, x, dx, n);                          \
  }

TAPESTRY_UNARY(neg, Neg)
TAPESTRY_UNARY(abs, Abs)
TAPESTRY_UNARY(sign, Sign)
TAPESTRY_UNARY(square, Square)
TAPESTRY_UNARY(reciprocal, Reciprocal)
TAPESTRY_UNARY(sqrt, Sqrt)
TAPESTRY_UNARY(rsqrt, Rsqrt)
TAPESTRY_UNARY(softsign, Softsign)
TAPESTRY_UNARY(hardsigmoid, Hardsigmoid)
TAPESTRY_UNARY(hardswish, Hardswish)

TAPESTRY_GRADIENT(tanh_grad, TanhGrad)
TAPESTRY_GRADIENT(sigmoid_grad, SigmoidGrad)

TAPESTRY_BINARY(add, Add)
TAPESTRY_BINARY(sub, Sub)
TAPESTRY_BINARY(mul, Mul)
TAPESTRY_BINARY(div, Div)
TAPESTRY_BINARY(pow, PowRows)
TAPESTRY_BINARY(maximum, Maximum)
TAPESTRY_BINARY(minimum, Minimum)
TAPESTRY_BINARY(larger_share, LargerShare)

#undef TAPESTRY_UNARY
#undef TAPESTRY_BINARY
#undef TAPESTRY_GRADIENT

HWY_EXPORT(Affine);
void affine(const Real* x, Real* y, std::int64_t n, Real scale, Real shift) {
  HWY_DYNAMIC_DISPATCH(Affine)(x, y, n, scale, shift);
}
HWY_EXPORT(Rectify);
void rectify(const Real* x, Real* y, std::uint64_t* closed, std::int64_t n, Real slope) {
  HWY_DYNAMIC_DISPATCH(Rectify)(x, y, closed, n, slope);
}
HWY_EXPORT(Gate);
void gate(const Real* g, const std::uint64_t* closed, Real* dx, std::int64_t n, Real slope) {
  HWY_DYNAMIC_DISPATCH(Gate)(g, closed, dx, n, slope);
}
HWY_EXPORT(Clamp);
void clamp(const Real* x, Real* y, std::int64_t n, Real low, Real high) {
  HWY_DYNAMIC_DISPATCH(Clamp)(x, y, n, low, high);
}
HWY_EXPORT(ClampGrad);
void clamp_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real low, Real high,
                bool bounds) {
  HWY_DYNAMIC_DISPATCH(ClampGrad)(g, x, dx, n, low, high, bounds);
}
HWY_EXPORT(Where);
void where(const Rows& c, const Rows& a, const Rows& b, Real* y, std::int64_t rows,
           std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Where)(c, a, b, y, rows, n);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
