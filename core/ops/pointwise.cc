#include "core/ops/pointwise.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace tapestry::detail {
namespace {

// The axes of a broadcast, merged: neighbors along which each operand is repeated, or walked, as
// one. What remains is mostly one axis (equal shapes) or two (a row or a column repeated).
template <std::size_t kOperands>
struct Walk {
  int rank = 0;
  std::array<std::int64_t, Shape::kMaxRank> extent{};
  std::array<std::array<std::int64_t, Shape::kMaxRank>, kOperands> stride{};
};

template <std::size_t kOperands>
Walk<kOperands> plan(const Shape& shape, const std::array<const Tensor*, kOperands>& operands) {
  Walk<kOperands> walk;
  std::array<std::int64_t, kOperands> step;  // elements to the next position of the axis at hand
  step.fill(1);
  for (int back = 1; back <= shape.rank(); ++back) {  // the last axis first
    const std::int64_t extent = shape[-back];
    std::array<std::int64_t, kOperands> stride;
    for (std::size_t k = 0; k < kOperands; ++k) {
      const Shape& own = operands[k]->shape();
      const std::int64_t own_extent = back <= own.rank() ? own[-back] : 1;
      stride[k] = own_extent == 1 ? 0 : step[k];
      step[k] *= own_extent;
    }
    if (extent == 1) continue;
    bool merges = walk.rank > 0;
    if (merges) {
      const auto last = static_cast<std::size_t>(walk.rank - 1);
      for (std::size_t k = 0; k < kOperands; ++k) {
        merges = merges && stride[k] == walk.stride[k][last] * walk.extent[last];
      }
      if (merges) walk.extent[last] *= extent;
    }
    if (!merges) {
      const auto next = static_cast<std::size_t>(walk.rank++);
      walk.extent[next] = extent;
      for (std::size_t k = 0; k < kOperands; ++k) walk.stride[k][next] = stride[k];
    }
  }
  for (int i = std::max(walk.rank, 0); i < 2; ++i) walk.extent[static_cast<std::size_t>(i)] = 1;
  return walk;
}

// run(rows, y, count of rows, n) over pieces of at most kGrain elements, or one row. Axis 0 of the
// walk is a row.
template <std::size_t kOperands, class Run>
Tensor run_rows(const Shape& shape, const std::array<const Tensor*, kOperands>& operands, Run run) {
  Tensor y = Tensor::empty(shape);
  if (y.size() == 0) return y;
  const Walk<kOperands> walk = plan(shape, operands);
  const std::int64_t n = walk.extent[0];
  std::array<const Real*, kOperands> data;
  for (std::size_t k = 0; k < kOperands; ++k) data[k] = operands[k]->data().data();
  Real* to = y.mutable_data().data();

  parallel_for(y.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t row = begin / n, column = begin % n;
      std::int64_t rest = row / walk.extent[1];
      const std::int64_t first = row % walk.extent[1];
      std::array<kernels::Rows, kOperands> rows;
      for (std::size_t k = 0; k < kOperands; ++k) {
        rows[k] = {data[k] + first * walk.stride[k][1] + column * walk.stride[k][0],
                   walk.stride[k][1], walk.stride[k][0]};
      }
      for (std::size_t axis = 2; axis < static_cast<std::size_t>(std::max(walk.rank, 2)); ++axis) {
        const std::int64_t position = rest % walk.extent[axis];
        rest /= walk.extent[axis];
        for (std::size_t k = 0; k < kOperands; ++k) rows[k].data += position * walk.stride[k][axis];
      }
      if (column > 0 || end - begin < n) {
        const std::int64_t count = std::min(n - column, end - begin);
        run(rows, to + begin, 1, count);
        begin += count;
      } else {
        const std::int64_t count = std::min(walk.extent[1] - first, (end - begin) / n);
        run(rows, to + begin, count, n);
        begin += count * n;
      }
    }
  });
  return y;
}

}  // namespace

Tensor zip(std::string_view op, BinaryKernel kernel, const Tensor& a, const Tensor& b) {
  return run_rows<2>(broadcast_shapes(op, a.shape(), b.shape()), {&a, &b},
                     [&](const auto& r, Real* y, std::int64_t rows, std::int64_t n) {
                       kernel(r[0], r[1], y, rows, n);
                     });
}

Tensor zip(std::string_view op, TernaryKernel kernel, const Tensor& a, const Tensor& b,
           const Tensor& c) {
  const Shape shape = broadcast_shapes(op, broadcast_shapes(op, a.shape(), b.shape()), c.shape());
  return run_rows<3>(shape, {&a, &b, &c},
                     [&](const auto& r, Real* y, std::int64_t rows, std::int64_t n) {
                       kernel(r[0], r[1], r[2], y, rows, n);
                     });
}

Tensor expand(const Tensor& x, const Shape& shape) {
  if (!(broadcast_shapes("broadcast_to", x.shape(), shape) == shape)) {
    throw Error("broadcast_to", "{} does not broadcast to {}", x.shape(), shape);
  }
  return run_rows<1>(shape, {&x}, [](const auto& r, Real* y, std::int64_t rows, std::int64_t n) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const Real* from = r[0].data + i * r[0].row;
      if (r[0].step == 0) {
        std::fill_n(y + i * n, n, *from);
      } else {
        std::copy_n(from, n, y + i * n);
      }
    }
  });
}

}  // namespace tapestry::detail
