#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include <hwy/cache_control.h>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_transform.h"
#include "core/kernels/conv_window.h"
#include "core/kernels/conv_winograd.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

// Transformed g and x of one batch of tiles, shared by all threads: a part of the third-level
// cache. The more tiles, the less often the sums are loaded and stored.
constexpr std::int64_t kBatchBytes = 6 << 20;
constexpr std::int64_t kMostTiles =
    512;  // in a batch; bounds the rounding error of a block of the sum
constexpr std::int64_t kPanelBytes = 128
                                     << 10;    // of transformed g, used in turn: second-level cache
constexpr std::int64_t kSumBytes = 512 << 10;  // sums about to become weights: the same cache
constexpr std::int64_t kChunkWork = 500'000;   // multiply-adds, about 10 µs
constexpr std::int64_t kRealBytes = sizeof(Real);

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
        products_(size_.n * size_.n),
        tile_rows_(ceil_div(st_.out_h, size_.m)),
        tile_columns_(ceil_div(st_.out_w, size_.m)) {
    filters_ = filters(st_, 0, 1, size_.r);
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
    place_tiles();
  }

  void run(const Real* g, const Real* x, Real* dw) const {
    // Whole rows of tiles.
    const std::int64_t rows = s_.n * tile_rows_;
    const std::int64_t row_bytes = tile_columns_ * products_ * (x_row_ + g_row_) * kRealBytes;
    const std::int64_t batch = std::clamp<std::int64_t>(
        std::min(kBatchBytes / row_bytes, kMostTiles / tile_columns_), 1, rows);
    const std::int64_t sum_bytes = products_ * st_.out_channels * x_row_ * kRealBytes;
    // With many channels and few tiles the sums are what is large. All tiles at once need none of
    // them longer than it takes to turn them into weights.
    const bool at_once = rows * row_bytes <= batch * row_bytes + sum_bytes;
    const std::int64_t batch_rows = at_once ? rows : ceil_div(rows, ceil_div(rows, batch));
    const std::int64_t tiles = batch_rows * tile_columns_;
    const std::int64_t x_stride = spread(tiles * x_row_), g_stride = spread(tiles * g_row_);
    Scratch<Real> xs(products_ * x_stride + tile_.lanes), gs(products_ * g_stride + tile_.lanes);
    const Products products(*this, {gs.data(), g_stride, xs.data(), x_stride}, tiles);
    const std::int64_t sum_stride = spread(st_.out_channels * x_row_);
    Scratch<Real> sums(at_once ? 0 : products_ * sum_stride);
    for (std::int64_t group = 0; group < st_.groups; ++group) {
      Real* to = dw + group * st_.group_weights();
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
        if (!at_once) {
          products.add_all(count * tile_columns_, sums.data(), sum_stride, row > 0);
        }
      }
      if (at_once) {
        products.store_all(tiles, to);
      } else {
        const std::int64_t work = x_row_ * products_;
        parallel_for(st_.out_channels, ceil_div(20'000, work),
                     [&](std::int64_t begin, std::int64_t end) {
                       store(sums.data() + begin * x_row_, sum_stride, begin, end, to);
                     });
      }
    }
  }

 private:
  // Where in the copies of a row of tiles the transforms read pixels, and where they write.
  void place_tiles() {
    const std::int64_t width = tile_columns_ * size_.m;
    for (std::int64_t i = 0; i < size_.n; ++i) {
      for (std::int64_t j = 0; j < size_.n; ++j) {
        x_offsets_.push_back(
            static_cast<std::int32_t>((i * s_.stride_h * wide_ + j * s_.stride_w) * inputs_));
      }
    }
    for (std::int64_t i = 0; i < size_.m; ++i) {
      for (std::int64_t j = 0; j < size_.m; ++j)
        g_offsets_.push_back(static_cast<std::int32_t>((i * width + j) * outputs_));
    }
    for (std::int64_t t = 0; t < tile_columns_; ++t) {
      std::int64_t k = t * x_row_;
      for (const Filter& f : filters_) {
        const std::int64_t in =
            ((origin_y(f) - y0_) * wide_ + origin_x(f) - x0_ + t * size_.m * s_.stride_w) * inputs_;
        for (std::int64_t c = 0; c < inputs_; c += tile_.lanes, k += tile_.lanes)
          x_vectors_.push_back({in + c, k});
      }
      for (std::int64_t o = 0; o < outputs_; o += tile_.lanes)
        g_vectors_.push_back({t * size_.m * outputs_ + o, t * g_row_ + o});
    }
  }

  // Source row and column of the first pixel of the first tile.
  std::int64_t origin_y(const Filter& f) const {
    return f.dy * st_.in_step_h + st_.planes[static_cast<std::size_t>(f.plane)].row0;
  }
  std::int64_t origin_x(const Filter& f) const {
    return f.dx * st_.in_step_w + st_.planes[static_cast<std::size_t>(f.plane)].column0;
  }

  /// Channels of an image, of which copies have `padded`; and the way from a pixel to that of the
  /// same place in what is copied next.
  struct Channels {
    const Real* source;
    std::int64_t count, height, width, padded, ahead;
  };

  /// to[(i · width + j) · padded + c] = source[c][y0 + i][x0 + j], 0 outside the image.
  void channels_last(const Channels& from, std::int64_t y0, std::int64_t x0, std::int64_t rows,
                     std::int64_t width, Real* to) const {
    const std::int64_t first = std::clamp<std::int64_t>(-x0, 0, width),
                       last = std::clamp(from.width - x0, first, width);
    for (std::int64_t i = 0; i < rows; ++i, to += width * from.padded) {
      const std::int64_t y = y0 + i;
      const bool inside = y >= 0 && y < from.height;
      if (!inside || from.count < from.padded) std::fill(to, to + width * from.padded, Real(0));
      if (!inside) continue;
      std::fill(to, to + first * from.padded, Real(0));
      const Real* row = from.source + y * from.width + x0 + first;
      const std::int64_t channel = from.height * from.width;
      // Channels lie too far apart for the processor to see where reading goes on.
      for (std::int64_t c = 0; c < from.count; ++c) {
        for (std::int64_t j = 0; j < last - first; j += 64 / kRealBytes)
          hwy::Prefetch(row + c * channel + from.ahead + j);
      }
      transpose(row, channel, from.count, last - first, to + first * from.padded, from.padded);
      std::fill(to + last * from.padded, to + width * from.padded, Real(0));
    }
  }

  // From a row of tiles to the next one, which may be another image's.
  std::int64_t ahead(std::int64_t tile_row, std::int64_t row, std::int64_t image) const {
    return tile_row + 1 < tile_rows_ ? row : image - tile_row * row;
  }

  void load_x(std::int64_t group, std::int64_t row, const Real* x, Real* pixels, Real* to,
              std::int64_t stride) const {
    const std::int64_t tile_row = row % tile_rows_, step = size_.m * s_.stride_h,
                       channel = st_.in_h * st_.in_w, of_group = st_.in_channels * channel;
    const Channels from{x + (row / tile_rows_ * st_.groups + group) * of_group,
                        st_.in_channels,
                        st_.in_h,
                        st_.in_w,
                        inputs_,
                        ahead(tile_row, step * st_.in_w, st_.groups * of_group)};
    channels_last(from, tile_row * step + y0_, x0_, high_, wide_, pixels);
    transform_input(scheme_, pixels, x_offsets_.data(), x_vectors_.data(),
                    static_cast<std::int64_t>(x_vectors_.size()), to, stride);
  }

  void load_g(std::int64_t group, std::int64_t row, const Real* g, Real* pixels, Real* to,
              std::int64_t stride) const {
    const std::int64_t tile_row = row % tile_rows_, channel = st_.out_h * st_.out_w,
                       of_group = st_.out_channels * channel;
    const Channels from{g + (row / tile_rows_ * st_.groups + group) * of_group,
                        st_.out_channels,
                        st_.out_h,
                        st_.out_w,
                        outputs_,
                        ahead(tile_row, size_.m * st_.out_w, st_.groups * of_group)};
    channels_last(from, tile_row * size_.m, 0, size_.m, tile_columns_ * size_.m, pixels);
    transform_gradient(scheme_, pixels, g_offsets_.data(), g_vectors_.data(),
                       static_cast<std::int64_t>(g_vectors_.size()), to, stride);
  }

  /// Transformed g and x: the n² matrices, strides apart.
  struct Operands {
    const Real* gs;
    std::int64_t g_stride;
    const Real* xs;
    std::int64_t x_stride;
  };

  /// The n² products of transformed g and x over a batch of tiles.
  class Products {
   public:
    Products(const WinogradWeight& w, const Operands& operands, std::int64_t tiles)
        : w_(w),
          operands_(operands),
          columns_(w.inputs_ * static_cast<std::int64_t>(w.filters_.size())) {
      const std::int64_t most = std::min(tiles, kMostTiles);
      for (std::int64_t t = 0; t < most; ++t)
        offsets_.push_back(static_cast<std::int32_t>(t * w.x_row_));
      for (std::int64_t k = 0; k < columns_; k += w.tile_.lanes) slots_.push_back({k, k, nullptr});
      most_rows_ = rows_in(kPanelBytes, most);
    }

    /// sums[xi][out channel][columns] = or += the products.
    void add_all(std::int64_t tiles, Real* sums, std::int64_t sum_stride, bool accumulate) const {
      const std::int64_t blocks = ceil_div(w_.st_.out_channels, most_rows_),
                         rows = ceil_div(w_.st_.out_channels, blocks);
      parallel_for(w_.products_ * blocks, ceil_div(kChunkWork, tiles * columns_ * rows),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i) {
                       const std::int64_t xi = i / blocks, o = i % blocks * rows;
                       add(xi, o, std::min(w_.st_.out_channels, o + rows), tiles,
                           sums + xi * sum_stride + o * w_.x_row_, accumulate);
                     }
                   });
    }

    /// The weights' gradient, some output channels after the other, whose sums are still in the
    /// second-level cache when they are used.
    void store_all(std::int64_t tiles, Real* dw) const {
      const std::int64_t most = std::min(most_rows_, rows_in(kSumBytes, w_.products_ * w_.x_row_)),
                         blocks = ceil_div(w_.st_.out_channels, most),
                         rows = ceil_div(w_.st_.out_channels, blocks);
      const std::int64_t stride = spread(rows * w_.x_row_);
      parallel_for(blocks, ceil_div(kChunkWork, w_.products_ * tiles * columns_ * rows),
                   [&](std::int64_t begin, std::int64_t end) {
                     Scratch<Real> sums(w_.products_ * stride);
                     for (std::int64_t i = begin; i < end; ++i) {
                       const std::int64_t o = i * rows,
                                          o1 = std::min(w_.st_.out_channels, o + rows);
                       for (std::int64_t xi = 0; xi < w_.products_; ++xi)
                         add(xi, o, o1, tiles, sums.data() + xi * stride, false);
                       w_.store(sums.data(), stride, o, o1, dw);
                     }
                   });
    }

   private:
    /// How many rows of `numbers` numbers fill `bytes`: whole tiles.
    std::int64_t rows_in(std::int64_t bytes, std::int64_t numbers) const {
      const std::int64_t tall = w_.tile_.max_rows;
      return std::max<std::int64_t>(bytes / (numbers * kRealBytes * tall), 1) * tall;
    }

    /// Output channels [o0, o1), the first one's sums at `sums`.
    void add(std::int64_t xi, std::int64_t o0, std::int64_t o1, std::int64_t tiles, Real* sums,
             bool accumulate) const {
      TileJob job;
      job.rows = o1 - o0;
      job.a_step = w_.g_row_;
      job.offsets = offsets_.data();
      job.slots = slots_.data();
      job.slot_count = static_cast<std::int64_t>(slots_.size());
      job.c = sums;
      job.c_stride = w_.x_row_;
      for (std::int64_t t = 0; t < tiles; t += kMostTiles) {
        job.depth = std::min(kMostTiles, tiles - t);
        job.a = operands_.gs + xi * operands_.g_stride + t * w_.g_row_ + o0;
        job.b = operands_.xs + xi * operands_.x_stride + t * w_.x_row_;
        job.accumulate = accumulate || t > 0;
        run_tiles(job);
      }
    }

    const WinogradWeight& w_;
    const Operands operands_;
    const std::int64_t columns_;
    std::vector<std::int32_t> offsets_;
    std::vector<Slot> slots_;
    std::int64_t most_rows_ = 1;  // of transformed g that are used in turn
  };

  /// From the sums of output channels [begin, end), the first at `sums`, to their weights.
  void store(const Real* sums, std::int64_t sum_stride, std::int64_t begin, std::int64_t end,
             Real* dw) const {
    const std::int64_t kernel = st_.weight_channel;
    std::vector<std::int32_t> offsets;  // of the taps of each filter
    for (const Filter& filter : filters_) {
      for (const std::int64_t tap : filter.weight.front())
        offsets.push_back(static_cast<std::int32_t>((tap < 0 ? kernel : tap) * inputs_));
    }
    std::vector<TileVector> vectors;
    for (std::int64_t c = 0; c < inputs_; c += tile_.lanes) vectors.push_back({c, c});
    const std::int64_t window = size_.r * size_.r;
    // Of one output channel, channels last; then what no tap needs.
    Scratch<Real> taps((kernel + 1) * inputs_);
    for (std::int64_t o = begin; o < end; ++o, sums += x_row_) {
      for (std::size_t f = 0; f < filters_.size(); ++f) {
        const auto at = static_cast<std::int64_t>(f);
        transform_weight_gradient(scheme_, sums + at * inputs_, sum_stride, vectors.data(),
                                  static_cast<std::int64_t>(vectors.size()),
                                  offsets.data() + at * window, taps.data());
      }
      transpose(taps.data(), inputs_, kernel, st_.in_channels, dw + o * st_.weight_row, kernel);
    }
  }

  const ConvShape& s_;
  const Stencil st_;
  const Scheme scheme_;
  const SchemeSize size_;
  const TileShape tile_;
  const std::int64_t products_, tile_rows_, tile_columns_;
  std::vector<Filter> filters_;
  std::int64_t inputs_ = 0, outputs_ = 0;               // channels, rounded up to whole vectors
  std::int64_t x_row_ = 0, g_row_ = 0;                  // from one tile to the next
  std::int64_t y0_ = 0, x0_ = 0, wide_ = 0, high_ = 0;  // the pixels of x under a row of tiles
  std::vector<std::int32_t> x_offsets_, g_offsets_;
  std::vector<TileVector> x_vectors_, g_vectors_;
};

