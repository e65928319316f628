#include "core/ops/movement.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/ops/rows.h"
#include "core/tape.h"

namespace tapestry {

using detail::copy_row;
using detail::for_rows;

namespace {

/// The tensor seen as [outer, extent, inner] around one axis.
struct AxisView {
  AxisView(const Shape& shape, int axis)
      : outer(shape.product(0, axis)),
        extent(shape[axis]),
        inner(shape.product(axis + 1, shape.rank())) {}
  std::int64_t outer, extent, inner;
};

}  // namespace

// Reshaping
// ------------------------------------------------------------------------------------------------------------

Tensor reshape(const Tensor& x, const Shape& shape) {
  if (shape.size() != x.size()) {
    throw Error("reshape", "{} elements do not fill {}, which has {}", x.size(), shape,
                shape.size())
        .shape("input", x)
        .hint("the product of the extents must stay the same");
  }
  return record(
      "reshape", {x}, x.view(shape),
      [from = x.shape()](const Tensor& g, const Needs&) -> Grads { return {reshape(g, from)}; });
}

Tensor reshape(const Tensor& x, const std::vector<std::int64_t>& extents) {
  std::vector<std::int64_t> full = extents;
  if (std::any_of(full.begin(), full.end(), [](std::int64_t extent) { return extent < -1; }) ||
      std::count(full.begin(), full.end(), -1) > 1) {
    std::string asked;
    for (const std::int64_t extent : extents)
      asked += (asked.empty() ? "" : ", ") + std::to_string(extent);
    throw Error("reshape", "[{}] is no shape: one extent may be -1, none less", asked)
        .shape("input", x)
        .hint("-1 stands for what the others leave");
  }
  const auto open = std::find(full.begin(), full.end(), -1);
  if (open != full.end()) {
    *open = 1;
    const std::int64_t rest = Shape(full).size();
    if (rest == 0 || x.size() % rest != 0) {
      throw Error("reshape", "{} elements cannot be divided by {} to infer an extent", x.size(),
                  rest)
          .shape("input", x)
          .hint("the product of the extents must stay the same");
    }
    *open = x.size() / rest;
  }
  return reshape(x, Shape(full));
}

Tensor unsqueeze(const Tensor& x, const std::vector<int>& axes) {
  const int rank = x.rank() + static_cast<int>(axes.size());
  if (rank > Shape::kMaxRank)
    throw Error("unsqueeze", "{} axes are more than {}", rank, Shape::kMaxRank).shape("input", x);
  std::vector<std::int64_t> extents(static_cast<std::size_t>(rank), -1);
  for (const int axis : axes) {
    const int index = axis < 0 ? axis + rank : axis;
    if (index < 0 || index >= rank || extents[static_cast<std::size_t>(index)] == 1) {
      throw Error("unsqueeze", "axis {} does not exist in the result or is named twice", axis)
          .shape("input", x);
    }
    extents[static_cast<std::size_t>(index)] = 1;
  }
  const std::int64_t* next = x.shape().begin();
  for (std::int64_t& extent : extents) {
    if (extent < 0) extent = *next++;
  }
  return reshape(x, Shape(extents));
}

Tensor squeeze(const Tensor& x, const std::vector<int>& axes) {
  std::vector<std::int64_t> extents;
  std::vector<char> drop(static_cast<std::size_t>(x.rank()), axes.empty());
  for (const int axis : axes) {
    const int a = x.shape().axis_index(axis, "squeeze");
    if (x.dim(a) != 1) {
      throw Error("squeeze", "axis {} has extent {}, not 1", axis, x.dim(a))
          .shape("input", x)
          .hint("select() takes one position of an axis, reshape() joins axes");
    }
    drop[static_cast<std::size_t>(a)] = 1;
  }
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (!drop[static_cast<std::size_t>(axis)] || x.dim(axis) != 1) extents.push_back(x.dim(axis));
  }
  return reshape(x, Shape(extents));
}

Tensor flatten(const Tensor& x, int first, int last) {
  const int a = x.shape().axis_index(first, "flatten"), b = x.shape().axis_index(last, "flatten");
  if (a > b)
    throw Error("flatten", "the first axis, {}, lies behind the last, {}", first, last)
        .shape("input", x);
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < a; ++axis) extents.push_back(x.dim(axis));
  extents.push_back(x.shape().product(a, b + 1));
  for (int axis = b + 1; axis < x.rank(); ++axis) extents.push_back(x.dim(axis));
  return reshape(x, Shape(extents));
}

