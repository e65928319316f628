#include "core/ops/pool.h"

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/tape.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;
using Numbers = std::vector<Real>;

const CheckOptions kLinear{.linear = true};

/// Windows of one axis by the definition: the positions that output i sees, which may lie in the
/// padding (−1 … −p, n … n + p − 1).
std::vector<std::vector<std::int64_t>> windows(std::int64_t n, int kernel, int stride, int padding,
                                               int dilation, bool ceil_mode) {
  std::vector<std::vector<std::int64_t>> result;
  const std::int64_t reach = dilation * (kernel - 1) + 1;
  for (std::int64_t begin = -padding;; begin += stride) {
    const bool whole = begin + reach <= n + padding;
    // ceil_mode: also the windows that hang over, if they start before the right padding.
    const bool counts = whole || (ceil_mode && begin < n && begin + reach < n + padding + stride);
    if (!counts) return result;
    result.emplace_back();
    for (int k = 0; k < kernel; ++k) result.back().push_back(begin + k * dilation);
  }
}

using Windows = std::vector<std::vector<std::int64_t>>;

/// Applies f to the pixels of each window that lie inside; `counted` is how many are inside the
/// padded image.
Tensor slow_pool(T x, const Windows& rows, const Windows& columns, Pair padding,
                 const std::function<double(const std::vector<double>&, double counted)>& f) {
  const std::int64_t h = x.dim(-2), w = x.dim(-1);
  Numbers y;
  for (std::int64_t plane = 0; plane < x.size() / (h * w); ++plane) {
    for (const auto& row : rows) {
      for (const auto& column : columns) {
        std::vector<double> inside;
        double counted = 0;
        for (const std::int64_t i : row) {
          for (const std::int64_t j : column) {
            if (i < h + padding.h && j < w + padding.w) ++counted;
            if (i >= 0 && i < h && j >= 0 && j < w)
              inside.push_back(
                  static_cast<double>(x.data()[static_cast<std::size_t>((plane * h + i) * w + j)]));
          }
        }
        y.push_back(static_cast<Real>(f(inside, counted)));
      }
    }
  }
  return Tensor::from(y, x.shape()
                             .with(-2, static_cast<std::int64_t>(rows.size()))
                             .with(-1, static_cast<std::int64_t>(columns.size())));
}

double largest(const std::vector<double>& x, double) {
  return *std::max_element(x.begin(), x.end());
}
double sum_of(const std::vector<double>& x) {
  double total = 0;
  for (const double value : x) total += value;
  return total;
}

Tensor slow_pool(T x, const PoolGeometry& g,
                 const std::function<double(const std::vector<double>&, double)>& f) {
  const Pair stride{g.stride.h == 0 ? g.kernel.h : g.stride.h,
                    g.stride.w == 0 ? g.kernel.w : g.stride.w};
  return slow_pool(x,
                   windows(x.dim(-2), g.kernel.h, stride.h, g.padding.h, g.dilation.h, g.ceil_mode),
                   windows(x.dim(-1), g.kernel.w, stride.w, g.padding.w, g.dilation.w, g.ceil_mode),
                   g.padding, f);
}

const std::vector<PoolGeometry>& geometries() {
  static const std::vector<PoolGeometry> list{
      {.kernel = 2},
      {.kernel = 3, .stride = 2, .padding = 1},
      {.kernel = {2, 3}, .stride = {1, 2}, .padding = {1, 0}},
      {.kernel = 3, .stride = 1, .padding = 1},
      {.kernel = 2, .ceil_mode = true},
      {.kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true},
      {.kernel = 1, .stride = 2},
      {.kernel = 2, .stride = 3, .padding = 1, .ceil_mode = true},
      {.kernel = {5, 7}},
  };
  return list;
}

Windows adaptive(std::int64_t in, std::int64_t out) {
  Windows result;
  for (std::int64_t i = 0; i < out; ++i) {
    result.emplace_back();
    for (std::int64_t p = 0; p < in; ++p) {
      const double begin = std::floor(static_cast<double>(i * in) / static_cast<double>(out));
      const double end = std::ceil(static_cast<double>((i + 1) * in) / static_cast<double>(out));
      if (static_cast<double>(p) >= begin && static_cast<double>(p) < end)
        result.back().push_back(p);
    }
  }
  return result;
}

}  // namespace

