// Tensors seen number by number, for tests that compare with a definition.
#ifndef TAPESTRY_TESTS_SUPPORT_POSITIONS_H_
#define TAPESTRY_TESTS_SUPPORT_POSITIONS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace tapestry::testing {

/// 0, 1, 2, … in the given shape.
inline Tensor counting(const Shape& shape) {
  std::vector<Real> values(static_cast<std::size_t>(shape.size()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<Real>(i);
  return Tensor::from(values, shape);
}

/// Element at the given position.
inline Real at(const Tensor& x, const std::vector<std::int64_t>& position) {
  std::int64_t flat = 0;
  for (int axis = 0; axis < x.rank(); ++axis)
    flat = flat * x.dim(axis) + position[static_cast<std::size_t>(axis)];
  return x.data()[static_cast<std::size_t>(flat)];
}

/// Calls body with every position of a shape.
inline void for_positions(const Shape& shape,
                          const std::function<void(const std::vector<std::int64_t>&)>& body) {
  std::vector<std::int64_t> position(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < shape.size(); ++i) {
    body(position);
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      if (++position[static_cast<std::size_t>(axis)] < shape[axis]) break;
      position[static_cast<std::size_t>(axis)] = 0;
    }
  }
}

}  // namespace tapestry::testing

#endif  // TAPESTRY_TESTS_SUPPORT_POSITIONS_H_
