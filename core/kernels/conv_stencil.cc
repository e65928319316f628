#include "core/kernels/conv_stencil.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/kernels/conv_transform.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {

Stencil forward_stencil(const ConvShape& s) {
  Stencil st;
  st.images = s.n;
  st.groups = s.groups;
  st.in_channels = s.channels / s.groups;
  st.in_h = s.height;
  st.in_w = s.width;
  st.out_channels = s.out_channels / s.groups;
  st.out_h = st.rows = s.out_h();
  st.out_w = st.columns = s.out_w();
  st.in_step_h = s.stride_h;
  st.in_step_w = s.stride_w;
  st.out_step_h = st.out_step_w = 1;
  st.reach_h = (s.kernel_h - 1) * s.dilation_h / s.stride_h;
  st.reach_w = (s.kernel_w - 1) * s.dilation_w / s.stride_w;
  st.weight_channel = s.kernel_h * s.kernel_w;
  st.weight_row = st.in_channels * st.weight_channel;

  Pass pass{{}, 0, st.rows, 0, st.columns, 0, 0};
  for (std::int64_t a = 0; a < s.kernel_h; ++a) {
    for (std::int64_t b = 0; b < s.kernel_w; ++b) {
      const std::int64_t y = a * s.dilation_h, x = b * s.dilation_w;
      const Plane plane{y % s.stride_h - s.padding_h, x % s.stride_w - s.padding_w};
      const auto same = std::find_if(st.planes.begin(), st.planes.end(), [&](const Plane& p) {
        return p.row0 == plane.row0 && p.column0 == plane.column0;
      });
      pass.taps.push_back(
          {same - st.planes.begin(), y / s.stride_h, x / s.stride_w, a * s.kernel_w + b, b});
      if (same == st.planes.end()) st.planes.push_back(plane);
    }
  }
  st.passes.push_back(std::move(pass));
  return st;
}

Stencil input_grad_stencil(const ConvShape& s) {
  Stencil st;
  st.images = s.n;
  st.groups = s.groups;
  st.in_channels = s.out_channels / s.groups;
  st.in_h = s.out_h();
  st.in_w = s.out_w();
  st.out_channels = s.channels / s.groups;
  st.out_h = s.height;
  st.out_w = s.width;
  st.in_step_h = st.in_step_w = 1;
  st.out_step_h = s.stride_h;
  st.out_step_w = s.stride_w;
  st.reach_h = (s.kernel_h - 1) * s.dilation_h / s.stride_h;
  st.reach_w = (s.kernel_w - 1) * s.dilation_w / s.stride_w;
  st.weight_row = s.kernel_h * s.kernel_w;
  st.weight_channel = st.out_channels * st.weight_row;

  // Row y of dx, padding included (y = row + padding), is q · stride + r. Tap a reaches it from row
  // q − t of g, where a · dilation = t · stride + r. The grid holds all q that some row of dx has.
  const std::int64_t q0 = s.padding_h / s.stride_h,
                     q1 = (s.height - 1 + s.padding_h) / s.stride_h + 1;
  const std::int64_t p0 = s.padding_w / s.stride_w,
                     p1 = (s.width - 1 + s.padding_w) / s.stride_w + 1;
  st.rows = q1 - q0;
  st.columns = p1 - p0;
  st.planes = {{q0 - st.reach_h, p0 - st.reach_w}};
  const auto ceil_div = [](std::int64_t a, std::int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; };
  for (std::int64_t r = 0; r < s.stride_h; ++r) {
    for (std::int64_t c = 0; c < s.stride_w; ++c) {
      Pass pass;
      pass.offset_h = q0 * s.stride_h + r - s.padding_h;
      pass.offset_w = p0 * s.stride_w + c - s.padding_w;
      pass.row0 = ceil_div(-pass.offset_h, s.stride_h);
      pass.row1 = std::min(st.rows, ceil_div(s.height - pass.offset_h, s.stride_h));
      pass.column0 = ceil_div(-pass.offset_w, s.stride_w);
      pass.column1 = std::min(st.columns, ceil_div(s.width - pass.offset_w, s.stride_w));
      if (pass.row0 >= pass.row1 || pass.column0 >= pass.column1) continue;
      for (std::int64_t a = 0; a < s.kernel_h; ++a) {
        for (std::int64_t b = 0; b < s.kernel_w; ++b) {
          const std::int64_t y = a * s.dilation_h, x = b * s.dilation_w;
          if (y % s.stride_h != r || x % s.stride_w != c) continue;
          pass.taps.push_back(
              {0, st.reach_h - y / s.stride_h, st.reach_w - x / s.stride_w, a * s.kernel_w + b, b});
        }
      }
      st.passes.push_back(std::move(pass));
    }
  }
  return st;
}

