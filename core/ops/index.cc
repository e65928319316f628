#include "core/ops/index.h"

#include <cstring>

#include "core/error.h"
#include "core/ops/movement.h"
#include "core/tape.h"

namespace tapestry {
namespace {

void check_positions(std::string_view op, std::span<const std::int32_t> positions,
                     std::int64_t extent, std::string_view of = "", const Shape& shape = {}) {
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (positions[i] < 0 || positions[i] >= extent) {
      Error error(op, "index {} at place {} is outside 0 … {}", positions[i], i, extent - 1);
      if (!of.empty()) error.shape(of, shape);
      throw error.hint("labels and token numbers start at 0");
    }
  }
}

/// Visits every element of an index of gather: body(position in x, position in the index).
template <class F>
void for_gather(const Shape& x, int axis, std::span<const std::int32_t> index, const Shape& shape,
                F body) {
  std::vector<std::int64_t> at(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < shape.size(); ++i) {
    std::int64_t offset = 0;
    for (int a = 0; a < shape.rank(); ++a) {
      offset = offset * x[a] +
               (a == axis ? index[static_cast<std::size_t>(i)] : at[static_cast<std::size_t>(a)]);
    }
    body(offset, i);
    for (int a = shape.rank() - 1; a >= 0 && ++at[static_cast<std::size_t>(a)] == shape[a]; --a)
      at[static_cast<std::size_t>(a)] = 0;
  }
}

void check_gather(std::string_view op, const Shape& x, int axis,
                  std::span<const std::int32_t> index, const Shape& shape) {
  bool fits = shape.rank() == x.rank() && static_cast<std::int64_t>(index.size()) == shape.size();
  for (int a = 0; fits && a < x.rank(); ++a) fits = a == axis || shape[a] <= x[a];
  if (!fits) {
    throw Error(
        op, "the index must have as many axes as the tensor and not exceed it except along axis {}",
        axis)
        .shape("tensor", x)
        .shape("index", shape)
        .fact("numbers", to_text(index.size()));
  }
  check_positions(op, index, x[axis], "tensor", x);
}

}  // namespace

Tensor gather_rows(const Tensor& x, std::span<const std::int32_t> rows) {
  if (x.rank() < 1) throw Error("gather_rows", "a scalar has no rows").shape("input", x);
  check_positions("gather_rows", rows, x.dim(0), "input", x.shape());
  Tensor y = Tensor::empty(x.shape().with(0, static_cast<std::int64_t>(rows.size())));
  const std::size_t row = static_cast<std::size_t>(x.shape().product(1, x.rank()));
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  for (std::size_t i = 0; i < rows.size() && row > 0; ++i) {
    std::memcpy(to + i * row, from + static_cast<std::size_t>(rows[i]) * row, row * sizeof(Real));
  }
  return record(
      "gather_rows", {x}, y,
      [rows = Indices(rows.begin(), rows.end()), count = x.dim(0)](
          const Tensor& g, const Needs&) -> Grads { return {scatter_add_rows(g, rows, count)}; });
}

Tensor scatter_add_rows(const Tensor& g, std::span<const std::int32_t> rows, std::int64_t count) {
  if (g.rank() < 1 || g.dim(0) != static_cast<std::int64_t>(rows.size())) {
    throw Error("scatter_add_rows", "needs one row of g for each of the {} indices", rows.size())
        .shape("g", g);
  }
  check_positions("scatter_add_rows", rows, count, "g", g.shape());
  Tensor x = Tensor::zeros(g.shape().with(0, count));
  const std::size_t row = static_cast<std::size_t>(g.shape().product(1, g.rank()));
  const Real* from = g.data().data();
  Real* to = x.mutable_data().data();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Real* target = to + static_cast<std::size_t>(rows[i]) * row;
    for (std::size_t k = 0; k < row; ++k) target[k] += from[i * row + k];
  }
  return record("scatter_add_rows", {g}, x,
                [rows = Indices(rows.begin(), rows.end())](const Tensor& h, const Needs&) -> Grads {
                  return {gather_rows(h, rows)};
                });
}

Tensor index_select(const Tensor& x, int axis, std::span<const std::int32_t> positions) {
  const int a = x.shape().axis_index(axis, "index_select");
  check_positions("index_select", positions, x.dim(a), "input", x.shape());
  return a == 0 ? gather_rows(x, positions)
                : transpose(gather_rows(transpose(x, 0, a), positions), 0, a);
}

Tensor gather(const Tensor& x, int axis, std::span<const std::int32_t> index,
              const Shape& index_shape) {
  const int a = x.shape().axis_index(axis, "gather");
  check_gather("gather", x.shape(), a, index, index_shape);
  Tensor y = Tensor::empty(index_shape);
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  for_gather(x.shape(), a, index, index_shape,
             [&](std::int64_t source, std::int64_t i) { to[i] = from[source]; });
  return record(
      "gather", {x}, y,
      [a, index = Indices(index.begin(), index.end()), shape = x.shape()](
          const Tensor& g, const Needs&) -> Grads { return {scatter_add(g, a, index, shape)}; });
}

Tensor scatter_add(const Tensor& g, int axis, std::span<const std::int32_t> index,
                   const Shape& shape) {
  const int a = shape.axis_index(axis, "scatter_add");
  check_gather("scatter_add", shape, a, index, g.shape());
  Tensor x = Tensor::zeros(shape);
  const Real* from = g.data().data();
  Real* to = x.mutable_data().data();
  for_gather(shape, a, index, g.shape(),
             [&](std::int64_t target, std::int64_t i) { to[target] += from[i]; });
  return record(
      "scatter_add", {g}, x,
      [a, index = Indices(index.begin(), index.end()), from_shape = g.shape()](
          const Tensor& h, const Needs&) -> Grads { return {gather(h, a, index, from_shape)}; });
}

Tensor one_hot(std::span<const std::int32_t> labels, int classes) {
  if (classes < 1) throw Error("one_hot", "needs at least one class, got {}", classes);
  check_positions("one_hot", labels, classes);
  Tensor y = Tensor::zeros({static_cast<std::int64_t>(labels.size()), classes});
  Real* to = y.mutable_data().data();
  for (std::size_t i = 0; i < labels.size(); ++i)
    to[i * static_cast<std::size_t>(classes) + static_cast<std::size_t>(labels[i])] = 1;
  return y;
}

}  // namespace tapestry
