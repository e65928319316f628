#include "core/ops/index.h"

#include <doctest/doctest.h>

#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;
using Numbers = std::vector<Real>;

const CheckOptions kLinear{.linear = true};
const Tensor& table() {
  static const Tensor x = Tensor::from({0, 1, 2, 3, 4, 5}, {3, 2});
  return x;
}

}  // namespace

TEST_CASE("gather_rows, scatter_add_rows, index_select: gradient, rows named twice included") {
  const Indices rows{2, 0, 2, 1, 2};
  check_op(
      "gather_rows", {{3, 4}}, [&](T x) { return gather_rows(x, rows); }, kLinear);
  check_op(
      "gather_rows of numbers", {{3}}, [&](T x) { return gather_rows(x, rows); }, kLinear);
  check_op(
      "scatter_add_rows", {{5, 2}}, [&](T g) { return scatter_add_rows(g, rows, 4); }, kLinear);
  for (const int axis : {0, 1, 2, -1})
    check_op(
        "index_select", {{3, 3, 3}}, [&](T x) { return index_select(x, axis, rows); }, kLinear);
  CHECK(gather_rows(table(), Indices{2, 0, 2}).to_vector() == Numbers{4, 5, 0, 1, 4, 5});
  CHECK(gather_rows(table(), Indices{}).shape() == Shape{0, 2});
  CHECK(scatter_add_rows(table(), Indices{1, 3, 1}, 4).to_vector() ==
        Numbers{0, 0, 4, 6, 0, 0, 2, 3});
  CHECK(index_select(table(), 1, Indices{1, 1, 0}).to_vector() ==
        Numbers{1, 1, 0, 3, 3, 2, 5, 5, 4});
}

TEST_CASE("gather and scatter_add: gradient and values along each axis") {
  const Indices index{2, 0, 1, 1, 2, 2};
  check_op(
      "gather 0", {{3, 3}},
      [&](T x) {
        return gather(x, 0, index, {2, 3});
      },
      kLinear);
  check_op(
      "gather 1", {{3, 3}},
      [&](T x) {
        return gather(x, 1, index, {2, 3});
      },
      kLinear);
  check_op(
      "gather 2", {{1, 2, 3}},
      [&](T x) {
        return gather(x, 2, index, {1, 2, 3});
      },
      kLinear);
  check_op(
      "scatter_add", {{2, 3}},
      [&](T g) {
        return scatter_add(g, 1, index, {3, 4});
      },
      kLinear);
  // out[i, j] = x[index[i, j], j]
  CHECK(gather(table(), 0, Indices{2, 1, 0, 2}, {2, 2}).to_vector() == Numbers{4, 3, 0, 5});
  // out[i, j] = x[i, index[i, j]]
  CHECK(gather(table(), 1, Indices{1, 1, 0, 0, 1, 0}, {3, 2}).to_vector() ==
        Numbers{1, 1, 2, 2, 5, 4});
  CHECK(scatter_add(table(), 1, Indices{1, 1, 0, 2, 1, 0}, {3, 3}).to_vector() ==
        Numbers{0, 1, 0, 2, 0, 3, 5, 4, 0});
  CHECK(gather(table(), 0, Indices{}, {0, 2}).shape() == Shape{0, 2});
}

TEST_CASE("one_hot") {
  CHECK(one_hot(Indices{1, 0}, 3).to_vector() == Numbers{0, 1, 0, 1, 0, 0});
  CHECK(one_hot(Indices{}, 3).shape() == Shape{0, 3});
}

TEST_CASE("indices outside of the tensor are named") {
  CHECK(error_text([] {
          gather_rows(table(), Indices{0, 3});
        }) ==
        "gather_rows: index 3 at place 1 is outside 0 … 2\n  input  [3, 2]\n"
        "  hint   labels and token numbers start at 0");
  CHECK(error_text([] {
          scatter_add_rows(table(), Indices{0, -1, 2}, 3);
        }).find("index -1") != std::string::npos);
  CHECK(error_text([] {
          scatter_add_rows(table(), Indices{0, 1}, 3);
        }) == "scatter_add_rows: needs one row of g for each of the 2 indices\n  g  [3, 2]");
  CHECK(error_text([] { gather(table(), 0, Indices{3, 0}, {1, 2}); }).find("gather: index 3") == 0);
  CHECK(error_text([] {
          gather(table(), 0, Indices{0, 0, 0}, {1, 3});
        }).find("must have as many axes") != std::string::npos);
  CHECK(error_text([] { gather(table(), 0, Indices{0}, {1, 2}); }).find("gather") == 0);
  CHECK(error_text([] { one_hot(Indices{4}, 4); }).find("one_hot: index 4 at place 0") == 0);
  CHECK(error_text([] { gather_rows(Tensor::scalar(1), Indices{0}); }) ==
        "gather_rows: a scalar has no rows\n  input  []");
}

}  // namespace tapestry::testing
