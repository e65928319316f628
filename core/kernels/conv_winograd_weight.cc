#include <algorithm>
#include <limits>
#include <vector>

#include "core/kernels/conv_transform.h"
#include "core/kernels/conv_winograd.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Transformed g and x of one batch of tiles, shared by all threads: a part of the third-level
// cache. The more tiles, the less often the sums are loaded and stored.
constexpr std::int64_t kBatchBytes = 6 << 20;
constexpr std::int64_t kMostTiles =
    512;  // in a batch; bounds the rounding error of a block of the sum
constexpr std::int64_t kPanelBytes = 128
                                     << 10;   // of transformed g, used in turn: second-level cache
constexpr std::int64_t kChunkWork = 500'000;  // multiply-adds, about 10 µs

/// w' = Gᵀ [ Σ_tiles (A g Aᵀ) ⊙ (Bᵀ x B) ] G. Vectors run along channels, so pixels come first and
/// channels last in the copies of x and g, and the n² products have tiles as their inner dimension.
class WinogradWeight {
 public:
  WinogradWeight(const ConvShape& s, Scheme scheme)
      : s_(s),
        st_(forward_stencil(s)),
        scheme_(scheme),
        size_(scheme_size(scheme)),
        tile_(tile_shape()),
        cut_(st_.out_channels, tile_.max_rows),
        products_(size_.n * size_.n),
        tile_rows_(ceil_div(st_.out_h, size_.m)),
        tile_columns_(ceil_div(st_.out_w, size_.m)) {
    auto found = filters(st_, st_.passes.front(), size_.r);
    if (!found || found->empty()) return;
    filters_ = std::move(*found);
    possible_ = true;
    inputs_ = ceil_div(st_.in_channels, tile_.lanes) * tile_.lanes;
    outputs_ = ceil_div(st_.out_channels, tile_.lanes) * tile_.lanes;
    x_row_ = spread(inputs_ * static_cast<std::int64_t>(filters_.size()));
    g_row_ = spread(outputs_);
    y0_ = x0_ = std::numeric_limits<std::int64_t>::max();
    std::int64_t y1 = 0, x1 = 0;
    for (const Filter& f : filters_) {
      y0_ = std::min(y0_, origin_y(f));
      x0_ = std::min(x0_, origin_x(f));
      y1 = std::max(y1, origin_y(f));
      x1 = std::max(x1, origin_x(f));
    }
    wide_ = (tile_columns_ * size_.m - size_.m + size_.n - 1) * s.stride_w + 1 + x1 - x0_;
    high_ = (size_.n - 1) * s.stride_h + 1 + y1 - y0_;
  }

  /// Expected time in cycles, infinite when the scheme does not apply.
  double cost() const {
    if (!possible_) return std::numeric_limits<double>::infinity();
    const auto lanes = static_cast<double>(tile_.lanes), products = static_cast<double>(products_);
    const auto tiles = static_cast<double>(s_.n * tile_rows_ * tile_columns_);
    const auto in = static_cast<double>(inputs_) * static_cast<double>(filters_.size());
    const auto out = static_cast<double>(st_.out_channels);
    return static_cast<double>(st_.groups) * products / lanes *
           (tiles *
                (in * out * kProductCost + (in + static_cast<double>(outputs_)) * kTransformCost) +
            in * out * kSumCost);
  }

  void run(const Real* g, const Real* x, Real* dw) const {
    const std::int64_t tile_bytes =
        products_ * (x_row_ + g_row_) * static_cast<std::int64_t>(sizeof(Real));
    // Whole rows of tiles.
    const std::int64_t rows = s_.n * tile_rows_;
    const std::int64_t batch = std::clamp<std::int64_t>(
        std::min(kBatchBytes / tile_bytes, kMostTiles) / tile_columns_, 1, rows);
    const std::int64_t batch_rows = ceil_div(rows, ceil_div(rows, batch));
    const std::int64_t tiles = batch_rows * tile_columns_;
    const std::int64_t x_stride = spread(tiles * x_row_), g_stride = spread(tiles * g_row_);
    const std::int64_t sum_stride = spread(st_.out_channels * x_row_);
    Scratch<Real> xs(products_ * x_stride + tile_.lanes), gs(products_ * g_stride + tile_.lanes),
        sums(products_ * sum_stride);
    for (std::int64_t group = 0; group < st_.groups; ++group) {
      for (std::int64_t row = 0; row < rows; row += batch_rows) {
        const std::int64_t count = std::min(batch_rows, rows - row);
        const std::int64_t numbers =
            tile_columns_ * products_ *
            (inputs_ * static_cast<std::int64_t>(filters_.size()) + outputs_);
        parallel_for(count, ceil_div(20'000, numbers), [&](std::int64_t begin, std::int64_t end) {
          Scratch<Real> pixels(
              std::max(high_ * wide_ * inputs_, size_.m * tile_columns_ * size_.m * outputs_));
          for (std::int64_t i = begin; i < end; ++i) {
            load_x(group, row + i, x, pixels.data(), xs.data() + i * tile_columns_ * x_row_,
                   x_stride);
            load_g(group, row + i, g, pixels.data(), gs.data() + i * tile_columns_ * g_row_,
                   g_stride);
          }
        });
        multiply(count * tile_columns_, gs.data(), g_stride, xs.data(), x_stride, sums.data(),
                 sum_stride, row > 0);
      }
      store(sums.data(), sum_stride, dw + group * st_.group_weights());
    }
  }

