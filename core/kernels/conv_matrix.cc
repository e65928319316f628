#include "core/kernels/conv_matrix.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_window.h"
#include "core/kernels/gemm.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

// Note [Few pixels, many weights]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// im2col copies each pixel once for each tap, which is a waste where there are many pixels. But the
// last layers of a classifier and the innermost ones of a U-Net have a million weights for 1 to 200
// pixels. There the weights are what must be touched as rarely as possible, and in the three
// products with the matrix of columns
//
//   y (o, pixel) = Σ w (o, k) · columns (k, pixel),  columns' gradient = wᵀ · g,  dw = g · columnsᵀ
//
// with k = (channel, tap), they are read, or written, once and as they lie in memory.
//
// A 1 × 1 kernel makes an image its own matrix of columns, however many pixels it has. Then nothing
// is copied: one product for each image, all of them with the same weights.

constexpr std::int64_t kGrain = 20'000;  // numbers copied, about 10 µs
// Columns, beyond which they would take too much of the third-level cache.
constexpr std::int64_t kColumnBytes = 16 << 20;
// Pixels of an image, from which on its part of a weight's gradient is a product of its own:
// loading and storing the sums takes a tenth of the time.
constexpr std::int64_t kLongSum = 128;

struct Sizes {
  explicit Sizes(const ConvShape& s)
      : pixels(s.out_h() * s.out_w()),
        all_pixels(s.n * pixels),
        taps(s.kernel_h * s.kernel_w),
        depth(s.channels * taps) {}
  const std::int64_t pixels, all_pixels, taps, depth;
};

/// Whether an image is its own matrix of columns.
bool lies_as_columns(const ConvShape& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
         s.padding_h == 0 && s.padding_w == 0;
}

/// Whether each pixel of the image belongs to one window at most, of which rows are neighbors.
bool is_cut_into_patches(const ConvShape& s) {
  return s.kernel_h == s.stride_h && s.kernel_w == s.stride_w && s.padding_h == 0 &&
         s.padding_w == 0 && s.dilation_h == 1 && s.dilation_w == 1;
}

/// (image, channel, pixel) to (channel, image, pixel), a matrix with all images' pixels in a row.
/// One image is that already.
class Merged {
 public:
  Merged(std::int64_t images, std::int64_t channels, std::int64_t pixels, const Real* from)
      : copy_(images == 1 ? 1 : images * channels * pixels), data_(from) {
    if (images == 1) return;
    parallel_for(channels, ceil_div(kGrain, images * pixels),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t c = begin; c < end; ++c) {
                     for (std::int64_t n = 0; n < images; ++n) {
                       std::copy_n(from + (n * channels + c) * pixels, pixels,
                                   copy_.data() + (c * images + n) * pixels);
                     }
                   }
                 });
    data_ = copy_.data();
  }
  const Real* data() const { return data_; }

 private:
  Scratch<Real> copy_;
  const Real* data_;
};

/// columns[(channel, tap)][(image, pixel)].
class Columns {
 public:
  Columns(const ConvShape& s, const Real* x)
      : copy_(as_it_lies(s) ? 1 : Sizes(s).depth * Sizes(s).all_pixels), data_(x) {
    if (as_it_lies(s)) return;
    data_ = copy_.data();
    if (is_cut_into_patches(s)) {
      turn_patches(s, x);
      return;
    }
    const Sizes size(s);
    parallel_for(s.channels, ceil_div(kGrain, size.taps * size.all_pixels),
                 [&](std::int64_t begin, std::int64_t end) {
                   Real* to = copy_.data() + begin * size.taps * size.all_pixels;
                   for (std::int64_t c = begin; c < end; ++c) {
                     for (std::int64_t t = 0; t < size.taps; ++t) {
                       const Window window{s.height,
                                           s.width,
                                           t / s.kernel_w * s.dilation_h - s.padding_h,
                                           t % s.kernel_w * s.dilation_w - s.padding_w,
                                           s.stride_h,
                                           s.stride_w,
                                           s.out_h(),
                                           s.out_w()};
                       copy_windows(window, s.n, x + c * s.height * s.width,
                                    s.channels * s.height * s.width, to, size.pixels);
                       to += s.n * size.pixels;
                     }
                   }
                 });
  }
  const Real* data() const { return data_; }

