#include "core/ops/softmax.h"

#include <span>
#include <string_view>

#include "core/error.h"
#include "core/kernels/softmax.h"
#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"

namespace tapestry {
namespace {

kernels::ReduceView view(const Shape& shape, int axis) {
  return {shape.product(0, axis), shape[axis], shape.product(axis + 1, shape.rank())};
}

int checked_axis(std::string_view op, const Tensor& x, int axis) {
  if (x.rank() == 0) throw Error(op, "a single number has no axis to work along").shape("input", x);
  return normalize_axes(op, x.shape(), std::span<const int>(&axis, 1))[0];
}

using Forward = void (*)(const Real*, Real*, const kernels::ReduceView&);
using Backward3 = void (*)(const Real*, const Real*, Real*, const kernels::ReduceView&);

Tensor apply(Forward kernel, const Tensor& x, int axis) {
  Tensor y = Tensor::empty(x.shape());
  kernel(x.data().data(), y.mutable_data().data(), view(x.shape(), axis));
  return y;
}

Tensor apply(Backward3 kernel, const Tensor& g, const Tensor& y, int axis) {
  Tensor dx = Tensor::empty(y.shape());
  kernel(g.data().data(), y.data().data(), dx.mutable_data().data(), view(y.shape(), axis));
  return dx;
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
  const int at = checked_axis("softmax", x, axis);
  const Tensor y = apply(kernels::softmax, x, at);
  return record("softmax", {x}, y, [y = Saved(y), at](const Tensor& g, const Needs&) -> Grads {
    if (!Tape::recording()) return {apply(kernels::softmax_grad, g, y(), at)};
    return {y() * (g - sum(g * y(), {at}, {.keepdim = true}))};
  });
}

Tensor log_softmax(const Tensor& x, int axis) {
  const int at = checked_axis("log_softmax", x, axis);
  const Tensor y = apply(kernels::log_softmax, x, at);
  return record("log_softmax", {x}, y, [y = Saved(y), at](const Tensor& g, const Needs&) -> Grads {
    if (!Tape::recording()) return {apply(kernels::log_softmax_grad, g, y(), at)};
    return {g - exp(y()) * sum(g, {at}, {.keepdim = true})};
  });
}

}  // namespace tapestry
