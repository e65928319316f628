#include "core/shape.h"

#include <doctest/doctest.h>

#include "tests/support/gradcheck.h"

namespace tapestry::testing {

TEST_CASE("shape: sizes, axes from both ends, text") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape.size() == 24);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(shape.axis_index(-3) == 0);
  CHECK(shape.product(1, 3) == 12);
  CHECK(shape.product(2, 2) == 1);
  CHECK(shape.with(-1, 7) == Shape{2, 3, 7});
  CHECK(shape.str() == "[2, 3, 4]");
  CHECK(shape.extents() == std::vector<std::int64_t>{2, 3, 4});
  CHECK(Shape().size() == 1);
  CHECK(Shape().str() == "[]");
  CHECK(Shape{0, 5}.size() == 0);
  CHECK(Shape{1, 2, 3, 4, 5, 6}.size() == 720);
  CHECK(!(Shape{2, 3} == Shape{2, 3, 1}));
  CHECK(!(Shape{2, 3} == Shape{3, 2}));
}

TEST_CASE("shape: what is no shape is refused") {
  CHECK(error_text([] {
          Shape({1, 2, 3, 4, 5, 6, 7});
        }) == "shape: a tensor has at most 6 axes, asked for 7");
  CHECK(error_text([] { Shape({2, -1}); }) == "shape: extents must not be negative, got [2, -1]");
  const std::int64_t big = std::int64_t{1} << 40;
  CHECK(error_text([&] {
          Shape({big, big});
        }) == "shape: [1099511627776, 1099511627776] has more elements than 63 bits can count");
  // The product of these wraps around to 4.
  CHECK(error_text([] {
          Shape({4194305, 4194305, 211106198978564});
        }).find("63 bits") != std::string::npos);
  const Shape shape{2, 3};
  CHECK(error_text([&] { (void)shape[2]; }) ==
        "shape: axis 2 does not exist, there are 2\n  input  [2, 3]\n"
        "  hint   axes count from 0 to 1, or from the end from -1 to -2");
  CHECK(error_text([&] { (void)shape.with(-3, 1); }).find("axis -3") != std::string::npos);
  CHECK(error_text([] { (void)Shape()[0]; }).find("there are 0") != std::string::npos);
}

TEST_CASE("shape: broadcasting is NumPy's") {
  const auto both = [](const Shape& a, const Shape& b) {
    CHECK(broadcast_shapes("op", a, b) == broadcast_shapes("op", b, a));
    return broadcast_shapes("op", a, b);
  };
  CHECK(both({2, 3}, {2, 3}) == Shape{2, 3});
  CHECK(both({2, 3}, {3}) == Shape{2, 3});
  CHECK(both({2, 1}, {1, 3}) == Shape{2, 3});
  CHECK(both({}, {4}) == Shape{4});
  CHECK(both({0}, {1}) == Shape{0});
  CHECK(both({5, 1, 4}, {3, 1}) == Shape{5, 3, 4});
  CHECK(error_text([] {
          broadcast_shapes("add", {2, 3}, {2, 4});
        }) ==
        "add: shapes do not broadcast: 3 against 4 at axis 1 from the end\n"
        "  a     [2, 3]\n"
        "  b     [2, 4]\n"
        "  hint  extents must be equal, or one of them 1; reshape or transpose one operand");
  CHECK(error_text([] { broadcast_shapes("add", {0}, {2}); }) != "");
}

TEST_CASE("shape: axes of a reduction") {
  const Shape shape{2, 3, 4};
  CHECK(normalize_axes("sum", shape, {}) == std::vector<int>{0, 1, 2});
  const std::vector<int> some{-1, 0}, twice{2, -1}, missing{3};
  CHECK(normalize_axes("sum", shape, some) == std::vector<int>{0, 2});
  CHECK(error_text([&] { normalize_axes("sum", shape, twice); }) ==
        "sum: axis 2 is named twice\n  input  [2, 3, 4]");
  CHECK(error_text([&] { normalize_axes("sum", shape, missing); }) ==
        "sum: axis 3 does not exist, there are 3\n  input  [2, 3, 4]\n"
        "  hint   axes count from 0 to 2, or from the end from -1 to -3");
  const std::vector<int> ends{0, 2};
  CHECK(reduced_shape(shape, ends, false) == Shape{3});
  CHECK(reduced_shape(shape, ends, true) == Shape{1, 3, 1});
}

}  // namespace tapestry::testing
