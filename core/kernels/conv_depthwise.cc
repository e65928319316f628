#include "core/kernels/conv_depthwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/conv_depthwise.cc"
#include <algorithm>
#include <vector>

#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_window.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<Real>;
using V = hn::Vec<D>;
constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));

// Two multiply-adds per cycle with latency 4 need 8 sums in flight.
constexpr int kSums = 8;

template <int kVectors>
HWY_INLINE void Sum(const Real* x, const Real* weight, const std::int64_t* offsets,
                    std::int64_t taps, Real bias, Real* y) {
  const D d;
  V sums[kVectors];
  HWY_UNROLL(8)
  for (int j = 0; j < kVectors; ++j) sums[j] = hn::Set(d, bias);
  for (std::int64_t t = 0; t < taps; ++t) {
    const V w = hn::Set(d, weight[t]);
    const Real* from = x + offsets[t];
    HWY_UNROLL(8)
    for (int j = 0; j < kVectors; ++j)
      sums[j] = hn::MulAdd(w, hn::LoadU(d, from + j * kLanes), sums[j]);
  }
  HWY_UNROLL(8)
  for (int j = 0; j < kVectors; ++j) hn::StoreU(sums[j], d, y + j * kLanes);
}

void Correlate(const Real* x, const Real* weight, const std::int64_t* offsets, std::int64_t taps,
               Real bias, std::int64_t count, Real* y) {
  std::int64_t i = 0;
  for (; i + kSums * kLanes <= count; i += kSums * kLanes)
    Sum<kSums>(x + i, weight, offsets, taps, bias, y + i);
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    Sum<4>(x + i, weight, offsets, taps, bias, y + i);
  for (; i < count; i += kLanes) Sum<1>(x + i, weight, offsets, taps, bias, y + i);
}

