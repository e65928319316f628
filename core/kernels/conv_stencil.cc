#include "core/kernels/conv_stencil.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_window.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {

namespace {

/// Along one axis: which rows of g the rows of dx are made of.
struct Axis {
  Axis(std::int64_t kernel, std::int64_t step, std::int64_t border, std::int64_t dilation)
      : stride(step), padding(border), apart(dilation) {
    for (std::int64_t r = 0; r < stride; ++r) {
      for (std::int64_t a = 0; a < kernel; ++a) {
        if (!meets(r, a)) continue;
        first = std::min(first, from(r, a));
        last = std::max(last, from(r, a));
      }
    }
  }
  bool meets(std::int64_t r, std::int64_t a) const {
    return (r + padding - a * apart) % stride == 0;
  }
  std::int64_t from(std::int64_t r, std::int64_t a) const {
    return (r + padding - a * apart) / stride;
  }

  const std::int64_t stride, padding, apart;
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::int64_t last = std::numeric_limits<std::int64_t>::min();
};

}  // namespace

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

  Pass pass{{}, st.rows, st.columns, 0, 0};
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
  st.weight_row = s.kernel_h * s.kernel_w;
  st.weight_channel = st.out_channels * st.weight_row;

  // Row y of dx is q · stride + r. Tap a reaches it from row q + t of g, where t · stride = r +
  // padding − a · dilation, if there is such a t.
  const Axis h(s.kernel_h, s.stride_h, s.padding_h, s.dilation_h),
      w(s.kernel_w, s.stride_w, s.padding_w, s.dilation_w);
  st.rows = ceil_div(s.height, s.stride_h);
  st.columns = ceil_div(s.width, s.stride_w);
  st.reach_h = h.last - h.first;
  st.reach_w = w.last - w.first;
  st.planes = {{h.first, w.first}};
  for (std::int64_t r = 0; r < std::min(s.stride_h, s.height); ++r) {
    for (std::int64_t c = 0; c < std::min(s.stride_w, s.width); ++c) {
      Pass pass{{}, ceil_div(s.height - r, s.stride_h), ceil_div(s.width - c, s.stride_w), r, c};
      for (std::int64_t a = 0; a < s.kernel_h; ++a) {
        for (std::int64_t b = 0; b < s.kernel_w; ++b) {
          if (!h.meets(r, a) || !w.meets(c, b)) continue;
          pass.taps.push_back(
              {0, h.from(r, a) - h.first, w.from(c, b) - w.first, a * s.kernel_w + b, b});
        }
      }
      st.passes.push_back(std::move(pass));
    }
  }
  return st;
}

namespace {

/// Calls visit(pass, tap, row of the tap's window, column) for each tap, window by window of r × r
/// in one plane after the other.
template <class Visit>
void each_tap_in_windows(const Stencil& st, std::size_t first_pass, std::size_t last_pass,
                         std::int64_t r, Visit visit) {
  for (std::size_t plane = 0; plane < st.planes.size(); ++plane) {
    const auto each_tap = [&](auto with) {
      for (std::size_t p = first_pass; p < last_pass; ++p) {
        for (const Tap& tap : st.passes[p].taps) {
          if (tap.plane == static_cast<std::int64_t>(plane)) with(p - first_pass, tap);
        }
      }
    };
    std::int64_t dy = std::numeric_limits<std::int64_t>::max(), dx = dy;
    each_tap([&](std::size_t, const Tap& tap) {
      dy = std::min(dy, tap.dy);
      dx = std::min(dx, tap.dx);
    });
    each_tap([&](std::size_t p, const Tap& tap) {
      visit(p, tap, tap.dy - (tap.dy - dy) % r, tap.dx - (tap.dx - dx) % r);
    });
  }
}

}  // namespace

