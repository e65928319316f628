#include "core/kernels/conv_winograd_plan.h"

#include <algorithm>

#include "core/kernels/ceil_div.h"

namespace tapestry::kernels {
namespace {

// Cycles per vector of tiles and each of the n² products: for a multiply-add (two per cycle, 15 %
// lost around the edges), for transforming one channel's input or output, more if the pixels of a
// row are not neighbors, and, per weight, for transforming it, more if an output channel's weights
// are not, or if they go to memory. Measured.
constexpr double kProductCost = 0.58, kTransformCost = 10, kStepTransformCost = 15,
                 kRowWeightCost = 1.1, kColumnWeightCost = 1.5, kFarWeightCost = 2.5;
// Transformed weights that stay in the third-level cache; if they do not, then transformed inputs
// of all tiles, and the weights that are in use.
constexpr std::int64_t kWeightBytes = 8 << 20, kInputBytes = 16 << 20, kPartBytes = 1 << 20;

}  // namespace

WinogradPlan::WinogradPlan(const Stencil& stencil, const WinogradWay& chosen)
    : st(stencil),
      way(chosen),
      size(scheme_size(way.scheme)),
      tile(tile_shape()),
      products(size.n * size.n),
      outputs(st.out_channels * (way.together ? static_cast<std::int64_t>(st.passes.size()) : 1)),
      cut(outputs, tile.max_rows),
      vectors(tile_vectors(std::max<std::int64_t>(cut.max_height(), 1))),
      columns(vectors * tile.lanes),
      blocks(way.lanes == Lanes::kTiles ? st.images : ceil_div(st.images, tile.lanes)) {
  const std::size_t step = way.together ? st.passes.size() : 1;
  for (std::size_t p = 0; p < st.passes.size(); p += step) {
    const std::int64_t deep = st.in_channels * filter_count(st, p, p + step, size.r);
    views.push_back({p, p + step, depth, deep});
    depth += deep;
    row = std::max(row, deep);
  }
  // Room for whole vectors of the last filter's channels.
  row += ceil_div(st.in_channels, tile.lanes) * tile.lanes - st.in_channels;
  for (const Pass& pass : st.passes) {
    tile_rows = std::max(tile_rows, ceil_div(pass.rows, size.m));
    tile_columns = std::max(tile_columns, ceil_div(pass.columns, size.m));
  }
  // In the flat order of tiles, each row is followed by one that is not part of the result: the
  // last tile's right border.
  pitch = tile_columns + (way.lanes == Lanes::kTiles ? 1 : 0);
}

std::int64_t WinogradPlan::channels_at_once() const {
  constexpr std::int64_t kRealBytes = sizeof(Real);
  const std::int64_t weight_bytes = depth * outputs * products * kRealBytes,
                     input_bytes =
                         block_slots() * blocks * tile.lanes * depth * products * kRealBytes;
  if (weight_bytes <= kWeightBytes || input_bytes > kInputBytes) return st.out_channels;
  // Whole panels.
  const std::int64_t most = st.out_channels * kPartBytes / weight_bytes / tile.max_rows;
  return std::min(st.out_channels, std::max<std::int64_t>(most, 1) * tile.max_rows);
}

std::int64_t WinogradPlan::row_slots() const {
  return tile_rows * ceil_div(tile_columns, tile.lanes);
}
std::int64_t WinogradPlan::flat_slots() const {
  return ceil_div((tile_rows - 1) * pitch + tile_columns, tile.lanes);
}
// Vectors of tiles in a block.
std::int64_t WinogradPlan::block_slots() const {
  if (way.lanes == Lanes::kImages) return tile_rows * tile_columns;
  return std::min(row_slots(), flat_slots());
}

double WinogradPlan::cost() const {
  const auto slots = static_cast<double>(block_slots() * blocks);
  const auto deep = static_cast<double>(depth), rows = static_cast<double>(outputs),
             results = rows * static_cast<double>(views.size());
  const bool steps = st.in_step_w > 1 || st.out_step_w > 1;
  const double transform = steps ? kStepTransformCost : kTransformCost;
  const double weight_bytes = deep * rows * static_cast<double>(products * sizeof(Real));
  const bool far = weight_bytes > kWeightBytes && channels_at_once() == st.out_channels;
  const double weight = far                                 ? kFarWeightCost
                        : st.weight_row > st.weight_channel ? kRowWeightCost
                                                            : kColumnWeightCost;
  return static_cast<double>(st.groups * products) *
         (slots * (deep * rows * kProductCost + (deep + results) * transform) +
          deep * rows * weight);
}

std::vector<std::int64_t> WinogradPlan::place() const {
  std::vector<std::int64_t> first;
  const bool flat = way.lanes == Lanes::kTiles && flat_slots() < row_slots();
  const std::int64_t step = way.lanes == Lanes::kImages ? 1 : tile.lanes;
  if (flat) {
    for (std::int64_t s = 0; s < flat_slots(); ++s) first.push_back(s * step);
  } else {
    for (std::int64_t i = 0; i < tile_rows; ++i) {
      for (std::int64_t j = 0; j < tile_columns; j += step) first.push_back(i * pitch + j);
    }
  }
  return first;
}

}  // namespace tapestry::kernels
