// When a result counts as equal to its reference.
#ifndef TAPESTRY_TESTS_CONFORMANCE_COMPARE_H_
#define TAPESTRY_TESTS_CONFORMANCE_COMPARE_H_

#include <span>
#include <string>

#include "tests/conformance/case.h"

namespace tapestry::conformance {

struct Comparison {
  bool loose = true, tight = true;
  double error = 0;     // largest |got − reference| / scale
  std::string problem;  // why `loose` is false
};

/// Same shape; NaN and infinities exactly where the reference has them; elsewhere |got − reference|
/// ≤ bound · scale. `skip` lists positions that do not count.
Comparison compare(const Tensor& got, const Tensor& reference, const Tolerance& tolerance,
                   std::span<const std::int64_t> skip);

}  // namespace tapestry::conformance

#endif  // TAPESTRY_TESTS_CONFORMANCE_COMPARE_H_