std::vector<Filter> filters(const Stencil& st, std::size_t first_pass, std::size_t last_pass,
                            std::int64_t r) {
  std::vector<Filter> result;
  each_tap_in_windows(
      st, first_pass, last_pass, r,
      [&](std::size_t p, const Tap& tap, std::int64_t dy, std::int64_t dx) {
        auto filter = std::find_if(result.begin(), result.end(), [&](const Filter& f) {
          return f.plane == tap.plane && f.dy == dy && f.dx == dx;
        });
        if (filter == result.end()) {
          const std::vector<std::int64_t> none(static_cast<std::size_t>(r * r), -1);
          filter =
              result.insert(filter, {tap.plane, dy, dx, std::vector(last_pass - first_pass, none)});
        }
        filter->weight[p][static_cast<std::size_t>((tap.dy - dy) * r + tap.dx - dx)] = tap.weight;
      });
  return result;
}

std::int64_t filter_count(const Stencil& st, std::size_t first_pass, std::size_t last_pass,
                          std::int64_t r) {
  struct Place {
    std::int64_t plane, dy, dx;
    bool operator==(const Place&) const = default;
  };
  std::vector<Place> seen;
  each_tap_in_windows(st, first_pass, last_pass, r,
                      [&](std::size_t, const Tap& tap, std::int64_t dy, std::int64_t dx) {
                        const Place place{tap.plane, dy, dx};
                        if (std::find(seen.begin(), seen.end(), place) == seen.end())
                          seen.push_back(place);
                      });
  return static_cast<std::int64_t>(seen.size());
}

std::int64_t weight_begin(const Stencil& st, std::size_t pass) {
  std::int64_t taps = 0;
  for (std::size_t p = 0; p < pass; ++p)
    taps += static_cast<std::int64_t>(st.passes[p].taps.size());
  return taps * st.out_channels * st.in_channels;
}

void pack_weights(const Stencil& st, const PanelCut& cut, std::int64_t block, bool taps_first,
                  const Real* weight, Real* packed) {
  constexpr std::int64_t kTogether = 8;  // panels: they share cache lines of the weights
  const std::int64_t weights = st.out_channels * st.in_channels * st.all_taps();
  const std::int64_t blocks = ceil_div(std::max<std::int64_t>(st.in_channels, 1), block);
  const std::int64_t parts = ceil_div(cut.count, kTogether), items = st.groups * blocks * parts;
  const std::int64_t grain = 20'000 * items / std::max<std::int64_t>(weights * st.groups, 1);
  std::vector<std::vector<std::int32_t>> taps;
  for (const Pass& pass : st.passes) {
    auto& numbers = taps.emplace_back();
    for (const Tap& tap : pass.taps) numbers.push_back(static_cast<std::int32_t>(tap.weight));
  }
  parallel_for(items, std::max<std::int64_t>(grain, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t panel = item % parts * kTogether, channel0 = item / parts % blocks * block,
                         group = item / parts / blocks;
      const std::int64_t channels = std::min(block, st.in_channels - channel0);
      // One pass after the other: they read different taps of the same weights.
      for (std::size_t p = 0; p < taps.size(); ++p) {
        const auto count = static_cast<std::int64_t>(taps[p].size());
        if (count == 0 || channels == 0) continue;
        const PanelSource source{weight + group * st.group_weights() + channel0 * st.weight_channel,
                                 st.weight_row,
                                 st.weight_channel,
                                 channels,
                                 taps[p].data(),
                                 count,
                                 taps_first};
        pack_panels(
            source, cut, panel, std::min(cut.count, panel + kTogether),
            packed + group * weights + weight_begin(st, p) + st.out_channels * count * channel0);
      }
    }
  });
}

bool reads_weights_in_place(const Stencil& st) {
  // Tiles are somewhat slower with unpacked weights. Those of a column may follow each other too,
  // but then each step of the sum touches another page.
  constexpr std::int64_t kFewPixels = 1024;
  if (st.passes.size() != 1 || st.weight_row < st.weight_channel) return false;
  const std::vector<Tap>& taps = st.passes.front().taps;
  for (std::size_t t = 0; t < taps.size(); ++t) {
    if (taps[t].weight != static_cast<std::int64_t>(t)) return false;
  }
  return static_cast<std::int64_t>(taps.size()) == st.weight_channel &&
         st.images * st.rows * st.columns <= kFewPixels;
}

