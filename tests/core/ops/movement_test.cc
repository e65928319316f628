#include "core/ops/movement.h"

#include <limits>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/tape.h"
#include "tests/support/gradcheck.h"
#include "tests/support/positions.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;
using Numbers = std::vector<Real>;

const CheckOptions kLinear{.linear = true};

/// What Python's x[start:end:step] selects, found by walking every position.
std::vector<std::int64_t> python_slice(std::int64_t extent, const Range& range) {
  std::vector<std::int64_t> result;
  const auto from_end = [&](std::int64_t i) { return i < 0 ? i + extent : i; };
  if (range.step > 0) {
    const std::int64_t begin = std::max<std::int64_t>(from_end(range.start.value_or(0)), 0);
    const std::int64_t end = range.end ? from_end(*range.end) : extent;
    for (std::int64_t i = begin; i < end && i < extent; i += range.step) result.push_back(i);
  } else {
    const std::int64_t begin = std::min(from_end(range.start.value_or(extent - 1)), extent - 1);
    const std::int64_t end = range.end ? from_end(*range.end) : -1;
    for (std::int64_t i = begin; i > end && i >= 0; i += range.step) result.push_back(i);
  }
  return result;
}

}  // namespace

TEST_CASE("reshape and its relatives: gradient, shapes, shared storage") {
  check_op(
      "reshape", {{2, 6}},
      [](T x) {
        return reshape(x, Shape{3, 4});
      },
      kLinear);
  const Tensor x = counting({2, 3, 4});
  CHECK(reshape(x, {4, -1}).shape() == Shape{4, 6});
  CHECK(reshape(x, {-1}).shape() == Shape{24});
  CHECK(reshape(x, Shape{6, 4}).data().data() == x.data().data());
  CHECK(reshape(Tensor::scalar(2), {1, 1}).item() == 2);
  CHECK(reshape(Tensor::empty({0, 3}), {3, 0}).shape() == Shape{3, 0});
  CHECK(flatten(x).shape() == Shape{2, 12});
  CHECK(flatten(x, 0, 1).shape() == Shape{6, 4});
  CHECK(flatten(x, -3, -1).shape() == Shape{24});
  CHECK(unsqueeze(x, {0, -1}).shape() == Shape{1, 2, 3, 4, 1});
  CHECK(unsqueeze(x, {1, 3}).shape() == Shape{2, 1, 3, 1, 4});
  CHECK(squeeze(unsqueeze(x, {0, 2})).shape() == x.shape());
  CHECK(squeeze(unsqueeze(x, {0, 2}), {2}).shape() == Shape{1, 2, 3, 4});
  check_op(
      "flatten", {{2, 3, 2}}, [](T v) { return flatten(v); }, kLinear);
  check_op(
      "unsqueeze", {{2, 3}}, [](T v) { return unsqueeze(v, {1}); }, kLinear);
  check_op(
      "squeeze", {{2, 1, 3}}, [](T v) { return squeeze(v); }, kLinear);

  CHECK(error_text([&] {
          reshape(x, Shape{5, 5});
        }) ==
        "reshape: 24 elements do not fill [5, 5], which has 25\n  input  [2, 3, 4]\n"
        "  hint   the product of the extents must stay the same");
  CHECK(error_text([&] {
          reshape(x, {5, -1});
        }) ==
        "reshape: 24 elements cannot be divided by 5 to infer an extent\n  input  [2, 3, 4]\n"
        "  hint   the product of the extents must stay the same");
  CHECK(error_text([&] { reshape(x, {-1, -1}); }) != "");
  CHECK(error_text([&] { reshape(Tensor::empty({0}), {0, -1}); }) != "");
  CHECK(error_text([&] { squeeze(x, {1}); }) ==
        "squeeze: axis 1 has extent 3, not 1\n  input  [2, 3, 4]\n"
        "  hint   select() takes one position of an axis, reshape() joins axes");
  CHECK(error_text([&] { unsqueeze(x, {5}); }).find("unsqueeze: axis 5 does not exist") == 0);
  CHECK(error_text([&] { unsqueeze(x, {0, 0}); }).find("named twice") != std::string::npos);
  CHECK(error_text([&] { flatten(x, 2, 1); }).find("flatten") == 0);
}

