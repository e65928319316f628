#include "core/kernels/conv_weight.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/kernels/ceil_div.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

// Pixels in one block of the sum: 256 × 16 numbers of x are 16 KB, half a first-level cache; and no
// register sums more terms.
constexpr std::int64_t kPixels = 256;
// Packed x and g of one batch of work, shared by all threads: a few MB of the third-level cache.
constexpr std::int64_t kBatchBytes = 2 << 20;
constexpr std::int64_t kPanelBytes = 128 << 10;  // of packed g, used in turn: second-level cache
constexpr std::int64_t kChunkWork = 500'000;     // multiply-adds, about 10 µs
// Of at least so many panels of g, the first leaves the others a copy of the pixels in a row. Where
// they lie, pixels with 64 channels share few sets of the first-level cache.
constexpr std::int64_t kCopyPanels = 5;

/// dw[o, tap, c] = Σ_pixels g[o, pixel] · x[pixel + tap, c]. x is copied with its padding into rows
/// of (column, channel), where the channels of a tap are one run in memory, and those of
/// neighboring taps follow each other.
class WeightGrad {
 public:
  explicit WeightGrad(const ConvShape& s)
      : s_(s),
        tile_(tile_shape()),
        inputs_(s.channels / s.groups),
        outputs_(s.out_channels / s.groups),
        out_h_(s.out_h()),
        out_w_(s.out_w()),
        cut_(outputs_, tile_.max_rows),
        vectors_(tile_vectors(std::max<std::int64_t>(cut_.max_height(), 1))),
        width_((out_w_ - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1) {
    choose_batches();
    place_slots();
    offsets_.resize(static_cast<std::size_t>(batch_images_ * band_rows_ * out_w_));
    auto at = offsets_.begin();
    for (std::int64_t n = 0; n < batch_images_; ++n) {
      for (std::int64_t i = 0; i < band_rows_; ++i) {
        for (std::int64_t j = 0; j < out_w_; ++j) {
          *at++ = static_cast<std::int32_t>(n * image_ +
                                            (i * s_.stride_h * width_ + j * s_.stride_w) * inputs_);
        }
      }
    }
  }

  void run(const Real* g, const Real* x, Real* dw) {
    const std::int64_t columns = static_cast<std::int64_t>(slots_.size()) * tile_.lanes;
    Scratch<Real> packed_x(batch_images_ * image_ + tile_.lanes);
    Scratch<Real> packed_g(batch_images_ * band_rows_ * out_w_ * outputs_);
    Scratch<Real> sums(outputs_ * columns);
    for (std::int64_t group = 0; group < s_.groups; ++group) {
      bool first = true;
      for (std::int64_t n = 0; n < s_.n; n += batch_images_) {
        for (std::int64_t row = 0; row < out_h_; row += band_rows_) {
          const Batch batch{group, n, std::min(batch_images_, s_.n - n), row,
                            std::min(band_rows_, out_h_ - row)};
          pack(batch, g, x, packed_g.data(), packed_x.data());
          multiply(batch, packed_g.data(), packed_x.data(), sums.data(), columns, !first);
          first = false;
        }
      }
      unpack(sums.data(), columns, dw + group * outputs_ * inputs_ * s_.kernel_h * s_.kernel_w);
    }
  }

 private:
  struct Batch {
    std::int64_t group, image, images, row, rows;
    std::int64_t pixels(std::int64_t width) const { return images * rows * width; }
  };

  void choose_batches() {
    const std::int64_t reach = (s_.kernel_h - 1) * s_.dilation_h + 1;
    const std::int64_t row = (s_.stride_h * width_ * inputs_ + out_w_ * outputs_) *
                             static_cast<std::int64_t>(sizeof(Real));
    band_rows_ = std::clamp<std::int64_t>(kBatchBytes / row - reach / s_.stride_h, 1, out_h_);
    // Bands of whole pixel blocks where there are several.
    if (band_rows_ < out_h_)
      band_rows_ = std::max(band_rows_, std::min(out_h_, ceil_div(kPixels, out_w_)));
    band_rows_ = ceil_div(out_h_, ceil_div(out_h_, band_rows_));
    const std::int64_t rows = (band_rows_ - 1) * s_.stride_h + reach;
    image_ = rows * width_ * inputs_;
    const std::int64_t bytes =
        (image_ + band_rows_ * out_w_ * outputs_) * static_cast<std::int64_t>(sizeof(Real));
    batch_images_ =
        band_rows_ < out_h_ ? 1 : std::clamp<std::int64_t>(kBatchBytes / bytes, 1, s_.n);
  }

  // Vectors along (tap column, channel) when the taps of a row follow each other, else along the
  // channels of one tap.
  void place_slots() {
    const std::int64_t run = s_.dilation_w == 1 ? s_.kernel_w * inputs_ : inputs_;
    taps_follow_ = run % tile_.lanes == 0;
    for (std::int64_t a = 0; a < s_.kernel_h; ++a) {
      for (std::int64_t b = 0; b < (s_.dilation_w == 1 ? 1 : s_.kernel_w); ++b) {
        for (std::int64_t at = 0; at < run; at += tile_.lanes) {
          const auto slot = static_cast<std::int64_t>(slots_.size());
          slots_.push_back({(a * s_.dilation_h * width_ + b * s_.dilation_w) * inputs_ + at,
                            slot * tile_.lanes, nullptr});
          for (std::int64_t l = at; l < at + tile_.lanes; ++l) {
            const std::int64_t column = l / inputs_ + b, channel = l % inputs_;
            lane_weight_.push_back(l < run ? (channel * s_.kernel_h + a) * s_.kernel_w + column
                                           : -1);
          }
        }
      }
    }
  }

  void pack(const Batch& batch, const Real* g, const Real* x, Real* packed_g,
            Real* packed_x) const {
    const std::int64_t x_rows =
        (batch.rows - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1;
    const std::int64_t items = batch.images * x_rows;
    const std::int64_t depth = batch.rows * out_w_;  // pixels of an image of the batch
    const std::int64_t row = width_ * inputs_ + batch.rows * out_w_ * outputs_ / x_rows;
    parallel_for(items, ceil_div(20'000, row), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t n = item / x_rows, r = item % x_rows;
        pack_x_row(
            x + ((batch.image + n) * s_.channels + batch.group * inputs_) * s_.height * s_.width,
            batch.row * s_.stride_h + r - s_.padding_h,
            packed_x + n * image_ + r * width_ * inputs_);
        // An image's panels of g are dealt out over its rows of x.
        const Real* from =
            g +
            (((batch.image + n) * s_.out_channels + batch.group * outputs_) * out_h_ + batch.row) *
                out_w_;
        for (std::int64_t p = cut_.count * r / x_rows; p < cut_.count * (r + 1) / x_rows; ++p) {
          pack_g_panel(from, p, n * depth, depth, batch.pixels(out_w_), packed_g);
        }
      }
    });
  }

  void pack_x_row(const Real* image, std::int64_t y, Real* to) const {
    if (y < 0 || y >= s_.height) {
      std::fill(to, to + width_ * inputs_, Real(0));
      return;
    }
    const std::int64_t first = std::min(s_.padding_w, width_);
    const std::int64_t last = std::clamp(s_.width + s_.padding_w, first, width_);
    std::fill(to, to + first * inputs_, Real(0));
    if (last > first) {
      transpose(image + y * s_.width + first - s_.padding_w, s_.height * s_.width, inputs_,
                last - first, to + first * inputs_, inputs_);
    }
    std::fill(to + last * inputs_, to + width_ * inputs_, Real(0));
  }

  // Pixels [k0, k0 + depth) of a batch of `pixels`, rows of panel p. Blocks of kPixels follow each
  // other, each with all panels.
  void pack_g_panel(const Real* from, std::int64_t p, std::int64_t k0, std::int64_t depth,
                    std::int64_t pixels, Real* packed) const {
    const std::int64_t i = cut_.begin(p), rows = cut_.height(p);
    for (std::int64_t k = k0; k < k0 + depth;) {
      const std::int64_t block = k / kPixels * kPixels,
                         block_depth = std::min(kPixels, pixels - block);
      const std::int64_t count = std::min(k0 + depth, block + block_depth) - k;
      transpose(from + i * out_h_ * out_w_ + (k - k0), out_h_ * out_w_, rows, count,
                packed + block * outputs_ + i * block_depth + (k - block) * rows, rows);
      k += count;
    }
  }

  void multiply(const Batch& batch, const Real* packed_g, const Real* packed_x, Real* sums,
                std::int64_t columns, bool accumulate) const {
    const std::int64_t pixels = batch.pixels(out_w_);
    const std::int64_t tiles = ceil_div(static_cast<std::int64_t>(slots_.size()), vectors_);
    const std::int64_t bytes =
        cut_.max_height() * kPixels * static_cast<std::int64_t>(sizeof(Real));
    const std::int64_t panels = std::clamp<std::int64_t>(kPanelBytes / bytes, 1, cut_.count);
    const std::int64_t rows = ceil_div(cut_.count, panels);
    const std::int64_t work =
        pixels * std::min(outputs_, panels * cut_.max_height()) * vectors_ * tile_.lanes;
    const std::int64_t share = std::clamp<std::int64_t>(
        std::max(ceil_div(tiles * rows, 16), ceil_div(kChunkWork, work)), 1, tiles);
    const std::int64_t shares = ceil_div(tiles, share);
    const bool copies = std::min(panels, cut_.count) >= kCopyPanels;
    parallel_for(rows * shares, 1, [&](std::int64_t begin, std::int64_t end) {
      Scratch<Real> copy(copies ? vectors_ * tile_.lanes * kPixels : 1);
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t first = unit % shares * share * vectors_;
        TileJob job;
        if (copies) job.copy = copy.data();
        job.rows = outputs_;
        job.first_panel = unit / shares * panels;
        job.last_panel = std::min(cut_.count, job.first_panel + panels);
        job.b = packed_x;
        job.slots = slots_.data() + first;
        job.slot_count =
            std::min(share * vectors_, static_cast<std::int64_t>(slots_.size()) - first);
        job.c = sums;
        job.c_stride = columns;
        for (std::int64_t k = 0; k < pixels; k += kPixels) {
          job.depth = std::min(kPixels, pixels - k);
          job.a = packed_g + k * outputs_;
          // A cut band has fewer rows than offsets_ was made for; with one image in the batch the
          // table is still right.
          job.offsets = offsets_.data() + k;
          job.accumulate = accumulate || k > 0;
          run_tiles(job);
        }
      }
    });
  }