namespace {

// What a tile reads for one block of channels should stay in a 32 KB first-level cache while all
// rows of the result use it.
constexpr std::int64_t kTileBytes = 24 << 10;
// Packed planes of one unit of work: with weights and results, in a 512 KB second-level cache.
constexpr std::int64_t kPlaneBytes = 192 << 10;
// Results of one unit that are not yet in their place: most of a second-level cache.
constexpr std::int64_t kAsideBytes = 384 << 10;
// Weights used in turn by one tile of pixels after the other, as in Note [Blocking] of gemm.cc.
constexpr std::int64_t kPanelBytes = 192 << 10;
// Multiply-adds in a chunk of work: 10 µs, several times the cost of waking a thread.
constexpr std::int64_t kChunkWork = 500'000;
// Of at least so many panels of weights, the first leaves the others a copy of the pixels, aligned
// and in a row: it takes twice as long, they 5 to 10 % less.
constexpr std::int64_t kCopyPanels = 10;
constexpr std::int64_t kLine = 64 / sizeof(Real);  // numbers in a cache line

/// Everything about a stencil that does not depend on the numbers: which rows make a unit, which
/// channels a block, where every vector reads and writes.
class Plan {
 public:
  explicit Plan(const Stencil& st)
      : st_(st),
        tile_(tile_shape()),
        cut_(st.out_channels, tile_.max_rows),
        vectors_(tile_vectors(std::max<std::int64_t>(cut_.max_height(), 1))),
        as_they_lie_(reads_weights_in_place(st)),
        by_tap_(copies_taps(st)) {
    for (const Pass& pass : st.passes)
      most_taps_ = std::max(most_taps_, static_cast<std::int64_t>(pass.taps.size()));
    choose_channels();
    choose_layout();
    choose_bands();
    place_slots();
  }

  void run(const Real* source, const Real* weight, const Real* bias, Real* result) {
    const std::int64_t weights = st_.out_channels * st_.in_channels * st_.all_taps();  // per group
    Scratch<Real> packed_weight(as_they_lie_ ? 1 : std::max<std::int64_t>(weights * st_.groups, 1));
    if (!as_they_lie_) pack_weights(st_, cut_, channels_, false, weight, packed_weight.data());

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
                      as_they_lie_ ? weight + group * st_.group_weights()
                                   : packed_weight.data() + group * weights,
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
    if (by_tap_) lines = most_taps_ * ceil_div(pixels, kLine);
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
    // Whole vectors may go to their place at once: along rows without a rest, or along a plane that
    // has no padding.
    aside_ = st_.out_step_w > 1;
    for (const Pass& pass : st_.passes)
      aside_ = aside_ || (by_row(pass) ? pass.columns % tile_.lanes != 0
                                       : row_width(pass) != st_.out_w || st_.out_step_h > 1);
    direct_ = !by_tap_ && st_.planes.size() == 1 && st_.in_step_h == 1 && st_.in_step_w == 1 &&
              first.row0 == 0 && first.column0 == 0 && width_ == st_.in_w &&
              st_.rows + st_.reach_h == st_.in_h && st_.out_step_w == 1 &&
              (st_.rows - 1) * width_ + st_.columns >= tile_.lanes && 4 * sets >= channels_ &&
              channels_ * st_.in_h * st_.in_w < (std::int64_t{1} << 31);
  }

