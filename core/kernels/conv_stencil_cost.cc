// What run_stencil() is expected to take.
#include <algorithm>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_stencil.h"
#include "core/kernels/gemm_tile.h"

namespace tapestry::kernels {
namespace {

// Two vector operations per cycle, of which 87 % are reached: a multiply-add per tap and channel,
// and about 8 for storing a vector. A tile needs 4 cycles for each step of its sum, however few
// rows and vectors it has. For each row that is copied 12 cycles, and 0.6 for each number of it, 2
// where only every third or fourth is; 2.5 for each weight that is packed, 1 if it is not.
// Measured.
constexpr double kOperation = 0.575, kStore = 8, kStep = 4, kRow = 12, kCopied = 0.6, kFar = 2,
                 kPacked = 2.5, kUnpacked = 1;

// Rows of a unit of work that are not copied by tap, when they are few.
constexpr std::int64_t kBandRows = 4;

double copy_cost(std::int64_t rows, std::int64_t columns, std::int64_t step) {
  return static_cast<double>(rows) *
         (kRow + (step <= 2 ? kCopied : kFar) * static_cast<double>(columns));
}

/// How often the same pixels are copied: few units of work are cut by output channels too, and each
/// part copies them for itself.
double parts(const Stencil& st, std::int64_t units_of_image) {
  const double units = static_cast<double>(st.images * st.groups * units_of_image);
  return std::clamp(8 / units, 1.0, 8.0);
}

/// Of an image and a group.
double image_cost(const Stencil& st, bool by_tap) {
  const std::int64_t lanes = tile_shape().lanes, width = st.columns + st.reach_w;
  const PanelCut cut(st.out_channels, tile_shape().max_rows);
  const std::int64_t most = tile_vectors(std::max<std::int64_t>(cut.max_height(), 1));
  const auto outputs = static_cast<double>(st.out_channels);
  double products = 0, thin = 0, taps_copied = 0, placed = 0;
  for (const Pass& pass : st.passes) {
    const std::int64_t depth = static_cast<std::int64_t>(pass.taps.size()) * st.in_channels;
    const std::int64_t slots =
        by_tap ? ceil_div(pass.rows * pass.columns, lanes)
               : std::min(pass.rows * ceil_div(pass.columns, lanes),
                          ceil_div((pass.rows - 1) * width + pass.columns, lanes));
    products +=
        kOperation * outputs * static_cast<double>(slots) * (static_cast<double>(depth) + kStore);
    thin += kStep * static_cast<double>(ceil_div(slots, most) * cut.count * depth);
    taps_copied += copy_cost(depth * pass.rows, pass.columns, st.in_step_w);
    placed += outputs * copy_cost(pass.rows, pass.columns, st.out_step_w);
  }
  const bool direct = st.planes.size() == 1 && st.out_step_w == 1 && width == st.in_w;
  const bool in_place = st.out_step_w == 1 && (by_tap || st.columns % lanes == 0);
  const double copied = by_tap ? taps_copied * parts(st, ceil_div(st.rows * st.columns, kTapPixels))
                        : direct ? 0
                                 : copy_cost(st.in_channels * (st.rows + st.reach_h) *
                                                 static_cast<std::int64_t>(st.planes.size()),
                                             width, st.in_step_w) *
                                       parts(st, ceil_div(st.rows, kBandRows));
  return std::max(products, thin) + copied + (in_place ? 0 : placed);
}

}  // namespace

bool copies_taps(const Stencil& st) { return image_cost(st, true) < image_cost(st, false); }

double stencil_cost(const Stencil& st) {
  const double weights = static_cast<double>(st.out_channels * st.in_channels * st.all_taps());
  return static_cast<double>(st.groups) *
         (static_cast<double>(st.images) * std::min(image_cost(st, true), image_cost(st, false)) +
          (reads_weights_in_place(st) ? kUnpacked : kPacked) * weights);
}

}  // namespace tapestry::kernels
