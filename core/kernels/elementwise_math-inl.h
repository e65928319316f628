// Elementary functions on vectors, right for every argument: Highway's contributed functions state
// ranges, and here the rest is selected in: NaN stays NaN, ±Inf gives the limit. Compiled once per
// SIMD target, like simd-inl.h.
#if defined(TAPESTRY_CORE_KERNELS_ELEMENTWISE_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAPESTRY_CORE_KERNELS_ELEMENTWISE_MATH_INL_H_
#undef TAPESTRY_CORE_KERNELS_ELEMENTWISE_MATH_INL_H_
#else
#define TAPESTRY_CORE_KERNELS_ELEMENTWISE_MATH_INL_H_
#endif

#include <cmath>
#include <limits>

#include <hwy/contrib/math/math-inl.h>

#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

template <class D>
HWY_INLINE hn::Vec<D> Number(D d, double value) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(value));
}

template <class D>
HWY_INLINE hn::Vec<D> Infinity(D d) {
  return hn::Set(d, std::numeric_limits<hn::TFromD<D>>::infinity());
}

// Note [Exponentials]
// ~~~~~~~~~~~~~~~~~~~
// Highway's exp takes half of its instructions to be right where the result, or the whole number of
// powers of two in it, leaves the range of a float. Where all lanes of a vector are far from that,
// nearly always, fewer do: x = n·ln 2 + r, and e^x = s·(1 + p) with s = 2ⁿ and p = e^r − 1, which
// keeps its digits also where x is small.
template <class V>
struct ExpParts {
  V s, p;
};

constexpr bool HasExpParts(std::size_t bytes) { return bytes == 4; }

// e^(x + rest) for |x| ≤ 87 and |rest| ≤ 0.03, nothing unless given. p has relative error 3e-8.
template <class D, class V, class... Rest>
HWY_INLINE ExpParts<V> PartsOfExp(D d, V x, Rest... rest) {
  // 1.5·2²³ + n rounds to a whole number, and has it in its last bits.
  const V lifted = hn::MulAdd(x, Number(d, 1.4426950408889634), Number(d, 12582912.0));
  const V n = hn::Sub(lifted, Number(d, 12582912.0));
  // ln 2 in two parts, the first of few digits, so that its product with n is exact.
  V r = hn::NegMulAdd(n, Number(d, -2.1219444005471377e-4),
                      hn::NegMulAdd(n, Number(d, 0.693359375), x));
  ((r = hn::Add(r, rest)), ...);
  // (e^r − 1 − r)/r², fitted for |r| ≤ ln(2)/2.
  const V square = hn::Mul(r, r);
  const V low = hn::MulAdd(r, Number(d, 0.16666543), Number(d, 0.49999997)),
          high = hn::MulAdd(r, Number(d, 0.0083665475), Number(d, 0.0416672));
  const V even = hn::MulAdd(square, Number(d, 0.00138825062), high);
  const hn::RebindToSigned<D> bits;
  const auto power = hn::ShiftLeft<23>(hn::BitCast(bits, lifted));
  return {hn::BitCast(d, hn::Add(power, hn::Set(bits, 0x3f800000))),
          hn::MulAdd(square, hn::MulAdd(square, even, low), r)};
}

template <class D, class V>
HWY_INLINE bool InExpRange(D d, V x) {
  return hn::AllTrue(d, hn::Le(hn::Abs(x), Number(d, 87)));
}

// Above, exp is Inf: the logarithm of the largest number.
template <class T>
constexpr T kExpHigh = sizeof(T) == 4 ? T(88.72283905206835) : T(709.782712893384);