 private:
  // Cycles: per multiply-add of a vector; for transforming a vector, per product; for a vector of
  // sums. Measured.
  static constexpr double kProductCost = 0.6, kTransformCost = 8, kSumCost = 16;

  // Source row and column of the first pixel of the first tile.
  std::int64_t origin_y(const Filter& f) const {
    return f.dy * st_.in_step_h + st_.planes[static_cast<std::size_t>(f.plane)].row0;
  }
  std::int64_t origin_x(const Filter& f) const {
    return f.dx * st_.in_step_w + st_.planes[static_cast<std::size_t>(f.plane)].column0;
  }

  /// to[(i · width + j) · channels_to + c] = source[c][y0 + i][x0 + j], 0 outside the image.
  void channels_last(const Real* source, std::int64_t channels, std::int64_t image_h,
                     std::int64_t image_w, std::int64_t y0, std::int64_t x0, std::int64_t rows,
                     std::int64_t width, std::int64_t channels_to, Real* to) const {
    const std::int64_t first = std::clamp<std::int64_t>(-x0, 0, width),
                       last = std::clamp(image_w - x0, first, width);
    for (std::int64_t i = 0; i < rows; ++i, to += width * channels_to) {
      const std::int64_t y = y0 + i;
      if (y < 0 || y >= image_h || channels < channels_to)
        std::fill(to, to + width * channels_to, Real(0));
      if (y < 0 || y >= image_h) continue;
      std::fill(to, to + first * channels_to, Real(0));
      transpose(source + y * image_w + x0 + first, image_h * image_w, channels, last - first,
                to + first * channels_to, channels_to);
      std::fill(to + last * channels_to, to + width * channels_to, Real(0));
    }
  }

  void load_x(std::int64_t group, std::int64_t row, const Real* x, Real* pixels, Real* to,
              std::int64_t stride) const {
    const std::int64_t image = row / tile_rows_, tile_row = row % tile_rows_;
    channels_last(x + (image * st_.groups + group) * st_.in_channels * st_.in_h * st_.in_w,
                  st_.in_channels, st_.in_h, st_.in_w, tile_row * size_.m * s_.stride_h + y0_, x0_,
                  high_, wide_, inputs_, pixels);
    std::vector<std::int32_t> offsets;
    for (std::int64_t i = 0; i < size_.n; ++i) {
      for (std::int64_t j = 0; j < size_.n; ++j) {
        offsets.push_back(
            static_cast<std::int32_t>((i * s_.stride_h * wide_ + j * s_.stride_w) * inputs_));
      }
    }
    std::vector<TileVector> vectors;
    for (std::int64_t t = 0; t < tile_columns_; ++t) {
      std::int64_t k = t * x_row_;
      for (const Filter& f : filters_) {
        const std::int64_t in =
            ((origin_y(f) - y0_) * wide_ + origin_x(f) - x0_ + t * size_.m * s_.stride_w) * inputs_;
        for (std::int64_t c = 0; c < inputs_; c += tile_.lanes, k += tile_.lanes)
          vectors.push_back({in + c, k});
      }
    }
    transform_input(scheme_, pixels, offsets.data(), vectors.data(),
                    static_cast<std::int64_t>(vectors.size()), to, stride);
  }

  void load_g(std::int64_t group, std::int64_t row, const Real* g, Real* pixels, Real* to,
              std::int64_t stride) const {
    const std::int64_t image = row / tile_rows_, tile_row = row % tile_rows_,
                       width = tile_columns_ * size_.m;
    channels_last(g + (image * st_.groups + group) * st_.out_channels * st_.out_h * st_.out_w,
                  st_.out_channels, st_.out_h, st_.out_w, tile_row * size_.m, 0, size_.m, width,
                  outputs_, pixels);
    std::vector<std::int32_t> offsets;
    for (std::int64_t i = 0; i < size_.m; ++i) {
      for (std::int64_t j = 0; j < size_.m; ++j)
        offsets.push_back(static_cast<std::int32_t>((i * width + j) * outputs_));
    }
    std::vector<TileVector> vectors;
    for (std::int64_t t = 0; t < tile_columns_; ++t) {
      for (std::int64_t o = 0; o < outputs_; o += tile_.lanes)
        vectors.push_back({t * size_.m * outputs_ + o, t * g_row_ + o});
    }
    transform_gradient(scheme_, pixels, offsets.data(), vectors.data(),
                       static_cast<std::int64_t>(vectors.size()), to, stride);
  }

