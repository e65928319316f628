// Reading and adding at positions given by whole numbers: embeddings, labels, gather and scatter.
#ifndef TAPESTRY_CORE_OPS_INDEX_H_
#define TAPESTRY_CORE_OPS_INDEX_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

/// Positions and labels are plain whole numbers: they have no gradient.
using Indices = std::vector<std::int32_t>;

/// Slices x[i, …] for each i of `rows`, stacked: (R, …) → (rows, …). Throws Error naming the first
/// index outside [0, R).
Tensor gather_rows(const Tensor& x, std::span<const std::int32_t> rows);
/// gather_rows' transpose: zeros (R, …) with g[k, …] added to row rows[k]; a row named twice gets
/// both.
Tensor scatter_add_rows(const Tensor& g, std::span<const std::int32_t> rows, std::int64_t count);
/// gather_rows along any axis (PyTorch: index_select).
Tensor index_select(const Tensor& x, int axis, std::span<const std::int32_t> positions);

/// out[i, j, k] = x[i, index[i, j, k], k] for axis 1, likewise others (PyTorch: gather). `index`
/// holds index_shape.size() whole numbers, row-major; index_shape must not exceed x's shape on the
/// other axes.
Tensor gather(const Tensor& x, int axis, std::span<const std::int32_t> index,
              const Shape& index_shape);
/// gather's transpose: adds g at the positions it was read from, in row-major order.
Tensor scatter_add(const Tensor& g, int axis, std::span<const std::int32_t> index,
                   const Shape& shape);

/// (labels, classes) of zeros with a 1 at each label.
Tensor one_hot(std::span<const std::int32_t> labels, int classes);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_INDEX_H_