  void choose_bands() {
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    const std::int64_t row = channels_ * (by_tap_ ? most_taps_ * st_.columns : planes * width_),
                       row_bytes = row * static_cast<std::int64_t>(sizeof(Real));
    // Rows that several units need are packed several times; at least as many new ones as repeated
    // ones.
    band_rows_ =
        std::max(kPlaneBytes / row_bytes - st_.reach_h, std::max<std::int64_t>(st_.reach_h, 2));
    // Enough units for every thread to be busy to the end.
    const std::int64_t wanted = ceil_div(32, st_.images * st_.groups);
    band_rows_ = std::min(band_rows_, std::max<std::int64_t>(ceil_div(st_.rows, wanted), 4));
    if (aside_) {
      std::int64_t results = 0;  // numbers of a row of all output channels
      for (const Pass& pass : st_.passes) results += area_pitch(pass) * st_.out_channels;
      band_rows_ = std::min(
          band_rows_,
          std::max<std::int64_t>(kAsideBytes / (results * static_cast<std::int64_t>(sizeof(Real))),
                                 std::max<std::int64_t>(st_.reach_h, 2)));
    }
    bands_ = ceil_div(st_.rows, std::min(band_rows_, st_.rows));
    band_rows_ = ceil_div(st_.rows, bands_);
    if (by_tap_) {  // whole tiles
      const std::int64_t tile = vectors_ * tile_.lanes, whole = tile / std::gcd(tile, st_.columns);
      band_rows_ = std::max(band_rows_, ceil_div(kTapPixels, st_.columns));
      band_rows_ = std::min(ceil_div(band_rows_, whole) * whole, st_.rows);
    }
    bands_ = ceil_div(st_.rows, band_rows_);
    plane_rows_ = band_rows_ + st_.reach_h;
    // An odd number of cache lines from plane to plane spreads them over all cache sets.
    pitch_ = direct_   ? st_.in_h * st_.in_w
             : by_tap_ ? spread(band_rows_ * st_.columns)
                       : spread(plane_rows_ * width_);
    plane_block_ = channels_ * (by_tap_ ? most_taps_ : planes) * pitch_;
  }

  // Vectors may run along rows (and be cut at the end of each), or along the whole plane (and
  // compute the padding between rows too, to no use). Whichever needs fewer.
  bool by_row(const Pass& pass) const {
    return pass.rows * ceil_div(pass.columns, tile_.lanes) <=
           ceil_div((pass.rows - 1) * row_width(pass) + pass.columns, tile_.lanes);
  }
  std::int64_t row_width(const Pass& pass) const { return by_tap_ ? pass.columns : width_; }

  // Where the results of a pass are kept aside: vectors that run along rows may write beyond the
  // end.
  std::int64_t area_pitch(const Pass& pass) const {
    return by_row(pass) ? ceil_div(pass.columns, tile_.lanes) * tile_.lanes : row_width(pass);
  }
  std::int64_t area_begin(std::size_t p) const {
    std::int64_t at = 0;
    for (std::size_t i = 0; i < p; ++i) at += band_rows_ * area_pitch(st_.passes[i]) + tile_.lanes;
    return at;
  }

  void place_slots() {
    const std::int64_t lanes = tile_.lanes;
    slot_begin_.reserve(static_cast<std::size_t>(bands_) * st_.passes.size() + 1);
    for (std::int64_t band = 0; band < bands_; ++band) {
      for (std::size_t p = 0; p < st_.passes.size(); ++p) {
        const Pass& pass = st_.passes[p];
        slot_begin_.push_back(static_cast<std::int64_t>(slots_.size()));
        const std::int64_t row0 = band * band_rows_, rows = std::min(pass.rows - row0, band_rows_);
        if (rows <= 0) continue;
        const bool along_row = by_row(pass);
        const std::int64_t runs = along_row ? rows : 1;
        const std::int64_t run =
            along_row ? pass.columns : (rows - 1) * row_width(pass) + pass.columns;
        const std::int64_t begin =
            aside_ ? area_begin(p)
                   : (row0 * st_.out_step_h + pass.offset_h) * st_.out_w + pass.offset_w;
        const std::int64_t step = aside_ ? area_pitch(pass) : st_.out_step_h * st_.out_w;
        // The tensor itself must not be read beyond its last pixel.
        const std::int64_t last_in =
            direct_ ? (st_.rows - 1 - row0) * width_ + st_.columns - lanes : run + rows * width_;
        for (std::int64_t i = 0; i < runs; ++i) {
          for (std::int64_t at = 0; at < run; at += lanes) {
            const std::int64_t in = i * row_width(pass) + at,
                               back = std::max<std::int64_t>(in - last_in, 0);
            slots_.push_back({in - back, begin + i * step + at, nullptr});
            if (back > 0 || (!aside_ && run - at < lanes)) mask(back, back + run - at);
          }
        }
      }
    }
    slot_begin_.push_back(static_cast<std::int64_t>(slots_.size()));
    for (std::size_t i = 0; i < masked_.size(); ++i)
      slots_[masked_[i]].lanes = masks_.data() + i * static_cast<std::size_t>(tile_.lanes);
  }

