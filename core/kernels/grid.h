// Kernels on image planes (H, W): separable linear maps (averaging, resampling) and windows of
// maxima.
#ifndef TAPESTRY_CORE_KERNELS_GRID_H_
#define TAPESTRY_CORE_KERNELS_GRID_H_

#include <cstdint>
#include <vector>

#include "core/real.h"

namespace tapestry::kernels {

/// A sparse matrix in compressed rows: output position i is Σ weights[k] · x[sources[k]] over k in
/// [starts[i], starts[i + 1]). One axis of average pooling, nearest or bilinear resampling, or of
/// the transpose of one of these.
struct Taps {
  std::int64_t inputs = 0;
  std::vector<std::int32_t> starts{0}, sources;
  std::vector<Real> weights;

  std::int64_t outputs() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  void add(std::int64_t source, double weight);
  /// Ends the current output position.
  void next() { starts.push_back(static_cast<std::int32_t>(sources.size())); }
};
Taps transposed(const Taps& taps);

/// y = R · x · Cᵀ for each of `planes` planes: rows of the image mixed by `rows`, columns by
/// `columns`.
void separable(const Real* x, Real* y, std::int64_t planes, const Taps& rows, const Taps& columns);

/// Windows of one axis: output i sees positions begin[i], begin[i] + step, … < end[i], all inside
/// the image.
struct Windows {
  std::vector<std::int32_t> begin, end;
  std::int64_t step = 1;
};

/// The largest number of each window and its flat position in the plane: the first one of equals,
/// or the first NaN. Windows must not be empty.
void max_windows(const Real* x, Real* y, std::int32_t* positions, std::int64_t planes,
                 std::int64_t height, std::int64_t width, const Windows& rows,
                 const Windows& columns);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_GRID_H_
