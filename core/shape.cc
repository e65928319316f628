#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace tapestry {

Shape::Shape(std::span<const std::int64_t> extents) {
  if (extents.size() > static_cast<std::size_t>(kMaxRank)) {
    throw Error("shape", "a tensor has at most {} axes, asked for {}", kMaxRank, extents.size());
  }
  rank_ = static_cast<int>(extents.size());
  std::copy(extents.begin(), extents.end(), extents_.begin());
  for (const std::int64_t extent : extents) {
    if (extent < 0) throw Error("shape", "extents must not be negative, got {}", str());
    if (__builtin_mul_overflow(size_, extent, &size_)) {
      throw Error("shape", "{} has more elements than 63 bits can count", str());
    }
  }
}

int Shape::axis_index(int axis, std::string_view op) const {
  const int index = axis < 0 ? axis + rank_ : axis;
  if (index >= 0 && index < rank_) return index;
  Error error(op, "axis {} does not exist, there are {}", axis, rank_);
  error.shape("input", *this);
  if (rank_ > 0)
    error.hint("axes count from 0 to {}, or from the end from -1 to {}", rank_ - 1, -rank_);
  throw error;
}

Shape Shape::with(int axis, std::int64_t extent) const {
  std::vector<std::int64_t> changed = extents();
  changed[static_cast<std::size_t>(axis_index(axis))] = extent;
  return Shape(changed);
}

std::int64_t Shape::product(int first, int last) const {
  std::int64_t result = 1;
  for (int axis = first; axis < last; ++axis) result *= extents_[static_cast<std::size_t>(axis)];
  return result;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
  std::string text = "[";
  for (const std::int64_t extent : *this) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + "]";
}

Shape broadcast_shapes(std::string_view op, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const int rank = std::max(a.rank(), b.rank());
  std::vector<std::int64_t> extents(static_cast<std::size_t>(rank));
  for (int back = 1; back <= rank; ++back) {
    const std::int64_t m = back <= a.rank() ? a[-back] : 1;
    const std::int64_t n = back <= b.rank() ? b[-back] : 1;
    if (m != n && m != 1 && n != 1) {
      throw Error(op, "shapes do not broadcast: {} against {} at axis {} from the end", m, n, back)
          .shape("a", a)
          .shape("b", b)
          .hint("extents must be equal, or one of them 1; reshape or transpose one operand");
    }
    extents[static_cast<std::size_t>(rank - back)] = m == 1 ? n : m;
  }
  return Shape(extents);
}

std::vector<int> normalize_axes(std::string_view op, const Shape& shape,
                                std::span<const int> axes) {
  std::vector<int> result;
  if (axes.empty()) {
    for (int axis = 0; axis < shape.rank(); ++axis) result.push_back(axis);
    return result;
  }
  for (const int axis : axes) {
    result.push_back(shape.axis_index(axis, op));
  }
  std::sort(result.begin(), result.end());
  if (const auto twice = std::adjacent_find(result.begin(), result.end()); twice != result.end()) {
    throw Error(op, "axis {} is named twice", *twice).shape("input", shape);
  }
  return result;
}

Shape reduced_shape(const Shape& shape, std::span<const int> axes, bool keepdim) {
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) {
      extents.push_back(shape[axis]);
    } else if (keepdim) {
      extents.push_back(1);
    }
  }
  return Shape(extents);
}

}  // namespace tapestry
