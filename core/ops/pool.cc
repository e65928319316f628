#include "core/ops/pool.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.h"
#include "core/kernels/grid.h"
#include "core/memory.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/rows.h"
#include "core/tape.h"

namespace tapestry {

using detail::for_rows;

namespace {

using kernels::Taps;
using kernels::Windows;

/// Planes of the last two axes; leading axes are batch and channels.
std::int64_t planes(const Tensor& x) { return x.shape().product(0, x.rank() - 2); }

void check_image(std::string_view op, const Tensor& x) {
  if (x.rank() < 2)
    throw Error(op, "needs an image, the input has {} axes", x.rank())
        .shape("input", x, "(N, C, H, W)");
}

// Note [Pooling and resampling are one op]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// Average pooling, nearest and bilinear resampling all mix rows by one sparse matrix R and columns
// by another, C: y = R·x·Cᵀ. The gradient is Rᵀ·g·C: the same op with the matrices transposed. So
// there is one kernel, and derivatives of any order come free.
struct Grid {
  Taps rows, columns;
};

Tensor mix(std::string_view op, const Tensor& x, std::shared_ptr<const Grid> grid,
           std::shared_ptr<const Grid> transpose) {
  Tensor y =
      Tensor::empty(x.shape().with(-2, grid->rows.outputs()).with(-1, grid->columns.outputs()));
  kernels::separable(x.data().data(), y.mutable_data().data(), planes(x), grid->rows,
                     grid->columns);
  return record(op, {x}, y, [op, grid, transpose](const Tensor& g, const Needs&) -> Grads {
    const auto back =
        transpose
            ? transpose
            : std::make_shared<const Grid>(Grid{transposed(grid->rows), transposed(grid->columns)});
    return {mix(op, g, back, grid)};
  });
}

Tensor mix(std::string_view op, const Tensor& x, Grid grid) {
  return mix(op, x, std::make_shared<const Grid>(std::move(grid)), nullptr);
}

/// One axis of a pooling geometry: padding and ceil_mode resolved. Windows are clipped to the
/// image; `padded_length` is the number of positions including padding, which count_include_pad
/// divides by.
struct Axis {
  Windows windows;
  std::vector<std::int64_t> padded_length;
};

Axis pool_axis(std::string_view op, const Tensor& x, std::int64_t extent, std::int64_t kernel,
               std::int64_t stride, std::int64_t padding, std::int64_t dilation, bool ceil_mode) {
  const auto fail = [&](std::string_view problem) {
    return Error(op, problem)
        .shape("input", x, "(N, C, H, W)")
        .fact("kernel", to_text(kernel))
        .fact("stride", to_text(stride))
        .fact("padding", to_text(padding))
        .fact("dilation", to_text(dilation));
  };
  if (kernel < 1 || stride < 1 || dilation < 1 || padding < 0)
    throw fail("kernel, stride and dilation must be at least 1, padding at least 0");
  if (2 * padding > kernel)
    throw fail("padding must be at most half the kernel, else a window could see padding only");
  const std::int64_t reach = dilation * (kernel - 1) + 1, room = extent + 2 * padding - reach;
  if (room < 0)
    throw fail(
        format("a window of {} does not fit into {} padded elements", reach, extent + 2 * padding));
  std::int64_t count = (ceil_mode ? room + stride - 1 : room) / stride + 1;
  if (ceil_mode && (count - 1) * stride >= extent + padding)
    --count;  // the last window must start inside the image or the left padding
  Axis axis;
  axis.windows.step = dilation;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t begin = i * stride - padding;
    const std::int64_t end = begin + reach;
    axis.padded_length.push_back(std::min(end, extent + padding) - begin);
    while (begin < 0) begin += dilation;
    if (begin >= extent) throw fail("a window would see padding only");
    axis.windows.begin.push_back(static_cast<std::int32_t>(begin));
    axis.windows.end.push_back(static_cast<std::int32_t>(std::min(end, extent)));
  }
  return axis;
}

Windows adaptive_windows(std::string_view op, const Tensor& x, std::int64_t extent,
                         std::int64_t outputs) {
  if (outputs < 1 || extent < 1)
    throw Error(op, "cannot pool extent {} to {}", extent, outputs)
        .shape("input", x, "(N, C, H, W)");
  Windows windows;
  for (std::int64_t i = 0; i < outputs; ++i) {
    windows.begin.push_back(static_cast<std::int32_t>(i * extent / outputs));
    windows.end.push_back(static_cast<std::int32_t>(((i + 1) * extent + outputs - 1) / outputs));
  }
  return windows;
}

/// Averages windows; `lengths` overrides what to divide by.
Taps averaging(std::int64_t extent, const Windows& windows,
               const std::vector<std::int64_t>* lengths = nullptr) {
  Taps taps;
  taps.inputs = extent;
  for (std::size_t i = 0; i < windows.begin.size(); ++i) {
    const double length =
        static_cast<double>(lengths ? (*lengths)[i] : windows.end[i] - windows.begin[i]);
    for (std::int32_t at = windows.begin[i]; at < windows.end[i]; ++at) taps.add(at, 1 / length);
    taps.next();
  }
  return taps;
}

// Max pooling reads one element per window, at positions that its gradient treats as fixed: pick ⇄
// place, each the transpose of the other.
using Positions = std::shared_ptr<Scratch<std::int32_t>>;

constexpr std::int64_t kGrain = 1 << 13;  // numbers per chunk: about 10 µs of gathering

Tensor place(const Tensor& g, const Positions& positions, const Shape& shape);

Tensor pick(const Tensor& x, const Positions& positions, const Shape& shape) {
  Tensor y = Tensor::empty(shape);
  const std::int64_t image = x.dim(-2) * x.dim(-1), out = shape[-2] * shape[-1];
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  for_rows(
      planes(x), out,
      [=, at = positions->data()](std::int64_t plane) {
        for (std::int64_t i = plane * out; i < (plane + 1) * out; ++i)
          to[i] = from[plane * image + at[i]];
      },
      kGrain);
  return record("pick", {x}, y,
                [positions, from_shape = x.shape()](const Tensor& g, const Needs&) -> Grads {
                  return {place(g, positions, from_shape)};
                });
}

Tensor place(const Tensor& g, const Positions& positions, const Shape& shape) {
  Tensor x = Tensor::empty(shape);
  const std::int64_t image = shape[-2] * shape[-1], out = g.dim(-2) * g.dim(-1);
  const Real* from = g.data().data();
  Real* to = x.mutable_data().data();
  for_rows(
      planes(g), image,
      [=, at = positions->data()](std::int64_t plane) {
        std::fill_n(to + plane * image, image, Real(0));
        for (std::int64_t i = plane * out; i < (plane + 1) * out; ++i)
          to[plane * image + at[i]] += from[i];
      },
      kGrain);
  return record("place", {g}, x,
                [positions, from_shape = g.shape()](const Tensor& h, const Needs&) -> Grads {
                  return {pick(h, positions, from_shape)};
                });
}

Tensor max_pool(std::string_view op, const Tensor& x, const Windows& rows, const Windows& columns) {
  const Shape shape = x.shape()
                          .with(-2, static_cast<std::int64_t>(rows.begin.size()))
                          .with(-1, static_cast<std::int64_t>(columns.begin.size()));
  Tensor y = Tensor::empty(shape);
  const auto positions = std::make_shared<Scratch<std::int32_t>>(y.size());
  kernels::max_windows(x.data().data(), y.mutable_data().data(), positions->data(), planes(x),
                       x.dim(-2), x.dim(-1), rows, columns);
  return record(op, {x}, y, [positions, from = x.shape()](const Tensor& g, const Needs&) -> Grads {
    return {place(g, positions, from)};
  });
}

std::int64_t or_kernel(int stride, int kernel) { return stride == 0 ? kernel : stride; }

}  // namespace

