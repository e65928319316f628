// Ops that combine the elements along axes into one: sums, means, extremes, norms; and the pair
// sum_to ⇄ broadcast_to, through which every gradient of broadcasting goes. Sums accumulate in
// double precision.
#ifndef TAPESTRY_CORE_OPS_REDUCE_H_
#define TAPESTRY_CORE_OPS_REDUCE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

/// Which axes are reduced; negative ones count from the end, none means all.
using Axes = std::vector<int>;

/// With keepdim the reduced axes stay, with extent 1; otherwise they are dropped.
struct ReduceOptions {
  bool keepdim = false;
};

/// Σ x over the axes; 0 for an empty set. Throws Error for a missing or repeated axis; so do all
/// ops here.
Tensor sum(const Tensor& x, const Axes& axes = {}, const ReduceOptions& options = {});
/// Σ x / M over the M elements of each set. Throws Error when M = 0.
Tensor mean(const Tensor& x, const Axes& axes = {}, const ReduceOptions& options = {});

/// x − mean over each set, with the mean computed wider than Real; all axes when none are named. A
/// projection: its gradient is itself.
Tensor center(const Tensor& x, const Axes& axes = {});

/// unbiased divides by M − 1 instead of M (PyTorch's default).
struct MomentOptions {
  bool unbiased = true;
  bool keepdim = false;
};
/// Σ (x − mean)² / (M − 1), in two passes, so that a large mean does not cancel. Throws Error when
/// the divisor would be 0.
Tensor var(const Tensor& x, const Axes& axes = {}, const MomentOptions& options = {});
/// √var (PyTorch: std); its gradient is infinite where the set is constant.
Tensor stddev(const Tensor& x, const Axes& axes = {}, const MomentOptions& options = {});

/// Largest element; NaN if there is one. The gradient goes to the first of equal ones, as PyTorch's
/// max(dim) and unlike its amax.
Tensor max(const Tensor& x, const Axes& axes = {}, const ReduceOptions& options = {});
/// Smallest element; NaN if there is one. The gradient goes to the first of equal ones.
Tensor min(const Tensor& x, const Axes& axes = {}, const ReduceOptions& options = {});
/// Π x; its gradient is right also where elements are 0.
Tensor prod(const Tensor& x, const Axes& axes = {}, const ReduceOptions& options = {});
/// ln Σ eˣ, without overflow.
Tensor logsumexp(const Tensor& x, const Axes& axes = {}, const ReduceOptions& options = {});

/// eps is added inside the root, which makes it smooth at 0. Without it the gradient jumps there,
/// and at 0 itself it is taken to be 0, as in PyTorch.
struct NormOptions {
  Real eps = 0;
  bool keepdim = false;
};
/// √(Σ x² + eps), the Euclidean length.
Tensor norm(const Tensor& x, const Axes& axes = {}, const NormOptions& options = {});

/// Position along `axis` of the largest element, the first of equal ones; a NaN counts as largest.
/// One whole number for each remaining position, row-major. Throws Error when the axis is empty.
std::vector<std::int32_t> argmax(const Tensor& x, int axis = -1);

/// Running sums along an axis: y[i] = x[0] + … + x[i].
Tensor cumsum(const Tensor& x, int axis);

/// Sums over the axes along which `shape` was repeated to become x's shape: the transpose of
/// broadcast_to.
Tensor sum_to(const Tensor& x, const Shape& shape);
/// Repeats x to `shape` by NumPy's rule (PyTorch: expand). Throws Error when it does not fit.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

namespace detail {

/// √(Σ x²/divisor + eps) with the squares summed in double precision, so that they do not overflow.
Tensor root_mean_square(std::string_view op, const Tensor& x, const Axes& axes, Real eps,
                        double divisor, bool keepdim);

}  // namespace detail
}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_REDUCE_H_
