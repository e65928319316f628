#include "core/ops/conv.h"

#include <cmath>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;

/// Element (n, c, h, w) of x, 0 outside of the image.
double at(T x, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  if (h < 0 || h >= x.dim(2) || w < 0 || w >= x.dim(3)) return 0;
  return static_cast<double>(
      x.data()[static_cast<std::size_t>(((n * x.dim(1) + c) * x.dim(2) + h) * x.dim(3) + w)]);
}

std::int64_t out_extent(std::int64_t in, std::int64_t kernel, int stride, int padding,
                        int dilation) {
  return (in + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

/// conv2d by its definition: seven loops.
Tensor slow_conv(T x, T weight, T bias, const ConvGeometry& g) {
  const std::int64_t outs = weight.dim(0), per_group = weight.dim(1);
  const Shape shape{x.dim(0), outs,
                    out_extent(x.dim(2), weight.dim(2), g.stride.h, g.padding.h, g.dilation.h),
                    out_extent(x.dim(3), weight.dim(3), g.stride.w, g.padding.w, g.dilation.w)};
  std::vector<Real> y;
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    for (std::int64_t o = 0; o < outs; ++o) {
      const std::int64_t group = o / (outs / g.groups);
      for (std::int64_t i = 0; i < shape[2]; ++i) {
        for (std::int64_t j = 0; j < shape[3]; ++j) {
          double total =
              bias.defined() ? static_cast<double>(bias.data()[static_cast<std::size_t>(o)]) : 0;
          for (std::int64_t c = 0; c < per_group; ++c) {
            for (std::int64_t a = 0; a < weight.dim(2); ++a) {
              for (std::int64_t b = 0; b < weight.dim(3); ++b) {
                total +=
                    at(weight, o, c, a, b) * at(x, n, group * per_group + c,
                                                i * g.stride.h + a * g.dilation.h - g.padding.h,
                                                j * g.stride.w + b * g.dilation.w - g.padding.w);
              }
            }
          }
          y.push_back(static_cast<Real>(total));
        }
      }
    }
  }
  return Tensor::from(y, shape);
}

struct Case {
  Shape x, weight;
  ConvGeometry geometry = {};
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list{
      {{2, 2, 4, 5}, {3, 2, 3, 3}, {.padding = 1}},
      {{1, 2, 5, 4}, {2, 2, 1, 1}},
      {{2, 2, 6, 5}, {2, 2, 4, 4}, {.stride = 2, .padding = 1}},
      {{1, 1, 5, 6}, {2, 1, 3, 2}, {.stride = {2, 1}, .padding = {0, 1}}},
      {{1, 2, 7, 6}, {2, 2, 3, 2}, {.padding = {2, 0}, .dilation = {2, 3}}},
      {{1, 4, 4, 4}, {2, 2, 3, 3}, {.padding = 1, .groups = 2}},
      {{2, 3, 4, 4}, {6, 1, 3, 3}, {.padding = 1, .groups = 3}},  // depthwise
      {{1, 2, 3, 3}, {2, 2, 3, 3}},                               // one output pixel
      {{2, 1, 1, 1}, {3, 1, 1, 1}},
      {{1, 2, 6, 6}, {1, 2, 2, 2}, {.stride = 3}},  // pixels that no window sees
      {{1, 1, 2, 2}, {1, 1, 5, 5}, {.padding = 2}},
      {{1, 2, 8, 8}, {2, 2, 3, 3}, {.padding = 1}},
      {{1, 2, 5, 5}, {2, 2, 3, 3}, {.stride = 2, .padding = 1, .dilation = 2}},
  };
  return list;
}

}  // namespace

TEST_CASE("conv2d: gradient of every geometry") {
  for (const Case& c : cases()) {
    check_op("conv2d " + c.x.str() + c.weight.str(),
             {c.x, c.weight, Input({c.weight[0]}).additive()},
             [&](T x, T w, T b) { return conv2d(x, w, b, c.geometry); },
             {.reference = [&](const std::vector<Tensor>& x) {
               return slow_conv(x[0], x[1], x[2], c.geometry);
             }});
  }
  check_op("conv2d without bias", {{1, 2, 4, 4}, {2, 2, 3, 3}},
           [](T x, T w) { return conv2d(x, w); },
           {.reference = [](const auto& x) { return slow_conv(x[0], x[1], {}, {}); }});
}