Tensor max_pool2d(const Tensor& x, const PoolGeometry& geometry) {
  check_image("max_pool2d", x);
  const auto& [k, s, p, d, ceil_mode] = geometry;
  const Axis rows =
      pool_axis("max_pool2d", x, x.dim(-2), k.h, or_kernel(s.h, k.h), p.h, d.h, ceil_mode);
  const Axis columns =
      pool_axis("max_pool2d", x, x.dim(-1), k.w, or_kernel(s.w, k.w), p.w, d.w, ceil_mode);
  return max_pool("max_pool2d", x, rows.windows, columns.windows);
}

Tensor avg_pool2d(const Tensor& x, const PoolGeometry& geometry, bool count_include_pad) {
  check_image("avg_pool2d", x);
  const auto& [k, s, p, d, ceil_mode] = geometry;
  if (d.h != 1 || d.w != 1) throw Error("avg_pool2d", "dilation is not defined for averages");
  const Axis rows =
      pool_axis("avg_pool2d", x, x.dim(-2), k.h, or_kernel(s.h, k.h), p.h, 1, ceil_mode);
  const Axis columns =
      pool_axis("avg_pool2d", x, x.dim(-1), k.w, or_kernel(s.w, k.w), p.w, 1, ceil_mode);
  return mix("avg_pool2d", x,
             {averaging(x.dim(-2), rows.windows, count_include_pad ? &rows.padded_length : nullptr),
              averaging(x.dim(-1), columns.windows,
                        count_include_pad ? &columns.padded_length : nullptr)});
}

