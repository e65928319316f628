// Spectral norm, weight norm and weight standardization.
#include "layers/reparameterize.h"

#include <cmath>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/tape.h"
#include "layers/init.h"
#include "layers/sequential.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;

const std::vector<std::string> kSpectralNames{"bias", "parametrizations.weight.original",
                                              "parametrizations.weight.0._u",
                                              "parametrizations.weight.0._v"};
const std::vector<std::string> kNormNames{"bias", "parametrizations.weight.original0",
                                          "parametrizations.weight.original1"};

std::vector<std::string> names(WeightRule rule) {
  return rule == WeightRule::kSpectral ? kSpectralNames
         : rule == WeightRule::kNorm   ? kNormNames
                                       : std::vector<std::string>{"bias", "weight"};
}

}  // namespace

TEST_CASE("reparameterized layers: gradient of every parameter and input") {
  for (const WeightRule rule : {WeightRule::kSpectral, WeightRule::kNorm, WeightRule::kStandard}) {
    // In training u and v move with each call; finite differences need them still.
    const LayerCheck check{.names = names(rule), .additive = {"bias"}, .training = false};
    check_layer(
        "ReparameterizedLinear", [=] { return ReparameterizedLinear(5, 3, {.rule = rule}); },
        Input{4, 5}, check);
    check_layer(
        "ReparameterizedConv2d",
        [=] {
          return ReparameterizedConv2d(
              2, 3, {.rule = rule, .conv = {.kernel = 2, .stride = 2, .padding = 1}});
        },
        Input{2, 2, 4, 3}, check);
  }
}

TEST_CASE("spectral_normalize: finds the largest singular value") {
  // Singular values 3 and 1: rotations around a diagonal matrix.
  const auto rotation = [](double angle) {
    return Tensor::from({Real(std::cos(angle)), Real(-std::sin(angle)), Real(std::sin(angle)),
                         Real(std::cos(angle))},
                        {2, 2});
  };
  const Tensor weight =
      matmul(matmul(rotation(0.3), Tensor::from({3, 0, 0, 1}, {2, 2})), rotation(1.1));
  const Tensor u = Tensor::from({1, 0}, {2}), v = Tensor::from({0, 1}, {2});
  const SpectralWeight made = spectral_normalize(weight, u, v, {.iterations = 30});
  CHECK(made.sigma.item() == doctest::Approx(3).epsilon(1e-5));
  CHECK(difference(made.weight, weight / 3) < 1e-5);
  CHECK(u.data()[0] == 1);  // the caller's stay
  // Without iterations σ is uᵀ·W·v as given.
  CHECK(spectral_normalize(weight, u, v, {.iterations = 0}).sigma.item() == weight.data()[1]);
  // Another axis as rows is the transposed matrix.
  const SpectralWeight other =
      spectral_normalize(transpose(weight), u, v, {.dim = 1, .iterations = 3});
  const SpectralWeight same = spectral_normalize(weight, u, v, {.iterations = 3});
  CHECK(difference(other.weight, transpose(same.weight)) < 1e-6);
}

TEST_CASE("spectral norm: u and v are constants of the gradient") {
  const Tensor weight = Input({3, 4}).make(1).set_requires_grad();
  const Tensor u = Input({3}).make(2), v = Input({4}).make(3), g = Input({3, 4}).make(4);
  Tape tape;
  const SpectralWeight made = spectral_normalize(weight, u, v, {.iterations = 2});
  const Tensor found = tape.gradient(sum(made.weight * g), {weight})[0];
  // (g − ⟨g, W̄⟩·u·vᵀ)/σ
  const PauseRecording pause;
  const Tensor outer = reshape(made.u, {3, 1}) * reshape(made.v, {1, 4});
  const Tensor wanted = (g - sum(g * made.weight) * outer) / made.sigma;
  CHECK(difference(found, wanted.detach()) < (kDouble ? 1e-12 : 1e-4));
}

