// Gradient penalties through normalized critics: the gradient of a gradient against finite
// differences of the penalty itself.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/tape.h"
#include "layers/layers.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;

/// Smooth activations: at the kink of a leaky ReLU a penalty has no derivative to compare with.
Sequential critic(std::shared_ptr<UnaryModule> norm) {
  Sequential net;
  net.add(Conv2d(2, 4, {.kernel = 3, .stride = 2, .padding = 1}), "conv1");
  net.add(SiLU(), "act1");
  net.add(Conv2d(4, 4, {.kernel = 3, .padding = 1, .bias = false}), "conv2");
  if (norm) net.add_shared(std::move(norm), "norm");
  net.add(SiLU(), "act2");
  net.add(Flatten(), "flatten");
  net.add(Linear(36, 1, {.bias = false}), "linear");  // a penalty does not see its bias
  draw(net, 5);
  return net;
}

/// The worst difference between gradient and 4th-order central differences, relative to the largest
/// gradient of the same parameter.
double worst_error(Sequential& net, const std::function<Tensor()>& penalty) {
  const auto value = [&] {
    const Tape tape;
    return static_cast<double>(penalty().item());
  };
  const auto parameters = net.named_parameters();
  std::vector<Tensor> gradients;
  {
    Tape tape;
    gradients = tape.gradient(penalty(), net.parameters());
  }
  const double h = kDouble ? 1e-3 : 2e-2;
  double worst = 0;
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    Tensor tensor = parameters[p].value;
    double largest = 0, off = 0;
    for (std::size_t i = 0; i < tensor.data().size(); ++i) {
      const Real kept = tensor.data()[i];
      const auto at = [&](double shift) {
        tensor.mutable_data()[i] = kept + static_cast<Real>(shift);
        return value();
      };
      const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      tensor.mutable_data()[i] = kept;
      const double found = static_cast<double>(gradients[p].data()[i]);
      largest = std::max(largest, std::abs(found));
      off = std::max(off, std::abs(found - slope));
    }
    CAPTURE(parameters[p].name);
    CHECK(largest > 1e-3);  // the penalty depends on it
    worst = std::max(worst, off / largest);
  }
  return worst;
}

// In float the penalty has 7 digits, of which the difference quotient loses four.
constexpr double kTolerance = kDouble ? 1e-7 : 2e-2;

}  // namespace

TEST_CASE("WGAN-GP: the gradient of the penalty through each norm") {
  const Tensor real = Input({3, 2, 6, 6}).make(1), fake = Input({3, 2, 6, 6}).make(2);
  std::string table;
  const auto check = [&](const std::string& name, std::shared_ptr<UnaryModule> norm) {
    Sequential net = critic(std::move(norm));
    const double worst = worst_error(net, [&] {
      Rng rng(7);
      return gradient_penalty([&](const Tensor& x) { return net(x); }, real, fake, rng);
    });
    char text[80];
    std::snprintf(text, sizeof text, "\n  %-24s %8.1e", name.c_str(), worst);
    table += text;
    CAPTURE(name);
    CHECK(worst < kTolerance);
  };
  check("none", nullptr);
  check("BatchNorm", std::make_shared<BatchNorm>(4));
  check("LayerNorm", std::make_shared<LayerNorm>(Shape{4, 3, 3}));
  check("LayerNorm per channel", std::make_shared<GroupNorm>(1, 4));
  check("GroupNorm", std::make_shared<GroupNorm>(2, 4));
  check("InstanceNorm", std::make_shared<InstanceNorm>(4, InstanceNormOptions{.affine = true}));
  check("ChannelRMSNorm", std::make_shared<ChannelRMSNorm>(4));
  MESSAGE("d penalty / d weights against finite differences, worst relative error, Real = "
          << std::string(kDouble ? "double" : "float") << table);
}

TEST_CASE("R1: the gradient of the penalty through GroupNorm") {
  const Tensor real = Input({3, 2, 6, 6}).make(1);
  Sequential net = critic(std::make_shared<GroupNorm>(2, 4));
  const double worst =
      worst_error(net, [&] { return r1_penalty([&](const Tensor& x) { return net(x); }, real); });
  MESSAGE("worst relative error " << worst);
  CHECK(worst < kTolerance);
}

TEST_CASE("gradient penalty: a linear critic has a known one") {
  // D(x) = w·x has slope w everywhere: (‖w‖ − 1)².
  const Tensor w = Tensor::from({3, 4}, {2, 1}).set_requires_grad();
  const Tensor real = Input({5, 2}).make(1), fake = Input({5, 2}).make(2);
  const Critic linear_critic = [&](const Tensor& x) { return sum(x * reshape(w, {1, 2}), {1}); };
  Rng rng(1);
  Tape tape;
  CHECK(gradient_penalty(linear_critic, real, fake, rng).item() == doctest::Approx(16));
  CHECK(r1_penalty(linear_critic, real).item() == doctest::Approx(12.5));
  const Tensor penalty = gradient_penalty(linear_critic, real, fake, rng);
  const Tensor slope = tape.gradient(penalty, {w})[0];  // 2·(5 − 1)·w/5
  CHECK(slope.data()[0] == doctest::Approx(4.8));
  CHECK(slope.data()[1] == doctest::Approx(6.4));
}

TEST_CASE("gradient penalty: finite where the critic is flat, refused without a tape") {
  const Tensor w = Tensor::zeros({1, 2}).set_requires_grad();
  const Tensor x = Input({5, 2}).make(1);
  const Critic flat = [&](const Tensor& y) { return sum(y * w, {1}); };
  Rng rng(1);
  CHECK(contains(error_text([&] { gradient_penalty(flat, x, x, rng); }), "Tape"));
  Tape tape;
  CHECK(contains(error_text([&] {
                   gradient_penalty(flat, x, Tensor::zeros({4, 2}), rng);
                 }),
                 "as many"));
  const Tensor penalty = gradient_penalty(flat, x, x, rng);
  CHECK(penalty.item() == doctest::Approx(1).epsilon(1e-4));
  CHECK(tape.gradient(penalty, {w})[0].data()[0] == 0);
}

}  // namespace tapestry::testing
