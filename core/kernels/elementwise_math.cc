// The elementwise kernels that need exp, log, sin and their kin.
#include <cmath>

#include "core/kernels/elementwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/elementwise_math.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/elementwise_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

void Exp(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return SafeExp(d, v); }, y, n, x);
}
void Log(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return SafeLog(d, v); }, y, n, x);
}
void Log1p(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return SafeLog1p(d, v); }, y, n, x);
}
// In wide lanes: near a multiple of π the reduced argument loses a float's digits.
void Sin(const Real* x, Real* y, std::int64_t n) {
  MapWide([](auto d, auto v) HWY_ATTR { return SafeSin(d, v); }, y, n, x);
}
void Cos(const Real* x, Real* y, std::int64_t n) {
  MapWide([](auto d, auto v) HWY_ATTR { return SafeCos(d, v); }, y, n, x);
}
void Tanh(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return SafeTanh(d, v); }, y, n, x);
}
void Erf(const Real* x, Real* y, std::int64_t n) {
  MapWide([](auto d, auto v) HWY_ATTR { return WideErf(d, v); }, y, n, x);
}

// In double lanes, rounded once. Whole exponents by repeated squaring: what overflows or vanishes
// on the way does so in a float as well. Others as e^(p·ln x), whose relative error is that of
// double times |p·ln x| < 104; −Inf counts as Inf there, as in C.
void Pow(const Real* x, Real* y, std::int64_t n, Real exponent) {
  constexpr Real kMost = 64;
  const bool is_whole = exponent == std::trunc(exponent);
  if (kDouble || (is_whole && std::abs(exponent) > kMost) || !std::isfinite(exponent)) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = std::pow(x[i], exponent);
  } else if (is_whole) {
    const int count = static_cast<int>(std::abs(exponent));
    MapWide(
        [=](auto d, auto v) HWY_ATTR {
          const auto one = hn::Set(d, 1.0);
          auto power = one, square = v;
          for (int rest = count; rest > 0; rest >>= 1) {
            if ((rest & 1) != 0) power = hn::Mul(power, square);
            square = hn::Mul(square, square);
          }
          return exponent < 0 ? hn::Div(one, power) : power;
        },
        y, n, x);
  } else {
    const double factor = static_cast<double>(exponent);
    MapWide(
        [=](auto d, auto v) HWY_ATTR {
          const auto base = hn::IfThenElse(hn::Eq(v, hn::Neg(Infinity(d))), Infinity(d), v);
          return SafeExp(d, hn::Mul(hn::Set(d, factor), SafeLog(d, base)));
        },
        y, n, x);
  }
}

void Sigmoid(const Real* x, Real* y, std::int64_t n) {
  Map([](auto d, auto v) HWY_ATTR { return Logistic(d, v); }, y, n, x);
}
void LogSigmoid(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        const auto rest = SafeLog1p(d, SafeExp(d, hn::Neg(hn::Abs(v))));
        return hn::Sub(hn::IfThenZeroElse(hn::Gt(v, hn::Zero(d)), v), rest);
      },
      y, n, x);
}
// ln(1 + e^t) = max(t, 0) + ln(1 + e^-|t|), which never overflows.
void Softplus(const Real* x, Real* y, std::int64_t n, Real beta, Real threshold) {
  Map(
      [=](auto d, auto v) HWY_ATTR {
        const auto b = hn::Set(d, beta);
        const auto t = hn::Mul(v, b);
        const auto bend = SafeLog1p(d, SafeExp(d, hn::Neg(hn::Abs(t))));
        const auto soft = hn::Div(hn::Add(hn::IfThenZeroElse(hn::Lt(t, hn::Zero(d)), t), bend), b);
        return hn::IfThenElse(hn::Gt(t, hn::Set(d, threshold)), v, soft);
      },
      y, n, x);
}
void Elu(const Real* x, Real* y, std::int64_t n, Real alpha, Real scale) {
  Map(
      [=](auto d, auto v) HWY_ATTR {
        const auto bend = hn::Mul(hn::Set(d, alpha), SafeExpm1(d, v));
        return hn::Mul(hn::Set(d, scale), hn::IfThenElse(hn::Gt(v, hn::Zero(d)), v, bend));
      },
      y, n, x);
}