std::optional<std::vector<Filter>> filters(const Stencil& st, const Pass& pass, std::int64_t r) {
  std::vector<Filter> result;
  for (std::int64_t plane = 0; plane < static_cast<std::int64_t>(st.planes.size()); ++plane) {
    Filter filter{plane,
                  std::numeric_limits<std::int64_t>::max(),
                  std::numeric_limits<std::int64_t>::max(),
                  {}};
    std::int64_t count = 0;
    for (const Tap& tap : pass.taps) {
      if (tap.plane != plane) continue;
      filter.dy = std::min(filter.dy, tap.dy);
      filter.dx = std::min(filter.dx, tap.dx);
      ++count;
    }
    if (count == 0) continue;
    if (count != r * r) return std::nullopt;
    filter.weight.assign(static_cast<std::size_t>(r * r), -1);
    for (const Tap& tap : pass.taps) {
      if (tap.plane != plane) continue;
      const std::int64_t i = tap.dy - filter.dy, j = tap.dx - filter.dx;
      if (i >= r || j >= r) return std::nullopt;
      filter.weight[static_cast<std::size_t>(i * r + j)] = tap.weight;
    }
    if (std::count(filter.weight.begin(), filter.weight.end(), -1) != 0) return std::nullopt;
    result.push_back(std::move(filter));
  }
  return result;
}

namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// What a tile reads for one block of channels should stay in a 32 KB first-level cache while all
// rows of the result use it.
constexpr std::int64_t kTileBytes = 24 << 10;
// Packed planes of one unit of work: with weights and results, in a 512 KB second-level cache.
constexpr std::int64_t kPlaneBytes = 192 << 10;
// Weights used in turn by one tile of pixels after the other, as in Note [Blocking] of gemm.cc.
constexpr std::int64_t kPanelBytes = 192 << 10;
// Multiply-adds in a chunk of work: 10 µs, several times the cost of waking a thread.
constexpr std::int64_t kChunkWork = 500'000;
constexpr std::int64_t kLine = 64 / sizeof(Real);  // numbers in a cache line

/// Everything about a stencil that does not depend on the numbers: which rows make a unit, which
/// channels a block, where every vector reads and writes.
class Plan {
 public:
  explicit Plan(const Stencil& st)
      : st_(st),
        tile_(tile_shape()),
        cut_(st.out_channels, tile_.max_rows),
        vectors_(tile_vectors(std::max<std::int64_t>(cut_.max_height(), 1))) {
    choose_channels();
    choose_layout();
    choose_bands();
    place_slots();
  }

  void run(const Real* source, const Real* weight, const Real* bias, Real* result) {
    const std::int64_t weights = st_.out_channels * st_.in_channels * st_.all_taps();  // per group
    Scratch<Real> packed_weight(std::max<std::int64_t>(weights * st_.groups, 1));
    pack_weights(weight, weights, packed_weight.data());

    const std::int64_t units = st_.images * st_.groups * bands_;
    const std::int64_t work = std::max<std::int64_t>(weights * band_rows_ * st_.columns, 1);
    // Few units (one small image, say) are cut once more, by output channels; each part packs the
    // planes for itself.
    const std::int64_t parts =
        std::clamp<std::int64_t>(std::min(8 / units, work / (2 * kChunkWork)), 1, cut_.count);
    parallel_for(
        units * parts, ceil_div(kChunkWork, work), [&](std::int64_t begin, std::int64_t end) {
          Scratch<Real> planes(direct_ ? 1 : plane_block_ + tile_.lanes);
          for (std::int64_t unit = begin; unit < end; ++unit) {
            const std::int64_t part = unit % parts, band = unit / parts % bands_,
                               plane = unit / parts / bands_;
            const std::int64_t group = plane % st_.groups;
            run_unit({source + plane * st_.in_channels * st_.in_h * st_.in_w,
                      packed_weight.data() + group * weights,
                      bias == nullptr ? nullptr : bias + group * st_.out_channels,
                      result + plane * st_.out_channels * st_.out_h * st_.out_w, planes.data(),
                      band, cut_.count * part / parts, cut_.count * (part + 1) / parts});
          }
        });
  }

