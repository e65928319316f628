#include "core/ops/pad.h"

#include <algorithm>

#include "core/error.h"
#include "core/ops/movement.h"
#include "core/ops/rows.h"
#include "core/tape.h"

namespace tapestry {

using detail::copy_row;
using detail::for_rows;

PadMode pad_mode(std::string_view name) {
  if (name == "constant" || name == "zeros") return PadMode::kConstant;
  if (name == "reflect") return PadMode::kReflect;
  if (name == "replicate") return PadMode::kReplicate;
  if (name == "circular") return PadMode::kCircular;
  throw Error("pad", "there is no padding mode \"{}\"", name)
      .hint("use constant, reflect, replicate or circular");
}

std::string_view pad_mode_name(PadMode mode) {
  switch (mode) {
    case PadMode::kReflect:
      return "reflect";
    case PadMode::kReplicate:
      return "replicate";
    case PadMode::kCircular:
      return "circular";
    case PadMode::kConstant:
      break;
  }
  return "constant";
}

namespace {

/// Where each position of the padded axis comes from; -1: the constant.
std::vector<std::int64_t> pad_sources(std::int64_t extent, Padding pad, PadMode mode,
                                      const Tensor& x) {
  const std::int64_t length = extent + pad.before + pad.after;
  if (length < 0) {
    throw Error("pad", "cropping {} and {} leaves nothing of extent {}", -pad.before, -pad.after,
                extent)
        .shape("input", x);
  }
  const std::int64_t widest = std::max(pad.before, pad.after);
  if (mode == PadMode::kReflect && widest >= extent && widest > 0) {
    throw Error("pad", "reflection needs pad < extent, got {} for extent {}", widest, extent)
        .shape("input", x)
        .hint("a mirror image holds extent - 1 new elements; use a smaller pad or mode replicate");
  }
  if (mode == PadMode::kCircular && widest > extent) {
    throw Error("pad", "wrapping around needs pad ≤ extent, got {} for extent {}", widest, extent)
        .shape("input", x);
  }
  if (mode == PadMode::kReplicate && extent == 0 && length > 0) {
    throw Error("pad", "there is no edge to replicate in an empty axis").shape("input", x);
  }
  std::vector<std::int64_t> sources(static_cast<std::size_t>(length));
  for (std::int64_t i = 0; i < length; ++i) {
    std::int64_t at = i - pad.before;
    if (at < 0 || at >= extent) {
      switch (mode) {
        case PadMode::kConstant:
          at = -1;
          break;
        case PadMode::kReflect:
          at = at < 0 ? -at : 2 * (extent - 1) - at;
          break;
        case PadMode::kReplicate:
          at = at < 0 ? 0 : extent - 1;
          break;
        case PadMode::kCircular:
          at = at < 0 ? at + extent : at - extent;
          break;
      }
    }
    sources[static_cast<std::size_t>(i)] = at;
  }
  return sources;
}

/// The tensor seen as [outer, H, W]: the last axes are padded two at a time, with one read and one
/// write of the image.
using Sources = std::vector<std::int64_t>;

Tensor gather_grid(const Tensor& x, const Sources& rows, const Sources& columns, Real value,
                   const Shape& shape) {
  Tensor y = Tensor::empty(shape);
  const std::int64_t height = static_cast<std::int64_t>(rows.size()),
                     width = static_cast<std::int64_t>(columns.size());
  if (y.size() == 0) return y;
  const std::int64_t from_width = x.dim(-1), from_height = x.rank() > 1 ? x.dim(-2) : 1;
  // The middle of a row is one straight copy.
  std::int64_t left = 0, right = width;
  while (left < width && columns[static_cast<std::size_t>(left)] != 0) ++left;
  right = left;
  while (right < width && columns[static_cast<std::size_t>(right)] == right - left) ++right;
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  for_rows(y.size() / width, width, [&](std::int64_t i) {
    Real* target = to + i * width;
    const std::int64_t row = rows[static_cast<std::size_t>(i % height)];
    if (row < 0) {
      std::fill_n(target, width, value);
      return;
    }
    const Real* source = from + (i / height * from_height + row) * from_width;
    const auto pick = [&](std::int64_t j) {
      const std::int64_t at = columns[static_cast<std::size_t>(j)];
      target[j] = at < 0 ? value : source[at];
    };
    for (std::int64_t j = 0; j < left; ++j) pick(j);
    copy_row(source, target + left, right - left);
    for (std::int64_t j = right; j < width; ++j) pick(j);
  });
  return y;
}

Tensor scatter_grid(const Tensor& g, const Sources& rows, const Sources& columns,
                    const Shape& shape) {
  Tensor x = Tensor::zeros(shape);
  const std::int64_t height = static_cast<std::int64_t>(rows.size()),
                     width = static_cast<std::int64_t>(columns.size());
  if (g.size() == 0 || x.size() == 0) return x;
  const std::int64_t to_width = shape[-1], to_height = shape.rank() > 1 ? shape[-2] : 1;
  const Real* from = g.data().data();
  Real* to = x.mutable_data().data();
  for_rows(g.size() / (height * width), height * width, [&](std::int64_t plane) {
    for (std::int64_t i = 0; i < height; ++i) {
      if (rows[static_cast<std::size_t>(i)] < 0) continue;
      const Real* source = from + (plane * height + i) * width;
      Real* target = to + (plane * to_height + rows[static_cast<std::size_t>(i)]) * to_width;
      for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t at = columns[static_cast<std::size_t>(j)];
        if (at >= 0) target[at] += source[j];
      }
    }
  });
  return x;
}

/// pad and its transpose over the last two axes (rows has one entry for vectors), each the gradient
/// of the other.
Tensor pad_grid(const Tensor& x, const Sources& rows, const Sources& columns, Real value,
                const Shape& shape);

Tensor unpad_grid(const Tensor& g, const Sources& rows, const Sources& columns,
                  const Shape& shape) {
  return record("unpad", {g}, scatter_grid(g, rows, columns, shape),
                [rows, columns, padded = g.shape()](const Tensor& h, const Needs&) -> Grads {
                  return {pad_grid(h, rows, columns, 0, padded)};
                });
}

Tensor pad_grid(const Tensor& x, const Sources& rows, const Sources& columns, Real value,
                const Shape& shape) {
  return record("pad", {x}, gather_grid(x, rows, columns, value, shape),
                [rows, columns, from = x.shape()](const Tensor& g, const Needs&) -> Grads {
                  return {unpad_grid(g, rows, columns, from)};
                });
}

}  // namespace

