#include "core/kernels/optimizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/optimizer.cc"
#include <cmath>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// f(d, gradient, state&…) on vectors of each array; what f leaves in the state is written back.
template <class F, class... State>
HWY_INLINE void Update(F f, std::int64_t n, const Real* g, State*... state) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    [&](auto u, auto... v) HWY_ATTR {
      f(d, u, v...);
      (hn::StoreU(v, d, state + i), ...);
    }(hn::LoadU(d, g + i), hn::LoadU(d, state + i)...);
  }
  if (i < n) {
    [&](auto u, auto... v) HWY_ATTR {
      f(d, u, v...);
      (StorePart(d, v, state + i, n - i), ...);
    }(LoadPart(d, g + i, n - i), LoadPart(d, state + i, n - i)...);
  }
}

template <class D>
HWY_INLINE hn::Vec<D> Factor(D d, double value) {
  return hn::Set(d, static_cast<Real>(value));
}
// a·x + b·y
template <class D, class V>
HWY_INLINE V Mix(D d, double a, V x, double b, V y) {
  return hn::MulAdd(Factor(d, a), x, hn::Mul(Factor(d, b), y));
}
// g with the decay of p, where it is part of the gradient.
template <class D, class V>
HWY_INLINE V Decayed(D d, V g, V p, double weight_decay) {
  return weight_decay == 0 ? g : hn::MulAdd(Factor(d, weight_decay), p, g);
}

// NaN and Inf times 0 are NaN, which stays in a sum; everything else gives 0.
bool AllFinite(const Real* x, std::int64_t n) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  const auto zero = hn::Zero(d);
  auto a = zero, b = zero, c = zero, e = zero;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = hn::MulAdd(hn::LoadU(d, x + i), zero, a);
    b = hn::MulAdd(hn::LoadU(d, x + i + lanes), zero, b);
    c = hn::MulAdd(hn::LoadU(d, x + i + 2 * lanes), zero, c);
    e = hn::MulAdd(hn::LoadU(d, x + i + 3 * lanes), zero, e);
  }
  for (; i + lanes <= n; i += lanes) a = hn::MulAdd(hn::LoadU(d, x + i), zero, a);
  if (i < n) b = hn::MulAdd(LoadPart(d, x + i, n - i), zero, b);
  const auto sum = hn::Add(hn::Add(a, b), hn::Add(c, e));
  return hn::AllTrue(d, hn::Eq(sum, zero));
}

void SgdUpdate(Real* p, const Real* g, Real* buffer, std::int64_t n, const SgdStep& s) {
  if (s.momentum == 0 || buffer == nullptr) {
    Update(
        [&](auto d, auto u, auto& value) HWY_ATTR {
          value = hn::NegMulAdd(Factor(d, s.lr), Decayed(d, u, value, s.weight_decay), value);
        },
        n, g, p);
    return;
  }
  Update(
      [&](auto d, auto u, auto& value, auto& velocity) HWY_ATTR {
        const auto slope = Decayed(d, u, value, s.weight_decay);
        velocity = s.first ? slope : Mix(d, s.momentum, velocity, 1 - s.dampening, slope);
        const auto way = s.nesterov ? hn::MulAdd(Factor(d, s.momentum), velocity, slope) : velocity;
        value = hn::NegMulAdd(Factor(d, s.lr), way, value);
      },
      n, g, p, buffer);
}

void AdamUpdate(Real* p, const Real* g, Real* m, Real* v, Real* largest, std::int64_t n,
                const AdamStep& s) {
  const double t = static_cast<double>(s.t);
  const double size = s.lr / (1 - std::pow(s.beta1, t)),
               root = 1 / std::sqrt(1 - std::pow(s.beta2, t));
  const auto update = [&](auto d, auto u, auto& value, auto& mean, auto& square) HWY_ATTR {
    if (s.decoupled) {
      value = hn::Mul(value, Factor(d, 1 - s.lr * s.weight_decay));
    } else {
      u = Decayed(d, u, value, s.weight_decay);
    }
    mean = Mix(d, s.beta1, mean, 1 - s.beta1, u);
    square = Mix(d, s.beta2, square, 1 - s.beta2, hn::Mul(u, u));
  };
  const auto move = [&](auto d, auto& value, auto mean, auto square) HWY_ATTR {
    const auto width = hn::MulAdd(hn::Sqrt(square), Factor(d, root), Factor(d, s.eps));
    value = hn::NegMulAdd(Factor(d, size), hn::Div(mean, width), value);
  };
  if (largest == nullptr) {
    Update(
        [&](auto d, auto u, auto& value, auto& mean, auto& square) HWY_ATTR {
          update(d, u, value, mean, square);
          move(d, value, mean, square);
        },
        n, g, p, m, v);
  } else {
    Update(
        [&](auto d, auto u, auto& value, auto& mean, auto& square, auto& most) HWY_ATTR {
          update(d, u, value, mean, square);
          most = hn::Max(most, square);
          move(d, value, mean, most);
        },
        n, g, p, m, v, largest);
  }
}

