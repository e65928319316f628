#include "core/kernels/conv_batch.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/kernels/ceil_div.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

// Note [One image per lane]
// ~~~~~~~~~~~~~~~~~~~~~~~~~
// Vectors along a row of 4 pixels would be half empty. With the numbers of 16 images side by side,
// (C, H, W, 16), a vector holds one pixel of 8 images, whatever the image size. And as all lanes
// sit at the same pixel, the taps that fall into the padding are the same for all of them and are
// left out: for a 4 × 4 kernel with padding 1 on a 4 × 4 result that is a quarter of all products.
// The price is a transposition on the way in and out.

constexpr std::int64_t kTileBytes = 24 << 10;    // as in conv_stencil.cc
constexpr std::int64_t kPanelBytes = 192 << 10;  // as in conv_stencil.cc
constexpr std::int64_t kChunkWork = 500'000;     // as in conv_stencil.cc
// Transposed images (of a block of channels) and results of one unit: together in a second-level
// cache of 512 KB. Beyond it, a 16 × 16 image with 32 channels ran at 60 instead of 83 GFLOP/s.
constexpr std::int64_t kImageBytes = 128 << 10, kResultBytes = 640 << 10;

/// The taps of a pass that stay inside the image along one axis: [first, last) of those that the
/// pass has.
struct Inside {
  std::int64_t first, last;
  bool operator==(const Inside&) const = default;
};

/// Pixels of a pass that use the same taps.
struct Class {
  std::size_t pass;
  Inside rows, columns;
  std::vector<Slot> slots;
};

/// A pass's taps as rows × columns: taps[a · columns + b].
struct TapGrid {
  explicit TapGrid(const Pass& pass) {
    const auto count = static_cast<std::int64_t>(pass.taps.size());
    // Taps of one row have consecutive weights of one kernel row; a new row starts where dx steps
    // back to its first value.
    columns = count;
    for (std::int64_t t = 1; t < count; ++t) {
      const Tap& tap = pass.taps[static_cast<std::size_t>(t)];
      if (same_column(tap, pass.taps.front())) {
        columns = t;
        break;
      }
    }
    rows = count == 0 ? 0 : count / columns;
  }
  std::int64_t rows, columns;

 private:
  static bool same_column(const Tap& a, const Tap& b) { return a.column == b.column; }
};

/// Source row (or column) that a tap reads at position 0 of the grid.
std::int64_t tap_y(const Stencil& st, const Tap& tap) {
  return tap.dy * st.in_step_h + st.planes[static_cast<std::size_t>(tap.plane)].row0;
}
std::int64_t tap_x(const Stencil& st, const Tap& tap) {
  return tap.dx * st.in_step_w + st.planes[static_cast<std::size_t>(tap.plane)].column0;
}

template <class At>
Inside inside(std::int64_t taps, std::int64_t extent, At at) {
  // Positions may ascend or descend with the tap; either way those inside are neighbors.
  Inside range{0, 0};
  bool any = false;
  for (std::int64_t t = 0; t < taps; ++t) {
    const std::int64_t position = at(t);
    if (position < 0 || position >= extent) continue;
    if (!any) range.first = t;
    range.last = t + 1;
    any = true;
  }
  return range;
}

/// Calls visit(pass, row, column, taps inside along rows, along columns) for every pixel of the
/// result.
template <class Visit>
void each_pixel(const Stencil& st, Visit visit) {
  for (std::size_t p = 0; p < st.passes.size(); ++p) {
    const Pass& pass = st.passes[p];
    const TapGrid grid(pass);
    std::vector<Inside> columns;
    for (std::int64_t j = 0; j < pass.columns; ++j) {
      columns.push_back(inside(grid.rows == 0 ? 0 : grid.columns, st.in_w, [&](std::int64_t t) {
        return j * st.in_step_w + tap_x(st, pass.taps[static_cast<std::size_t>(t)]);
      }));
    }
    for (std::int64_t i = 0; i < pass.rows; ++i) {
      const Inside rows = inside(grid.rows, st.in_h, [&](std::int64_t t) {
        return i * st.in_step_h + tap_y(st, pass.taps[static_cast<std::size_t>(t * grid.columns)]);
      });
      for (std::int64_t j = 0; j < pass.columns; ++j) {
        visit(p, i, j, rows, columns[static_cast<std::size_t>(j)]);
      }
    }
  }
}

