// Norms steered by labels, styles and maps, and mixtures of norms.
#include "layers/conditional_norm.h"

#include <cmath>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;
using T = const Tensor&;

const Input kImage{3, 4, 3, 2};
constexpr double kRounding = kDouble ? 1e-12 : 2e-5;
const std::vector<std::int32_t> kLabels{2, 0, 2};

}  // namespace

TEST_CASE("conditional norm layers: gradient of every parameter and input") {
  const auto by_label = [](ConditionalNorm& norm, const std::vector<Tensor>& x) {
    return norm(x[0], kLabels);
  };
  const auto by_second = [](auto& norm, const std::vector<Tensor>& x) { return norm(x[0], x[1]); };
  const LayerCheck batch{.names = {"weight", "bias", "norm.running_mean", "norm.running_var",
                                   "norm.num_batches_tracked"},
                         .additive = {"bias"}};
  const auto make_batch = [] { return ConditionalNorm(4, 3); };
  const auto make_instance = [] {
    return ConditionalNorm(4, 3, {.statistics = Statistics::kInstance});
  };
  check_layer("ConditionalNorm, batch", make_batch, {kImage}, by_label, batch);
  check_layer("ConditionalNorm, instance", make_instance, {kImage}, by_label,
              {.names = {"weight", "bias"}, .additive = {"bias"}});
  check_layer("ConditionalNorm, mixed", make_instance, {kImage, Input({3, 3}).between(0.1, 1)},
              by_second, {.names = {"weight", "bias"}});
  check_layer("StyleNorm", [] { return StyleNorm(4, 2); }, {kImage, Input{3, 2}}, by_second,
              {.names = {"affine.weight", "affine.bias"}});
  check_layer("BatchInstanceNorm", [] { return BatchInstanceNorm(4); }, kImage,
              {.names = {"weight", "bias", "gate", "batch.running_mean", "batch.running_var",
                         "batch.num_batches_tracked"},
               .additive = {"bias"}});
  check_layer(
      "SwitchableNorm", [] { return SwitchableNorm(4); }, kImage,
      {.names = {"weight", "bias", "mean_weight", "var_weight", "running_mean", "running_var"},
       .additive = {"bias"}});
  // Far from the floor, on both sides of it.
  std::vector<double> values(24);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = (i % 3 == 1 ? -1 : 1) * (1 + 0.04 * static_cast<double>(i * 7 % 24));
  check_layer("FilterResponseNorm", [] { return FilterResponseNorm(4); },
              Input({2, 4, 3, 1}).values(values),
              {.names = {"weight", "bias", "tau"}, .additive = {"bias", "tau"}});
}

TEST_CASE("conditional norm functions: gradient") {
  const Input style{3, 4, 2, 3};
  check_op("adain", {kImage, style}, [](T x, T s) { return adain(x, s); });
  check_op("adain, unbiased and blended", {kImage, style},
           [](T x, T s) { return adain(x, s, {.unbiased = true, .alpha = Real(0.6)}); });
  check_op("spade", {kImage, kImage, kImage.additive()},
           [](T x, T gamma, T beta) { return spade(x, gamma, beta); });
}

TEST_CASE("ConditionalNorm: a label takes its row, and one-hot weights do the same") {
  ConditionalNorm norm(4, 3, {.statistics = Statistics::kInstance});
  draw(norm, 1);
  const Tensor x = kImage.make(1);
  CHECK(difference(norm(x, one_hot(kLabels, 3)), norm(x, kLabels)) < kRounding);
  const Tensor plain = normalize(x, per_instance(x.shape()), {});
  const auto parameters = norm.parameters();
  const Tensor wanted =
      modulate(plain, gather_rows(parameters[0], kLabels), gather_rows(parameters[1], kLabels));
  CHECK(difference(norm(x, kLabels), wanted) < kRounding);
  // Half and half is the mean, because x̂ does not depend on the label.
  const std::vector<std::int32_t> zeros(3, 0), ones(3, 1);
  const Tensor half = Tensor::from({.5, .5, 0, .5, .5, 0, .5, .5, 0}, {3, 3});
  CHECK(difference(norm(x, half), (norm(x, zeros) + norm(x, ones)) * Real(0.5)) < kRounding);
}

TEST_CASE("adain: the result has the style's statistics") {
  const Tensor x = kImage.make(1), style = Input({3, 4, 5, 4}).make(2);
  const Tensor y = adain(x, style, {.eps = Real(1e-9)});
  CHECK(difference(mean(y, {2, 3}), mean(style, {2, 3})) < 1e-5);
  CHECK(difference(var(y, {2, 3}, {.unbiased = false}), var(style, {2, 3}, {.unbiased = false})) <
        1e-5);
  const Tensor u = adain(x, style, {.eps = Real(1e-9), .unbiased = true});
  CHECK(difference(var(u, {2, 3}), var(style, {2, 3})) < 1e-5);
  CHECK(difference(adain(x, style, {.alpha = 0}), x) < kRounding);
  // A large eps shows where it stands: inside both roots, beside the variance that was asked for.
  for (const bool unbiased : {false, true}) {
    const auto sigma = [&](T image) {
      return sqrt(var(image, {2, 3}, {.unbiased = unbiased, .keepdim = true}) + Real(0.5));
    };
    const Tensor wanted = (x - mean(x, {2, 3}, {.keepdim = true})) / sigma(x) * sigma(style) +
                          mean(style, {2, 3}, {.keepdim = true});
    CHECK(difference(adain(x, style, {.eps = Real(0.5), .unbiased = unbiased}), wanted) <
          kRounding);
  }
  CHECK(difference(adain(x, x), x) < kRounding);
}