// x·p(x) where p reaches 0 before x reaches −Inf: the limit there is −0, the product is NaN.
template <class D, class V>
HWY_INLINE V Gated(D d, V x, V p) {
  return hn::IfThenElse(hn::Eq(p, hn::Zero(d)), hn::Neg(hn::Zero(d)), hn::Mul(x, p));
}
// e^x as (e^(x/2))², multiplied one by one: e^x alone loses digits as a denormal while x·e^x is
// none yet.
void Silu(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        const auto half = SafeExp(d, hn::Mul(hn::Abs(v), Number(d, -0.5)));
        const auto below = hn::Mul(Gated(d, v, half), half);
        const auto top = hn::IfThenElse(hn::Lt(v, hn::Zero(d)), below, v);
        return hn::Div(top, hn::MulAdd(half, half, Number(d, 1)));
      },
      y, n, x);
}
// tanh(ln(1 + e)) = (e² + 2e)/(e² + 2e + 2) with e = eˣ; above x = 20 it is 1.
void Mish(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
        const auto two = Number(d, 2), last = Number(d, 20);
        const auto small = hn::IfThenElse(hn::Gt(v, last), last, v);
        const auto half = SafeExp(d, hn::Mul(small, Number(d, 0.5)));
        const auto e = hn::Mul(half, half);
        const auto gate = hn::Div(hn::Add(e, two), hn::MulAdd(e, hn::Add(e, two), two));
        const auto bend = hn::Mul(hn::Mul(Gated(d, small, half), half), gate);
        return hn::IfThenElse(hn::Gt(v, last), v, bend);
      },
      y, n, x);
}
// x·Φ(x); in floats as max(x, 0) − |x|·Φ(−|x|), where nothing cancels.
void Gelu(const Real* x, Real* y, std::int64_t n) {
  Map(
      [](auto d, auto v) HWY_ATTR {
#ifdef TAPESTRY_DOUBLE
        auto integral = v, density = v;
        Normal(d, v, integral, density);
        return Gated(d, v, integral);
#else
        const auto tail = TailOf(d, v);
        // Beyond ±14.9 all is as there; the product of Inf and 0 would be none.
        const auto near = hn::Min(hn::Max(v, Number(d, -14.9)), Number(d, 14.9));
        const auto off = hn::Mul(hn::Mul(hn::Mul(near, tail.first), tail.scaled), tail.second);
        return hn::IfThenElse(hn::Lt(v, hn::Zero(d)), off, hn::Sub(v, off));
#endif
      },
      y, n, x);
}

// The tanh form is x·sigmoid(2u) with u = √(2/π)·(x + 0.044715·x³); in wide lanes, as e^2u
// multiplies the error of u by 2|u|.
constexpr double kTwoRoot = 1.5957691216057307117, kCubic = 0.044715;  // 2·√(2/π)

template <class V>
HWY_INLINE V GeluTanhGate(WideTag d, V x) {
  const V cubic = hn::MulAdd(hn::Mul(hn::Set(d, kCubic), x), hn::Mul(x, x), x);
  return Logistic(d, hn::Mul(hn::Set(d, kTwoRoot), cubic));
}
void GeluTanh(const Real* x, Real* y, std::int64_t n) {
  MapWide([](auto d, auto v) HWY_ATTR { return Gated(d, v, GeluTanhGate(d, v)); }, y, n, x);
}