TEST_CASE(
    "spectral norm layer: iterates in training only, and survives two passes before the gradient") {
  ReparameterizedLinear layer(6, 5);
  layer.reset_parameters(Rng(1));
  const auto u = [&] { return layer.named_buffers()[0].value.clone(); };
  const Tensor x = Input({3, 6}).make(1), start = u();
  layer.eval();
  layer(x);
  CHECK(difference(u(), start) == 0);
  layer.train();
  Tape tape;
  const Tensor real = layer(x);
  CHECK(difference(u(), start) > 0);
  const Tensor fake = layer(x * 2);
  CHECK(tape.gradient(sum(real - fake * 3), layer.parameters()).size() == 2);
  // After many passes the map's largest singular value is 1.
  for (int i = 0; i < 200; ++i) layer(x);
  layer.eval();
  const Tensor identity = layer(tril(triu(Tensor::ones({6, 6})))) - layer(Tensor::zeros({6, 6}));
  const Tensor transposed = transpose(identity);  // (out, in)
  const SpectralWeight check = spectral_normalize(transposed.detach(), Tensor::ones({5}),
                                                  Tensor::ones({6}), {.iterations = 500});
  CHECK(check.sigma.item() == doctest::Approx(1).epsilon(1e-3));
}

TEST_CASE("spectral norm layer: a pass in evaluation keeps its gradient when training goes on") {
  ReparameterizedLinear layer(6, 5);
  layer.reset_parameters(Rng(1));
  const Tensor x = Input({3, 6}).make(1);
  Tape tape;
  layer.eval();
  const Tensor y = layer(x);
  layer.train();
  layer(x);  // moves u and v
  CHECK(tape.gradient(sum(y), layer.parameters()).size() == 2);
}

TEST_CASE("weight norm: lengths are g, and g starts as the length of v") {
  const Tensor v = Input({3, 2, 2, 2}).make(1), g = Tensor::from({1, 2, 3}, {3, 1, 1, 1});
  const Tensor w = weight_norm(v, g);
  for (int o = 0; o < 3; ++o)
    CHECK(norm(select(w, 0, o)).item() == doctest::Approx(o + 1).epsilon(1e-5));
  const Tensor lengths = Tensor::from({2, 5}, {1, 2, 1, 1});
  CHECK(norm(select(weight_norm(v, lengths, 1), 1, 1)).item() == doctest::Approx(5));

  // Then the layer starts as the plain one does.
  ReparameterizedLinear layer(4, 3, {.rule = WeightRule::kNorm});
  for (const char* type : {"default", "orthogonal"}) {
    initialize(layer, {.type = type}, Rng(1));
    const auto parameters = layer.parameters();
    CHECK(difference(weight_norm(parameters[2], parameters[1]), parameters[2]) < 1e-6);
  }
}

TEST_CASE("weight standardization: each filter has mean 0 and variance 1") {
  const Tensor w = weight_standardize(Input({4, 3, 3, 3}).make(1) * 7 + 2);
  CHECK(difference(mean(w, {1, 2, 3}), Tensor::zeros({4})) < 1e-6);
  CHECK(difference(var(w, {1, 2, 3}, {.unbiased = false}), Tensor::ones({4})) < 1e-5);
}

TEST_CASE("reparameterized layers: describe and refusals") {
  CHECK(ReparameterizedLinear(3, 4).describe() == "Linear(3, 4) with spectral norm");
  CHECK(ReparameterizedConv2d(3, 4, {.rule = WeightRule::kStandard}).describe() ==
        "Conv2d(3, 4, kernel 3) with weight standardization");
  const Tensor w = Tensor::zeros({3, 4});
  CHECK(contains(error_text([&] { spectral_normalize(w, w, w); }), "u of 3 and v of 4"));
  CHECK(contains(error_text([&] { spectral_normalize(w, w, w, {.dim = 2}); }), "no axis 2"));
  CHECK(
      contains(error_text([&] { weight_norm(w, Tensor::zeros({3})); }), "3 numbers along axis 0"));
}

}  // namespace tapestry::testing