 private:
  // In a row of the image, the taps of a pixel are followed by those of the next.
  void turn_patches(const ConvShape& s, const Real* x) {
    const Sizes size(s);
    const std::int64_t out_w = s.out_w(), step = s.kernel_w * size.all_pixels;
    parallel_for(s.channels * s.kernel_h, ceil_div(kGrain, step),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row) {
                     const std::int64_t c = row / s.kernel_h, a = row % s.kernel_h;
                     Real* to = copy_.data() + row * step;
                     for (std::int64_t n = 0; n < s.n; ++n) {
                       const Real* image = x + (n * s.channels + c) * s.height * s.width;
                       for (std::int64_t i = 0; i < s.out_h(); ++i, to += out_w) {
                         transpose(image + (i * s.kernel_h + a) * s.width, s.kernel_w, out_w,
                                   s.kernel_w, to, size.all_pixels);
                       }
                     }
                   }
                 });
  }

  static bool as_it_lies(const ConvShape& s) { return s.n == 1 && lies_as_columns(s); }

  Scratch<Real> copy_;
  const Real* data_;
};

/// From pixels' taps, Sizes::depth apart, to the image.
void place_patches(const ConvShape& s, const Real* from, Real bias, Real* to) {
  const std::int64_t out_h = s.out_h(), out_w = s.out_w(), depth = Sizes(s).depth;
  if (out_h * s.kernel_h < s.height || out_w * s.kernel_w < s.width)
    std::fill_n(to, s.height * s.width, bias);
  for (std::int64_t i = 0; i < out_h; ++i) {
    for (std::int64_t j = 0; j < out_w; ++j, from += depth) {
      Real* corner = to + i * s.kernel_h * s.width + j * s.kernel_w;
      for (std::int64_t a = 0; a < s.kernel_h; ++a) {
        for (std::int64_t b = 0; b < s.kernel_w; ++b)
          corner[a * s.width + b] = from[a * s.kernel_w + b] + bias;
      }
    }
  }
}

/// The adjoint of Columns, plus bias, for columns[(image, pixel)][(channel, tap)].
void add_up_columns(const ConvShape& s, const Real* columns, const Real* bias, Real* dx) {
  const Sizes size(s);
  const std::int64_t out_h = s.out_h(), out_w = s.out_w(), plane = s.height * s.width;
  const std::int64_t items = s.n * s.channels;
  parallel_for(items, ceil_div(kGrain, size.taps * size.pixels),
               [&](std::int64_t begin, std::int64_t end) {
                 Scratch<Real> pixels(size.taps * size.pixels);  // (tap, pixel)
                 for (std::int64_t item = begin; item < end; ++item) {
                   const std::int64_t n = item / s.channels, c = item % s.channels;
                   if (is_cut_into_patches(s)) {
                     place_patches(s, columns + n * size.pixels * size.depth + c * size.taps,
                                   bias == nullptr ? Real(0) : bias[c], dx + item * plane);
                     continue;
                   }
                   transpose(columns + n * size.pixels * size.depth + c * size.taps, size.depth,
                             size.pixels, size.taps, pixels.data(), size.pixels);
                   Real* to = dx + item * plane;
                   std::fill(to, to + plane, bias == nullptr ? Real(0) : bias[c]);
                   for (std::int64_t t = 0; t < size.taps; ++t) {
                     const std::int64_t y0 = t / s.kernel_w * s.dilation_h - s.padding_h,
                                        x0 = t % s.kernel_w * s.dilation_w - s.padding_w;
                     // Columns [first, last) of g reach a pixel inside.
                     const std::int64_t first = x0 >= 0 ? 0 : ceil_div(-x0, s.stride_w);
                     const std::int64_t last =
                         s.width <= x0 ? 0 : std::min(out_w, ceil_div(s.width - x0, s.stride_w));
                     for (std::int64_t i = 0; i < out_h; ++i) {
                       const std::int64_t y = y0 + i * s.stride_h;
                       if (y < 0 || y >= s.height) continue;
                       Real* row = to + y * s.width + x0;
                       const Real* from = pixels.data() + (t * out_h + i) * out_w;
                       for (std::int64_t j = first; j < last; ++j) row[j * s.stride_w] += from[j];
                     }
                   }
                 }
               });
}