  // Of the last slot only lanes [begin, end) count.
  void mask(std::int64_t begin, std::int64_t end) {
    masked_.push_back(slots_.size() - 1);
    for (std::int64_t l = 0; l < tile_.lanes; ++l)
      masks_.push_back(l >= begin && l < end ? static_cast<std::int32_t>(l - begin) : -1);
  }

  void run_unit(const Unit& unit) const {
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    const std::int64_t row0 = unit.band * band_rows_;
    const std::int64_t first_row = cut_.begin(unit.first_panel);
    const std::int64_t area = aside_ ? spread(area_begin(st_.passes.size())) : 0;
    Scratch<Real> aside((cut_.begin(unit.last_panel) - first_row) * area + 1);
    const bool copies = cut_.count >= kCopyPanels;
    Scratch<Real> copy(copies ? vectors_ * tile_.lanes * channels_ * most_taps_ : 1);
    for (std::int64_t c0 = 0; c0 == 0 || c0 < st_.in_channels; c0 += channels_) {
      const std::int64_t channels = std::min(channels_, st_.in_channels - c0);
      const Real* source = unit.source + c0 * st_.in_h * st_.in_w;
      if (!direct_ && !by_tap_) pack_planes(source, channels, row0, unit.planes);
      for (std::size_t p = 0; p < st_.passes.size(); ++p) {
        const Pass& pass = st_.passes[p];
        const auto taps = static_cast<std::int64_t>(pass.taps.size());
        const std::size_t index = static_cast<std::size_t>(unit.band) * st_.passes.size() + p;
        TileJob job;
        job.rows = st_.out_channels;
        job.depth = channels * taps;
        if (as_they_lie_) {
          job.a = unit.weight + c0 * st_.weight_channel;
          job.a_stride = st_.weight_row;
        } else {
          job.a = unit.weight + weight_begin(st_, p) + st_.out_channels * c0 * taps;
        }
        job.b = direct_ ? unit.source + c0 * pitch_ + row0 * width_ : unit.planes;
        job.slots = slots_.data() + slot_begin_[index];
        job.slot_count = slot_begin_[index + 1] - slot_begin_[index];
        if (job.slot_count == 0) continue;
        if (by_tap_) pack_taps(source, channels, pass, row0, unit.planes);
        Scratch<std::int32_t> offsets(std::max<std::int64_t>(job.depth, 1));
        std::int64_t k = 0;
        for (std::int64_t c = 0; c < channels; ++c) {
          for (const Tap& tap : pass.taps) {
            offsets[k] = static_cast<std::int32_t>(by_tap_ ? k * pitch_
                                                           : (c * planes + tap.plane) * pitch_ +
                                                                 tap.dy * width_ + tap.dx);
            ++k;
          }
        }
        job.offsets = offsets.data();
        job.c = aside_ ? aside.data() - first_row * area : unit.result;
        job.c_stride = aside_ ? area : st_.out_h * st_.out_w;
        job.accumulate = c0 > 0;
        job.row_bias = unit.bias;
        if (copies) job.copy = copy.data();
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
    for (std::int64_t o = first_row; aside_ && o < cut_.begin(unit.last_panel); ++o) {
      put_in_place(unit.band, aside.data() + (o - first_row) * area,
                   unit.result + o * st_.out_h * st_.out_w);
    }
  }

  void put_in_place(std::int64_t band, const Real* aside, Real* result) const {
    for (std::size_t p = 0; p < st_.passes.size(); ++p) {
      const Pass& pass = st_.passes[p];
      // With stride 2, the pass with the columns between follows; there is none for one column.
      const bool joined = st_.out_step_w == 2 && p + 1 < st_.passes.size() &&
                          st_.passes[p + 1].offset_h == pass.offset_h;
      const Real* from = aside + area_begin(p);
      const Real* between = joined ? aside + area_begin(p + 1) : nullptr;
      const std::int64_t row0 = band * band_rows_, row1 = std::min(pass.rows, row0 + band_rows_);
      if (st_.out_step_w == 1 && st_.out_step_h == 1) {
        const std::int64_t pitch = area_pitch(pass), rows = row1 - row0;
        copy_window({rows, pitch, 0, 0, 1, 1, rows, pass.columns}, from, result + row0 * st_.out_w);
        continue;
      }
      for (std::int64_t row = row0; row < row1; ++row, from += area_pitch(pass)) {
        Real* to = result + (row * st_.out_step_h + pass.offset_h) * st_.out_w + pass.offset_w;
        std::int64_t done = 0;
        if (joined) {
          done = st_.passes[p + 1].columns;
          interleave(from, between, done, to);
          between += area_pitch(st_.passes[p + 1]);
        }
        put(from + done, pass.columns - done, st_.out_step_w, to + done * st_.out_step_w);
      }
      if (joined) ++p;
    }
  }

  // Planes of `channels` channels, rows from row0 of the grid on.
  void pack_planes(const Real* source, std::int64_t channels, std::int64_t row0, Real* to) const {
    const auto planes = static_cast<std::int64_t>(st_.planes.size());
    for (const Plane& plane : st_.planes) {
      copy_windows({st_.in_h, st_.in_w, row0 * st_.in_step_h + plane.row0, plane.column0,
                    st_.in_step_h, st_.in_step_w, plane_rows_, width_},
                   channels, source, st_.in_h * st_.in_w, to, planes * pitch_);
      to += pitch_;
    }
  }

  // For each channel and tap of the pass, the pixels that it reads.
  void pack_taps(const Real* source, std::int64_t channels, const Pass& pass, std::int64_t row0,
                 Real* to) const {
    const std::int64_t rows = std::min(pass.rows - row0, band_rows_);
    const auto taps = static_cast<std::int64_t>(pass.taps.size());
    for (const Tap& tap : pass.taps) {
      const Plane& plane = st_.planes[static_cast<std::size_t>(tap.plane)];
      copy_windows({st_.in_h, st_.in_w, (row0 + tap.dy) * st_.in_step_h + plane.row0,
                    tap.dx * st_.in_step_w + plane.column0, st_.in_step_h, st_.in_step_w, rows,
                    pass.columns},
                   channels, source, st_.in_h * st_.in_w, to, taps * pitch_);
      to += pitch_;
    }
  }

  const Stencil& st_;
  const TileShape tile_;
  const PanelCut cut_;
  const std::int64_t vectors_;
  const bool as_they_lie_;      // weights are not packed
  const bool by_tap_;           // copies_taps()
  std::int64_t most_taps_ = 1;  // of a pass, if any has one
  std::int64_t channels_ = 1;   // in a block
  std::int64_t width_ = 0, plane_rows_ = 0, pitch_ = 0, plane_block_ = 0;
  bool direct_ = false;  // the tensor itself serves as the plane
  bool aside_ = false;   // results are put in their place at the end of a unit
  std::int64_t bands_ = 1, band_rows_ = 1;
  std::vector<Slot> slots_;  // of band 0 pass 0, band 0 pass 1, …
  std::vector<std::int64_t> slot_begin_;
  std::vector<std::size_t> masked_;  // slots of which not all lanes count
  std::vector<std::int32_t> masks_;
};

}  // namespace

void run_stencil(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                 Real* result) {
  Plan(stencil).run(source, weight, bias, result);
}

}  // namespace tapestry::kernels
