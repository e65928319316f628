// The extents of a tensor, and the arithmetic on them: axes that count from the end, broadcasting.
#ifndef TAPESTRY_CORE_SHAPE_H_
#define TAPESTRY_CORE_SHAPE_H_

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tapestry {

/// The extents of a tensor of up to 6 axes, row-major: the last axis is contiguous. A scalar has
/// rank 0 and size 1.
///
/// Extents are ≥ 0. Throws Error on a negative extent, on more than 6 axes, and when the size
/// overflows 63 bits.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents)
      : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const std::int64_t> extents);
  explicit Shape(const std::vector<std::int64_t>& extents)
      : Shape(std::span<const std::int64_t>(extents)) {}

  int rank() const { return rank_; }
  /// Number of elements: the product of the extents, 1 for a scalar.
  std::int64_t size() const { return size_; }
  /// Extent of `axis`; negative axes count from the end. Throws Error when there is no such axis.
  std::int64_t operator[](int axis) const {
    return extents_[static_cast<std::size_t>(axis_index(axis))];
  }
  /// The same with the extent of one axis replaced.
  Shape with(int axis, std::int64_t extent) const;
  /// `axis` counted from the front. Throws Error naming `op` when there is no such axis.
  int axis_index(int axis, std::string_view op = "shape") const;
  /// Product of the extents of the axes [first, last); 1 when empty.
  std::int64_t product(int first, int last) const;

  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }
  std::vector<std::int64_t> extents() const { return {begin(), end()}; }
  bool operator==(const Shape& other) const;
  /// "[64, 3, 32, 32]"
  std::string str() const;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  std::int64_t size_ = 1;
  int rank_ = 0;
};

/// The shape of a op b by NumPy's rule: aligned at the last axis, each pair of extents equal or one
/// of them 1. Throws Error naming `op` and both shapes when they do not fit.
Shape broadcast_shapes(std::string_view op, const Shape& a, const Shape& b);

/// The axes counted from the front, sorted; an empty list means all axes. Throws Error naming `op`
/// on a missing or repeated axis.
std::vector<int> normalize_axes(std::string_view op, const Shape& shape, std::span<const int> axes);

/// The shape left after reducing `axes` (sorted, counted from the front): extents 1 with keepdim,
/// else dropped.
Shape reduced_shape(const Shape& shape, std::span<const int> axes, bool keepdim);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_SHAPE_H_
