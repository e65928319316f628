#include "core/ops/matmul.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/tape.h"

namespace tapestry {
namespace {

/// The leading axes of a matrix stack: all but the last two.
Shape batch_of(const Shape& shape) {
  return Shape(std::span<const std::int64_t>(shape.begin(), shape.end() - 2));
}

/// Where matrix i of a stack broadcast to `batch` begins in `shape`, counted in matrices.
std::int64_t matrix_at(std::int64_t i, const Shape& batch, const Shape& stack) {
  std::int64_t at = 0, step = 1;
  for (int axis = 1; axis <= batch.rank(); ++axis) {
    const std::int64_t position = i % batch[-axis];
    i /= batch[-axis];
    if (axis > stack.rank()) continue;
    if (stack[-axis] != 1) at += position * step;
    step *= stack[-axis];
  }
  return at;
}

/// Both operands have at least two axes.
Tensor product(const Tensor& a, const Tensor& b, const MatmulOptions& o) {
  const std::int64_t m = a.dim(o.transpose_a ? -1 : -2), k = a.dim(o.transpose_a ? -2 : -1);
  const std::int64_t inner = b.dim(o.transpose_b ? -1 : -2), n = b.dim(o.transpose_b ? -2 : -1);
  if (k != inner) {
    throw Error("matmul", "the inner extents differ: {} columns of a, {} rows of b", k, inner)
        .shape("a", a, o.transpose_a ? "(…, K, M), transposed" : "(…, M, K)")
        .shape("b", b, o.transpose_b ? "(…, N, K), transposed" : "(…, K, N)")
        .hint(b.dim(o.transpose_b ? -2 : -1) == k
                  ? "transpose b: matmul(a, b, {.transpose_b = {}})"
                  : "make a's last extent equal b's second to last ({})",
              b.dim(o.transpose_b ? -2 : -1) == k ? to_text(!o.transpose_b) : to_text(inner));
  }
  const Shape a_batch = batch_of(a.shape()), b_batch = batch_of(b.shape());
  for (int back = 1; back <= std::min(a_batch.rank(), b_batch.rank()); ++back) {
    if (a_batch[-back] == b_batch[-back] || a_batch[-back] == 1 || b_batch[-back] == 1) continue;
    throw Error("matmul", "the stacks do not broadcast: {} matrices against {}", a_batch[-back],
                b_batch[-back])
        .shape("a", a, "(…, M, K)")
        .shape("b", b, "(…, K, N)")
        .hint("leading extents must be equal, or one of them 1");
  }
  const Shape batch = broadcast_shapes("matmul", a_batch, b_batch);
  std::vector<std::int64_t> extents = batch.extents();
  extents.insert(extents.end(), {m, n});
  Tensor y = Tensor::empty(Shape(extents));

  const kernels::GemmShape shape{
      .m = m, .n = n, .k = k, .transpose_a = o.transpose_a, .transpose_b = o.transpose_b};
  Real* to = y.mutable_data().data();
  std::vector<kernels::GemmOperands> items(
      static_cast<std::size_t>(y.size() == 0 ? 0 : batch.size()));
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    items[i] = {a.data().data() + matrix_at(at, batch, a_batch) * m * k,
                b.data().data() + matrix_at(at, batch, b_batch) * k * n, to + at * m * n};
  }
  kernels::gemm_batched(shape, items);