TEST_CASE("max_pool2d: gradient of every geometry") {
  std::vector<PoolGeometry> all = geometries();
  all.push_back({.kernel = 2, .stride = 1, .dilation = 2});
  all.push_back({.kernel = {3, 2}, .stride = {1, 2}, .padding = 1, .dilation = {2, 3}});
  for (const PoolGeometry& g : all) {
    check_op("max_pool2d", {Input({1, 2, 5, 7}).distinct()}, [&](T x) { return max_pool2d(x, g); },
             {.linear = true,
              .reference = [&](const auto& x) { return slow_pool(x[0], g, largest); },
              .step = kDouble ? 1e-3 : 1e-2});
  }
}

TEST_CASE("avg_pool2d: gradient of every geometry, with and without the padding counted") {
  for (const PoolGeometry& g : geometries()) {
    for (const bool pad : {true, false}) {
      check_op("avg_pool2d", {{1, 2, 5, 7}}, [&](T x) { return avg_pool2d(x, g, pad); },
               {.linear = true, .reference = [&](const auto& x) {
                  return slow_pool(x[0], g, [&](const std::vector<double>& inside, double counted) {
                    return sum_of(inside) / (pad ? counted : static_cast<double>(inside.size()));
                  });
                }});
    }
  }
}

TEST_CASE("adaptive and global pooling: gradient") {
  for (const Pair size : {Pair(1), Pair(2, 3), Pair(5, 7), Pair(7, 9), Pair(3, 1)}) {
    check_op("adaptive_avg_pool2d", {{2, 5, 7}}, [&](T x) { return adaptive_avg_pool2d(x, size); },
             {.linear = true, .reference = [&](const auto& x) {
                return slow_pool(x[0], adaptive(5, size.h), adaptive(7, size.w), 0,
                                 [](const auto& inside, double) {
                                   return sum_of(inside) / static_cast<double>(inside.size());
                                 });
              }});
    check_op("adaptive_max_pool2d", {Input({2, 5, 7}).distinct()},
             [&](T x) { return adaptive_max_pool2d(x, size); },
             {.linear = true,
              .reference =
                  [&](const auto& x) {
                    return slow_pool(x[0], adaptive(5, size.h), adaptive(7, size.w), 0, largest);
                  },
              .step = kDouble ? 1e-3 : 1e-2});
  }
  check_op(
      "global_avg_pool2d", {{2, 3, 4, 5}}, [](T x) { return global_avg_pool2d(x); }, kLinear);
  CHECK(global_avg_pool2d(Tensor::ones({2, 3, 4, 5})).shape() == Shape{2, 3});
}

TEST_CASE("max_pool2d: NaN wins, −Inf is a number, and the first of equals gets the gradient") {
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  const Real inf = std::numeric_limits<Real>::infinity();
  CHECK(std::isnan(max_pool2d(Tensor::from({1, nan, 3, 2}, {1, 1, 2, 2}), {}).item()));
  CHECK(max_pool2d(Tensor::full({1, 1, 2, 2}, -inf), {}).item() == -inf);
  CHECK(max_pool2d(Tensor::full({1, 1, 3, 3}, -2), {.kernel = 3, .padding = 1}).data()[0] == -2);
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({1, 3, 3, 3}, {1, 1, 2, 2}));
  CHECK(tape.gradient(max_pool2d(x, {}), {x})[0].to_vector() == Numbers{0, 1, 0, 0});
}

TEST_CASE("pooling of overlapping windows adds gradients") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({0, 5, 0}, {1, 1, 1, 3}));
  const Tensor y = max_pool2d(x, {.kernel = {1, 2}, .stride = 1});
  CHECK(tape.gradient(sum(y), {x})[0].to_vector() == Numbers{0, 2, 0});
}

TEST_CASE("upsample: gradient of both modes, larger and smaller") {
  for (const Pair size : {Pair(6, 10), Pair(3, 5), Pair(7, 4), Pair(2, 3), Pair(1), Pair(9, 11)}) {
    check_op(
        "nearest", {{2, 3, 5}}, [&](T x) { return upsample(x, size); }, kLinear);
    for (const bool corners : {false, true}) {
      check_op(
          "bilinear", {{2, 3, 5}},
          [&](T x) { return upsample(x, size, Resample::kBilinear, corners); }, kLinear);
    }
  }
}

