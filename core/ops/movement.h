// Ops that move numbers without computing: each one's gradient is another of them.
#ifndef TAPESTRY_CORE_OPS_MOVEMENT_H_
#define TAPESTRY_CORE_OPS_MOVEMENT_H_

#include <initializer_list>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

/// The same numbers in the same order under another shape; shares storage. One extent may be -1: it
/// is inferred. Throws Error when the sizes differ.
Tensor reshape(const Tensor& x, const std::vector<std::int64_t>& extents);
Tensor reshape(const Tensor& x, const Shape& shape);
/// For reshape(x, {4, -1}), which would fit both of the above.
inline Tensor reshape(const Tensor& x, std::initializer_list<std::int64_t> extents) {
  return reshape(x, std::vector<std::int64_t>(extents));
}
/// Inserts axes of extent 1, at these positions of the result (negative ones count from its end).
Tensor unsqueeze(const Tensor& x, const std::vector<int>& axes);
/// Removes the named axes of extent 1; with an empty list, all of them.
Tensor squeeze(const Tensor& x, const std::vector<int>& axes = {});
/// Joins the axes from `first` to `last` into one. Default: all but the batch axis, (N, C, H, W) →
/// (N, C·H·W).
Tensor flatten(const Tensor& x, int first = 1, int last = -1);

/// Axis i of the result is axis order[i] of x. `order` names every axis once.
Tensor permute(const Tensor& x, const std::vector<int>& order);
/// Swaps two axes. Default: the last two, the matrix transpose.
Tensor transpose(const Tensor& x, int a = -2, int b = -1);

/// Elements start, start + step, … < end of one axis, as Python's x[start:end:step]: negative
/// positions count from the end and positions outside are clipped. step ≠ 0; a negative step walks
/// backwards, and then an absent start or end means the far end.
struct Range {
  std::optional<std::int64_t> start = {}, end = {};
  std::int64_t step = 1;
};
Tensor slice(const Tensor& x, int axis, const Range& range);
/// slice()'s transpose: zeros of `extent` along `axis`, with g's elements at the positions that
/// range selects.
Tensor unslice(const Tensor& g, int axis, const Range& range, std::int64_t extent);
/// One position of an axis; the axis is dropped.
Tensor select(const Tensor& x, int axis, std::int64_t position);

/// Joins tensors along an existing axis. The other extents must agree.
Tensor concat(std::span<const Tensor> parts, int axis);
inline Tensor concat(std::initializer_list<Tensor> parts, int axis) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), axis);
}
/// Joins tensors of one shape along a new axis.
Tensor stack(std::span<const Tensor> parts, int axis);
/// Cuts an axis into parts of the given sizes, which must add up to its extent.
std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& sizes, int axis);
/// Cuts an axis into equal parts; the extent must be divisible.
std::vector<Tensor> chunk(const Tensor& x, int parts, int axis);

/// Reverses the order along each of the axes.
Tensor flip(const Tensor& x, const std::vector<int>& axes);
/// Tiles: counts[i] copies along axis i (NumPy's tile, PyTorch's repeat); more counts than axes
/// adds leading axes.
Tensor repeat(const Tensor& x, const std::vector<std::int64_t>& counts);
/// Rolls elements along an axis; those that fall off one end come back at the other.
Tensor roll(const Tensor& x, std::int64_t shift, int axis);
/// Keeps the lower triangle of the last two axes: column ≤ row + diagonal; zeros elsewhere.
Tensor tril(const Tensor& x, int diagonal = 0);
/// Keeps the upper triangle: column ≥ row + diagonal.
Tensor triu(const Tensor& x, int diagonal = 0);

/// (N, C·r·r, H, W) → (N, C, H·r, W·r): out[n, c, h·r+i, w·r+j] = x[n, c·r²+i·r+j, h, w]. Shi et
/// al. 2016.
Tensor pixel_shuffle(const Tensor& x, int factor);
/// The inverse of pixel_shuffle.
Tensor pixel_unshuffle(const Tensor& x, int factor);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_MOVEMENT_H_