std::int64_t Lanes() { return kLanes; }

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {
namespace {

HWY_EXPORT(Correlate);
HWY_EXPORT(Lanes);

// The planes of a band of rows with padding, and its results: second-level cache.
constexpr std::int64_t kBandBytes = 128 << 10;
constexpr std::int64_t kChunkWork = 100'000;  // multiply-adds and numbers copied, about 10 µs

/// As in Note [Convolution without im2col], with vectors along whole planes: y[i] = bias + Σ_t
/// weight[t] · x[i + offsets[t]] for all pixels of a plane at once, padding included, from which
/// those of the result are taken.
class Depthwise {
 public:
  explicit Depthwise(const Stencil& st)
      : st_(st),
        lanes_(HWY_DYNAMIC_DISPATCH(Lanes)()),
        planes_(static_cast<std::int64_t>(st.planes.size())),
        width_(st.columns + st.reach_w) {
    const std::int64_t row_bytes = width_ * static_cast<std::int64_t>(sizeof(Real)) *
                                   (planes_ + static_cast<std::int64_t>(st.passes.size()));
    // A band also reads the rows within the kernel's reach: no fewer new ones than these.
    const std::int64_t most = std::max(kBandBytes / row_bytes, st.reach_h + 4);
    bands_ = ceil_div(st.rows, most);
    band_rows_ = ceil_div(st.rows, bands_);
    pitch_ = (band_rows_ + st.reach_h) * width_;
    area_ = ceil_div(band_rows_ * width_, lanes_) * lanes_;
    for (const Pass& pass : st.passes) {
      for (const Tap& tap : pass.taps)
        offsets_.push_back(tap.plane * pitch_ + tap.dy * width_ + tap.dx);
    }
  }

  void run(const Real* source, const Real* weight, const Real* bias, Real* result) const {
    const std::int64_t work = band_rows_ * width_ * (st_.all_taps() + planes_ + 8);
    parallel_for(
        st_.images * st_.groups * bands_, ceil_div(kChunkWork, work),
        [&](std::int64_t begin, std::int64_t end) {
          // The padding of the last row is computed as well: its taps reach beyond the plane.
          const std::int64_t size = planes_ * pitch_ + st_.reach_w + lanes_;
          Scratch<Real> packed(size), taps(st_.all_taps() + 1),
              sums(static_cast<std::int64_t>(st_.passes.size()) * area_);
          std::fill(packed.data(), packed.data() + size, Real(0));
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t band = i % bands_, image = i / bands_, group = image % st_.groups;
            pack(source + image * st_.in_h * st_.in_w, band, packed.data());
            std::int64_t t = 0;
            for (const Pass& pass : st_.passes) {
              for (const Tap& tap : pass.taps)
                taps[t++] = weight[group * st_.group_weights() + tap.weight];
            }
            sum(packed.data(), taps.data(), bias == nullptr ? 0 : bias[group], band, sums.data());
            put_in_place(sums.data(), band, result + image * st_.out_h * st_.out_w);
          }
        });
  }

 private:
  std::int64_t rows_of(const Pass& pass, std::int64_t band) const {
    return std::clamp<std::int64_t>(pass.rows - band * band_rows_, 0, band_rows_);
  }

  void pack(const Real* image, std::int64_t band, Real* to) const {
    for (const Plane& plane : st_.planes) {
      copy_window({st_.in_h, st_.in_w, band * band_rows_ * st_.in_step_h + plane.row0,
                   plane.column0, st_.in_step_h, st_.in_step_w, band_rows_ + st_.reach_h, width_},
                  image, to);
      to += pitch_;
    }
  }

  void sum(const Real* packed, const Real* taps, Real bias, std::int64_t band, Real* sums) const {
    const std::int64_t* offsets = offsets_.data();
    for (const Pass& pass : st_.passes) {
      const auto count = static_cast<std::int64_t>(pass.taps.size());
      HWY_DYNAMIC_DISPATCH(Correlate)
      (packed, taps, offsets, count, bias, rows_of(pass, band) * width_, sums);
      taps += count;
      offsets += count;
      sums += area_;
    }
  }

  void put_in_place(const Real* sums, std::int64_t band, Real* result) const {
    for (std::size_t p = 0; p < st_.passes.size(); ++p, sums += area_) {
      const Pass& pass = st_.passes[p];
      const std::int64_t row0 = band * band_rows_, rows = rows_of(pass, band);
      Real* to = result + (row0 * st_.out_step_h + pass.offset_h) * st_.out_w + pass.offset_w;
      if (st_.out_step_h == 1 && st_.out_step_w == 1) {
        copy_window({rows, width_, 0, 0, 1, 1, rows, pass.columns}, sums, to);
        continue;
      }
      for (std::int64_t row = 0; row < rows; ++row, to += st_.out_step_h * st_.out_w)
        put(sums + row * width_, pass.columns, st_.out_step_w, to);
    }
  }

  const Stencil& st_;
  const std::int64_t lanes_, planes_, width_;
  std::int64_t bands_ = 1, band_rows_ = 1, pitch_ = 0, area_ = 0;
  std::vector<std::int64_t> offsets_;  // of the taps of each pass
};

}  // namespace

double depthwise_rows_cost(const Stencil& st) {
  const auto lanes = static_cast<double>(HWY_DYNAMIC_DISPATCH(Lanes)());
  const auto width = static_cast<double>(st.columns + st.reach_w);
  const auto planes = static_cast<double>(st.planes.size());
  // Two vectors of products per cycle, 75 % of them reached; for each row that is copied 7 cycles
  // and 0.3 for each number of it, 1 if it is not next to the one before; and 220 for each map.
  // Measured.
  const double step_out = st.out_step_w == 1 ? 0.3 : 1;
  const double copied = planes * static_cast<double>(st.rows + st.reach_h) * (7 + 0.3 * width);
  double map = 220 + copied;
  for (const Pass& pass : st.passes) {
    const auto rows = static_cast<double>(pass.rows);
    map += rows * (0.66 * width / lanes * static_cast<double>(pass.taps.size()) + 7 +
                   step_out * static_cast<double>(pass.columns));
  }
  return map * static_cast<double>(st.images * st.groups);
}

void run_depthwise_rows(const Stencil& stencil, const Real* source, const Real* weight,
                        const Real* bias, Real* result) {
  Depthwise(stencil).run(source, weight, bias, result);
}

void run_depthwise(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                   Real* result) {
  if (depthwise_lanes_cost(stencil) < depthwise_rows_cost(stencil))
    return run_depthwise_lanes(stencil, source, weight, bias, result);
  run_depthwise_rows(stencil, source, weight, bias, result);
}

}  // namespace tapestry::kernels
#endif