// Cycles: per multiply-add of a vector; for transforming a vector, per product; for a vector of
// sums. Measured.
constexpr double kProductCost = 0.6, kTransformCost = 12, kSumCost = 10;

/// Expected time in cycles.
double cost(const ConvShape& s, const Stencil& st, Scheme scheme) {
  const SchemeSize size = scheme_size(scheme);
  const std::int64_t lanes = tile_shape().lanes;
  const auto vectors = [&](std::int64_t channels) {
    return static_cast<double>(ceil_div(channels, lanes));
  };
  const auto tiles =
      static_cast<double>(s.n * ceil_div(st.out_h, size.m) * ceil_div(st.out_w, size.m));
  const double in = vectors(st.in_channels) * static_cast<double>(filter_count(st, 0, 1, size.r));
  const auto out = static_cast<double>(st.out_channels);
  return static_cast<double>(st.groups * size.n * size.n) *
         (tiles * (in * out * kProductCost + (in + vectors(st.out_channels)) * kTransformCost) +
          in * out * kSumCost);
}

struct Choice {
  Scheme scheme;
  double cost;
};

Choice choose(const ConvShape& s, const Stencil& st, std::span<const Scheme> schemes) {
  Choice best{schemes.front(), std::numeric_limits<double>::infinity()};
  for (const Scheme scheme : schemes) {
    const Choice choice{scheme, cost(s, st, scheme)};
    if (choice.cost < best.cost) best = choice;
  }
  return best;
}

}  // namespace

double winograd_weight_cost(const ConvShape& shape) {
  // A window with a single tap saves nothing, and a large kernel with a stride as large has
  // hundreds of them; do not even count.
  const Stencil st = forward_stencil(shape);
  if (st.all_taps() <= static_cast<std::int64_t>(st.planes.size()))
    return std::numeric_limits<double>::infinity();
  return choose(shape, st, kSchemes).cost;
}

void run_winograd_weight(const ConvShape& shape, const Real* g, const Real* x, Real* dw,
                         std::span<const Scheme> schemes) {
  const Scheme scheme = choose(shape, forward_stencil(shape), schemes).scheme;
  WinogradWeight(shape, scheme).run(g, x, dw);
}

}  // namespace tapestry::kernels