 private:
  struct Unit {
    const Real* source;  // of the image and group
    const Real* weight;
    const Real* bias;
    Real* result;
    Real* planes;
    std::int64_t band, first_panel, last_panel;
  };

  void choose_channels() {
    const std::int64_t pixels = vectors_ * tile_.lanes;
    std::int64_t lines =
        0;  // cache lines that one channel adds to a tile, rows of all planes counted once
    for (std::size_t plane = 0; plane < st_.planes.size(); ++plane) {
      std::vector<std::int64_t> rows;
      for (const Pass& pass : st_.passes) {
        for (const Tap& tap : pass.taps) {
          if (tap.plane == static_cast<std::int64_t>(plane)) rows.push_back(tap.dy);
        }
      }
      std::sort(rows.begin(), rows.end());
      rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
      lines += static_cast<std::int64_t>(rows.size()) * (ceil_div(pixels, kLine) + 1);
    }
    const std::int64_t most =
        std::max<std::int64_t>(kTileBytes / 64 / std::max<std::int64_t>(lines, 1), 1);
    const std::int64_t blocks = ceil_div(st_.in_channels, most);
    channels_ =
        std::max<std::int64_t>(ceil_div(st_.in_channels, std::max<std::int64_t>(blocks, 1)), 1);
  }

  void choose_layout() {
    width_ = st_.columns + st_.reach_w;
    const Plane& first = st_.planes.front();
    // Planes whose distance is a multiple of 4096 bytes share the same few sets of the first-level
    // cache (64 sets, 8 ways).
    const std::int64_t lines = st_.in_h * st_.in_w / kLine;
    const std::int64_t sets =
        64 / std::gcd<std::int64_t, std::int64_t>(std::max<std::int64_t>(lines, 1), 64);
    dealt_ = st_.out_step_w == 2;
    direct_ = !dealt_ && st_.planes.size() == 1 && st_.in_step_h == 1 && st_.in_step_w == 1 &&
              first.row0 == 0 && first.column0 == 0 && width_ == st_.in_w &&
              st_.rows + st_.reach_h == st_.in_h &&
              (st_.rows - 1) * width_ + st_.columns >= tile_.lanes && 4 * sets >= channels_ &&
              channels_ * st_.in_h * st_.in_w < (std::int64_t{1} << 31);
  }

  void choose_bands() {
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    const std::int64_t row_bytes =
        channels_ * planes * width_ * static_cast<std::int64_t>(sizeof(Real));
    // Rows that several units need are packed several times; at least as many new ones as repeated
    // ones.
    band_rows_ =
        std::max(kPlaneBytes / row_bytes - st_.reach_h, std::max<std::int64_t>(st_.reach_h, 2));
    // Enough units for every thread to be busy to the end.
    const std::int64_t wanted = ceil_div(32, st_.images * st_.groups);
    band_rows_ = std::min(band_rows_, std::max<std::int64_t>(ceil_div(st_.rows, wanted), 4));
    bands_ = ceil_div(st_.rows, std::min(band_rows_, st_.rows));
    band_rows_ = ceil_div(st_.rows, bands_);
    bands_ = ceil_div(st_.rows, band_rows_);
    plane_rows_ = band_rows_ + st_.reach_h;
    // An odd number of cache lines from plane to plane spreads them over all cache sets.
    pitch_ = direct_ ? st_.in_h * st_.in_w : (ceil_div(plane_rows_ * width_, kLine) | 1) * kLine;
    plane_block_ = channels_ * planes * pitch_;
  }

  bool by_row(const Pass& pass) const {
    const std::int64_t rows = pass.row1 - pass.row0, columns = pass.column1 - pass.column0;
    return rows * ceil_div(columns, tile_.lanes) <=
           ceil_div((rows - 1) * width_ + columns, tile_.lanes);
  }

  // Where results of stride 2 are kept until both halves of a row are there: an area for each pass,
  // in which vectors that run along rows may write beyond the end.
  std::int64_t area_pitch(const Pass& pass) const {
    return width_ + (by_row(pass) ? tile_.lanes : 0);
  }
  std::int64_t area_begin(std::size_t p) const {
    std::int64_t at = 0;
    for (std::size_t i = 0; i < p; ++i) at += band_rows_ * area_pitch(st_.passes[i]) + tile_.lanes;
    return at;
  }