TEST_CASE("conv2d_input_grad and conv2d_weight_grad: gradient of the gradients") {
  for (const Case& c : cases()) {
    const Shape y = conv2d(Tensor::ones(c.x), Tensor::ones(c.weight), {}, c.geometry).shape();
    check_op("conv2d_input_grad " + c.x.str(), {y, c.weight},
             [&](T g, T w) { return conv2d_input_grad(g, w, c.x, c.geometry); });
    check_op("conv2d_weight_grad " + c.x.str(), {y, c.x},
             [&](T g, T x) { return conv2d_weight_grad(g, x, c.weight, c.geometry); });
  }
}

TEST_CASE("the convolution triangle: one trilinear form seen from three sides") {
  for (const Case& c : cases()) {
    const Tensor x = Input(c.x).make(1), w = Input(c.weight).make(2);
    const Tensor y = conv2d(x, w, {}, c.geometry), g = Input(y.shape()).make(3);
    const double form = static_cast<double>(sum(y * g).item());
    const double by_x =
        static_cast<double>(sum(x * conv2d_input_grad(g, w, c.x, c.geometry)).item());
    const double by_w =
        static_cast<double>(sum(w * conv2d_weight_grad(g, x, c.weight, c.geometry)).item());
    const double scale = std::sqrt(static_cast<double>(y.size())) * 4;
    CHECK(std::abs(by_x - form) < scale * (kDouble ? 1e-13 : 1e-5));
    CHECK(std::abs(by_w - form) < scale * (kDouble ? 1e-13 : 1e-5));
  }
}

TEST_CASE("conv2d: third-order gradient") {
  check_op("conv2d, tanh, conv2d", {{1, 1, 4, 4}, {2, 1, 3, 3}, {1, 2, 3, 3}},
           [](T x, T w, T v) { return conv2d(tanh(conv2d(x, w, {}, {.padding = 1})), v); },
           {.order = 3});
}

TEST_CASE("conv2d: sizes of real layers against the definition") {
  for (const Case& c : std::vector<Case>{
           {{2, 3, 17, 19}, {17, 3, 3, 3}, {.padding = 1}},
           {{2, 16, 14, 14}, {32, 16, 3, 3}, {.padding = 1}},
           {{1, 32, 8, 8}, {32, 32, 3, 3}, {.padding = 1}},
           {{3, 33, 7, 7}, {15, 33, 1, 1}},
           {{2, 8, 16, 16}, {16, 8, 4, 4}, {.stride = 2, .padding = 1}},
           {{1, 3, 33, 35}, {8, 3, 9, 9}, {.padding = 4}},
           {{2, 16, 9, 9}, {16, 4, 3, 3}, {.stride = 2, .padding = 1, .groups = 4}},
       }) {
    const Tensor x = Input(c.x).make(1), w = Input(c.weight).make(2),
                 b = Input({c.weight[0]}).make(3);
    const double error = difference(conv2d(x, w, b, c.geometry), slow_conv(x, w, b, c.geometry));
    CHECK_MESSAGE(error < (kDouble ? 1e-13 : 5e-6), c.x.str(), c.weight.str(), ": ", error);
    check_threads("conv2d", {x, w, b}, [&] { return conv2d(x, w, b, c.geometry); });
  }
}