  void multiply(std::int64_t tiles, const Real* gs, std::int64_t g_stride, const Real* xs,
                std::int64_t x_stride, Real* sums, std::int64_t sum_stride, bool accumulate) const {
    std::vector<std::int32_t> offsets;
    for (std::int64_t t = 0; t < tiles; ++t)
      offsets.push_back(static_cast<std::int32_t>(t * x_row_));
    std::vector<Slot> slots;
    const std::int64_t columns = inputs_ * static_cast<std::int64_t>(filters_.size());
    for (std::int64_t k = 0; k < columns; k += tile_.lanes) slots.push_back({k, k, nullptr});
    const std::int64_t bytes = cut_.max_height() * tiles * static_cast<std::int64_t>(sizeof(Real));
    const std::int64_t panels = std::clamp<std::int64_t>(kPanelBytes / bytes, 1, cut_.count),
                       blocks = ceil_div(cut_.count, panels);
    const std::int64_t work = std::max<std::int64_t>(
        tiles * columns * std::min(st_.out_channels, panels * cut_.max_height()), 1);
    parallel_for(products_ * blocks, ceil_div(kChunkWork, work),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t xi = i / blocks;
                     TileJob job;
                     job.rows = st_.out_channels;
                     job.depth = tiles;
                     job.a = gs + xi * g_stride;
                     job.a_step = g_row_;
                     job.b = xs + xi * x_stride;
                     job.offsets = offsets.data();
                     job.slots = slots.data();
                     job.slot_count = static_cast<std::int64_t>(slots.size());
                     job.c = sums + xi * sum_stride;
                     job.c_stride = x_row_;
                     job.accumulate = accumulate;
                     job.first_panel = i % blocks * panels;
                     job.last_panel = std::min(cut_.count, job.first_panel + panels);
                     run_tiles(job);
                   }
                 });
  }

  void store(const Real* sums, std::int64_t sum_stride, Real* dw) const {
    const std::int64_t kernel = st_.weight_channel;
    // A filter's taps lie equally far apart in each filter: those of one plane are a stride apart.
    std::vector<std::int32_t> offsets;
    for (const std::int64_t tap : filters_.front().weight)
      offsets.push_back(static_cast<std::int32_t>((tap - filters_.front().weight[0]) * inputs_));
    std::vector<TileVector> vectors;
    std::int64_t k = 0;
    for (const Filter& filter : filters_) {
      for (std::int64_t c = 0; c < inputs_; c += tile_.lanes, k += tile_.lanes)
        vectors.push_back({k, filter.weight[0] * inputs_ + c});
    }
    parallel_for(st_.out_channels, ceil_div(20'000, k * products_),
                 [&](std::int64_t begin, std::int64_t end) {
                   Scratch<Real> taps(kernel * inputs_);  // of one output channel, channels last
                   for (std::int64_t o = begin; o < end; ++o) {
                     transform_weight_gradient(
                         scheme_, sums + o * x_row_, sum_stride, vectors.data(),
                         static_cast<std::int64_t>(vectors.size()), offsets.data(), taps.data());
                     transpose(taps.data(), inputs_, kernel, st_.in_channels,
                               dw + o * st_.weight_row, kernel);
                   }
                 });
  }

  const ConvShape& s_;
  const Stencil st_;
  const Scheme scheme_;
  const SchemeSize size_;
  const TileShape tile_;
  const PanelCut cut_;
  const std::int64_t products_, tile_rows_, tile_columns_;
  std::vector<Filter> filters_;
  bool possible_ = false;
  std::int64_t inputs_ = 0, outputs_ = 0;               // channels, rounded up to whole vectors
  std::int64_t x_row_ = 0, g_row_ = 0;                  // from one tile to the next
  std::int64_t y0_ = 0, x0_ = 0, wide_ = 0, high_ = 0;  // the pixels of x under a row of tiles
};

struct Choice {
  Scheme scheme;
  double cost;
};

Choice choose(const ConvShape& s) {
  Choice best{Scheme::k4x3, std::numeric_limits<double>::infinity()};
  for (const Scheme scheme : {Scheme::k4x3, Scheme::k2x3, Scheme::k4x2}) {
    const double cost = WinogradWeight(s, scheme).cost();
    if (cost < best.cost) best = {scheme, cost};
  }
  return best;
}

}  // namespace

double winograd_weight_cost(const ConvShape& shape) { return choose(shape).cost; }

void run_winograd_weight(const ConvShape& shape, const Real* g, const Real* x, Real* dw) {
  WinogradWeight(shape, choose(shape).scheme).run(g, x, dw);
}

}  // namespace tapestry::kernels