TEST_CASE("StyleNorm: the style vector gives 1 + a, and b") {
  StyleNorm norm(4, 2);
  draw(norm, 1);
  const Tensor x = kImage.make(1), style = Input({3, 2}).make(2);
  const auto p = norm.parameters();
  const Tensor plain = normalize(x, per_instance(x.shape()), {}), y = norm(x, style);
  for (std::size_t i = 0; i < y.data().size(); ++i) {
    const std::size_t n = i / 24, c = i / 6 % 4;
    const auto affine = [&](std::size_t row) {
      return p[0].data()[2 * row] * style.data()[2 * n] +
             p[0].data()[2 * row + 1] * style.data()[2 * n + 1] + p[1].data()[row];
    };
    const Real wanted = (1 + affine(c)) * plain.data()[i] + affine(4 + c);
    CHECK(y.data()[i] == doctest::Approx(static_cast<double>(wanted)).epsilon(1e-4));
  }
}

TEST_CASE("BatchInstanceNorm: computes its function in training") {
  BatchInstanceNorm norm(4);
  draw(norm, 1);
  const Tensor x = kImage.make(1);
  const auto p = norm.parameters();
  CHECK(difference(norm(x), batch_instance_norm(x, p[2], p[0], p[1])) < kRounding);
}

TEST_CASE("mixtures: the ends are the norms they mix") {
  const Tensor x = kImage.make(1), one = Tensor::ones({4}), zero = Tensor::zeros({4});
  const Tensor batch = normalize(x, per_channel(x.shape()), {});
  const Tensor instance = normalize(x, per_instance(x.shape()), {});
  CHECK(difference(batch_instance_norm(x, one, one, zero), batch) < kRounding);
  CHECK(difference(batch_instance_norm(x, zero, one, zero), instance) < kRounding);
  const Tensor layer = normalize(x, per_group(x.shape(), 1), {});
  const Tensor norms[] = {instance, layer, batch};
  for (int i = 0; i < 3; ++i) {
    Tensor logits = Tensor::full({3}, -200);
    logits.mutable_data()[static_cast<std::size_t>(i)] = 200;
    CHECK(difference(switchable_norm(x, logits, logits, one, zero), norms[i]) < kRounding);
  }
  const Tensor maps = Tensor::zeros(x.shape());
  CHECK(difference(spade(x, maps, maps), batch) < kRounding);
  // x̂ of the FRN is x/√⟨x²⟩; with a floor at 0 it is its ReLU.
  const Tensor frn = filter_response_norm(Tensor::from({3, -4}, {1, 1, 1, 2}), Tensor::zeros({1}),
                                          Tensor::ones({1}), Tensor::zeros({1}));
  CHECK(frn.data()[0] == doctest::Approx(3 / std::sqrt(12.5)));
  CHECK(frn.data()[1] == 0);
}

TEST_CASE("mixtures: evaluation uses running averages") {
  SwitchableNorm switchable(4, {.momentum = 1});
  BatchInstanceNorm mixed(4);
  draw(switchable, 1);
  draw(mixed, 1);
  const Tensor x = Input({8, 4, 6, 6}).make(1);
  const Tensor trained = switchable(x);
  switchable.eval();
  // The running variance is the unbiased one, 0.2 % larger here.
  CHECK(difference(switchable(x), trained) < 5e-3);
  CHECK(difference(switchable(x * 2), trained) > 0.05);
  for (int i = 0; i < 300; ++i) mixed(x);
  const Tensor settled = mixed(x);
  mixed.eval();
  CHECK(difference(mixed(x), settled) < 5e-3);
  mixed.parameters()[2].mutable_data()[0] = 3;
  mixed.clip_gate();
  CHECK(mixed.parameters()[2].data()[0] == 1);
}

TEST_CASE("conditional norms: describe and refusals") {
  CHECK(ConditionalNorm(4, 3).describe() == "ConditionalNorm(4, 3 conditions, batch)");
  CHECK(StyleNorm(4, 8).describe() == "StyleNorm(4, style 8)");
  ConditionalNorm norm(4, 3);
  draw(norm, 1);
  const Tensor x = kImage.make(1);
  const std::vector<std::int32_t> two{0, 1}, outside{0, 1, 3};
  CHECK(contains(error_text([&] { norm(x, two); }), "2 labels"));
  CHECK(contains(error_text([&] { norm(x, outside); }), "3"));
  CHECK(contains(error_text([&] { norm(x, Tensor::zeros({3, 2})); }), "(N, conditions)"));
  CHECK(contains(error_text([&] { adain(x, Tensor::zeros({3, 5, 2, 2})); }), "of 4 channels"));
  CHECK(contains(error_text([&] { spade(x, x, Tensor::zeros({4})); }), "the input's shape"));
  StyleNorm style(4, 8);
  draw(style, 1);
  CHECK(contains(error_text([&] { style(x, Tensor::zeros({2, 8})); }), "one style vector"));
  FilterResponseNorm frn(5);
  draw(frn, 1);
  CHECK(contains(error_text([&] { frn(x); }), "5 channels"));
}

}  // namespace tapestry::testing