TEST_CASE("upsample: values by definition") {
  const Tensor x = Tensor::from({1, 2, 3, 4}, {1, 1, 2, 2});
  CHECK(upsample(x, {4, 4}).to_vector() == Numbers{1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4});
  CHECK(upsample(x, {1, 3}).to_vector() == Numbers{1, 1, 2});
  const Tensor row = Tensor::from({0, 1}, {1, 1, 1, 2});
  CHECK(upsample(row, {1, 4}, Resample::kBilinear).to_vector() == Numbers{0, 0.25, 0.75, 1});
  CHECK(difference(upsample(row, {1, 4}, Resample::kBilinear, true),
                   Tensor::from({0, Real(1.0 / 3), Real(2.0 / 3), 1}, {1, 1, 1, 4})) < 1e-6);
  CHECK(upsample(row, {1, 1}, Resample::kBilinear, true).item() == 0);
  // Both corner modes keep a constant, and align_corners keeps a straight line.
  for (const bool corners : {false, true}) {
    CHECK(difference(upsample(Tensor::full({1, 1, 3, 4}, 7), {5, 9}, Resample::kBilinear, corners),
                     Tensor::full({1, 1, 5, 9}, 7)) < 1e-6);
  }
  // A zero weight does not make NaN of an Inf.
  const Real inf = std::numeric_limits<Real>::infinity();
  CHECK(upsample(Tensor::from({1, inf}, {1, 1, 1, 2}), {1, 2}, Resample::kBilinear).data()[0] == 1);
}

TEST_CASE("pooling and resampling: bits do not depend on threads") {
  const Input image = Input({6, 7, 65, 63}).distinct();
  check_op_threads("max_pool2d", {image}, [](T x) { return max_pool2d(x, {}); });
  check_op_threads("max_pool2d 3", {image},
                   [](T x) { return max_pool2d(x, {.kernel = 3, .stride = 2, .padding = 1}); });
  check_op_threads("avg_pool2d", {image}, [](T x) { return avg_pool2d(x, {}); });
  check_op_threads("nearest", {image}, [](T x) { return upsample(x, {130, 126}); });
  check_op_threads("bilinear", {image}, [](T x) {
    return upsample(x, {100, 90}, Resample::kBilinear);
  });
}

TEST_CASE("pooling of an empty batch") {
  CHECK(max_pool2d(Tensor::empty({0, 2, 4, 4}), {}).shape() == Shape{0, 2, 2, 2});
  CHECK(avg_pool2d(Tensor::empty({0, 2, 4, 4}), {}).shape() == Shape{0, 2, 2, 2});
  CHECK(upsample(Tensor::empty({0, 2, 4, 4}), 8).shape() == Shape{0, 2, 8, 8});
  check_op("empty batch", {{0, 2, 4, 4}}, [](T x) { return max_pool2d(x, {}); }, {.order = 1});
}

TEST_CASE("pooling and resampling: what does not fit is refused") {
  const Tensor x = Tensor::ones({1, 2, 4, 4});
  CHECK(error_text([&] { max_pool2d(x, {.kernel = 5}); }) ==
        "max_pool2d: a window of 5 does not fit into 4 padded elements\n"
        "  input     [1, 2, 4, 4]   (N, C, H, W)\n"
        "  kernel    5\n"
        "  stride    5\n"
        "  padding   0\n"
        "  dilation  1");
  CHECK(error_text([&] {
          max_pool2d(x, {.kernel = 2, .padding = 2});
        }).find("padding must be at most half the kernel") != std::string::npos);
  CHECK(error_text([&] { avg_pool2d(x, {.kernel = 0}); }).find("must be at least 1") !=
        std::string::npos);
  CHECK(error_text([&] { avg_pool2d(x, {.kernel = 2, .stride = -1}); }) != "");
  CHECK(error_text([&] { avg_pool2d(x, {.kernel = 2, .dilation = 2}); }) ==
        "avg_pool2d: dilation is not defined for averages");
  CHECK(error_text([&] { adaptive_avg_pool2d(x, 0); }).find("cannot pool extent 4 to 0") !=
        std::string::npos);
  CHECK(error_text([&] { max_pool2d(Tensor::ones({4}), {}); }).find("needs an image") !=
        std::string::npos);
  CHECK(error_text([&] {
          global_avg_pool2d(Tensor::ones({4, 4}));
        }).find("global_avg_pool2d") == 0);
  CHECK(error_text([&] {
          upsample(x, {0, 4});
        }) == "upsample: cannot resample 4 × 4 to 0 × 4\n  input  [1, 2, 4, 4]");
  CHECK(error_text([] { resample_mode("cubic"); }) ==
        "upsample: there is no mode \"cubic\"\n  hint  use nearest or bilinear");
  CHECK(resample_mode("bilinear") == Resample::kBilinear);
}

}  // namespace tapestry::testing
