#include "tests/conformance/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace tapestry::conformance {
namespace {

/// References were rounded to float32, where what is too large became infinite and denormals are
/// coarse; the double build's results are compared after the same rounding.
double as_float32(double value) {
  if (!(std::abs(value) > std::numeric_limits<float>::max())) return static_cast<float>(value);
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

Comparison failed(std::string problem) {
  return {false, false, std::numeric_limits<double>::infinity(), std::move(problem)};
}

}  // namespace

Comparison compare(const Tensor& got, const Tensor& reference, const Tolerance& tolerance,
                   std::span<const std::int64_t> skip) {
  if (got.shape() != reference.shape()) {
    return failed(format("shape {}, expected {}", got.shape(), reference.shape()));
  }
  const double scale = tolerance.scale > 0 ? tolerance.scale : 1;
  double worst = 0;
  std::int64_t where = 0;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    if (std::find(skip.begin(), skip.end(), i) != skip.end()) continue;
    const auto at = static_cast<std::size_t>(i);
    const double a = as_float32(static_cast<double>(got.data()[at]));
    const double b = static_cast<double>(reference.data()[at]);
    if (std::isfinite(a) && std::isfinite(b)) {
      const double error = std::abs(a - b) / scale;
      if (error > worst) {
        worst = error;
        where = i;
      }
    } else if (!(std::isnan(a) && std::isnan(b)) && a != b) {
      return failed(format("element {} is {}, expected {}", i, a, b));
    }
  }
  Comparison result{worst <= tolerance.loose, worst <= tolerance.tight, worst, ""};
  if (!result.loose) {
    const auto at = static_cast<std::size_t>(where);
    result.problem =
        format("element {} is {}, expected {}: error {} of the scale {}, allowed {}", where,
               got.data()[at], reference.data()[at], worst, scale, tolerance.loose);
  }
  return result;
}

}  // namespace tapestry::conformance