// Permuting
// ------------------------------------------------------------------------------------------------------------

namespace {

/// to[i·to_step] = from[i·from_step], where a step of 2, as of pixel_shuffle by 2, is known when
/// this is compiled: then it is done in vectors.
void copy_steps(const Real* __restrict from, std::int64_t from_step, Real* __restrict to,
                std::int64_t to_step, std::int64_t n) {
  if (from_step == 2 && to_step == 1) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
  }
}

/// Copies with axis i of the result walking x with stride strides[i]. The last two axes are done in
/// tiles, so that a transpose reads and writes whole cache lines; of a narrow result, column by
/// column in as many rows as make a tile.
void strided_copy(const Real* x, Real* y, const Shape& shape,
                  const std::vector<std::int64_t>& strides) {
  constexpr std::int64_t kTile = 16;  // 16 floats are one cache line
  const int rank = shape.rank();
  const std::int64_t width = rank > 0 ? shape[-1] : 1, height = rank > 1 ? shape[-2] : 1;
  const std::int64_t step = rank > 0 ? strides[static_cast<std::size_t>(rank - 1)] : 0;
  const std::int64_t row_step = rank > 1 ? strides[static_cast<std::size_t>(rank - 2)] : 0;
  const std::int64_t planes = shape.product(0, std::max(rank - 2, 0));
  const bool is_narrow = width < kTile;
  const std::int64_t band = is_narrow ? kTile * kTile / std::max<std::int64_t>(width, 1) : kTile;
  const std::int64_t bands = (height + band - 1) / band;
  for_rows(planes * bands, band * width, [&](std::int64_t job) {
    const std::int64_t plane = job / bands, top = job % bands * band,
                       bottom = std::min(height, top + band);
    std::int64_t offset = 0, rest = plane;
    for (int axis = rank - 3; axis >= 0; --axis) {
      offset += rest % shape[axis] * strides[static_cast<std::size_t>(axis)];
      rest /= shape[axis];
    }
    const Real* from = x + offset + top * row_step;
    Real* to = y + (plane * height + top) * width;
    const std::int64_t rows = bottom - top;
    if (step == 1) {
      for (std::int64_t i = 0; i < rows; ++i) copy_row(from + i * row_step, to + i * width, width);
    } else if (is_narrow) {
      for (std::int64_t j = 0; j < width; ++j)
        copy_steps(from + j * step, row_step, to + j, width, rows);
    } else {
      // Steps within a cache line need no tiles.
      const std::int64_t tile = step <= kTile ? width : kTile;
      for (std::int64_t left = 0; left < width; left += tile) {
        for (std::int64_t i = 0; i < rows; ++i) {
          copy_steps(from + i * row_step + left * step, step, to + i * width + left, 1,
                     std::min(tile, width - left));
        }
      }
    }
  });
}

}  // namespace

Tensor permute(const Tensor& x, const std::vector<int>& order) {
  const int rank = x.rank();
  std::vector<int> axes, inverse(static_cast<std::size_t>(rank), -1);
  for (const int axis : order) {
    const int index = axis < 0 ? axis + rank : axis;
    if (index < 0 || index >= rank || inverse[static_cast<std::size_t>(index)] >= 0) {
      throw Error("permute", "axis {} does not exist or is named twice", axis).shape("input", x);
    }
    inverse[static_cast<std::size_t>(index)] = static_cast<int>(axes.size());
    axes.push_back(index);
  }
  if (static_cast<int>(axes.size()) != rank) {
    throw Error("permute", "the order names {} axes, the input has {}", axes.size(), rank)
        .shape("input", x);
  }
  std::vector<std::int64_t> extents, strides;
  for (const int axis : axes) {
    extents.push_back(x.dim(axis));
    strides.push_back(x.shape().product(axis + 1, rank));
  }
  Tensor y = Tensor::empty(Shape(extents));
  if (y.size() > 0) strided_copy(x.data().data(), y.mutable_data().data(), y.shape(), strides);
  return record("permute", {x}, y, [inverse](const Tensor& g, const Needs&) -> Grads {
    return {permute(g, inverse)};
  });
}

