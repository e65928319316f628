#include "core/ops/arithmetic.h"

#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"

namespace tapestry {

using detail::map;
using detail::zip;

Tensor add(const Tensor& a, const Tensor& b) {
  return record("add", {a, b}, zip("add", kernels::add, a, b),
                [a = a.shape(), b = b.shape()](const Tensor& g, const Needs& need) -> Grads {
                  return {need[0] ? sum_to(g, a) : Tensor(), need[1] ? sum_to(g, b) : Tensor()};
                });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  return record(
      "sub", {a, b}, zip("sub", kernels::sub, a, b),
      [a = a.shape(), b = b.shape()](const Tensor& g, const Needs& need) -> Grads {
        return {need[0] ? sum_to(g, a) : Tensor(), need[1] ? neg(sum_to(g, b)) : Tensor()};
      });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  return record("mul", {a, b}, zip("mul", kernels::mul, a, b),
                [a = saved_for(b, a), b = saved_for(a, b), a_shape = a.shape(),
                 b_shape = b.shape()](const Tensor& g, const Needs& need) -> Grads {
                  return {need[0] ? sum_to(g * b(), a_shape) : Tensor(),
                          need[1] ? sum_to(g * a(), b_shape) : Tensor()};
                });
}

Tensor div(const Tensor& a, const Tensor& b) {
  const Tensor y = zip("div", kernels::div, a, b);
  return record(
      "div", {a, b}, y,
      [a = a.shape(), b = Saved(b), y = Saved(y)](const Tensor& g, const Needs& need) -> Grads {
        const Tensor scaled = g / b();
        return {need[0] ? sum_to(scaled, a) : Tensor(),
                need[1] ? neg(sum_to(scaled * y(), b.shape())) : Tensor()};
      });
}

Tensor affine(const Tensor& x, Real scale, Real shift) {
  return record("affine", {x}, map(kernels::affine, x, scale, shift),
                [scale](const Tensor& g, const Needs&) -> Grads { return {affine(g, scale, 0)}; });
}

Tensor neg(const Tensor& x) {
  return record("neg", {x}, map(kernels::neg, x),
                [](const Tensor& g, const Needs&) -> Grads { return {neg(g)}; });
}

Tensor operator/(const Tensor& a, Real b) { return div(a, Tensor::scalar(b)); }

Tensor operator/(Real a, const Tensor& b) {
  return a == 1 ? reciprocal(b) : div(Tensor::scalar(a), b);
}

Tensor pow(const Tensor& x, Real exponent) {
  if (exponent == 2) return square(x);
  if (exponent == 1) return affine(x, 1, 0);
  if (exponent == Real(0.5)) return sqrt(x);
  if (exponent == -1) return reciprocal(x);
  return record("pow", {x}, map(kernels::pow, x, exponent),
                [x = Saved(x), exponent](const Tensor& g, const Needs&) -> Grads {
                  // x⁰ is 1 everywhere; its gradient 0·x⁻¹ would be NaN at 0.
                  if (exponent == 0) return {Tensor::zeros(x.shape())};
                  return {g * affine(pow(x(), exponent - 1), exponent, 0)};
                });
}

Tensor pow(const Tensor& x, const Tensor& exponent) {
  const Tensor y = zip("pow", kernels::pow, x, exponent);
  return record("pow", {x, exponent}, y,
                [x = Saved(x), p = Saved(exponent), y = Saved(y)](const Tensor& g,
                                                                  const Needs& need) -> Grads {
                  Grads grads(2);
                  const Tensor zero = Tensor::scalar(0), one = Tensor::scalar(1);
                  if (need[0]) {
                    const Tensor lower =
                        where(p(), p() - 1, one);  // p = 0: x⁰ has the gradient 0, also at x = 0
                    grads[0] = sum_to(g * where(p(), p() * pow(x(), lower), zero), x.shape());
                  }
                  if (need[1]) {
                    // 0ᵖ stays 0 when p > 0 changes: keep ln 0 out of the product.
                    const Tensor safe = where(x(), x(), one);
                    grads[1] = sum_to(g * y() * log(safe), p.shape());
                  }
                  return grads;
                });
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  return record(
      "maximum", {a, b}, zip("maximum", kernels::maximum, a, b),
      [a = Saved(a), b = Saved(b)](const Tensor& g, const Needs& need) -> Grads {
        return {need[0] ? sum_to(g * zip("maximum", kernels::larger_share, a(), b()), a.shape())
                        : Tensor(),
                need[1] ? sum_to(g * zip("maximum", kernels::larger_share, b(), a()), b.shape())
                        : Tensor()};
      });
}

Tensor minimum(const Tensor& a, const Tensor& b) {
  return record(
      "minimum", {a, b}, zip("minimum", kernels::minimum, a, b),
      [a = Saved(a), b = Saved(b)](const Tensor& g, const Needs& need) -> Grads {
        return {need[0] ? sum_to(g * zip("minimum", kernels::larger_share, b(), a()), a.shape())
                        : Tensor(),
                need[1] ? sum_to(g * zip("minimum", kernels::larger_share, a(), b()), b.shape())
                        : Tensor()};
      });
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  return record("where", {condition, a, b}, zip("where", kernels::where, condition, a, b),
                [c = Saved(condition), a = a.shape(), b = b.shape()](const Tensor& g,
                                                                     const Needs& need) -> Grads {
                  const Tensor zero = Tensor::scalar(0);
                  return {Tensor(), need[1] ? sum_to(where(c(), g, zero), a) : Tensor(),
                          need[2] ? sum_to(where(c(), zero, g), b) : Tensor()};
                });
}

}  // namespace tapestry
