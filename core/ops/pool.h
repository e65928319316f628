// Windows and grids: pooling, and resampling to another size. Each op's gradient is its transpose,
// which is an op as well.
#ifndef TAPESTRY_CORE_OPS_POOL_H_
#define TAPESTRY_CORE_OPS_POOL_H_

#include <string_view>

#include "core/ops/conv.h"
#include "core/tensor.h"

namespace tapestry {

/// Windows of `kernel` every `stride` (0: the kernel), over an input padded on both sides.
/// ceil_mode also keeps a last window that starts inside the input or its left padding but reaches
/// beyond the right one.
struct PoolGeometry {
  Pair kernel = 2, stride = 0, padding = 0, dilation = 1;
  bool ceil_mode = false;
};

/// Largest value of each window, padding counting as −∞; NaN wins; of equal values the first in
/// row-major order gets the gradient. Shapes: (N, C, H, W) → (N, C, H', W'), H' = ⌊(H + 2p − d(k−1)
/// − 1)/s⌋ + 1. padding ≤ kernel/2.
Tensor max_pool2d(const Tensor& x, const PoolGeometry& geometry);
/// Mean of each window. With count_include_pad the padding's zeros count; dilation must be 1.
Tensor avg_pool2d(const Tensor& x, const PoolGeometry& geometry, bool count_include_pad = true);
/// Pools to a given size: bin i covers ⌊i·in/out⌋ … ⌈(i+1)·in/out⌉.
Tensor adaptive_avg_pool2d(const Tensor& x, Pair size);
Tensor adaptive_max_pool2d(const Tensor& x, Pair size);
/// (N, C, H, W) → (N, C): the mean over space.
Tensor global_avg_pool2d(const Tensor& x);

/// nearest: source = ⌊target·in/out⌋. bilinear: source = (target + ½)·in/out − ½ clamped at 0, or
/// with align_corners target·(in − 1)/(out − 1), so that corner pixels stay in the corners.
enum class Resample { kNearest, kBilinear };
/// "nearest", "bilinear"; Throws Error with the list for anything else.
Resample resample_mode(std::string_view name);
/// (N, C, H, W) → (N, C, size.h, size.w).
Tensor upsample(const Tensor& x, Pair size, Resample mode = Resample::kNearest,
                bool align_corners = false);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_POOL_H_