Tensor transpose(const Tensor& x, int a, int b) {
  std::vector<int> order(static_cast<std::size_t>(x.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[static_cast<std::size_t>(x.shape().axis_index(a, "transpose"))],
            order[static_cast<std::size_t>(x.shape().axis_index(b, "transpose"))]);
  return permute(x, order);
}

// Slicing and joining
// --------------------------------------------------------------------------------------------------

namespace {

/// A Range with Python's rules applied: the first position, the step, and how many there are.
struct Positions {
  std::int64_t first, step, count;
};

Positions resolve(std::string_view op, const Range& range, std::int64_t extent) {
  if (range.step == 0)
    throw Error(op, "the step must not be 0").hint("1 takes every element, -1 walks backwards");
  const bool forward = range.step > 0;
  const auto clip = [&](std::int64_t at) {
    if (at < 0) at += extent;
    return forward ? std::clamp<std::int64_t>(at, 0, extent)
                   : std::clamp<std::int64_t>(at, -1, extent - 1);
  };
  const std::int64_t start = range.start ? clip(*range.start) : forward ? 0 : extent - 1;
  const std::int64_t end = range.end ? clip(*range.end) : forward ? extent : -1;
  const std::int64_t distance = forward ? end - start : start - end, step = std::abs(range.step);
  return {start, range.step, distance <= 0 ? 0 : (distance + step - 1) / step};
}

}  // namespace

namespace {

// Adds g to the positions of `sum` that the range selects: the gradient of a slice where one of
// another slice is there already.
void add_slice(const Tensor& g, int axis, const Positions& at, Tensor& sum) {
  const AxisView view(sum.shape(), axis);
  const Real* from = g.data().data();
  Real* to = sum.mutable_data().data();
  const bool is_run = at.step == 1;
  const std::int64_t n = is_run ? at.count * view.inner : view.inner;
  for_rows(view.outer, at.count * view.inner, [&](std::int64_t i) {
    for (std::int64_t k = 0; k < (is_run ? 1 : at.count); ++k) {
      Real* __restrict target = to + (i * view.extent + at.first + k * at.step) * view.inner;
      const Real* __restrict source = from + (i * at.count + k) * view.inner;
      for (std::int64_t j = 0; j < n; ++j) target[j] += source[j];
    }
  });
}

}  // namespace

Tensor slice(const Tensor& x, int axis, const Range& range) {
  const int a = x.shape().axis_index(axis, "slice");
  const AxisView view(x.shape(), a);
  const Positions at = resolve("slice", range, view.extent);
  const Shape shape = x.shape().with(a, at.count);
  Tensor y;
  if (view.outer == 1 && at.step == 1) {
    y = x.view(shape, at.count == 0
                          ? 0
                          : at.first * view.inner);  // a leading slice is contiguous: share it
  } else {
    y = Tensor::empty(shape);
    const Real* from = x.data().data();
    Real* to = y.mutable_data().data();
    for_rows(view.outer, at.count * view.inner, [&](std::int64_t i) {
      const Real* source = from + (i * view.extent + at.first) * view.inner;
      Real* target = to + i * at.count * view.inner;
      if (at.step == 1) {
        copy_row(source, target, at.count * view.inner);
      } else if (view.inner == 1) {
        copy_steps(source, at.step, target, 1, at.count);
      } else {
        for (std::int64_t k = 0; k < at.count; ++k)
          copy_row(source + k * at.step * view.inner, target + k * view.inner, view.inner);
      }
    });
  }
  return record("slice", {x}, y,
                [a, range, at, extent = view.extent](const Tensor& g, const Needs& need) -> Grads {
                  if (Tensor* sum = need.first_sum()) {
                    add_slice(g, a, at, *sum);
                    return {};
                  }
                  return {unslice(g, a, range, extent)};
                });
}

Tensor unslice(const Tensor& g, int axis, const Range& range, std::int64_t extent) {
  const int a = g.shape().axis_index(axis, "unslice");
  const Positions at = resolve("unslice", range, extent);
  if (at.count != g.dim(a)) {
    throw Error("unslice", "the range selects {} of {} positions, g has {}", at.count, extent,
                g.dim(a))
        .shape("g", g);
  }
  Tensor x = Tensor::empty(g.shape().with(a, extent));
  const AxisView view(x.shape(), a);
  const Real* from = g.data().data();
  Real* to = x.mutable_data().data();
  for_rows(view.outer, extent * view.inner, [&](std::int64_t i) {
    const Real* source = from + i * at.count * view.inner;
    Real* target = to + (i * extent + at.first) * view.inner;
    std::fill_n(to + i * extent * view.inner, extent * view.inner, Real(0));
    if (view.inner == 1) return copy_steps(source, 1, target, at.step, at.count);
    for (std::int64_t k = 0; k < at.count; ++k)
      copy_row(source + k * view.inner, target + k * at.step * view.inner, view.inner);
  });
  return record("unslice", {g}, x, [a, range](const Tensor& h, const Needs&) -> Grads {
    return {slice(h, a, range)};
  });
}

Tensor select(const Tensor& x, int axis, std::int64_t position) {
  const int a = x.shape().axis_index(axis, "select");
  const std::int64_t extent = x.dim(a), at = position < 0 ? position + extent : position;
  if (at < 0 || at >= extent) {
    throw Error("select", "position {} does not exist on axis {}, which has {}", position, axis,
                extent)
        .shape("input", x)
        .hint("positions count from 0, negative ones from the end");
  }
  return squeeze(slice(x, a, {.start = at, .end = at + 1}), {a});
}

Tensor concat(std::span<const Tensor> parts, int axis) {
  if (parts.empty())
    throw Error("concat", "there is nothing to join").hint("give at least one tensor");
  const int a = parts[0].shape().axis_index(axis, "concat");
  std::vector<std::int64_t> sizes;
  for (const Tensor& part : parts) {
    if (part.rank() != parts[0].rank() ||
        !(part.shape().with(a, 0) == parts[0].shape().with(a, 0))) {
      throw Error("concat", "the parts must agree on every axis but {}", axis)
          .shape("first", parts[0])
          .shape("other", part)
          .hint(part.rank() == parts[0].rank() ? "join along the axis in which they differ"
                                               : "add missing axes with unsqueeze()");
    }
    sizes.push_back(part.dim(a));
  }
  const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  Tensor y = Tensor::empty(parts[0].shape().with(a, total));
  const AxisView view(y.shape(), a);
  Real* to = y.mutable_data().data();
  for_rows(view.outer, total * view.inner, [&](std::int64_t i) {
    Real* target = to + i * total * view.inner;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const std::int64_t run = sizes[k] * view.inner;
      copy_row(parts[k].data().data() + i * run, target, run);
      target += run;
    }
  });
  return record("concat", parts, y, [a, sizes](const Tensor& g, const Needs& need) -> Grads {
    Grads grads(sizes.size());
    std::int64_t begin = 0;
    for (std::size_t k = 0; k < sizes.size(); begin += sizes[k++]) {
      if (need[k]) grads[k] = slice(g, a, {.start = begin, .end = begin + sizes[k]});
    }
    return grads;
  });
}

