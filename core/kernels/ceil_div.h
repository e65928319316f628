// Into how many parts of a given size something falls.
#ifndef TAPESTRY_CORE_KERNELS_CEIL_DIV_H_
#define TAPESTRY_CORE_KERNELS_CEIL_DIV_H_

#include <cstdint>

namespace tapestry::kernels {

/// a / b rounded up, for a ≥ 0 and b > 0.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CEIL_DIV_H_