class Batch {
 public:
  explicit Batch(const Stencil& st)
      : st_(st),
        tile_(tile_shape()),
        cut_(st.out_channels, tile_.max_rows),
        vectors_(tile_vectors(std::max<std::int64_t>(cut_.max_height(), 1))),
        pixels_(st.in_h * st.in_w),
        out_pixels_(st.out_h * st.out_w) {
    const std::int64_t needed = ceil_div(st.images, tile_.lanes);
    units_ = ceil_div(needed, vectors_);
    images_ = ceil_div(needed, units_) * tile_.lanes;
    std::int64_t taps = 1;
    for (const Pass& pass : st.passes)
      taps = std::max(taps, static_cast<std::int64_t>(pass.taps.size()));
    const std::int64_t most = std::max<std::int64_t>(
        kTileBytes / (taps * images_ * static_cast<std::int64_t>(sizeof(Real))), 1);
    channels_ = ceil_div(st.in_channels, ceil_div(st.in_channels, most));
  }

  bool fits() const {
    const std::int64_t image_bytes = images_ * static_cast<std::int64_t>(sizeof(Real));
    return channels_ * pixels_ * image_bytes <= kImageBytes &&
           st_.out_channels * out_pixels_ * image_bytes <= kResultBytes;
  }
  std::int64_t vectors() const { return units_ * images_ / tile_.lanes; }

  void run(const Real* source, const Real* weight, const Real* bias, Real* result) {
    place_slots();
    const std::int64_t weights = st_.out_channels * st_.in_channels * st_.all_taps();
    Scratch<Real> packed_weight(std::max<std::int64_t>(weights * st_.groups, 1));
    // k runs over (tap, channel of the block), so that the taps inside the image are few runs.
    pack_weights(st_, cut_, channels_, true, weight, packed_weight.data());
    const std::int64_t units = units_ * st_.groups;
    const std::int64_t work = std::max<std::int64_t>(
        weights * out_pixels_ * images_ / static_cast<std::int64_t>(st_.passes.size()), 1);
    const std::int64_t parts =
        std::clamp<std::int64_t>(std::min(16 / units, work / (2 * kChunkWork)), 1, cut_.count);
    parallel_for(units * parts, ceil_div(kChunkWork, work),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t unit = begin; unit < end; ++unit) {
                     const std::int64_t part = unit % parts, group = unit / parts % st_.groups,
                                        block = unit / parts / st_.groups;
                     run_unit(block * images_, group, cut_.count * part / parts,
                              cut_.count * (part + 1) / parts, source,
                              packed_weight.data() + group * weights, bias, result);
                   }
                 });
  }

 private:
  void place_slots() {
    each_pixel(st_, [&](std::size_t p, std::int64_t i, std::int64_t j, const Inside& rows,
                        const Inside& columns) {
      const Pass& pass = st_.passes[p];
      auto found = std::find_if(classes_.begin(), classes_.end(), [&](const Class& c) {
        return c.pass == p && c.rows == rows && c.columns == columns;
      });
      if (found == classes_.end())
        found = classes_.insert(classes_.end(), Class{p, rows, columns, {}});
      const std::int64_t out =
          (i * st_.out_step_h + pass.offset_h) * st_.out_w + j * st_.out_step_w + pass.offset_w;
      for (std::int64_t n = 0; n < images_; n += tile_.lanes) {
        found->slots.push_back({(i * st_.in_step_h * st_.in_w + j * st_.in_step_w) * images_ + n,
                                out * images_ + n, nullptr});
      }
    });
  }

  void run_unit(std::int64_t image, std::int64_t group, std::int64_t first_panel,
                std::int64_t last_panel, const Real* source, const Real* weight, const Real* bias,
                Real* result) const {
    const std::int64_t images = std::min(images_, st_.images - image);
    const std::int64_t row0 = cut_.begin(first_panel), rows = cut_.begin(last_panel) - row0;
    Scratch<Real> packed(channels_ * pixels_ * images_);
    Scratch<Real> sums(rows * out_pixels_ * images_);
    Scratch<std::int32_t> offsets(channels_ * std::max<std::int64_t>(st_.all_taps(), 1));
    std::vector<Run> runs;
    const std::int64_t in_image = st_.groups * st_.in_channels * pixels_;
    for (std::int64_t c0 = 0; c0 < st_.in_channels; c0 += channels_) {
      const std::int64_t channels = std::min(channels_, st_.in_channels - c0);
      const Real* from = source + image * in_image + (group * st_.in_channels + c0) * pixels_;
      if (images < images_)
        std::fill(packed.data(), packed.data() + channels * pixels_ * images_, Real(0));
      for (std::int64_t c = 0; c < channels; ++c) {
        transpose(from + c * pixels_, in_image, images, pixels_,
                  packed.data() + c * pixels_ * images_, images_);
      }
      std::size_t table_pass = st_.passes.size();
      for (const Class& part : classes_) {
        const Pass& pass = st_.passes[part.pass];
        const TapGrid grid(pass);
        if (table_pass != part.pass) {
          std::int64_t k = 0;
          for (const Tap& tap : pass.taps) {
            const std::int64_t at = tap_y(st_, tap) * st_.in_w + tap_x(st_, tap);
            for (std::int64_t c = 0; c < channels; ++c) {
              offsets[k++] = static_cast<std::int32_t>((c * pixels_ + at) * images_);
            }
          }
          table_pass = part.pass;
        }
        runs.clear();
        for (std::int64_t a = part.rows.first; a < part.rows.last; ++a) {
          const Run run{(a * grid.columns + part.columns.first) * channels,
                        (a * grid.columns + part.columns.last) * channels};
          if (run.k0 == run.k1) continue;
          if (!runs.empty() && runs.back().k1 == run.k0) {
            runs.back().k1 = run.k1;
          } else {
            runs.push_back(run);
          }
        }
        if (runs.empty()) runs.push_back({0, 0});
        TileJob job;
        job.rows = st_.out_channels;
        job.depth = channels * static_cast<std::int64_t>(pass.taps.size());
        job.a = weight + weight_begin(st_, part.pass) +
                st_.out_channels * c0 * static_cast<std::int64_t>(pass.taps.size());
        job.b = packed.data();
        job.offsets = offsets.data();
        job.runs = runs.data();
        job.run_count = static_cast<std::int64_t>(runs.size());
        job.slots = part.slots.data();
        job.slot_count = static_cast<std::int64_t>(part.slots.size());
        job.c_stride = out_pixels_ * images_;
        job.c = sums.data() - row0 * job.c_stride;
        job.accumulate = c0 > 0;
        job.row_bias = bias == nullptr ? nullptr : bias + group * st_.out_channels;
        const std::int64_t bytes =
            cut_.max_height() * job.depth * static_cast<std::int64_t>(sizeof(Real));
        const std::int64_t panels =
            std::max<std::int64_t>(kPanelBytes / std::max<std::int64_t>(bytes, 1), 1);
        for (job.first_panel = first_panel; job.first_panel < last_panel;
             job.first_panel += panels) {
          job.last_panel = std::min(last_panel, job.first_panel + panels);
          run_tiles(job);
        }
      }
    }
    const std::int64_t out_image = st_.groups * st_.out_channels * out_pixels_;
    for (std::int64_t i = 0; i < rows; ++i) {
      transpose(sums.data() + i * out_pixels_ * images_, images_, out_pixels_, images,
                result + image * out_image + (group * st_.out_channels + row0 + i) * out_pixels_,
                out_image);
    }
  }

  const Stencil& st_;
  const TileShape tile_;
  const PanelCut cut_;
  const std::int64_t vectors_, pixels_, out_pixels_;
  std::int64_t units_ = 1, images_ = 1, channels_ = 1;
  std::vector<Class> classes_;
};

}  // namespace