Tensor adaptive_avg_pool2d(const Tensor& x, Pair size) {
  check_image("adaptive_avg_pool2d", x);
  return mix("adaptive_avg_pool2d", x,
             {averaging(x.dim(-2), adaptive_windows("adaptive_avg_pool2d", x, x.dim(-2), size.h)),
              averaging(x.dim(-1), adaptive_windows("adaptive_avg_pool2d", x, x.dim(-1), size.w))});
}

Tensor adaptive_max_pool2d(const Tensor& x, Pair size) {
  check_image("adaptive_max_pool2d", x);
  return max_pool("adaptive_max_pool2d", x,
                  adaptive_windows("adaptive_max_pool2d", x, x.dim(-2), size.h),
                  adaptive_windows("adaptive_max_pool2d", x, x.dim(-1), size.w));
}

Tensor global_avg_pool2d(const Tensor& x) {
  if (x.rank() != 4)
    throw Error("global_avg_pool2d", "needs (N, C, H, W), the input has {} axes", x.rank())
        .shape("input", x);
  return mean(x, {2, 3});
}

Resample resample_mode(std::string_view name) {
  if (name == "nearest") return Resample::kNearest;
  if (name == "bilinear") return Resample::kBilinear;
  throw Error("upsample", "there is no mode \"{}\"", name).hint("use nearest or bilinear");
}

namespace {

Taps resampling(std::int64_t in, std::int64_t out, Resample mode, bool align_corners) {
  Taps taps;
  taps.inputs = in;
  for (std::int64_t i = 0; i < out; ++i) {
    if (mode == Resample::kNearest) {
      taps.add(std::min(i * in / out, in - 1), 1);
    } else {
      const double at =
          align_corners
              ? (out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0)
              : std::max(0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(in) /
                                      static_cast<double>(out) -
                                  0.5);
      const std::int64_t low = std::min(static_cast<std::int64_t>(at), in - 1),
                         high = std::min(low + 1, in - 1);
      const double share = at - static_cast<double>(low);
      if (high == low) {
        taps.add(low, 1);
      } else {
        taps.add(low, 1 - share);
        taps.add(high, share);
      }
    }
    taps.next();
  }
  return taps;
}

}  // namespace

Tensor upsample(const Tensor& x, Pair size, Resample mode, bool align_corners) {
  check_image("upsample", x);
  if (size.h < 1 || size.w < 1 || x.dim(-2) < 1 || x.dim(-1) < 1) {
    throw Error("upsample", "cannot resample {} × {} to {} × {}", x.dim(-2), x.dim(-1), size.h,
                size.w)
        .shape("input", x);
  }
  return mix("upsample", x,
             {resampling(x.dim(-2), size.h, mode, align_corners),
              resampling(x.dim(-1), size.w, mode, align_corners)});
}

}  // namespace tapestry