Tensor stack(std::span<const Tensor> parts, int axis) {
  if (parts.empty())
    throw Error("stack", "there is nothing to stack").hint("give at least one tensor");
  const int rank = parts[0].rank() + 1;
  if (axis < -rank || axis >= rank) {
    throw Error("stack", "axis {} does not exist in the result, which has {}", axis, rank)
        .shape("parts", parts[0]);
  }
  std::vector<Tensor> layers;
  for (const Tensor& part : parts) {
    if (!(part.shape() == parts[0].shape())) {
      throw Error("stack", "the parts must have one shape")
          .shape("first", parts[0])
          .shape("other", part)
          .hint("concat() joins parts that differ along one axis");
    }
    layers.push_back(unsqueeze(part, {axis}));
  }
  return concat(layers, axis);
}

std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& sizes, int axis) {
  const int a = x.shape().axis_index(axis, "split");
  const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  const bool negative =
      std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 0; });
  if (total != x.dim(a) || negative) {
    throw Error("split", "the sizes must not be negative and add up to {}, they give {}", x.dim(a),
                total)
        .shape("input", x);
  }
  std::vector<Tensor> parts;
  std::int64_t begin = 0;
  for (const std::int64_t size : sizes) {
    parts.push_back(slice(x, a, {.start = begin, .end = begin + size}));
    begin += size;
  }
  return parts;
}

std::vector<Tensor> chunk(const Tensor& x, int parts, int axis) {
  const std::int64_t extent = x.dim(x.shape().axis_index(axis, "chunk"));
  if (parts < 1 || extent % parts != 0) {
    throw Error("chunk", "extent {} cannot be cut into {} equal parts", extent, parts)
        .shape("input", x)
        .hint("split() cuts into parts of given sizes");
  }
  return split(x, std::vector<std::int64_t>(static_cast<std::size_t>(parts), extent / parts), axis);
}

// Rearranging
// ----------------------------------------------------------------------------------------------------------