  void unpack(const Real* sums, std::int64_t columns, Real* dw) const {
    const std::int64_t weights = inputs_ * s_.kernel_h * s_.kernel_w;
    parallel_for(outputs_, ceil_div(10'000, columns), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        if (taps_follow_) {  // (tap, channel) becomes (channel, tap)
          transpose(sums + o * columns, inputs_, s_.kernel_h * s_.kernel_w, inputs_,
                    dw + o * weights, s_.kernel_h * s_.kernel_w);
          continue;
        }
        for (std::int64_t i = 0; i < columns; ++i) {
          const std::int64_t weight = lane_weight_[static_cast<std::size_t>(i)];
          if (weight >= 0) dw[o * weights + weight] = sums[o * columns + i];
        }
      }
    });
  }

  const ConvShape& s_;
  const TileShape tile_;
  const std::int64_t inputs_, outputs_;  // channels per group
  const std::int64_t out_h_, out_w_;
  const PanelCut cut_;
  const std::int64_t vectors_;
  const std::int64_t width_;  // of a packed row of x, in pixels
  std::int64_t band_rows_ = 1, batch_images_ = 1;
  std::int64_t image_ = 0;  // numbers of packed x per image of a batch
  std::vector<Slot> slots_;
  std::vector<std::int64_t>
      lane_weight_;  // which weight of an output channel each lane of each slot is, or -1
  std::vector<std::int32_t> offsets_;  // of each pixel of a batch in packed x
  bool taps_follow_ = false;           // no lane is empty: sums are (tap, channel) without gaps
};

}  // namespace