  // Vectors may run along rows (and be cut at the end of each), or along the whole plane (and
  // compute the padding between rows too, to no use). Whichever needs fewer.
  void place_slots() {
    const std::int64_t lanes = tile_.lanes;
    std::int64_t count = 0;
    slot_begin_.reserve(static_cast<std::size_t>(bands_) * st_.passes.size() + 1);
    for (std::int64_t band = 0; band < bands_; ++band) {
      for (const Pass& pass : st_.passes) {
        slot_begin_.push_back(count);
        const std::int64_t row0 = std::max(pass.row0, band * band_rows_);
        const std::int64_t row1 = std::min(pass.row1, (band + 1) * band_rows_);
        if (row0 >= row1) continue;
        if (by_row(pass)) {
          for (std::int64_t row = row0; row < row1; ++row) {
            for (std::int64_t at = pass.column0; at < pass.column1; at += lanes) {
              place(pass, band, row * width_ + at,
                    row * width_ + std::min(at + lanes, pass.column1));
            }
          }
        } else {
          const std::int64_t begin = row0 * width_ + pass.column0;
          const std::int64_t end = (row1 - 1) * width_ + pass.column1;
          for (std::int64_t at = begin; at < end; at += lanes)
            place(pass, band, at, std::min(at + lanes, end));
        }
        count = static_cast<std::int64_t>(slots_.size());
      }
    }
    slot_begin_.push_back(count);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (table_of_[i] >= 0) slots_[i].lanes = lane_tables_.data() + table_of_[i];
    }
  }

  // A slot for the pixels [begin, end) of the plane, at most one vector.
  void place(const Pass& pass, std::int64_t band, std::int64_t begin, std::int64_t end) {
    const std::int64_t lanes = tile_.lanes;
    if (dealt_) {
      const std::int64_t start = begin - band * band_rows_ * width_;
      const auto p = static_cast<std::size_t>(&pass - st_.passes.data());
      slots_.push_back(
          {start, area_begin(p) + start / width_ * area_pitch(pass) + start % width_, nullptr});
      table_of_.push_back(-1);
      return;
    }
    std::int64_t in = begin;
    // The tensor itself must not be read beyond its last pixel.
    if (direct_) in = std::min(in, (st_.rows - 1) * width_ + st_.columns - lanes);
    const auto out = [&](std::int64_t at) {
      return (at / width_ * st_.out_step_h + pass.offset_h) * st_.out_w +
             at % width_ * st_.out_step_w + pass.offset_w;
    };
    const auto valid = [&](std::int64_t at) {
      return at >= begin && at < end && at % width_ >= pass.column0 && at % width_ < pass.column1;
    };
    std::int64_t first = in, last = in;  // the first and last pixel that is part of the result
    while (first < in + lanes && !valid(first)) ++first;
    if (first == in + lanes) return;
    for (std::int64_t at = first; at < in + lanes; ++at) last = valid(at) ? at : last;
    const bool whole = first == in && last - first == lanes - 1 && last / width_ == first / width_;
    slots_.push_back({in - band * band_rows_ * width_, out(first), nullptr});
    if (whole && (st_.out_step_w == 1 || whole_table_ >= 0)) {
      table_of_.push_back(st_.out_step_w == 1 ? -1 : whole_table_);
      return;
    }
    table_of_.push_back(static_cast<std::int64_t>(lane_tables_.size()));
    if (whole) whole_table_ = table_of_.back();
    for (std::int64_t at = in; at < in + lanes; ++at) {
      lane_tables_.push_back(valid(at) ? static_cast<std::int32_t>(out(at) - out(first)) : -1);
    }
  }

  // For each group, pass and block of channels, the panels of its weights.
  void pack_weights(const Real* weight, std::int64_t weights, Real* packed) const {
    const std::int64_t blocks = ceil_div(std::max<std::int64_t>(st_.in_channels, 1), channels_);
    const std::int64_t items = st_.groups * blocks * cut_.count;
    const std::int64_t grain = 20'000 * items / std::max<std::int64_t>(weights * st_.groups, 1);
    parallel_for(
        items, std::max<std::int64_t>(grain, 1), [&](std::int64_t begin, std::int64_t end) {
          Scratch<std::int32_t> offsets(channels_ * std::max<std::int64_t>(st_.all_taps(), 1));
          for (std::int64_t item = begin; item < end; ++item) {
            const std::int64_t panel = item % cut_.count, block = item / cut_.count % blocks,
                               group = item / cut_.count / blocks;
            const std::int64_t channel0 = block * channels_;
            const std::int64_t channels = std::min(channels_, st_.in_channels - channel0);
            if (item == begin || panel == 0) {
              std::int32_t* at = offsets.data();
              for (const Pass& pass : st_.passes) {
                for (std::int64_t c = 0; c < channels; ++c) {
                  for (const Tap& tap : pass.taps) {
                    *at++ = static_cast<std::int32_t>(c * st_.weight_channel + tap.weight);
                  }
                }
              }
            }
            // One pass after the other for each panel: they read different taps of the same
            // weights.
            const std::int32_t* table = offsets.data();
            for (std::size_t p = 0; p < st_.passes.size(); ++p) {
              const std::int64_t depth =
                  channels * static_cast<std::int64_t>(st_.passes[p].taps.size());
              if (depth == 0) continue;
              const std::int64_t at = group * weights + weight_begin(static_cast<std::int64_t>(p)) +
                                      st_.out_channels * (depth / channels) * channel0;
              pack_panels(weight + group * st_.group_weights() + channel0 * st_.weight_channel,
                          st_.weight_row, table, depth, cut_, panel, panel + 1, packed + at);
              table += depth;
            }
          }
        });
  }

  std::int64_t weight_begin(std::int64_t p) const {
    std::int64_t taps = 0;
    for (std::int64_t i = 0; i < p; ++i)
      taps += static_cast<std::int64_t>(st_.passes[static_cast<std::size_t>(i)].taps.size());
    return taps * st_.out_channels * st_.in_channels;
  }

  void run_unit(const Unit& unit) const {
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    const std::int64_t row0 = unit.band * band_rows_;
    const std::int64_t first_row = cut_.begin(unit.first_panel);
    const std::int64_t area = dealt_ ? area_begin(st_.passes.size()) : 0;
    Scratch<Real> halves((cut_.begin(unit.last_panel) - first_row) * area + 1);
    for (std::int64_t c0 = 0; c0 == 0 || c0 < st_.in_channels; c0 += channels_) {
      const std::int64_t channels = std::min(channels_, st_.in_channels - c0);
      if (!direct_)
        pack_planes(unit.source + c0 * st_.in_h * st_.in_w, channels, row0, unit.planes);
      for (std::size_t p = 0; p < st_.passes.size(); ++p) {
        const Pass& pass = st_.passes[p];
        const auto taps = static_cast<std::int64_t>(pass.taps.size());
        const std::size_t index = static_cast<std::size_t>(unit.band) * st_.passes.size() + p;
        TileJob job;
        job.rows = st_.out_channels;
        job.depth = channels * taps;
        job.a =
            unit.weight + weight_begin(static_cast<std::int64_t>(p)) + st_.out_channels * c0 * taps;
        job.b = direct_ ? unit.source + c0 * pitch_ + row0 * width_ : unit.planes;
        job.slots = slots_.data() + slot_begin_[index];
        job.slot_count = slot_begin_[index + 1] - slot_begin_[index];
        if (job.slot_count == 0) continue;
        Scratch<std::int32_t> offsets(std::max<std::int64_t>(job.depth, 1));
        std::int64_t k = 0;
        for (std::int64_t c = 0; c < channels; ++c) {
          for (const Tap& tap : pass.taps) {
            offsets[k++] = static_cast<std::int32_t>((c * planes + tap.plane) * pitch_ +
                                                     tap.dy * width_ + tap.dx);
          }
        }
        job.offsets = offsets.data();
        job.c = dealt_ ? halves.data() - first_row * area : unit.result;
        job.c_stride = dealt_ ? area : st_.out_h * st_.out_w;
        job.accumulate = c0 > 0;
        job.row_bias = unit.bias;
        const std::int64_t bytes =
            cut_.max_height() * job.depth * static_cast<std::int64_t>(sizeof(Real));
        const std::int64_t panels =
            std::max<std::int64_t>(kPanelBytes / std::max<std::int64_t>(bytes, 1), 1);
        for (job.first_panel = unit.first_panel; job.first_panel < unit.last_panel;
             job.first_panel += panels) {
          job.last_panel = std::min(unit.last_panel, job.first_panel + panels);
          run_tiles(job);
        }
      }
    }
    for (std::int64_t o = first_row; dealt_ && o < cut_.begin(unit.last_panel); ++o) {
      join_halves(unit.band, halves.data() + (o - first_row) * area,
                  unit.result + o * st_.out_h * st_.out_w);
    }
  }

  void join_halves(std::int64_t band, const Real* halves, Real* result) const {
    for (std::size_t p = 0; p < st_.passes.size(); ++p) {
      const Pass& even = st_.passes[p];
      // The pass with the columns between this one's; there is none for results of one column.
      const auto other = std::find_if(st_.passes.begin(), st_.passes.end(), [&](const Pass& pass) {
        return pass.offset_h == even.offset_h && pass.offset_w == even.offset_w + 1;
      });
      const bool alone = other == st_.passes.end();
      const bool is_other =
          std::any_of(st_.passes.begin(), st_.passes.end(), [&](const Pass& pass) {
            return pass.offset_h == even.offset_h && pass.offset_w + 1 == even.offset_w;
          });
      if (is_other) continue;
      const Pass& odd = alone ? even : *other;
      const Real* even_area = halves + area_begin(p);
      const Real* odd_area =
          halves + area_begin(static_cast<std::size_t>(&odd - st_.passes.data()));
      const std::int64_t row1 = std::min(even.row1, (band + 1) * band_rows_);
      for (std::int64_t row = std::max(even.row0, band * band_rows_); row < row1; ++row) {
        const Real* even_row = even_area + (row - band * band_rows_) * area_pitch(even);
        const Real* odd_row = odd_area + (row - band * band_rows_) * area_pitch(odd);
        Real* to = result + (row * st_.out_step_h + even.offset_h) * st_.out_w + even.offset_w;
        const std::int64_t first = alone ? even.column1 : std::max(even.column0, odd.column0);
        const std::int64_t last = alone ? even.column1 : std::min(even.column1, odd.column1);
        for (std::int64_t j = even.column0; j < std::min(first, even.column1); ++j)
          to[2 * j] = even_row[j];
        for (std::int64_t j = odd.column0; !alone && j < first; ++j) to[2 * j + 1] = odd_row[j];
        interleave(even_row + first, odd_row + first, last - first, to + 2 * first);
        for (std::int64_t j = last; j < even.column1; ++j) to[2 * j] = even_row[j];
        for (std::int64_t j = last; !alone && j < odd.column1; ++j) to[2 * j + 1] = odd_row[j];
      }
    }
  }

  // Planes of `channels` channels, rows from row0 of the grid on.
  void pack_planes(const Real* source, std::int64_t channels, std::int64_t row0, Real* to) const {
    for (std::int64_t c = 0; c < channels; ++c, source += st_.in_h * st_.in_w) {
      for (const Plane& plane : st_.planes) {
        const Window window{st_.in_h,      st_.in_w,      row0 * st_.in_step_h + plane.row0,
                            plane.column0, st_.in_step_h, st_.in_step_w,
                            plane_rows_,   width_};
        copy_window(window, source, to);
        to += pitch_;
      }
    }
  }

  const Stencil& st_;
  const TileShape tile_;
  const PanelCut cut_;
  const std::int64_t vectors_;
  std::int64_t channels_ = 1;  // in a block
  std::int64_t width_ = 0, plane_rows_ = 0, pitch_ = 0, plane_block_ = 0;
  bool direct_ = false;  // the tensor itself serves as the plane
  bool dealt_ = false;   // the result's even and odd columns are computed apart
  std::int64_t bands_ = 1, band_rows_ = 1;
  std::vector<Slot> slots_;  // of band 0 pass 0, band 0 pass 1, …
  std::vector<std::int64_t> slot_begin_;
  std::vector<std::int64_t> table_of_;  // of a slot in lane_tables_, or -1
  std::vector<std::int32_t> lane_tables_;
  std::int64_t whole_table_ = -1;
};

}  // namespace

void run_stencil(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                 Real* result) {
  Plan(stencil).run(source, weight, bias, result);
}

}  // namespace tapestry::kernels
