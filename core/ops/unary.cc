#include "core/ops/unary.h"

#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "core/error.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/tape.h"

namespace tapestry {

using detail::map;

namespace {

constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

// Note [Gates]
// ~~~~~~~~~~~~
// The gradient of a function with kinks multiplies g by a slope that does not change when x does.
// Such a gate is an op that is linear in g, so its own gradient is itself; x enters as a constant.
// Of one kink it need not keep x: a bit for each number says on which side it was. Where a layer
// after it does not keep the result (padding, pooling, a layer with constant weights), that is 32
// times less.
using Bits = std::shared_ptr<Scratch<std::uint64_t>>;
static_assert(detail::kGrain % 64 == 0, "two threads would write to one word of bits");

Tensor gate(const Tensor& g, const Bits& closed, Real slope) {
  Tensor dx = Tensor::empty(g.shape());
  const Real* from = g.data().data();
  Real* to = dx.mutable_data().data();
  parallel_for(g.size(), detail::kGrain, [&](std::int64_t begin, std::int64_t end) {
    kernels::gate(from + begin, closed->data() + begin / 64, to + begin, end - begin, slope);
  });
  return record("gate", {g}, dx, [closed, slope](const Tensor& h, const Needs&) -> Grads {
    return {gate(h, closed, slope)};
  });
}

Bits new_bits(const Tensor& x) {
  return std::make_shared<Scratch<std::uint64_t>>((x.size() + 63) / 64);
}

/// x above 0, slope·x else; where x is not above 0 goes to `closed`, unless that is null.
Tensor rectified(const Tensor& x, Real slope, const Bits& closed) {
  Tensor y = Tensor::empty(x.shape());
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  parallel_for(x.size(), detail::kGrain, [&](std::int64_t begin, std::int64_t end) {
    kernels::rectify(from + begin, to + begin, closed ? closed->data() + begin / 64 : nullptr,
                     end - begin, slope);
  });
  return y;
}

Tensor rectify(std::string_view op, const Tensor& x, Real slope) {
  const Bits closed = Tape::tracks(x) ? new_bits(x) : nullptr;
  const Tensor y = rectified(x, slope, closed);
  return record(op, {x}, y, [closed, slope](const Tensor& g, const Needs&) -> Grads {
    return {gate(g, closed, slope)};
  });
}

Tensor clamp_gate(const Tensor& g, const Tensor& x, Real low, Real high, bool bounds) {
  return record("clamp_gate", {g}, map(kernels::clamp_grad, g, x, low, high, bounds),
                [x = Saved(x), low, high, bounds](const Tensor& h, const Needs&) -> Grads {
                  return {clamp_gate(h, x(), low, high, bounds)};
                });
}

// 1 where x > 0, else 0: a constant.
Tensor is_positive(const Tensor& x) { return rectify("is_positive", sign(x.detach()), 0); }

// g·(1 − y²), the gradient of y = tanh(x), as an op of its own.
Tensor tanh_slope(const Tensor& g, const Tensor& y) {
  return record("tanh_slope", {g, y}, map(kernels::tanh_grad, g, y),
                [g = Saved(g), y = Saved(y)](const Tensor& h, const Needs& need) -> Grads {
                  return {need[0] ? tanh_slope(h, y()) : Tensor(),
                          need[1] ? h * g() * affine(y(), -2, 0) : Tensor()};
                });
}

// g·y·(1 − y), the gradient of y = sigmoid(x).
Tensor sigmoid_slope(const Tensor& g, const Tensor& y) {
  return record("sigmoid_slope", {g, y}, map(kernels::sigmoid_grad, g, y),
                [g = Saved(g), y = Saved(y)](const Tensor& h, const Needs& need) -> Grads {
                  return {need[0] ? sigmoid_slope(h, y()) : Tensor(),
                          need[1] ? h * g() * affine(y(), -2, 1) : Tensor()};
                });
}

}  // namespace

Tensor detail::rectify_gate(const Tensor& g, const Tensor& x, Real slope) {
  const Bits closed = new_bits(x);
  rectified(x, slope, closed);
  return gate(g, closed, slope);
}

Tensor exp(const Tensor& x) {
  const Tensor y = map(kernels::exp, x);
  return record("exp", {x}, y,
                [y = Saved(y)](const Tensor& g, const Needs&) -> Grads { return {g * y()}; });
}

Tensor log(const Tensor& x) {
  return record("log", {x}, map(kernels::log, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {g / x()}; });
}

Tensor log1p(const Tensor& x) {
  return record("log1p", {x}, map(kernels::log1p, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {g / (x() + 1)}; });
}

Tensor sqrt(const Tensor& x) {
  const Tensor y = map(kernels::sqrt, x);
  return record("sqrt", {x}, y, [y = Saved(y)](const Tensor& g, const Needs&) -> Grads {
    return {g / affine(y(), 2, 0)};
  });
}

Tensor rsqrt(const Tensor& x) {
  const Tensor y = map(kernels::rsqrt, x);
  return record("rsqrt", {x}, y, [y = Saved(y)](const Tensor& g, const Needs&) -> Grads {
    return {affine(g * y() * square(y()), Real(-0.5), 0)};
  });
}

Tensor reciprocal(const Tensor& x) {
  const Tensor y = map(kernels::reciprocal, x);
  return record("reciprocal", {x}, y, [y = Saved(y)](const Tensor& g, const Needs&) -> Grads {
    return {neg(g * square(y()))};
  });
}

Tensor square(const Tensor& x) {
  return record(
      "square", {x}, map(kernels::square, x),
      [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {g * affine(x(), 2, 0)}; });
}

Tensor abs(const Tensor& x) {
  return record("abs", {x}, map(kernels::abs, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {g * sign(x())}; });
}

Tensor sign(const Tensor& x) {
  return record(
      "sign", {x}, map(kernels::sign, x),
      [shape = x.shape()](const Tensor&, const Needs&) -> Grads { return {Tensor::zeros(shape)}; });
}

Tensor sin(const Tensor& x) {
  return record("sin", {x}, map(kernels::sin, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {g * cos(x())}; });
}

Tensor cos(const Tensor& x) {
  return record(
      "cos", {x}, map(kernels::cos, x),
      [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {neg(g * sin(x()))}; });
}

Tensor tanh(const Tensor& x) {
  const Tensor y = map(kernels::tanh, x);
  return record("tanh", {x}, y, [y = Saved(y)](const Tensor& g, const Needs&) -> Grads {
    return {tanh_slope(g, y())};
  });
}

Tensor erf(const Tensor& x) {
  return record("erf", {x}, map(kernels::erf, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads {
                  constexpr double kPeak = 2 * std::numbers::inv_sqrtpi;  // 2/√π·e^(−x²)
                  return {g * affine(exp(neg(square(x()))), static_cast<Real>(kPeak), 0)};
                });
}

Tensor sigmoid(const Tensor& x) {
  const Tensor y = map(kernels::sigmoid, x);
  return record("sigmoid", {x}, y, [y = Saved(y)](const Tensor& g, const Needs&) -> Grads {
    return {sigmoid_slope(g, y())};
  });
}

Tensor log_sigmoid(const Tensor& x) {
  return record(
      "log_sigmoid", {x}, map(kernels::log_sigmoid, x),
      [x = Saved(x)](const Tensor& g, const Needs&) -> Grads { return {g * sigmoid(neg(x()))}; });
}

Tensor relu(const Tensor& x) { return rectify("relu", x, 0); }

Tensor leaky_relu(const Tensor& x, Real slope) { return rectify("leaky_relu", x, slope); }

Tensor prelu(const Tensor& x, const Tensor& weight) {
  const std::int64_t channels = x.rank() >= 2 ? x.dim(1) : 1;
  if (weight.rank() > 1 || (weight.size() != 1 && weight.size() != channels)) {
    throw Error("prelu",
                "the weight must have 1 element or one for each of the {} channels, it has {}",
                channels, weight.size())
        .shape("input", x, "(N, C, …)")
        .shape("weight", weight, "(1) or (C)");
  }
  // The slope is broadcast along axis 1. `where` passes the gradient to the chosen side only.
  std::vector<std::int64_t> extents(static_cast<std::size_t>(x.rank()), 1);
  if (x.rank() >= 2) extents[1] = weight.size();
  const Tensor slope = weight.size() == 1 ? weight : reshape(weight, extents);
  return where(is_positive(x), x, slope * x);
}

Tensor elu(const Tensor& x, Real alpha) {
  constexpr Real kScale = 1;
  return record("elu", {x}, map(kernels::elu, x, alpha, kScale),
                [x = Saved(x), alpha](const Tensor& g, const Needs&) -> Grads {
                  if (!Tape::recording()) return {map(kernels::elu_grad, g, x(), alpha, kScale)};
                  const Tensor below = affine(exp(clamp(x(), -kInfinity, 0)), alpha, 0);
                  return {g * where(is_positive(x()), Tensor::scalar(1), below)};
                });
}

Tensor selu(const Tensor& x) {
  return affine(elu(x, Real(1.6732632423543772848170429916717)),
                Real(1.0507009873554804934193349852946), 0);
}

GeluForm gelu_form(std::string_view name) {
  if (name == "none") return GeluForm::kExact;
  if (name == "tanh") return GeluForm::kTanh;
  throw Error("gelu", "there is no approximation called \"{}\"", name).hint("use none or tanh");
}

namespace {

// Φ(x) + x·φ(x)
Tensor gelu_slope(const Tensor& x) {
  const Tensor cdf =
      affine(erf(affine(x, static_cast<Real>(1 / std::numbers::sqrt2), 0)), Real(0.5), Real(0.5));
  const Tensor density =
      affine(exp(affine(square(x), Real(-0.5), 0)),
             static_cast<Real>(std::numbers::inv_sqrtpi / std::numbers::sqrt2), 0);
  return cdf + x * density;
}

// With u = √(2/π)·(x + c·x³) and t = tanh(u): (1 + t)/2 + x/2·(1 − t²)·u'
Tensor gelu_tanh_slope(const Tensor& x) {
  constexpr Real kCubic = Real(0.044715);
  const Real root = static_cast<Real>(std::sqrt(2 / std::numbers::pi));
  const Tensor xx = square(x);
  const Tensor t = tanh(x * affine(xx, root * kCubic, root));
  const Tensor inner = tanh_slope(affine(xx, 3 * root * kCubic, root), t);
  return affine(t, Real(0.5), Real(0.5)) + affine(x, Real(0.5), 0) * inner;
}

}  // namespace

Tensor gelu(const Tensor& x, GeluForm form) {
  const bool exact = form == GeluForm::kExact;
  return record("gelu", {x}, map(exact ? kernels::gelu : kernels::gelu_tanh, x),
                [x = Saved(x), exact](const Tensor& g, const Needs&) -> Grads {
                  if (!Tape::recording())
                    return {map(exact ? kernels::gelu_grad : kernels::gelu_tanh_grad, g, x())};
                  return {g * (exact ? gelu_slope(x()) : gelu_tanh_slope(x()))};
                });
}

Tensor silu(const Tensor& x) {
  return record("silu", {x}, map(kernels::silu, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads {
                  if (!Tape::recording()) return {map(kernels::silu_grad, g, x())};
                  const Tensor s = sigmoid(x());
                  return {g * (s + sigmoid_slope(x(), s))};
                });
}

Tensor mish(const Tensor& x) {
  return record("mish", {x}, map(kernels::mish, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads {
                  const Tensor t = tanh(softplus(x()));
                  return {g * (t + tanh_slope(x() * sigmoid(x()), t))};
                });
}

Tensor softplus(const Tensor& x, Real beta, Real threshold) {
  if (beta == 0) throw Error("softplus", "beta must not be 0: it divides").hint("1 is usual");
  return record(
      "softplus", {x}, map(kernels::softplus, x, beta, threshold),
      [x = Saved(x), beta, threshold](const Tensor& g, const Needs&) -> Grads {
        if (!Tape::recording()) return {map(kernels::softplus_grad, g, x(), beta, threshold)};
        const Tensor t = affine(x(), beta, 0);
        return {g * where(is_positive(t.detach() - threshold), Tensor::scalar(1), sigmoid(t))};
      });
}

Tensor softsign(const Tensor& x) {
  return record("softsign", {x}, map(kernels::softsign, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads {
                  return {g * square(reciprocal(abs(x()) + 1))};
                });
}

Tensor hardsigmoid(const Tensor& x) {
  return record("hardsigmoid", {x}, map(kernels::hardsigmoid, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads {
                  return {affine(clamp_gate(g, x(), -3, 3, false), Real(1) / 6, 0)};
                });
}

Tensor hardswish(const Tensor& x) {
  return record("hardswish", {x}, map(kernels::hardswish, x),
                [x = Saved(x)](const Tensor& g, const Needs&) -> Grads {
                  const Tensor bend =
                      clamp_gate(g * affine(x(), Real(1) / 3, Real(0.5)), x(), -3, 3, true);
                  return {bend + clamp_gate(g, x(), 3, kInfinity, false)};
                });
}

Tensor clamp(const Tensor& x, Real low, Real high) {
  if (low > high) throw Error("clamp", "the lower bound {} is above the upper bound {}", low, high);
  return record("clamp", {x}, map(kernels::clamp, x, low, high),
                [x = Saved(x), low, high](const Tensor& g, const Needs&) -> Grads {
                  return {clamp_gate(g, x(), low, high, true)};
                });
}

Tensor hardtanh(const Tensor& x, Real low, Real high) {
  if (low > high)
    throw Error("hardtanh", "the lower bound {} is above the upper bound {}", low, high);
  return record("hardtanh", {x}, map(kernels::clamp, x, low, high),
                [x = Saved(x), low, high](const Tensor& g, const Needs&) -> Grads {
                  return {clamp_gate(g, x(), low, high, false)};
                });
}

}  // namespace tapestry
