// How a convolution is cut up for Winograd's products: the sizes that transformed weights, units of
// work and the expected time have in common. Not what is done with them.
#ifndef TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_PLAN_H_
#define TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_PLAN_H_

#include <cstdint>
#include <vector>

#include "core/kernels/conv_stencil.h"
#include "core/kernels/conv_transform.h"
#include "core/kernels/conv_window.h"
#include "core/kernels/gemm_tile.h"

namespace tapestry::kernels {

/// Vectors of tiles: along the rows of tiles of one image, or one image in each lane.
enum class Lanes { kTiles, kImages };

struct WinogradWay {
  Scheme scheme;
  Lanes lanes;
  bool together;  // all passes read the same windows, those that any of them needs
};

/// Passes that read the same windows. Rows k of their products' inputs, (filter, input channel),
/// are [k0, k0 + depth) of those of all views.
struct View {
  std::size_t first_pass, last_pass;
  std::int64_t k0, depth;
};

struct WinogradPlan {
  WinogradPlan(const Stencil& stencil, const WinogradWay& chosen);

  /// Expected time in cycles.
  double cost() const;
  /// How many output channels' weights are transformed at a time, and used by all tiles, before the
  /// next ones take their place. All of them, where that does not pay.
  std::int64_t channels_at_once() const;
  /// From one of the n² matrices of some channels' transformed weights to the next.
  std::int64_t weight_stride(std::int64_t count) const {
    return spread(static_cast<std::int64_t>(st.passes.size()) * count * row);
  }
  /// The first tile of each vector of a block.
  std::vector<std::int64_t> place() const;

  const Stencil& st;
  const WinogradWay way;
  const SchemeSize size;
  const TileShape tile;
  const std::int64_t products;  // n²
  std::vector<View> views;
  std::int64_t depth = 0;         // of all views
  std::int64_t row = 0;           // numbers of a row of transformed weights
  std::int64_t outputs;           // rows of a view's products: (pass, output channel)
  PanelCut cut;                   // of these
  std::int64_t vectors, columns;  // of a tile of products
  std::int64_t blocks;            // images, or as many as there are lanes
  std::int64_t tile_rows = 0, tile_columns = 0;
  std::int64_t pitch = 0;  // from one row of tiles to the next

 private:
  std::int64_t row_slots() const;
  std::int64_t flat_slots() const;
  std::int64_t block_slots() const;
};

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_PLAN_H_