void EluGrad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real alpha, Real scale) {
  Map(
      [=](auto d, auto u, auto v) HWY_ATTR {
        const auto below = hn::Mul(hn::Set(d, alpha), SafeExp(d, v));
        const auto slope = hn::IfThenElse(hn::Gt(v, hn::Zero(d)), hn::Set(d, Real(1)), below);
        return hn::Mul(u, hn::Mul(hn::Set(d, scale), slope));
      },
      dx, n, g, x);
}
// Φ(x) + x·φ(x)
void GeluGrad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  Map(
      [](auto d, auto u, auto v) HWY_ATTR {
        auto integral = v, density = v;
        Normal(d, v, integral, density);
        return hn::Mul(u, hn::MulAdd(v, density, integral));
      },
      dx, n, g, x);
}
// s + x·s·(1 − s)·2u'
void GeluTanhGrad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  MapWide(
      [](auto d, auto u, auto v) HWY_ATTR {
        const auto one = hn::Set(d, 1.0);
        const auto s = GeluTanhGate(d, v);
        const auto inner = hn::MulAdd(hn::Set(d, 3 * kCubic), hn::Mul(v, v), one);
        const auto slope = hn::Mul(hn::Set(d, kTwoRoot), inner);
        return hn::Mul(u, hn::MulAdd(hn::Mul(v, s), hn::Mul(hn::Sub(one, s), slope), s));
      },
      dx, n, g, x);
}
// s·(1 + x·(1 − s))
void SiluGrad(const Real* g, const Real* x, Real* dx, std::int64_t n) {
  Map(
      [](auto d, auto u, auto v) HWY_ATTR {
        const auto one = hn::Set(d, Real(1));
        const auto s = Logistic(d, v);
        return hn::Mul(u, hn::Mul(s, hn::MulAdd(v, hn::Sub(one, s), one)));
      },
      dx, n, g, x);
}
void SoftplusGrad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real beta,
                  Real threshold) {
  Map(
      [=](auto d, auto u, auto v) HWY_ATTR {
        const auto t = hn::Mul(v, hn::Set(d, beta));
        return hn::IfThenElse(hn::Gt(t, hn::Set(d, threshold)), u, hn::Mul(u, Logistic(d, t)));
      },
      dx, n, g, x);
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

#define TAPESTRY_UNARY(name, Name) \
  HWY_EXPORT(Name);                \
  void name(const Real* x, Real* y, std::int64_t n) { HWY_DYNAMIC_DISPATCH(Name)(x, y, n); }
#define TAPESTRY_GRADIENT(name, Name)                                 \
  HWY_EXPORT(Name);                                                   \
  void name(const Real* g, const Real* x, Real* dx, std::int64_t n) { \
    HWY_DYNAMIC_DISPATCH(Name)(g, x, dx, n);                          \
  }

TAPESTRY_UNARY(exp, Exp)
TAPESTRY_UNARY(log, Log)
TAPESTRY_UNARY(log1p, Log1p)
TAPESTRY_UNARY(sin, Sin)
TAPESTRY_UNARY(cos, Cos)
TAPESTRY_UNARY(tanh, Tanh)
TAPESTRY_UNARY(erf, Erf)
TAPESTRY_UNARY(sigmoid, Sigmoid)
TAPESTRY_UNARY(log_sigmoid, LogSigmoid)
TAPESTRY_UNARY(gelu, Gelu)
TAPESTRY_UNARY(gelu_tanh, GeluTanh)
TAPESTRY_UNARY(silu, Silu)
TAPESTRY_UNARY(mish, Mish)

TAPESTRY_GRADIENT(gelu_grad, GeluGrad)
TAPESTRY_GRADIENT(gelu_tanh_grad, GeluTanhGrad)
TAPESTRY_GRADIENT(silu_grad, SiluGrad)

#undef TAPESTRY_UNARY
#undef TAPESTRY_GRADIENT

HWY_EXPORT(Pow);
void pow(const Real* x, Real* y, std::int64_t n, Real exponent) {
  HWY_DYNAMIC_DISPATCH(Pow)(x, y, n, exponent);
}
HWY_EXPORT(Elu);
void elu(const Real* x, Real* y, std::int64_t n, Real alpha, Real scale) {
  HWY_DYNAMIC_DISPATCH(Elu)(x, y, n, alpha, scale);
}
HWY_EXPORT(Softplus);
void softplus(const Real* x, Real* y, std::int64_t n, Real beta, Real threshold) {
  HWY_DYNAMIC_DISPATCH(Softplus)(x, y, n, beta, threshold);
}
HWY_EXPORT(EluGrad);
void elu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real alpha, Real scale) {
  HWY_DYNAMIC_DISPATCH(EluGrad)(g, x, dx, n, alpha, scale);
}
HWY_EXPORT(SoftplusGrad);
void softplus_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real beta,
                   Real threshold) {
  HWY_DYNAMIC_DISPATCH(SoftplusGrad)(g, x, dx, n, beta, threshold);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