Tensor pad(const Tensor& x, const std::vector<Padding>& pads, PadMode mode, Real value) {
  const int count = static_cast<int>(pads.size());
  if (count > x.rank())
    throw Error("pad", "{} pads for {} axes", count, x.rank()).shape("input", x);
  if (count == 0) return x;
  if (count > 2) {
    // Axes further out are brought to the end, padded, and brought back.
    Tensor y = pad(x, {pads.end() - 2, pads.end()}, mode, value);
    for (int i = 0; i < count - 2; ++i) {
      const int axis = x.rank() - count + i;
      y = transpose(pad(transpose(y, axis, -1), {pads[static_cast<std::size_t>(i)]}, mode, value),
                    axis, -1);
    }
    return y;
  }
  const Padding column_pad = pads.back(), row_pad = count == 2 ? pads.front() : Padding{};
  const Sources columns = pad_sources(x.dim(-1), column_pad, mode, x);
  const Sources rows = x.rank() > 1 ? pad_sources(x.dim(-2), row_pad, mode, x) : Sources{0};
  Shape shape = x.shape().with(-1, static_cast<std::int64_t>(columns.size()));
  if (x.rank() > 1) shape = shape.with(-2, static_cast<std::int64_t>(rows.size()));
  return pad_grid(x, rows, columns, value, shape);
}

}  // namespace tapestry
