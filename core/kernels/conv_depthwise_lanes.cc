#include "core/kernels/conv_depthwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/conv_depthwise_lanes.cc"
#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "core/kernels/ceil_div.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

#ifndef TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_LANES_JOB
#define TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_LANES_JOB
namespace tapestry::kernels {
/// Pixels (row, column) of some maps with one channel in each lane: the vector of x that tap t of
/// pixel (i, j) reads is at i · x_row + j · x_column + taps[t], that of y at i · y_row + j ·
/// y_column.
struct ChannelLanes {
  std::int64_t rows, columns;
  const Real* x;
  std::int64_t x_row, x_column;
  const std::int64_t* taps;
  std::int64_t tap_count;
  std::int64_t y_row, y_column;
};
}  // namespace tapestry::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<Real>;
using V = hn::Vec<D>;
constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));

// Two multiply-adds per cycle with latency 4 need 8 sums in flight; more would leave too few
// registers.
constexpr int kSums = 10;

/// y = bias + Σ weight · x for kPixels neighbors in a row.
template <int kPixels>
void Pixels(const ChannelLanes& job, const Real* x, const Real* weight, const Real* bias, Real* y) {
  const D d;
  V sums[kPixels];
  HWY_UNROLL(10)
  for (int j = 0; j < kPixels; ++j) sums[j] = hn::LoadU(d, bias);
  for (std::int64_t t = 0; t < job.tap_count; ++t) {
    const V w = hn::LoadU(d, weight + t * kLanes);
    const Real* from = x + job.taps[t];
    HWY_UNROLL(10)
    for (int j = 0; j < kPixels; ++j)
      sums[j] = hn::MulAdd(w, hn::LoadU(d, from + j * job.x_column), sums[j]);
  }
  HWY_UNROLL(10)
  for (int j = 0; j < kPixels; ++j) hn::StoreU(sums[j], d, y + j * job.y_column);
}

template <int... kPixels>
constexpr auto PixelTable(std::integer_sequence<int, kPixels...>) {
  return std::array{&Pixels<kPixels + 1>...};
}

void SumTaps(const ChannelLanes& job, const Real* weight, const Real* bias, Real* y) {
  constexpr auto kTable = PixelTable(std::make_integer_sequence<int, kSums>());
  const std::int64_t runs = ceil_div(job.columns, kSums);
  for (std::int64_t i = 0; i < job.rows; ++i) {
    for (std::int64_t r = 0; r < runs; ++r) {  // of nearly equal length
      const std::int64_t j = job.columns * r / runs, end = job.columns * (r + 1) / runs;
      kTable[static_cast<std::size_t>(end - j - 1)](job, job.x + i * job.x_row + j * job.x_column,
                                                    weight, bias,
                                                    y + i * job.y_row + j * job.y_column);
    }
  }
}

/// sums += Σ_pixels y · x for kTaps taps.
template <int kTaps>
void Taps(const ChannelLanes& job, const std::int64_t* taps, const Real* y, Real* sums) {
  const D d;
  V acc[kTaps];
  HWY_UNROLL(10)
  for (int t = 0; t < kTaps; ++t) acc[t] = hn::Zero(d);
  for (std::int64_t i = 0; i < job.rows; ++i) {
    const Real* row = job.x + i * job.x_row;
    const Real* g = y + i * job.y_row;
    for (std::int64_t j = 0; j < job.columns; ++j, row += job.x_column, g += job.y_column) {
      const V gj = hn::LoadU(d, g);
      HWY_UNROLL(10)
      for (int t = 0; t < kTaps; ++t) acc[t] = hn::MulAdd(gj, hn::LoadU(d, row + taps[t]), acc[t]);
    }
  }
  HWY_UNROLL(10)
  for (int t = 0; t < kTaps; ++t)
    hn::StoreU(hn::Add(hn::LoadU(d, sums + t * kLanes), acc[t]), d, sums + t * kLanes);
}

template <int... kTaps>
constexpr auto TapTable(std::integer_sequence<int, kTaps...>) {
  return std::array{&Taps<kTaps + 1>...};
}