TEST_CASE("conv_transpose2d: gradient, and the transpose of conv2d") {
  struct Transposed {
    Shape x, weight;
    ConvTransposeGeometry geometry = {};
    Shape y;
  };
  for (const Transposed& c : std::vector<Transposed>{
           {{1, 2, 3, 3}, {2, 3, 4, 4}, {.stride = 2, .padding = 1}, {1, 3, 6, 6}},
           {{2, 2, 2, 3}, {2, 2, 3, 3}, {}, {2, 2, 4, 5}},
           {{1, 2, 3, 2},
            {2, 1, 3, 3},
            {.stride = 2, .padding = 1, .output_padding = 1},
            {1, 1, 6, 4}},
           {{1, 4, 2, 2}, {4, 1, 2, 3}, {.stride = {1, 2}, .groups = 2}, {1, 2, 3, 5}},
           {{1, 1, 3, 3},
            {1, 2, 2, 2},
            {.stride = {1, 2}, .output_padding = {1, 0}, .dilation = {2, 1}},
            {1, 2, 6, 6}},
           {{1, 2, 1, 1}, {2, 2, 4, 4}, {}, {1, 2, 4, 4}},
       }) {
    const auto op = [&](T x, T w) { return conv_transpose2d(x, w, {}, c.geometry); };
    check_op("conv_transpose2d " + c.x.str(), {c.x, c.weight}, op);
    const std::int64_t outs = c.weight[1] * c.geometry.groups;
    check_op("conv_transpose2d with bias", {c.x, c.weight, Input({outs}).additive()},
             [&](T x, T w, T b) { return conv_transpose2d(x, w, b, c.geometry); },
             {.order = 1, .reference = [&](const auto& x) {
                return op(x[0], x[1]) + reshape(x[2], Shape{outs, 1, 1});
              }});
    const Tensor x = Input(c.x).make(1), w = Input(c.weight).make(2), y = op(x, w);
    CHECK(y.shape() == c.y);
    const Tensor g = Input(y.shape()).make(3);
    const ConvGeometry back{c.geometry.stride, c.geometry.padding, c.geometry.dilation,
                            c.geometry.groups};
    // Output padding that dilation alone allows makes conv2d's result larger than x.
    const Tensor seen = slice(slow_conv(g, w, {}, back), 2, {.end = x.dim(2)});
    CHECK(sum(y * g).item() == doctest::Approx(sum(x * seen).item()).epsilon(1e-4));
  }
}

TEST_CASE("conv1d: gradient") {
  check_op("conv1d", {{2, 4, 7}, {6, 2, 3}, Input({6}).additive()},
           [](T x, T w, T b) {
             return conv1d(x, w, b, {.stride = 2, .padding = 1, .dilation = 2, .groups = 2});
           },
           {.reference = [](const auto& x) {
             const Tensor y =
                 slow_conv(reshape(x[0], Shape{2, 4, 1, 7}), reshape(x[1], Shape{6, 2, 1, 3}), x[2],
                           {.stride = {1, 2}, .padding = {0, 1}, .dilation = {1, 2}, .groups = 2});
             return reshape(y, Shape{2, 6, y.dim(3)});
           }});
}

TEST_CASE("convolution of an empty batch") {
  CHECK(conv2d(Tensor::empty({0, 2, 4, 4}), Tensor::ones({3, 2, 3, 3})).shape() ==
        Shape{0, 3, 2, 2});
  const Tensor g =
      conv2d_weight_grad(Tensor::empty({0, 3, 2, 2}), Tensor::empty({0, 2, 4, 4}), {3, 2, 3, 3});
  CHECK(difference(g, Tensor::zeros({3, 2, 3, 3})) == 0);
}

TEST_CASE("convolution: what does not fit is named with both numbers") {
  const Tensor x = Tensor::ones({2, 3, 8, 8});
  const auto conv = [&](const Shape& w, const ConvGeometry& g = {}, T b = {}) {
    return error_text([&] { conv2d(x, Tensor::ones(w), b, g); });
  };
  const auto has = [](const std::string& text, std::initializer_list<const char*> parts) {
    CHECK(text.find("conv2d: ") == 0);
    for (const char* part : parts) CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  };
  has(conv({4, 2, 3, 3}), {"[4, 2, 3, 3]", "[2, 3, 8, 8]"});
  has(conv({4, 3, 9, 3}), {"9", "8"});
  has(conv({4, 3, 3}), {"[4, 3, 3]"});
  has(conv({4, 3, 3, 3}, {.stride = 0}), {"stride"});
  has(conv({4, 3, 3, 3}, {.padding = -1}), {"padding"});
  has(conv({4, 3, 3, 3}, {.dilation = 0}), {"dilation"});
  has(conv({4, 3, 3, 3}, {.groups = 0}), {"groups"});
  has(conv({4, 3, 3, 3}, {.groups = 2}), {"2", "3"});
  has(conv({4, 3, 3, 3}, {}, Tensor::ones({3})), {"[3]"});
  has(error_text([] {
        conv2d(Tensor::ones({3, 8, 8}), Tensor::ones({4, 3, 3, 3}));
      }),
      {"[3, 8, 8]"});
  const std::string transposed = error_text([] {
    conv_transpose2d(Tensor::ones({1, 2, 3, 3}), Tensor::ones({2, 2, 2, 2}), {},
                     {.stride = 2, .output_padding = 2});
  });
  CHECK(transposed.find("output_padding") != std::string::npos);
}

}  // namespace tapestry::testing