  return record("matmul", {a, b}, y,
                [a = saved_for(b, a), b = saved_for(a, b), a_shape = a.shape(), b_shape = b.shape(),
                 same = a.is(b), o](const Tensor& g, const Needs& need) -> Grads {
                  const bool ta = o.transpose_a, tb = o.transpose_b;
                  if (same && ta != tb && need[0]) {
                    // A·Aᵀ or Aᵀ·A: one product instead of two, and no sum of them.
                    const Tensor both = g + transpose(g);
                    return {tb ? matmul(both, a()) : matmul(a(), both), Tensor()};
                  }
                  Tensor da, db;
                  // With A' and B' the operands as multiplied: dA' = g·B'ᵀ, dB' = A'ᵀ·g, each
                  // transposed back where the operand was.
                  if (need[0]) {
                    da = ta ? matmul(b(), g, {.transpose_a = tb, .transpose_b = true})
                            : matmul(g, b(), {.transpose_b = !tb});
                    da = sum_to(da, a_shape);
                  }
                  if (need[1]) {
                    db = tb ? matmul(g, a(), {.transpose_a = true, .transpose_b = ta})
                            : matmul(a(), g, {.transpose_a = !ta});
                    db = sum_to(db, b_shape);
                  }
                  return {da, db};
                });
}

Shape replace_last(const Shape& shape, std::int64_t extent) { return shape.with(-1, extent); }

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  for (const Tensor& x : {a, b}) {
    if (x.rank() == 0) {
      throw Error("matmul", "needs vectors or matrices, got a scalar")
          .shape("a", a)
          .shape("b", b)
          .hint("use a * b");
    }
  }
  if ((a.rank() == 1 && options.transpose_a) || (b.rank() == 1 && options.transpose_b)) {
    throw Error("matmul", "a vector has no second axis to swap with")
        .shape("a", a)
        .shape("b", b)
        .hint("leave the transpose flag of the vector out");
  }
  if (a.rank() == 1) {
    const Tensor y = matmul(unsqueeze(a, {0}), b, options);
    return squeeze(y, {b.rank() == 1 ? -1 : -2});
  }
  if (b.rank() == 1) return squeeze(matmul(a, unsqueeze(b, {1}), options), {-1});
  // One b for a whole stack of a: a single, larger product, and no stack of gradients to be summed.
  if (b.rank() == 2 && a.rank() > 2 && !options.transpose_a) {
    const Tensor rows = reshape(a, Shape{a.shape().product(0, a.rank() - 1), a.dim(-1)});
    const Tensor y = matmul(rows, b, options);
    return reshape(y, replace_last(a.shape(), y.dim(-1)));
  }
  return product(a, b, options);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (weight.rank() != 2 || x.rank() < 1 || x.dim(-1) != weight.dim(1)) {
    Error error =
        weight.rank() != 2 ? Error("linear", "the weight needs 2 axes, it has {}", weight.rank())
        : x.rank() < 1
            ? Error("linear", "the input is a scalar, it needs a last axis of {}", weight.dim(1))
            : Error("linear", "the weight expects {} features, the input has {}", weight.dim(1),
                    x.dim(-1));
    error.shape("input", x, "(…, in)").shape("weight", weight, "(out, in)");
    throw error.hint(
        "the last axis of the input must be the layer's number of inputs; flatten() images first");
  }
  const std::int64_t in = weight.dim(1), out = weight.dim(0),
                     rows = x.shape().product(0, x.rank() - 1);
  if (bias.defined() && bias.shape() != Shape{out}) {
    throw Error("linear", "the weight has {} outputs, the bias {} numbers", out, bias.size())
        .shape("weight", weight, "(out, in)")
        .shape("bias", bias, "(out)")
        .hint("give the bias one number for each row of the weight");
  }
  Tensor y = Tensor::empty(replace_last(x.shape(), out));
  kernels::gemm({.m = rows,
                 .n = out,
                 .k = in,
                 .transpose_b = true,
                 .column_bias = bias.defined() ? bias.data().data() : nullptr},
                x.data().data(), weight.data().data(), y.mutable_data().data());
  const Backward backward = [x = saved_for(weight, x), x_shape = x.shape(), weight = Saved(weight),
                             rows, in, out](const Tensor& g, const Needs& need) -> Grads {
    const Tensor g2 = reshape(g, Shape{rows, out});
    return {need[0] ? reshape(matmul(g2, weight()), x_shape) : Tensor(),
            need[1] ? matmul(g2, reshape(x(), Shape{rows, in}), {.transpose_a = true}) : Tensor(),
            need[2] ? sum(g2, {0}) : Tensor()};
  };
  if (!bias.defined()) return record("linear", {x, weight}, y, backward);
  return record("linear", {x, weight, bias}, y, backward);
}

}  // namespace tapestry