/// to[image][row][pixel] = from[image][pixel][row].
void turn_images(std::int64_t images, std::int64_t pixels, std::int64_t rows, const Real* from,
                 Real* to) {
  constexpr std::int64_t kRows = 64;  // of the result, turned at a time
  const std::int64_t parts = ceil_div(rows, kRows);
  parallel_for(images * parts, ceil_div(kGrain, pixels * kRows),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::int64_t at = i / parts * pixels * rows, row = i % parts * kRows;
                   transpose(from + at + row, rows, pixels, std::min(kRows, rows - row),
                             to + at + row * pixels, pixels);
                 }
               });
}

/// The products of one matrix with each image's (rows, pixels).
void multiply_images(const ConvShape& s, GemmShape shape, const Real* matrix, const Real* from,
                     Real* to) {
  shape.n = s.height * s.width;
  std::vector<GemmOperands> images;
  for (std::int64_t n = 0; n < s.n; ++n)
    images.push_back({matrix, from + n * shape.k * shape.n, to + n * shape.m * shape.n});
  gemm_batched(shape, images);
}

/// dw = Σ g · columnsᵀ over `parts` of both, `pixels` in each.
void multiply_pixels(const ConvShape& s, std::int64_t parts, std::int64_t pixels, const Real* g,
                     const Real* columns, Real* dw) {
  const std::int64_t depth = Sizes(s).depth, outputs = s.out_channels;
  // The right operand has to be turned around, which takes longer than a few numbers of the result.
  const bool flip = (depth - outputs) * parts * pixels > 4 * depth * outputs;
  Scratch<Real> turned(flip ? depth * outputs : 1);
  for (std::int64_t i = 0; i < parts; ++i) {
    const Real* g_part = g + i * outputs * pixels;
    const Real* columns_part = columns + i * depth * pixels;
    GemmShape shape{
        .m = outputs, .n = depth, .k = pixels, .transpose_b = true, .accumulate = i > 0};
    if (flip) {
      std::swap(shape.m, shape.n);
      gemm(shape, columns_part, g_part, turned.data());
    } else {
      gemm(shape, g_part, columns_part, dw);
    }
  }
  if (flip) turn_images(1, depth, outputs, turned.data(), dw);
}

/// Cycles of a product for each image, as it lies.
double images_cost(const ConvShape& s) {
  const std::int64_t lanes = tile_shape().lanes, pixels = s.height * s.width;
  if (s.groups != 1 || !lies_as_columns(s) || pixels < lanes)
    return std::numeric_limits<double>::infinity();
  const auto weights = static_cast<double>(s.w_size());
  const double cut_vectors = pixels % lanes == 0 ? 0 : static_cast<double>(s.n);
  // Two vectors of products per cycle, of which 89 % are reached, 0.7 per weight, 0.1 per number of
  // either map, and 40 for each row of one that ends within a vector. Measured.
  return weights * (0.7 + 0.56 * static_cast<double>(s.n * ceil_div(pixels, lanes))) +
         static_cast<double>(s.channels + s.out_channels) *
             (0.1 * static_cast<double>(s.n * pixels) + 40 * cut_vectors);
}

