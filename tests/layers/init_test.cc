// How weights start: the variances, orthogonality, and streams keyed by name.
#include "layers/init.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "layers/layers.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;

double deviation(const Tensor& x) {
  return static_cast<double>(stddev(x, {}, {.unbiased = false}).item());
}
double largest(const Tensor& x) {
  double result = 0;
  for (const Real value : x.data()) result = std::max(result, std::abs(static_cast<double>(value)));
  return result;
}

/// Within a share of the value itself: doctest's default is a share of 1 + the value.
doctest::Approx near(double value, double share) {
  return doctest::Approx(value).epsilon(share).scale(0);
}

}  // namespace

TEST_CASE("initialize: each rule has its variance") {
  Sequential net{Linear(200, 300)};
  const auto weight = [&](const InitSetting& setting) {
    initialize(net, setting, Rng(1));
    return net.parameters()[0];
  };
  // 60,000 numbers: the deviation is known to about 0.3 %.
  const auto about = [](double value) { return near(value, 0.02); };
  CHECK(deviation(weight({.type = "normal", .std = 0.05})) == about(0.05));
  CHECK(deviation(weight({.type = "xavier_normal"})) == about(std::sqrt(2.0 / 500)));
  CHECK(deviation(weight({.type = "kaiming_normal", .gain = 2})) ==
        about(2 * std::sqrt(2.0 / 200)));
  const Tensor xavier = weight({.type = "xavier_uniform"});
  CHECK(deviation(xavier) == about(std::sqrt(2.0 / 500)));
  CHECK(largest(xavier) <= std::sqrt(6.0 / 500) * 1.000001);
  CHECK(largest(xavier) == about(std::sqrt(6.0 / 500)));
  CHECK(deviation(weight({.type = "kaiming_uniform"})) == about(std::sqrt(2.0 / 200)));
  CHECK(largest(net.parameters()[1]) == 0);  // biases
  const Tensor usual = weight({});
  CHECK(largest(usual) == about(1 / std::sqrt(200.0)));
  CHECK(largest(net.parameters()[1]) > 0);
}

TEST_CASE("initialize: convolutions count the kernel's area, transposed ones the other way round") {
  Sequential net{Conv2d(8, 32, {.kernel = 5}), ConvTranspose2d(8, 32, {.kernel = 5}),
                 BatchNorm(32)};
  initialize(net, {.type = "kaiming_normal"}, Rng(1));
  for (const std::size_t i : {0, 2})
    CHECK(deviation(net.parameters()[i]) == near(std::sqrt(2.0 / 200), 0.05));
  CHECK(net.parameters()[4].data()[0] == 1);  // γ
  CHECK(net.parameters()[5].data()[0] == 0);  // β
}

TEST_CASE("initialize: orthogonal rows or columns") {
  for (const auto& [in, out] : {std::pair(12, 5), std::pair(5, 12)}) {
    Linear layer(in, out);
    initialize(layer, {.type = "orthogonal", .gain = 2}, Rng(1));
    const Tensor w = layer.parameters()[0];
    const Tensor product =
        in > out ? matmul(w, w, {.transpose_b = true}) : matmul(w, w, {.transpose_a = true});
    for (std::int64_t i = 0; i < 25; ++i) {
      CHECK(std::abs(static_cast<double>(product.data()[static_cast<std::size_t>(i)]) -
                     (i % 6 == 0 ? 4 : 0)) < 1e-5);
    }
  }
}

TEST_CASE("initialize: values follow names, not the order of layers") {
  const auto build = [](bool with_norm) {
    Sequential net;
    net.add(Linear(4, 4), "first");
    if (with_norm) net.add(BatchNorm(4), "norm");
    net.add(Linear(4, 4), "second");
    initialize(net, {.type = "normal"}, Rng(9));
    return net.named_parameters();
  };
  const auto plain = build(false), normed = build(true);
  CHECK(hash({&plain[0].value, 1}) == hash({&normed[0].value, 1}));
  CHECK(normed[4].name == "second.weight");
  CHECK(hash({&plain[2].value, 1}) == hash({&normed[4].value, 1}));
  CHECK(hash({&plain[0].value, 1}) != hash({&plain[2].value, 1}));
}

}  // namespace tapestry::testing
