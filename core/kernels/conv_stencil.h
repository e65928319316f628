// The form in which forward convolution and the gradient of the input become the same computation:
// a stencil of stride 1 over a few planes, the products of which run through the tiles of
// gemm_tile.h without im2col.
#ifndef TAPESTRY_CORE_KERNELS_CONV_STENCIL_H_
#define TAPESTRY_CORE_KERNELS_CONV_STENCIL_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/kernels/conv.h"
#include "core/kernels/gemm_tile.h"
#include "core/real.h"

namespace tapestry::kernels {

// Note [Convolution without im2col]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// im2col copies every pixel once for each tap of the kernel. Here it is copied at most once: into a
// plane with its padding around it. In such a plane with rows of `width` numbers, output pixel (i,
// j) reads tap (a, b) at (i + a) · width + (j + b): a constant away from its own place i · width +
// j. So the "row of B" for channel c and tap (a, b) is the plane itself, read from a different
// offset, and a table of offsets, one for each k = (channel, tap), is all that a tile needs.
//
// - Stride s (forward): rows and columns are dealt out over s × s planes by their remainder mod s,
// after which every tap is a
//   stride-1 tap of one plane.
// - Stride s (input gradient): pixels of dx with equal remainder mod s use the same subset of taps
// and read g with stride 1:
//   one pass for each remainder ("polyphase"). No product with an inserted zero is ever formed.
// - Padding 0, stride 1: the tensor itself serves as the plane, nothing is copied.
// - Rows of 14 pixels fill 2 vectors of 8 to 87 %, and a plane's padding is in the way of vectors
// that run across rows. Where that costs more than copies do (copies_taps()), it is im2col after
// all, but of a band of rows at a time, which stays in the second-level cache.

/// Reads packed pixel (row + dy, column + dx) of a plane, times weight number `weight` of a
/// (channel, channel) pair.
struct Tap {
  std::int64_t plane, dy, dx, weight;
  std::int64_t column;  // of the kernel
};

/// The pixels of the result that use the same taps: `rows` × `columns` of the stencil's grid, which
/// go to (row · step_h + offset_h, column · step_w + offset_w) of the result.
struct Pass {
  std::vector<Tap> taps;
  std::int64_t rows, columns;
  std::int64_t offset_h, offset_w;
};

/// Packed pixel (i, j) of a plane is source pixel (i · step_h + row0, j · step_w + column0), or 0
/// outside.
struct Plane {
  std::int64_t row0, column0;
};

struct Stencil {
  std::int64_t images, groups;
  std::int64_t in_channels, in_h, in_w;     // of the source, channels per group
  std::int64_t out_channels, out_h, out_w;  // of the result, channels per group
  std::int64_t in_step_h, in_step_w;        // source pixels per packed pixel
  std::int64_t out_step_h, out_step_w;      // result pixels per grid pixel
  std::int64_t rows, columns;               // the grid: those of the first pass
  std::int64_t reach_h, reach_w;            // largest dy, dx
  std::vector<Plane> planes;
  std::vector<Pass> passes;
  std::int64_t weight_row, weight_channel;  // from one output (input) channel's weights to the next
  std::int64_t all_taps() const {
    std::int64_t count = 0;
    for (const Pass& pass : passes) count += static_cast<std::int64_t>(pass.taps.size());
    return count;
  }
  std::int64_t group_weights() const {
    return std::max(out_channels * weight_row, in_channels * weight_channel);
  }
};

Stencil forward_stencil(const ConvShape& shape);
Stencil input_grad_stencil(const ConvShape& shape);

/// A window of r × r taps in one plane, the same for some passes: weight[p][i · r + j] is that of
/// tap (dy + i, dx + j) in the p-th of them, or −1 where it has none.
struct Filter {
  std::int64_t plane, dy, dx;
  std::vector<std::vector<std::int64_t>> weight;
};
/// Filters that together hold each tap of each of the passes once.
std::vector<Filter> filters(const Stencil& stencil, std::size_t first_pass, std::size_t last_pass,
                            std::int64_t r);

/// How many these are.
std::int64_t filter_count(const Stencil& stencil, std::size_t first_pass, std::size_t last_pass,
                          std::int64_t r);

/// Packs weights for run_tiles(): for each group, pass and block of `block` channels the panels of
/// its weights, k being (channel, tap) or, with taps_first, (tap, channel).
void pack_weights(const Stencil& stencil, const PanelCut& cut, std::int64_t block, bool taps_first,
                  const Real* weight, Real* packed);
/// Where those of a pass begin within a group's.
std::int64_t weight_begin(const Stencil& stencil, std::size_t pass);

/// Whether run_stencil() reads weights as they lie in memory: those of a row follow each other, and
/// each is used for few pixels.
bool reads_weights_in_place(const Stencil& stencil);

/// Whether run_stencil() copies the pixels that each tap reads side by side, instead of reading
/// them from planes: vectors end within a row of those where rows are short.
bool copies_taps(const Stencil& stencil);
/// At least so many pixels at a time: fewer would cost more for each call.
inline constexpr std::int64_t kTapPixels = 112;

/// Expected time of run_stencil() in cycles.
double stencil_cost(const Stencil& stencil);

/// result = stencil applied to source with `weight`, plus bias (one number per output channel, or
/// null).
void run_stencil(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                 Real* result);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_STENCIL_H_