TEST_CASE("permute: gradient, every order of four axes, and round trips") {
  std::vector<int> order{0, 1, 2, 3};
  const Tensor x = counting({2, 3, 4, 5});
  do {
    const Tensor y = permute(x, order);
    for_positions(y.shape(), [&](const std::vector<std::int64_t>& position) {
      std::vector<std::int64_t> source(4);
      for (std::size_t i = 0; i < 4; ++i) source[static_cast<std::size_t>(order[i])] = position[i];
      REQUIRE(at(y, position) == at(x, source));
    });
    std::vector<int> inverse(4);
    for (int i = 0; i < 4; ++i)
      inverse[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = i;
    CHECK(permute(y, inverse).to_vector() == x.to_vector());
  } while (std::next_permutation(order.begin(), order.end()));
  check_op(
      "permute", {{2, 3, 4}},
      [](T v) {
        return permute(v, {2, 0, -2});
      },
      kLinear);
  check_op(
      "transpose", {{3, 4}}, [](T v) { return transpose(v); }, kLinear);
  CHECK(transpose(x, 0, -1).shape() == Shape{5, 3, 4, 2});
  CHECK(permute(Tensor::scalar(1), {}).item() == 1);
  CHECK(permute(Tensor::empty({0, 3}), {1, 0}).shape() == Shape{3, 0});
  const Tensor wide = counting({37, 53});
  const Tensor turned = transpose(wide);
  for_positions(wide.shape(), [&](const auto& p) {
    REQUIRE(at(turned, {p[1], p[0]}) == at(wide, p));
  });
  check_op_threads("permute", {{30, 40, 50}}, [](T v) { return permute(v, {2, 0, 1}); });

  CHECK(error_text([&] {
          permute(x, {0, 1, 2});
        }) == "permute: the order names 3 axes, the input has 4\n  input  [2, 3, 4, 5]");
  CHECK(error_text([&] {
          permute(x, {0, 1, 2, 2});
        }) == "permute: axis 2 does not exist or is named twice\n  input  [2, 3, 4, 5]");
}

TEST_CASE("slice: every range of Python's rules") {
  const std::vector<std::optional<std::int64_t>> bounds{{}, -9, -5, -4, -1, 0, 1, 3, 4, 5, 9};
  for (const std::int64_t extent : {5, 1, 0}) {
    const Tensor x = counting({2, extent, 3});
    for (const auto& start : bounds) {
      for (const auto& end : bounds) {
        for (const std::int64_t step : {1, 2, 3, 7, -1, -2, -9}) {
          const Range range{start, end, step};
          const std::vector<std::int64_t> expected = python_slice(extent, range);
          const Tensor y = slice(x, 1, range);
          REQUIRE(y.shape() == Shape{2, static_cast<std::int64_t>(expected.size()), 3});
          for_positions(y.shape(), [&](const auto& p) {
            REQUIRE(at(y, p) == at(x, {p[0], expected[static_cast<std::size_t>(p[1])], p[2]}));
          });
          // The transpose puts them back, and zeros elsewhere.
          const Tensor back = unslice(y, 1, range, extent);
          REQUIRE(slice(back, 1, range).to_vector() == y.to_vector());
          REQUIRE(sum(back).item() == sum(y).item());
        }
      }
    }
  }
}

TEST_CASE("slice, select, unslice: gradient") {
  for (const int axis : {0, 1, 2}) {
    for (const Range& range : {Range{1, {}, 1}, {{}, {}, 2}, {{}, {}, -1}, {-2, {}, -2}, {0, 2}}) {
      check_op(
          "slice", {{3, 4, 3}}, [&](T x) { return slice(x, axis, range); }, kLinear);
    }
    check_op(
        "select", {{3, 4, 3}}, [&](T x) { return select(x, axis, -2); }, kLinear);
  }
  check_op(
      "unslice", {{2, 3}}, [](T g) { return unslice(g, 1, {.start = 1, .step = 2}, 6); }, kLinear);
  check_op(
      "empty slice", {{3, 2}},
      [](T x) {
        return concat({slice(x, 0, {.end = 0}), x}, 0);
      },
      kLinear);
  const Tensor x = counting({3, 4});
  CHECK(slice(x, 0, {.start = 1}).data().data() == x.data().data() + 4);  // shared, not copied
  CHECK(error_text([&] { slice(x, 0, {.step = 0}); }) ==
        "slice: the step must not be 0\n  hint  1 takes every element, -1 walks backwards");
  CHECK(error_text([&] { slice(x, 2, {}); }).find("axis 2 does not exist") != std::string::npos);
  CHECK(error_text([&] { select(x, 0, 3); }) ==
        "select: position 3 does not exist on axis 0, which has 3\n  input  [3, 4]\n"
        "  hint   positions count from 0, negative ones from the end");
  CHECK(error_text([&] { unslice(x, 0, {.end = 2}, 5); }) ==
        "unslice: the range selects 2 of 5 positions, g has 3\n  g  [3, 4]");
}

TEST_CASE("concat, stack, split, chunk: gradient and values") {
  for (const int axis : {0, 1, -1}) {
    const auto shape = [&](std::int64_t extent) { return Shape{2, 3, 2}.with(axis, extent); };
    check_op(
        "concat", {shape(2), shape(1), shape(3)},
        [&](T a, T b, T c) {
          return concat({a, b, c}, axis);
        },
        kLinear);
    check_op(
        "stack", {{2, 3}, {2, 3}},
        [&](T a, T b) {
          return stack(std::vector<Tensor>{a, b}, axis);
        },
        kLinear);
    const Tensor x = counting({4, 6, 2});
    CHECK(concat(split(x, {1, 0, x.dim(axis) - 1}, axis), axis).to_vector() == x.to_vector());
    CHECK(concat(chunk(x, 2, axis), axis).to_vector() == x.to_vector());
  }
  CHECK(concat({counting({2, 1}), counting({2, 2})}, 1).to_vector() == Numbers{0, 0, 1, 1, 2, 3});
  CHECK(stack(std::vector<Tensor>{counting({2}), counting({2})}, -1).to_vector() ==
        Numbers{0, 0, 1, 1});
  const auto parts = split(counting({6}), {2, 4}, 0);
  CHECK(parts[0].to_vector() == Numbers{0, 1});
  CHECK(parts[1].to_vector() == Numbers{2, 3, 4, 5});
  check_op(
      "split", {{2, 5}},
      [](T x) {
        const auto cut = split(x, {2, 3}, 1);
        return concat({cut[1], cut[0]}, 1);
      },
      kLinear);
  check_op(
      "only some parts are used", {{2, 5}},
      [](T x) {
        return split(x, {2, 3}, 1)[1];
      },
      kLinear);
  check_op(
      "one tensor, joined with itself", {{2, 2}},
      [](T x) {
        return concat({x, x}, 0);
      },
      kLinear);

  CHECK(error_text([] { concat(std::vector<Tensor>{}, 0); }) ==
        "concat: there is nothing to join\n  hint  give at least one tensor");
  CHECK(error_text([] {
          concat({Tensor::ones({2, 3}), Tensor::ones({2, 4})}, 0);
        }) ==
        "concat: the parts must agree on every axis but 0\n  first  [2, 3]\n  other  [2, 4]\n"
        "  hint   join along the axis in which they differ");
  CHECK(error_text([] {
          stack(std::vector<Tensor>{Tensor::ones({2}), Tensor::ones({3})}, 0);
        }).find("stack: the parts must have one shape") == 0);
  CHECK(error_text([] {
          split(Tensor::ones({5}), {2, 2}, 0);
        }).find("add up to 5, they give 4") != std::string::npos);
  CHECK(error_text([] { split(Tensor::ones({5}), {7, -2}, 0); }).find("split") == 0);
  CHECK(error_text([] { chunk(Tensor::ones({5}), 2, 0); }) ==
        "chunk: extent 5 cannot be cut into 2 equal parts\n  input  [5]\n"
        "  hint   split() cuts into parts of given sizes");
}

TEST_CASE("concat of more than 64 parts: gradient") {
  const Tensor x = Input({70}).make(1);
  check_gradients(
      "many parts", {x},
      [&] {
        std::vector<Tensor> parts;
        for (std::int64_t i = 0; i < 70; ++i)
          parts.push_back(slice(x, 0, {.start = i, .end = i + 1}));
        return concat(parts, 0);
      },
      kLinear);
}

TEST_CASE("flip, repeat, roll, tril, triu: gradient and values") {
  check_op(
      "flip", {{2, 3, 2}},
      [](T x) {
        return flip(x, {0, -1});
      },
      kLinear);
  check_op(
      "repeat", {{2, 3}},
      [](T x) {
        return repeat(x, {2, 1, 3});
      },
      kLinear);
  check_op(
      "roll", {{3, 4}}, [](T x) { return roll(x, -5, 1); }, kLinear);
  check_op(
      "tril", {{2, 3, 4}}, [](T x) { return tril(x, 1); }, kLinear);
  check_op(
      "triu", {{4, 3}}, [](T x) { return triu(x, -1); }, kLinear);
  const Tensor x = counting({2, 3});
  CHECK(flip(x, {1}).to_vector() == Numbers{2, 1, 0, 5, 4, 3});
  CHECK(flip(x, {0, 1}).to_vector() == Numbers{5, 4, 3, 2, 1, 0});
  CHECK(repeat(x, {1, 2}).to_vector() == Numbers{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5});
  CHECK(repeat(x, {2, 1}).to_vector() == Numbers{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5});
  CHECK(repeat(x, {0, 1}).shape() == Shape{0, 3});
  CHECK(roll(x, 1, 1).to_vector() == Numbers{2, 0, 1, 5, 3, 4});
  CHECK(roll(x, -1, 1).to_vector() == Numbers{1, 2, 0, 4, 5, 3});
  CHECK(roll(x, 4, 0).to_vector() == x.to_vector());
  const Tensor square = Tensor::ones({3, 3});
  CHECK(tril(square).to_vector() == Numbers{1, 0, 0, 1, 1, 0, 1, 1, 1});
  CHECK(tril(square, -1).to_vector() == Numbers{0, 0, 0, 1, 0, 0, 1, 1, 0});
  CHECK(triu(square, 1).to_vector() == Numbers{0, 1, 1, 0, 0, 1, 0, 0, 0});
  const Real inf = std::numeric_limits<Real>::infinity();
  CHECK(triu(Tensor::full({2, 2}, -inf), 1).data()[0] == 0);  // selected, not multiplied by 0

  CHECK(error_text([&] { repeat(x, {2}); }) ==
        "repeat: 1 counts for 2 axes; give one per axis\n  input  [2, 3]");
  CHECK(error_text([&] { repeat(x, {-1, 2}); }).find("must not be negative") != std::string::npos);
  CHECK(error_text([] { tril(Tensor::ones({3})); }).find("tril: needs a matrix") == 0);
}

TEST_CASE("pixel_shuffle and pixel_unshuffle: gradient, definition, round trip") {
  check_op(
      "pixel_shuffle", {{1, 8, 2, 3}}, [](T x) { return pixel_shuffle(x, 2); }, kLinear);
  check_op(
      "pixel_unshuffle", {{1, 2, 4, 6}}, [](T x) { return pixel_unshuffle(x, 2); }, kLinear);
  const Tensor x = counting({2, 18, 2, 3});
  const Tensor y = pixel_shuffle(x, 3);
  REQUIRE(y.shape() == Shape{2, 2, 6, 9});
  for_positions(y.shape(), [&](const auto& p) {
    REQUIRE(at(y, p) == at(x, {p[0], p[1] * 9 + p[2] % 3 * 3 + p[3] % 3, p[2] / 3, p[3] / 3}));
  });
  CHECK(pixel_unshuffle(y, 3).to_vector() == x.to_vector());
  CHECK(error_text([&] {
          pixel_shuffle(Tensor::ones({1, 6, 2, 2}), 2);
        }) ==
        "pixel_shuffle: needs (N, C·r², H, W) with channels divisible by 2² = 4\n"
        "  input  [1, 6, 2, 2]   (N, C, H, W)");
  CHECK(error_text([&] {
          pixel_unshuffle(Tensor::ones({1, 1, 3, 2}), 2);
        }).find("H and W divisible by 2") != std::string::npos);
}

}  // namespace tapestry::testing