/// Cycles of a product with all images' columns.
double columns_cost(const ConvShape& s) {
  const Sizes size(s);
  if (s.groups != 1 || size.all_pixels == 0 ||
      size.depth * size.all_pixels * static_cast<std::int64_t>(sizeof(Real)) > kColumnBytes)
    return std::numeric_limits<double>::infinity();
  const auto pixels = static_cast<double>(size.all_pixels), depth = static_cast<double>(size.depth),
             outputs = static_cast<double>(s.out_channels);
  // 1.5 per number of the columns and 30 for each window that is copied, 1.2 per number of the
  // result, 0.7 per weight, which comes from memory; two vectors of products per cycle, of which
  // 85 % are reached. Measured.
  return depth * (1.5 * pixels + 30 * static_cast<double>(s.n)) + 1.2 * pixels * outputs +
         depth * outputs * (0.7 + 0.59 * pixels / static_cast<double>(tile_shape().lanes));
}

bool by_image(const ConvShape& s) { return images_cost(s) < columns_cost(s); }

}  // namespace

double matrix_cost(const ConvShape& s) { return std::min(images_cost(s), columns_cost(s)); }

double matrix_input_cost(const ConvShape& s) {
  // Columns are turned around and added up, 1 for each number, and the result is cleared before.
  // Measured.
  const Sizes size(s);
  const double adding = lies_as_columns(s) ? 0
                                           : static_cast<double>(size.depth * size.all_pixels) +
                                                 0.5 * static_cast<double>(s.x_size());
  return std::min(images_cost(s), columns_cost(s) + adding);
}

double matrix_weight_cost(const ConvShape& s) {
  const Sizes size(s);
  if (s.groups != 1 || !lies_as_columns(s) || size.pixels < kLongSum) {
    // g is merged, 1 for each number. Measured.
    return columns_cost(s) + (s.n == 1 ? 0 : static_cast<double>(size.all_pixels * s.out_channels));
  }
  // As above, and 1.5 for each number that is turned around.
  const auto pixels = static_cast<double>(size.all_pixels),
             weights = static_cast<double>(s.w_size());
  return 1.5 * pixels * static_cast<double>(std::min(s.channels, s.out_channels)) +
         weights * (2 + 0.57 * pixels / static_cast<double>(tile_shape().lanes));
}

void run_matrix_forward(const ConvShape& s, const Real* x, const Real* weight, const Real* bias,
                        Real* y) {
  if (by_image(s)) {
    return multiply_images(s, {.m = s.out_channels, .k = s.channels, .row_bias = bias}, weight, x,
                           y);
  }
  const Sizes size(s);
  const Columns columns(s, x);
  Scratch<Real> result(size.all_pixels * s.out_channels);  // (pixel, output channel)
  gemm({.m = size.all_pixels,
        .n = s.out_channels,
        .k = size.depth,
        .transpose_a = true,
        .transpose_b = true,
        .column_bias = bias},
       columns.data(), weight, result.data());
  turn_images(s.n, size.pixels, s.out_channels, result.data(), y);
}

void run_matrix_input_grad(const ConvShape& s, const Real* g, const Real* weight, const Real* bias,
                           Real* dx) {
  if (by_image(s)) {
    return multiply_images(
        s, {.m = s.channels, .k = s.out_channels, .transpose_a = true, .row_bias = bias}, weight, g,
        dx);
  }
  const Sizes size(s);
  const Merged merged(s.n, s.out_channels, size.pixels, g);
  Scratch<Real> columns(size.all_pixels * size.depth);  // (pixel, k)
  const bool whole = lies_as_columns(s);
  gemm({.m = size.all_pixels,
        .n = size.depth,
        .k = s.out_channels,
        .transpose_a = true,
        .column_bias = whole ? bias : nullptr},
       merged.data(), weight, columns.data());
  if (whole) {
    turn_images(s.n, size.pixels, s.channels, columns.data(), dx);
  } else {
    add_up_columns(s, columns.data(), bias, dx);
  }
}

void run_matrix_weight_grad(const ConvShape& s, const Real* g, const Real* x, Real* dw) {
  const Sizes size(s);
  if (lies_as_columns(s) && size.pixels >= kLongSum)
    return multiply_pixels(s, s.n, size.pixels, g, x, dw);
  const Merged merged(s.n, s.out_channels, size.pixels, g);
  const Columns columns(s, x);
  multiply_pixels(s, 1, size.all_pixels, merged.data(), columns.data(), dw);
}

}  // namespace tapestry::kernels