namespace {

// Two vector operations per cycle, of which 79 % are reached: a multiply-add per tap and channel,
// and about 12 for storing a vector and transposing it. Then 1.2 cycles for each number that is
// transposed and 2.5 for each weight that is packed. Measured.
constexpr double kOperation = 0.63, kTransposed = 1.2, kPacked = 2.5;

/// Expected time of run_batch() in cycles.
double batch_cost(const Stencil& st) {
  const Batch batch(st);
  if (!batch.fits()) return std::numeric_limits<double>::infinity();
  std::int64_t operations = 0;
  each_pixel(st, [&](std::size_t, std::int64_t, std::int64_t, const Inside& rows,
                     const Inside& columns) {
    operations += (rows.last - rows.first) * (columns.last - columns.first) * st.in_channels + 12;
  });
  const auto outputs = static_cast<double>(st.out_channels);
  const double block =
      kOperation * static_cast<double>(operations) * outputs +
      kTransposed * static_cast<double>(st.in_channels * st.in_h * st.in_w * tile_shape().lanes);
  return static_cast<double>(st.groups) *
         (block * static_cast<double>(batch.vectors()) +
          kPacked * outputs * static_cast<double>(st.in_channels * st.all_taps()));
}

}  // namespace

bool batch_pays(const Stencil& st) {
  if (st.in_channels == 0 || st.out_channels == 0 || st.images == 0) return false;
  return batch_cost(st) < stencil_cost(st);
}

double direct_cost(const Stencil& st) { return std::min(batch_cost(st), stencil_cost(st)); }

void run_batch(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
               Real* result) {
  Batch(stencil).run(source, weight, bias, result);
}

}  // namespace tapestry::kernels