template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeExp(D d, V x) {
  if constexpr (HasExpParts(sizeof(hn::TFromD<D>))) {
    if (InExpRange(d, x)) {
      const ExpParts<V> e = PartsOfExp(d, x);
      return hn::MulAdd(e.s, e.p, e.s);
    }
  }
  const V high = hn::Set(d, kExpHigh<hn::TFromD<D>>);
  const auto above = hn::Gt(x, high);
  const V y = hn::Exp(d, hn::IfThenElse(above, high, x));
  return hn::IfThenElse(hn::Eq(x, x), hn::IfThenElse(above, Infinity(d), y), x);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeExpm1(D d, V x) {
  using T = hn::TFromD<D>;
  const V high = hn::Set(d, kExpHigh<T>), low = hn::Set(d, T(-40));  // below, 1 is all that is left
  const auto inside = hn::And(hn::Ge(x, low), hn::Le(x, high));
  const V outside = hn::IfThenElse(hn::Gt(x, high), Infinity(d),
                                   hn::IfThenElse(hn::Lt(x, low), hn::Set(d, T(-1)), x));
  return hn::IfThenElse(inside, hn::Expm1(d, hn::IfThenElseZero(inside, x)), outside);
}

// What log and log1p have in common: x itself at +Inf and NaN, -Inf at the pole, NaN below it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogSpecials(D d, V x, V pole, V y) {
  using T = hn::TFromD<D>;
  const auto ordinary = hn::And(hn::Gt(x, pole), hn::Lt(x, Infinity(d)));
  const V nan = hn::Set(d, std::numeric_limits<T>::quiet_NaN());
  const V at_pole = hn::IfThenElse(hn::Eq(x, pole), hn::Neg(Infinity(d)), nan);
  return hn::IfThenElse(ordinary, y, hn::IfThenElse(hn::Gt(x, pole), x, at_pole));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeLog(D d, V x) {
  return LogSpecials(d, x, hn::Zero(d), hn::Log(d, x));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeLog1p(D d, V x) {
  return LogSpecials(d, x, hn::Set(d, hn::TFromD<D>(-1)), hn::Log1p(d, x));
}

// (1 − e)/(1 + e) with e = e^−2|x|; at 40 it has long been 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeTanh(D d, V x) {
  V y = x;
  if constexpr (HasExpParts(sizeof(hn::TFromD<D>))) {
    const V one = Number(d, 1);
    const V a = hn::Min(hn::Abs(x), Number(d, 40));
    const ExpParts<V> e = PartsOfExp(d, hn::Mul(a, Number(d, -2)));
    const V rest = hn::MulAdd(e.s, e.p, hn::Sub(e.s, one));  // e − 1
    y = hn::CopySign(hn::Div(rest, hn::Add(rest, Number(d, 2))), x);
  } else {
    y = hn::Tanh(d, x);
  }
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

// By e^-|x| ≤ 1, so that neither side overflows and small results keep their digits.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Logistic(D d, V x) {
  const V one = Number(d, 1);
  if constexpr (HasExpParts(sizeof(hn::TFromD<D>))) {
    if (InExpRange(d, x)) {
      const ExpParts<V> e = PartsOfExp(d, hn::Neg(x));
      return hn::Div(one, hn::Add(hn::MulAdd(e.s, e.p, e.s), one));
    }
  }
  const V e = SafeExp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// Up to 39000 Highway reduces the argument exactly; beyond, the C library does.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeSin(D d, V x) {
  if (hn::AllTrue(d, hn::Le(hn::Abs(x), Number(d, 39000)))) return hn::Sin(d, x);
  return PerLane(
      d, [](auto lane) { return std::sin(lane); }, x);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeCos(D d, V x) {
  if (hn::AllTrue(d, hn::Le(hn::Abs(x), Number(d, 39000)))) return hn::Cos(d, x);
  return PerLane(
      d, [](auto lane) { return std::cos(lane); }, x);
}

// In the float build polynomials with relative error 4e-9 do, a fifteenth of a float's rounding;
// they interpolate erf(x)/x in x², and e^(t²)·erfc(t) in z = (t − 3)/(t + 3), at Chebyshev points.
// In the double build the C library computes each lane.
#ifdef TAPESTRY_DOUBLE
template <class V>
HWY_INLINE V WideErf(WideTag d, V x) {
  return PerLane(
      d, [](double lane) { return std::erf(lane); }, x);
}
// The normal distribution at x: its integral Φ from −∞, and its density.
template <class V>
HWY_INLINE void Normal(RealTag d, V x, V& integral, V& density) {
  integral = PerLane(
      d, [](double lane) { return std::erfc(lane * -0.70710678118654752440) / 2; }, x);
  density = hn::Mul(Number(d, 0.39894228040143267794),
                    SafeExp(d, hn::Mul(Number(d, -0.5), hn::Mul(x, x))));
}
#else
// Σ c[i]·xⁱ: even and odd powers by themselves, so that one chain need not wait for the other.
template <class D, class V, std::size_t kTerms>
HWY_INLINE V Polynomial(D d, V x, const double (&c)[kTerms]) {
  const V square = hn::Mul(x, x);
  V sums[2] = {Number(d, c[kTerms - 1]), Number(d, c[kTerms - 2])};
  for (std::size_t i = kTerms - 2; i-- > 0;) {
    V& sum = sums[(kTerms - 1 - i) % 2];
    sum = hn::MulAdd(sum, square, Number(d, c[i]));
  }
  const V &even = sums[(kTerms - 1) % 2], &odd = sums[kTerms % 2];
  return hn::MulAdd(odd, x, even);
}

// e^(t²)·erfc(t) for 0 ≤ t ≤ 10.6, where erfc is 8e-51; smaller results would not be floats.
template <class D, class V>
HWY_INLINE V ScaledErfc(D d, V t) {
  constexpr double kScaled[] = {
      0.17900115117495294,     -0.32623356645776736,  0.24560380773745541,   -0.15011570563764355,
      0.071665723772363588,    -0.024394883309846255, 0.0042693556153787596, 0.00071799168661016961,
      -0.00059449599120119874, 2.609152683991233e-5,  5.4386289749331472e-5};
  const V three = Number(d, 3);
  return Polynomial(d, hn::Div(hn::Sub(t, three), hn::Add(t, three)), kScaled);
}

template <class V>
HWY_INLINE V WideErf(WideTag d, V x) {
  constexpr double kSeries[] = {
      1.1283791658483509,   -0.37612626666720331,    0.11283594715160218,  -0.026854212010626412,
      0.005189087423433974, -0.00080168642871658695, 7.8758750626854883e-5};
  const V one = hn::Set(d, 1.0);
  const V t = hn::Min(hn::Abs(x), hn::Set(d, 10.0));
  const V square = hn::Mul(t, t);
  const V near = hn::Mul(x, Polynomial(d, square, kSeries));
  const V tail = hn::Mul(hn::Exp(d, hn::Neg(square)), ScaledErfc(d, t));
  const V far = hn::CopySign(hn::Sub(one, tail), x);
  return hn::IfThenElse(hn::Eq(x, x), hn::IfThenElse(hn::Lt(t, one), near, far), x);
}

// The tail of the normal distribution in lanes of Real: Φ(−|x|) = first·second·scaled, where
// e^(−x²/2) comes in two factors because x·Φ(x) is not yet a denormal where Φ(x) is one.
template <class V>
struct NormalTail {
  V first, second, scaled;
};
template <class D, class V>
HWY_INLINE NormalTail<V> TailOf(D d, V x) {
  const V size = hn::Abs(x);
  if (hn::AllTrue(d, hn::Le(size, Number(d, 4)))) {
    // Nearly always, and half the work: e^(x²/2)·Φ(−|x|) with relative error 2e-8, interpolated in
    // (|x| − 4)/(|x| + 4), and nothing becomes so small or large that more is to be cared for.
    constexpr double kNear[] = {0.094410639465873886,   -0.1703979875757059,
                                0.12437322277201684,    -0.071757077368069244,
                                0.030676144471785446,   -0.0088399124055487232,
                                0.00025135874791658297, 0.00070635253133968789};
    const V four = Number(d, 4);
    const ExpParts<V> e = PartsOfExp(d, hn::Mul(hn::Mul(size, size), Number(d, -0.5)));
    return {hn::MulAdd(e.s, e.p, e.s), Number(d, 1),
            Polynomial(d, hn::Div(hn::Sub(size, four), hn::Add(size, four)), kNear)};
  }
  const V a = hn::Min(size, Number(d, 14.9));  // beyond, x·Φ(x) is too small for a float
  // The exponential multiplies the rounding of a² by a². So a = high + low, where high has half of
  // the digits, and its square all of them; what remains is at most 0.03.
  const hn::RebindToUnsigned<D> bits;
  const V high =
      hn::BitCast(d, hn::And(hn::BitCast(bits, a), hn::Set(bits, std::uint32_t{0xfffff000})));
  const V rest = hn::Mul(hn::Mul(hn::Sub(a, high), hn::Add(a, high)), Number(d, -0.25));
  const ExpParts<V> e = PartsOfExp(d, hn::Mul(hn::Mul(high, high), Number(d, -0.25)), rest);
  const V root = hn::MulAdd(e.s, e.p, e.s);
  const V t = hn::Mul(a, Number(d, 0.70710678118654752440));
  return {root, root, hn::Mul(ScaledErfc(d, t), Number(d, 0.5))};
}

// The normal distribution at x: its integral Φ from −∞, and its density.
template <class V>
HWY_INLINE void Normal(RealTag d, V x, V& integral, V& density) {
  const NormalTail<V> tail = TailOf(d, x);
  const V bell = hn::Mul(tail.first, tail.second), below = hn::Mul(bell, tail.scaled);
  integral = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), below, hn::Sub(Number(d, 1), below));
  integral = hn::IfThenElse(hn::Eq(x, x), integral, x);
  density = hn::Mul(bell, Number(d, 0.39894228040143267794));
}
#endif

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