void RmspropUpdate(Real* p, const Real* g, Real* v, Real* mean, Real* buffer, std::int64_t n,
                   const RmspropStep& s) {
  // The way to go, from the gradient and the state of its moments.
  const auto way = [&](auto d, auto u, auto value, auto& square) HWY_ATTR {
    const auto slope = Decayed(d, u, value, s.weight_decay);
    square = Mix(d, s.alpha, square, 1 - s.alpha, hn::Mul(slope, slope));
    return hn::Div(slope, hn::Add(hn::Sqrt(square), Factor(d, s.eps)));
  };
  const auto centered_way = [&](auto d, auto u, auto value, auto& square, auto& middle) HWY_ATTR {
    const auto slope = Decayed(d, u, value, s.weight_decay);
    square = Mix(d, s.alpha, square, 1 - s.alpha, hn::Mul(slope, slope));
    middle = Mix(d, s.alpha, middle, 1 - s.alpha, slope);
    const auto difference = hn::NegMulAdd(middle, middle, square);
    // Rounding can leave less than nothing of a gradient that never changes.
    const auto variance = hn::IfThenZeroElse(hn::Lt(difference, hn::Zero(d)), difference);
    return hn::Div(slope, hn::Add(hn::Sqrt(variance), Factor(d, s.eps)));
  };
  const auto go = [&](auto d, auto& value, auto step)
                      HWY_ATTR { value = hn::NegMulAdd(Factor(d, s.lr), step, value); };
  const auto roll = [&](auto d, auto& velocity, auto step) HWY_ATTR {
    velocity = hn::MulAdd(Factor(d, s.momentum), velocity, step);
    return velocity;
  };
  if (mean == nullptr && buffer == nullptr) {
    Update([&](auto d, auto u, auto& x, auto& square) HWY_ATTR { go(d, x, way(d, u, x, square)); },
           n, g, p, v);
  } else if (mean == nullptr) {
    Update([&](auto d, auto u, auto& x, auto& square, auto& b)
               HWY_ATTR { go(d, x, roll(d, b, way(d, u, x, square))); },
           n, g, p, v, buffer);
  } else if (buffer == nullptr) {
    Update([&](auto d, auto u, auto& x, auto& square, auto& middle)
               HWY_ATTR { go(d, x, centered_way(d, u, x, square, middle)); },
           n, g, p, v, mean);
  } else {
    Update([&](auto d, auto u, auto& x, auto& square, auto& middle, auto& b)
               HWY_ATTR { go(d, x, roll(d, b, centered_way(d, u, x, square, middle))); },
           n, g, p, v, mean, buffer);
  }
}

void AdagradUpdate(Real* p, const Real* g, Real* sum, std::int64_t n, const AdagradStep& s) {
  const double size = s.lr / (1 + static_cast<double>(s.t - 1) * s.lr_decay);
  Update(
      [&](auto d, auto u, auto& value, auto& squares) HWY_ATTR {
        const auto slope = Decayed(d, u, value, s.weight_decay);
        squares = hn::MulAdd(slope, slope, squares);
        const auto width = hn::Add(hn::Sqrt(squares), Factor(d, s.eps));
        value = hn::NegMulAdd(Factor(d, size), hn::Div(slope, width), value);
      },
      n, g, p, sum);
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(AllFinite);
bool all_finite(const Real* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(AllFinite)(x, n); }
HWY_EXPORT(SgdUpdate);
void sgd_step(Real* p, const Real* g, Real* buffer, std::int64_t n, const SgdStep& step) {
  HWY_DYNAMIC_DISPATCH(SgdUpdate)(p, g, buffer, n, step);
}
HWY_EXPORT(AdamUpdate);
void adam_step(Real* p, const Real* g, Real* m, Real* v, Real* largest, std::int64_t n,
               const AdamStep& step) {
  HWY_DYNAMIC_DISPATCH(AdamUpdate)(p, g, m, v, largest, n, step);
}
HWY_EXPORT(RmspropUpdate);
void rmsprop_step(Real* p, const Real* g, Real* v, Real* mean, Real* buffer, std::int64_t n,
                  const RmspropStep& step) {
  HWY_DYNAMIC_DISPATCH(RmspropUpdate)(p, g, v, mean, buffer, n, step);
}
HWY_EXPORT(AdagradUpdate);
void adagrad_step(Real* p, const Real* g, Real* s, std::int64_t n, const AdagradStep& step) {
  HWY_DYNAMIC_DISPATCH(AdagradUpdate)(p, g, s, n, step);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
