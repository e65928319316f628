// Kernels that combine many numbers into one. The array is viewed as [outer, reduced, inner]; the
// middle axis is combined. Long reductions are cut into pieces that depend on the sizes only and
// combined in order, so results do not depend on the number of threads, which these kernels use by
// themselves.
#ifndef TAPESTRY_CORE_KERNELS_REDUCE_H_
#define TAPESTRY_CORE_KERNELS_REDUCE_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// The three extents of a reduction; the result has outer · inner numbers.
struct ReduceView {
  std::int64_t outer, reduced, inner;
};

/// Σ x in double precision, since terms may cancel; sum_wide continues a reduction over several
/// groups of axes.
void sum(const Real* x, double* y, const ReduceView& view);
/// Σ x², wrong by at most 2⁻²⁰ of it in the float build, for any number of terms of any size: a few
/// terms at a time are added in floats, all else in double precision.
void sum_of_squares(const Real* x, double* y, const ReduceView& view);
void sum_wide(const double* x, double* y, const ReduceView& view);
/// Π x in double precision.
void prod(const Real* x, double* y, const ReduceView& view);
void prod_wide(const double* x, double* y, const ReduceView& view);
/// The largest or smallest number; NaN if there is one; ∓Inf of an empty axis.
void max(const Real* x, Real* y, const ReduceView& view);
void min(const Real* x, Real* y, const ReduceView& view);

/// Position along the middle axis of the first NaN, else of the first largest number.
void argmax(const Real* x, std::int32_t* y, const ReduceView& view);
/// Running sums along the middle axis, from the back if `reverse`.
void cumsum(const Real* x, Real* y, const ReduceView& view, bool reverse);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_REDUCE_H_