double weight_grad_cost(const ConvShape& s) {
  const auto lanes = static_cast<double>(tile_shape().lanes);
  const double inputs = static_cast<double>(s.channels) / static_cast<double>(s.groups);
  const double outputs = static_cast<double>(s.out_channels) / static_cast<double>(s.groups);
  const double rows = static_cast<double>(s.kernel_h), columns = static_cast<double>(s.kernel_w);
  const double run = s.dilation_w == 1 ? columns * inputs : inputs;  // numbers without a gap
  const double vectors = rows * columns * inputs / run * std::ceil(run / lanes);
  const double pixels = static_cast<double>(s.n * s.out_h() * s.out_w() * s.groups);
  // Two multiply-adds per cycle, 81 % of them reached, but no fewer than 4 cycles for a pixel: each
  // waits for the one before. Then 1.2 cycles for each number that is transposed and 40 for each
  // row of x, and for each weight at the end 2 where whole vectors are turned around, else 3.5.
  // Measured.
  const double products = std::max(outputs * vectors * 0.62, 4 * std::ceil(outputs * vectors / 8));
  return pixels *
             (products + (outputs + inputs * static_cast<double>(s.stride_h * s.stride_w)) * 1.2) +
         static_cast<double>(s.n * s.groups * s.out_h() * s.stride_h) * 40 +
         static_cast<double>(s.w_size()) * (std::fmod(run, lanes) == 0 ? 2 : 3.5);
}

void run_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw) {
  WeightGrad(shape).run(g, x, dw);
}

}  // namespace tapestry::kernels