void SumPixels(const ChannelLanes& job, const Real* y, Real* sums) {
  constexpr auto kTable = TapTable(std::make_integer_sequence<int, kSums>());
  const std::int64_t runs = ceil_div(job.tap_count, kSums);
  for (std::int64_t r = 0; r < runs; ++r) {
    const std::int64_t t = job.tap_count * r / runs, end = job.tap_count * (r + 1) / runs;
    kTable[static_cast<std::size_t>(end - t - 1)](job, job.taps + t, y, sums + t * kLanes);
  }
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {
namespace {

HWY_EXPORT(SumTaps);
HWY_EXPORT(SumPixels);

constexpr std::int64_t kChunkWork = 100'000;  // multiply-adds and numbers copied, about 10 µs
// Pixels in one block of a weight's sum: no register sums more terms, whatever the map's size.
constexpr std::int64_t kBlock = 1024;
// At most so many parts of the images, each with its own sums.
constexpr std::int64_t kParts = 8;

// Note [One channel per lane]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~
// In a depthwise convolution channels have nothing to do with each other, so that vectors along a
// row of 7 or 14 pixels would be half empty, and cost more to bring into place than the 9 or 25
// products of a pixel. With the numbers of as many channels as there are lanes side by side, maps
// of any size fill their vectors, and any stride costs the same. The price is a transposition on
// the way in and out.

/// A map of the source with its padding, one channel in each lane.
class Padded {
 public:
  explicit Padded(const Stencil& st) : st_(st), lanes_(tile_shape().lanes) {
    std::int64_t y1 = st.in_h, x1 = st.in_w;
    for (const Pass& pass : st.passes) {
      for (const Tap& tap : pass.taps) {
        const std::int64_t y = source_y(tap), x = source_x(tap);
        top_ = std::max(top_, -y);
        left_ = std::max(left_, -x);
        y1 = std::max(y1, y + (pass.rows - 1) * st.in_step_h + 1);
        x1 = std::max(x1, x + (pass.columns - 1) * st.in_step_w + 1);
      }
    }
    rows_ = top_ + y1;
    width_ = left_ + x1;
  }
  std::int64_t size() const { return rows_ * width_ * lanes_; }
  /// Scratch space for load().
  std::int64_t line_size() const { return st_.in_h * st_.in_w * lanes_; }

  /// Maps of `channels` channels. Around them `to` stays as it is.
  void load(const Real* source, std::int64_t channels, Real* line, Real* to) const {
    const std::int64_t pixels = st_.in_h * st_.in_w, row = st_.in_w * lanes_;
    transpose(source, pixels, channels, pixels, line, lanes_);
    for (std::int64_t i = 0; i < st_.in_h; ++i)
      std::copy_n(line + i * row, row, to + ((top_ + i) * width_ + left_) * lanes_);
  }

  std::vector<std::int64_t> offsets(const Pass& pass) const {
    std::vector<std::int64_t> at;
    for (const Tap& tap : pass.taps)
      at.push_back(((source_y(tap) + top_) * width_ + source_x(tap) + left_) * lanes_);
    return at;
  }
  ChannelLanes lanes(const Pass& pass, const Real* padded,
                     const std::vector<std::int64_t>& taps) const {
    return {pass.rows,
            pass.columns,
            padded,
            st_.in_step_h * width_ * lanes_,
            st_.in_step_w * lanes_,
            taps.data(),
            static_cast<std::int64_t>(taps.size()),
            st_.out_step_h * st_.out_w * lanes_,
            st_.out_step_w * lanes_};
  }

 private:
  // Source row and column that a tap reads for pixel (0, 0) of its pass.
  std::int64_t source_y(const Tap& tap) const {
    return tap.dy * st_.in_step_h + st_.planes[static_cast<std::size_t>(tap.plane)].row0;
  }
  std::int64_t source_x(const Tap& tap) const {
    return tap.dx * st_.in_step_w + st_.planes[static_cast<std::size_t>(tap.plane)].column0;
  }

  const Stencil& st_;
  const std::int64_t lanes_;
  std::int64_t top_ = 0, left_ = 0, rows_ = 0, width_ = 0;
};

std::int64_t products(const Stencil& st) {
  std::int64_t count = 0;
  for (const Pass& pass : st.passes)
    count += pass.rows * pass.columns * static_cast<std::int64_t>(pass.taps.size());
  return count;
}

}  // namespace

double depthwise_lanes_cost(const Stencil& st) {
  const std::int64_t lanes = tile_shape().lanes;
  // Of a vector: two products per cycle, 65 % of them reached; and for each number in and out 0.82.
  // Measured.
  const std::int64_t numbers = (st.in_h * st.in_w + st.out_h * st.out_w) * lanes;
  const double block =
      0.77 * static_cast<double>(products(st)) + 0.82 * static_cast<double>(numbers) + 117;
  return block * static_cast<double>(st.images * ceil_div(st.groups, lanes));
}

void run_depthwise_lanes(const Stencil& st, const Real* source, const Real* weight,
                         const Real* bias, Real* result) {
  const std::int64_t lanes = tile_shape().lanes, blocks = ceil_div(st.groups, lanes);
  const std::int64_t in_pixels = st.in_h * st.in_w, out_pixels = st.out_h * st.out_w,
                     kernel = st.group_weights();
  const Padded padded(st);
  std::vector<std::vector<std::int64_t>> offsets;
  for (const Pass& pass : st.passes) offsets.push_back(padded.offsets(pass));
  const std::int64_t work = products(st) + padded.size() + out_pixels * lanes;
  parallel_for(
      blocks * st.images, ceil_div(kChunkWork, work), [&](std::int64_t begin, std::int64_t end) {
        Scratch<Real> maps(padded.size()), line(padded.line_size()), sums(out_pixels * lanes),
            kernels(kernel * lanes), taps(std::max<std::int64_t>(st.all_taps(), 1) * lanes),
            start(lanes);
        std::fill(maps.data(), maps.data() + padded.size(), Real(0));
        std::fill(start.data(), start.data() + lanes, Real(0));
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t image = i % st.images, channel = i / st.images * lanes,
                             channels = std::min(lanes, st.groups - channel);
          if (i == begin || image == 0) {
            transpose(weight + channel * kernel, kernel, channels, kernel, kernels.data(), lanes);
            Real* to = taps.data();
            for (const Pass& pass : st.passes) {
              for (const Tap& tap : pass.taps)
                to = std::copy_n(kernels.data() + tap.weight * lanes, lanes, to);
            }
            if (bias != nullptr) std::copy_n(bias + channel, channels, start.data());
          }
          const std::int64_t plane = image * st.groups + channel;
          padded.load(source + plane * in_pixels, channels, line.data(), maps.data());
          const Real* weights = taps.data();
          for (std::size_t p = 0; p < st.passes.size(); ++p) {
            const Pass& pass = st.passes[p];
            HWY_DYNAMIC_DISPATCH(SumTaps)
            (padded.lanes(pass, maps.data(), offsets[p]), weights, start.data(),
             sums.data() + (pass.offset_h * st.out_w + pass.offset_w) * lanes);
            weights += static_cast<std::int64_t>(pass.taps.size()) * lanes;
          }
          transpose(sums.data(), lanes, out_pixels, channels, result + plane * out_pixels,
                    out_pixels);
        }
      });
}

double weight_depthwise_cost(const ConvShape& s) {
  if (s.channels != s.groups || s.out_channels != s.groups)
    return std::numeric_limits<double>::infinity();
  return depthwise_lanes_cost(forward_stencil(s));
}

void run_weight_depthwise(const ConvShape& s, const Real* g, const Real* x, Real* dw) {
  const Stencil st = forward_stencil(s);
  const Pass& pass = st.passes.front();
  const std::int64_t lanes = tile_shape().lanes, blocks = ceil_div(st.groups, lanes);
  const std::int64_t in_pixels = st.in_h * st.in_w, out_pixels = st.out_h * st.out_w,
                     kernel = st.group_weights();
  const Padded padded(st);
  const std::vector<std::int64_t> offsets = padded.offsets(pass);
  // Few channels: the images are what is dealt out.
  const std::int64_t parts =
      std::clamp<std::int64_t>(2 * kParts / blocks, 1, std::min(st.images, kParts));
  const std::int64_t rows = std::max<std::int64_t>(kBlock / st.columns, 1);
  const std::int64_t work =
      ceil_div(st.images, parts) * (products(st) + padded.size() + out_pixels * lanes);
  Scratch<double> partial(parts * blocks * kernel * lanes);
  parallel_for(
      blocks * parts, ceil_div(kChunkWork, work), [&](std::int64_t begin, std::int64_t end) {
        Scratch<Real> maps(padded.size()), line(padded.line_size()), gs(out_pixels * lanes),
            sums(kernel * lanes);
        std::fill(maps.data(), maps.data() + padded.size(), Real(0));
        std::fill(gs.data(), gs.data() + out_pixels * lanes, Real(0));
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t part = i % parts, channel = i / parts * lanes,
                             channels = std::min(lanes, st.groups - channel);
          double* total = partial.data() + i * kernel * lanes;
          std::fill(total, total + kernel * lanes, 0.0);
          const std::int64_t last = st.images * (part + 1) / parts;
          for (std::int64_t n = st.images * part / parts; n < last; ++n) {
            const std::int64_t plane = n * st.groups + channel;
            padded.load(x + plane * in_pixels, channels, line.data(), maps.data());
            transpose(g + plane * out_pixels, out_pixels, channels, out_pixels, gs.data(), lanes);
            ChannelLanes job = padded.lanes(pass, maps.data(), offsets);
            for (std::int64_t row = 0; row < st.rows; row += rows) {
              job.rows = std::min(rows, st.rows - row);
              job.x = maps.data() + row * job.x_row;
              std::fill(sums.data(), sums.data() + kernel * lanes, Real(0));
              HWY_DYNAMIC_DISPATCH(SumPixels)(job, gs.data() + row * job.y_row, sums.data());
              for (std::int64_t k = 0; k < kernel * lanes; ++k) total[k] += sums[k];
            }
          }
        }
      });
  for (std::int64_t channel = 0; channel < st.groups; ++channel) {
    for (std::int64_t t = 0; t < kernel; ++t) {
      double sum = 0;
      for (std::int64_t part = 0; part < parts; ++part) {
        sum += partial[((channel / lanes * parts + part) * kernel + t) * lanes + channel % lanes];
      }
      dw[channel * kernel + t] = static_cast<Real>(sum);
    }
  }
}

}  // namespace tapestry::kernels
#endif
