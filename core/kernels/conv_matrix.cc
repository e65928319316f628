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
// Taps that do not overlap, as of patches or of a 1 × 1 kernel with stride 2, do not copy a pixel
// twice, however many there are. Then there is a product for each image, all of them with the same
// packed weights, a few images at a time so that their columns stay in a cache; what comes out
// lies as it should. A 1 × 1 kernel with stride 1 makes an image its own matrix of columns, and
// nothing is copied.

constexpr std::int64_t kGrain = 20'000;  // numbers copied, about 10 µs
// Columns, beyond which they would take too much of the third-level cache.
constexpr std::int64_t kColumnBytes = 16 << 20;
// Columns of images that are multiplied together: they stay in the cache.
constexpr std::int64_t kGroupBytes = 2 << 20;
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

/// The pixels that a tap reads.
Window tap_window(const ConvShape& s, std::int64_t tap) {
  return {s.height,
          s.width,
          tap / s.kernel_w * s.dilation_h - s.padding_h,
          tap % s.kernel_w * s.dilation_w - s.padding_w,
          s.stride_h,
          s.stride_w,
          s.out_h(),
          s.out_w()};
}

// In a row of the image, the taps of a pixel are followed by those of the next.
void copy_patches(const ConvShape& s, const Real* x, Real* columns) {
  const Sizes size(s);
  const std::int64_t out_w = s.out_w(), step = s.kernel_w * size.all_pixels;
  parallel_for(s.channels * s.kernel_h, ceil_div(kGrain, step),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const std::int64_t c = row / s.kernel_h, a = row % s.kernel_h;
                   Real* to = columns + row * step;
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

/// columns[(channel, tap)][(image, pixel)].
void copy_columns(const ConvShape& s, const Real* x, Real* columns) {
  // Every other number of a long row is read in vectors.
  const bool every_other = s.kernel_w == 2 && s.out_w() >= tile_shape().lanes;
  if (is_cut_into_patches(s) && !every_other) return copy_patches(s, x, columns);
  const Sizes size(s);
  parallel_for(s.channels, ceil_div(kGrain, size.taps * size.all_pixels),
               [&](std::int64_t begin, std::int64_t end) {
                 Real* to = columns + begin * size.taps * size.all_pixels;
                 for (std::int64_t c = begin; c < end; ++c) {
                   for (std::int64_t t = 0; t < size.taps; ++t, to += size.all_pixels) {
                     copy_windows(tap_window(s, t), s.n, x + c * s.height * s.width,
                                  s.channels * s.height * s.width, to, size.pixels);
                   }
                 }
               });
}

/// The same, or one image that is its own columns.
class Columns {
 public:
  Columns(const ConvShape& s, const Real* x)
      : copy_(as_it_lies(s) ? 1 : Sizes(s).depth * Sizes(s).all_pixels), data_(x) {
    if (as_it_lies(s)) return;
    copy_columns(s, x, copy_.data());
    data_ = copy_.data();
  }
  const Real* data() const { return data_; }

 private:
  static bool as_it_lies(const ConvShape& s) { return s.n == 1 && lies_as_columns(s); }

  Scratch<Real> copy_;
  const Real* data_;
};

/// The adjoint of copy_patches() for one channel of an image: from taps (tap, pixel), each `apart`
/// numbers from the one before.
void place_patches(const ConvShape& s, const Real* taps, std::int64_t apart, Real* to) {
  for (std::int64_t row = 0; row < s.out_h() * s.kernel_h; ++row) {
    transpose(taps + row % s.kernel_h * s.kernel_w * apart + row / s.kernel_h * s.out_w(), apart,
              s.kernel_w, s.out_w(), to + row * s.width, s.kernel_w);
  }
}

/// The adjoint of copy_columns(), plus bias, for columns[(channel, tap)][(image, pixel)] or,
/// by_pixel, columns[(image, pixel)][(channel, tap)].
void add_up_columns(const ConvShape& s, const Real* columns, bool by_pixel, const Real* bias,
                    Real* dx) {
  // Numbers of an image's channels that are added up together: they stay in the first-level cache.
  constexpr std::int64_t kTogether = 4096;
  const Sizes size(s);
  const bool patches = is_cut_into_patches(s);
  const bool clear = !patches || s.height % s.kernel_h != 0 || s.width % s.kernel_w != 0;
  const std::int64_t plane = s.height * s.width, apart = by_pixel ? size.pixels : size.all_pixels,
                     most = std::clamp<std::int64_t>(
                         kTogether / std::max(plane, size.taps * size.pixels), 1, s.channels),
                     parts = ceil_div(s.channels, most);
  parallel_for(s.n * parts, ceil_div(kGrain, most * size.taps * size.pixels),
               [&](std::int64_t begin, std::int64_t end) {
                 Scratch<Real> turned(by_pixel ? most * size.taps * size.pixels : 1);  // (k, pixel)
                 for (std::int64_t item = begin; item < end; ++item) {
                   const std::int64_t n = item / parts, c0 = item % parts * most,
                                      channels = std::min(most, s.channels - c0);
                   const Real* taps = columns + c0 * size.taps * size.all_pixels + n * size.pixels;
                   if (by_pixel) {
                     transpose(columns + n * size.pixels * size.depth + c0 * size.taps, size.depth,
                               size.pixels, channels * size.taps, turned.data(), size.pixels);
                     taps = turned.data();
                   }
                   Real* to = dx + (n * s.channels + c0) * plane;
                   if (clear) std::fill_n(to, channels * plane, Real(0));
                   for (std::int64_t c = 0; patches && c < channels; ++c)
                     place_patches(s, taps + c * size.taps * apart, apart, to + c * plane);
                   for (std::int64_t t = 0; !patches && t < size.taps; ++t) {
                     add_windows(tap_window(s, t), channels, taps + t * apart, size.taps * apart,
                                 to, plane);
                   }
                   for (std::int64_t c = 0; bias != nullptr && c < channels; ++c) {
                     for (std::int64_t i = c * plane; i < (c + 1) * plane; ++i)
                       to[i] += bias[c0 + c];
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

/// One image's matrix, of which a row has a number for each pixel, and how far the next row and the
/// next image's matrix are.
template <class T>
struct Images {
  T* data;
  std::int64_t row, image;
};
template <class T>
Images<T> channels_of(const ConvShape& s, std::int64_t channels, T* data) {
  const std::int64_t pixels = Sizes(s).pixels;
  return {data, pixels, channels * pixels};
}
template <class T>
Images<T> columns_of(const ConvShape& s, T* data) {
  const Sizes size(s);
  return {data, size.all_pixels, size.pixels};
}

/// Of an image's columns.
std::int64_t image_bytes(const ConvShape& s) {
  const Sizes size(s);
  return size.depth * size.pixels * static_cast<std::int64_t>(sizeof(Real));
}

/// visit(shape of some images, the first one), a group after the other, the columns of which stay
/// in a cache.
template <class Visit>
void each_group(const ConvShape& s, Visit visit) {
  const std::int64_t images =
      lies_as_columns(s) ? s.n : std::max<std::int64_t>(kGroupBytes / image_bytes(s), 1);
  for (std::int64_t first = 0; first < s.n; first += images) {
    ConvShape part = s;
    part.n = std::min(images, s.n - first);
    visit(part, first);
  }
}

/// The products of one matrix with each image's.
void multiply_images(const ConvShape& s, GemmShape shape, const Real* matrix,
                     const Images<const Real>& from, const Images<Real>& to) {
  shape.n = Sizes(s).pixels;
  shape.ldb = from.row;
  shape.ldc = to.row;
  std::vector<GemmOperands> images;
  for (std::int64_t n = 0; n < s.n; ++n)
    images.push_back({matrix, from.data + n * from.image, to.data + n * to.image});
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

/// Cycles of a product for each image.
double images_cost(const ConvShape& s) {
  const Sizes size(s);
  const std::int64_t lanes = tile_shape().lanes;
  const bool whole = lies_as_columns(s);
  if (s.groups != 1 || size.pixels < lanes || (!whole && image_bytes(s) > kColumnBytes))
    return std::numeric_limits<double>::infinity();
  const auto weights = static_cast<double>(s.w_size()),
             pixels = static_cast<double>(size.all_pixels);
  const double cut_vectors = size.pixels % lanes == 0 ? 0 : static_cast<double>(s.n);
  // Two vectors of products per cycle, of which 89 % are reached, 0.7 per weight, 0.1 per number of
  // either operand, and 40 for each row of one that ends within a vector; 2 for each number of the
  // columns that is copied or added up. Measured.
  return weights * (0.7 + 0.56 * static_cast<double>(s.n * ceil_div(size.pixels, lanes))) +
         static_cast<double>(size.depth + s.out_channels) * (0.1 * pixels + 40 * cut_vectors) +
         (whole ? 0 : 2 * pixels * static_cast<double>(size.depth));
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

/// The same for an input gradient, which turns these columns around to add them up, 1 for each
/// number; those of an image it adds up as they lie. Measured.
double columns_input_cost(const ConvShape& s) {
  const Sizes size(s);
  return columns_cost(s) +
         (lies_as_columns(s) ? 0 : static_cast<double>(size.depth * size.all_pixels));
}

}  // namespace

double matrix_cost(const ConvShape& s) { return std::min(images_cost(s), columns_cost(s)); }

double matrix_input_cost(const ConvShape& s) {
  // Windows that overlap are added up in an image that is cleared before. Measured.
  const double clearing =
      lies_as_columns(s) || is_cut_into_patches(s) ? 0 : 0.6 * static_cast<double>(s.x_size());
  return std::min(images_cost(s), columns_input_cost(s)) + clearing;
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
  const Sizes size(s);
  if (images_cost(s) < columns_cost(s)) {
    return each_group(s, [&](const ConvShape& part, std::int64_t first) {
      const bool whole = lies_as_columns(s);
      const Real* from = x + first * s.channels * s.height * s.width;
      Scratch<Real> columns(whole ? 1 : size.depth * Sizes(part).all_pixels);
      if (!whole) copy_columns(part, from, columns.data());
      multiply_images(
          part, {.m = s.out_channels, .k = size.depth, .row_bias = bias}, weight,
          whole ? channels_of(s, s.channels, from) : columns_of<const Real>(part, columns.data()),
          channels_of(s, s.out_channels, y + first * s.out_channels * size.pixels));
    });
  }
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
  const Sizes size(s);
  const bool whole = lies_as_columns(s);
  if (images_cost(s) < columns_input_cost(s)) {
    return each_group(s, [&](const ConvShape& part, std::int64_t first) {
      Real* to = dx + first * s.channels * s.height * s.width;
      Scratch<Real> columns(whole ? 1 : size.depth * Sizes(part).all_pixels);
      multiply_images(part,
                      {.m = size.depth,
                       .k = s.out_channels,
                       .transpose_a = true,
                       .row_bias = whole ? bias : nullptr},
                      weight,
                      channels_of(s, s.out_channels, g + first * s.out_channels * size.pixels),
                      whole ? channels_of(s, s.channels, to) : columns_of(part, columns.data()));
      if (!whole) add_up_columns(part, columns.data(), false, bias, to);
    });
  }
  const Merged merged(s.n, s.out_channels, size.pixels, g);
  Scratch<Real> columns(size.all_pixels * size.depth);  // (pixel, k)
  gemm({.m = size.all_pixels,
        .n = size.depth,
        .k = s.out_channels,
        .transpose_a = true,
        .column_bias = whole ? bias : nullptr},
       merged.data(), weight, columns.data());
  if (whole) {
    turn_images(s.n, size.pixels, s.channels, columns.data(), dx);
  } else {
    add_up_columns(s, columns.data(), true, bias, dx);
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
