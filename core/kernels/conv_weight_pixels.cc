#include <algorithm>
#include <vector>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_stencil.h"
#include "core/kernels/conv_weight.h"
#include "core/kernels/conv_window.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

// Packed x and g of a band of rows: second-level cache.
constexpr std::int64_t kBandBytes = 256 << 10;
// Numbers of each row in one block of the sum: 4 rows of g and the few rows of x that taps shift
// over stay in the first-level cache, and loading and storing the sums takes a twentieth of the
// time.
constexpr std::int64_t kBlock = 1024;
constexpr std::int64_t kSumBytes = 128 << 10;
// At most so many parts of images, each with its own sums: enough for some threads to be busy.
constexpr std::int64_t kParts = 8;

/// dw[o, c, tap] = Σ g[o] · x[c] shifted by the tap. In planes as in Note [Convolution without
/// im2col] a tap is a constant shift for all rows at once; g is copied with zeros where planes have
/// padding, so that the numbers there do not count.
class WeightPixels {
 public:
  explicit WeightPixels(const ConvShape& s)
      : st_(forward_stencil(s)),
        lanes_(tile_shape().lanes),
        width_(st_.columns + st_.reach_w),
        columns_(st_.in_channels * st_.weight_channel) {
    // Work is cut by output channels, each chunk of which packs x for itself, only as far as sums
    // must stay in the second-level cache, or where there are too few images to cut it by.
    const std::int64_t row_sums = columns_ * lanes_ * static_cast<std::int64_t>(sizeof(Real));
    const std::int64_t most = st_.images < kParts ? ceil_div(st_.out_channels, kParts)
                                                  : std::max<std::int64_t>(kSumBytes / row_sums, 1);
    chunk_ = std::clamp<std::int64_t>(ceil_div(most, 6) * 6, 1,
                                      std::max<std::int64_t>(st_.out_channels, 1));
    chunks_ = ceil_div(st_.out_channels, chunk_);
    parts_ = std::clamp<std::int64_t>(kParts / std::max<std::int64_t>(st_.groups * chunks_, 1), 1,
                                      std::max<std::int64_t>(st_.images, 1));
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    const std::int64_t row_bytes =
        (planes * st_.in_channels + chunk_) * width_ * static_cast<std::int64_t>(sizeof(Real));
    band_rows_ = std::clamp<std::int64_t>(kBandBytes / row_bytes - st_.reach_h,
                                          std::min<std::int64_t>(4, st_.rows), st_.rows);
    band_rows_ = ceil_div(st_.rows, ceil_div(st_.rows, band_rows_));
    depth_ = ceil_div(band_rows_ * width_, lanes_) * lanes_;
    g_pitch_ = spread(depth_);
    x_pitch_ = spread((band_rows_ + st_.reach_h) * width_);
    for (std::int64_t c = 0; c < st_.in_channels; ++c) {
      for (const Tap& tap : st_.passes.front().taps) {
        offsets_.push_back(static_cast<std::int32_t>((c * planes + tap.plane) * x_pitch_ +
                                                     tap.dy * width_ + tap.dx));
      }
    }
  }

  double cost() const {
    const auto columns = static_cast<double>(columns_),
               outputs = static_cast<double>(st_.out_channels);
    const auto width = static_cast<double>(width_);
    const auto planes = static_cast<double>(chunks_ * st_.in_channels *
                                            static_cast<std::int64_t>(st_.planes.size()));
    // Per row: two multiply-adds per cycle, 80 % reached (a third of the loads cross a cache line),
    // and the copies.
    const double row = outputs * columns * width * 0.62 / static_cast<double>(lanes_) +
                       outputs * (12 + 0.4 * width) + planes * (12 + 0.4 * width);
    // Per weight: 5 cycles for loading and storing each block's sums, 15 for adding up the lanes.
    const std::int64_t blocks =
        st_.images * ceil_div(st_.rows, band_rows_) * ceil_div(depth_, kBlock);
    const double weights = static_cast<double>(st_.groups) * outputs * columns;
    return static_cast<double>(st_.images * st_.groups * st_.rows) * row +
           weights * (15 + 5 * static_cast<double>(blocks));
  }