Tensor flip(const Tensor& x, const std::vector<int>& axes) {
  if (axes.empty()) return x;
  Tensor y = x;
  for (const int axis : normalize_axes("flip", x.shape(), axes)) y = slice(y, axis, {.step = -1});
  return y;
}

Tensor repeat(const Tensor& x, const std::vector<std::int64_t>& counts) {
  const int extra = static_cast<int>(counts.size()) - x.rank();
  if (extra < 0) {
    throw Error("repeat", "{} counts for {} axes; give one per axis", counts.size(), x.rank())
        .shape("input", x);
  }
  Tensor y = x;
  for (int i = 0; i < extra; ++i) y = unsqueeze(y, {0});
  for (int axis = 0; axis < y.rank(); ++axis) {
    const std::int64_t count = counts[static_cast<std::size_t>(axis)];
    if (count < 0)
      throw Error("repeat", "counts must not be negative, got {}", count).shape("input", x);
    if (count == 1) continue;
    if (count == 0) {
      y = slice(y, axis, {.start = 0, .end = 0});
    } else {
      y = concat(std::vector<Tensor>(static_cast<std::size_t>(count), y), axis);
    }
  }
  return y;
}

Tensor roll(const Tensor& x, std::int64_t shift, int axis) {
  const std::int64_t extent = x.dim(x.shape().axis_index(axis, "roll"));
  if (extent == 0) return x;
  const std::int64_t by = (shift % extent + extent) % extent;
  if (by == 0) return x;
  return concat({slice(x, axis, {.start = extent - by}), slice(x, axis, {.end = extent - by})},
                axis);
}

namespace {

/// Multiplies by a constant mask of 0 and 1 on the last two axes; but 0 · Inf is NaN, so the
/// numbers are selected instead.
Tensor triangle(std::string_view op, const Tensor& x, int diagonal, bool lower) {
  if (x.rank() < 2)
    throw Error(op, "needs a matrix, the input has {} axes", x.rank()).shape("input", x);
  Tensor y = Tensor::empty(x.shape());
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  const std::int64_t width = x.dim(-1), height = x.dim(-2);
  for_rows(x.shape().product(0, x.rank() - 1), width, [&](std::int64_t row) {
    const std::int64_t edge = row % height + diagonal;
    for (std::int64_t j = 0; j < width; ++j) {
      const bool kept = lower ? j <= edge : j >= edge;
      to[row * width + j] = kept ? from[row * width + j] : 0;
    }
  });
  return record(op, {x}, y, [=](const Tensor& g, const Needs&) -> Grads {
    return {triangle(op, g, diagonal, lower)};
  });
}

}  // namespace

Tensor tril(const Tensor& x, int diagonal) { return triangle("tril", x, diagonal, true); }
Tensor triu(const Tensor& x, int diagonal) { return triangle("triu", x, diagonal, false); }

// Pixels and channels
// --------------------------------------------------------------------------------------------------

Tensor pixel_shuffle(const Tensor& x, int factor) {
  if (x.rank() != 4 || factor < 1 || x.dim(1) % (std::int64_t{factor} * factor) != 0) {
    throw Error("pixel_shuffle", "needs (N, C·r², H, W) with channels divisible by {}² = {}",
                factor, std::int64_t{factor} * factor)
        .shape("input", x, "(N, C, H, W)");
  }
  const std::int64_t n = x.dim(0), c = x.dim(1) / (std::int64_t{factor} * factor), h = x.dim(2),
                     w = x.dim(3);
  const Tensor parts = permute(reshape(x, Shape{n * c, factor, factor, h, w}), {0, 3, 1, 4, 2});
  return reshape(parts, Shape{n, c, h * factor, w * factor});
}

Tensor pixel_unshuffle(const Tensor& x, int factor) {
  if (x.rank() != 4 || factor < 1 || x.dim(2) % factor != 0 || x.dim(3) % factor != 0) {
    throw Error("pixel_unshuffle", "needs (N, C, H·r, W·r) with H and W divisible by {}", factor)
        .shape("input", x, "(N, C, H, W)");
  }
  const std::int64_t n = x.dim(0), c = x.dim(1), h = x.dim(2) / factor, w = x.dim(3) / factor;
  const Tensor parts = permute(reshape(x, Shape{n * c, h, factor, w, factor}), {0, 2, 4, 1, 3});
  return reshape(parts, Shape{n, c * factor * factor, h, w});
}

}  // namespace tapestry