  void run(const Real* g, const Real* x, Real* dw) const {
    const std::int64_t work = ceil_div(st_.images, parts_) * st_.rows * width_ * chunk_ * columns_;
    const std::int64_t weights = st_.groups * st_.out_channels * columns_;
    Scratch<double> partial(parts_ * weights);
    parallel_for(
        st_.groups * chunks_ * parts_, ceil_div(500'000, work),
        [&](std::int64_t begin, std::int64_t end) {
          const auto planes = static_cast<std::int64_t>(st_.planes.size());
          const std::int64_t x_size =
              st_.in_channels * planes * x_pitch_ + st_.reach_h * width_ + st_.reach_w + lanes_;
          Scratch<Real> xs(x_size), gs(chunk_ * g_pitch_), sums(chunk_ * columns_ * lanes_);
          // Lanes beyond the last pixel meet zeros of g; what they read of x must be numbers.
          std::fill(xs.data(), xs.data() + x_size, Real(0));
          std::fill(gs.data(), gs.data() + chunk_ * g_pitch_, Real(0));
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t part = i % parts_, group = i / parts_ / chunks_,
                               o0 = i / parts_ % chunks_ * chunk_,
                               rows = std::min(chunk_, st_.out_channels - o0);
            std::fill(sums.data(), sums.data() + rows * columns_ * lanes_, Real(0));
            const std::int64_t last = st_.images * (part + 1) / parts_;
            for (std::int64_t n = st_.images * part / parts_; n < last; ++n) {
              const std::int64_t image = n * st_.groups + group;
              for (std::int64_t row = 0; row < st_.rows; row += band_rows_) {
                pack_x(x + image * st_.in_channels * st_.in_h * st_.in_w, row, xs.data());
                pack_g(g + (image * st_.out_channels + o0) * st_.out_h * st_.out_w, rows, row,
                       gs.data());
                LaneJob job{rows,    columns_,        0,          nullptr, g_pitch_,
                            nullptr, offsets_.data(), sums.data()};
                for (std::int64_t k = 0; k < depth_; k += kBlock) {
                  job.depth = std::min(kBlock, depth_ - k);
                  job.a = gs.data() + k;
                  job.b = xs.data() + k;
                  run_lanes(job);
                }
              }
            }
            add_lanes(sums.data(), rows * columns_,
                      partial.data() + part * weights + (group * st_.out_channels + o0) * columns_);
          }
        });
    for (std::int64_t i = 0; i < weights; ++i) {
      double sum = 0;
      for (std::int64_t part = 0; part < parts_; ++part) sum += partial[part * weights + i];
      dw[i] = static_cast<Real>(sum);
    }
  }

 private:
  void pack_x(const Real* image, std::int64_t row, Real* to) const {
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    for (const Plane& plane : st_.planes) {
      copy_windows({st_.in_h, st_.in_w, row * st_.in_step_h + plane.row0, plane.column0,
                    st_.in_step_h, st_.in_step_w, band_rows_ + st_.reach_h, width_},
                   st_.in_channels, image, st_.in_h * st_.in_w, to, planes * x_pitch_);
      to += x_pitch_;
    }
  }

  void pack_g(const Real* from, std::int64_t rows, std::int64_t row, Real* to) const {
    copy_windows({st_.out_h, st_.out_w, row, 0, 1, 1, band_rows_, width_}, rows, from,
                 st_.out_h * st_.out_w, to, g_pitch_);
  }

  void add_lanes(const Real* sums, std::int64_t weights, double* to) const {
    for (std::int64_t i = 0; i < weights; ++i, sums += lanes_) {
      to[i] = 0;
      for (std::int64_t l = 0; l < lanes_; ++l) to[i] += sums[l];
    }
  }

  const Stencil st_;
  const std::int64_t lanes_, width_;     // of a row with padding
  const std::int64_t columns_;           // (input channel, tap)
  std::int64_t chunk_ = 1, chunks_ = 1;  // output channels per chunk of work
  std::int64_t parts_ = 1;               // of the images
  std::int64_t band_rows_ = 1, depth_ = 0, g_pitch_ = 0, x_pitch_ = 0;
  std::vector<std::int32_t> offsets_;  // of (channel, tap) in packed x
};

}  // namespace

double weight_pixels_cost(const ConvShape& shape) { return WeightPixels(shape).cost(); }

void run_weight_pixels(const ConvShape& shape, const Real* g, const Real* x, Real* dw) {
  WeightPixels(shape).run(g, x, dw);
}

}  // namespace tapestry::kernels
