// Each optimizer against the published formula, written once more for one number in double.
#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/tape.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using namespace optim;

constexpr double kRounding = kDouble ? 1e-13 : 3e-6;
constexpr std::int64_t kSize = 37;  // several vectors and a rest

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Moves one number, in place, by the gradient of step t = 1, 2, …; `s` is its memory, zeros first.
using Rule = std::function<void(double& p, double g, double* s, int t)>;

/// The gradient that step t gives to element i: signs and sizes vary.
double slope(std::int64_t i, int t) { return std::sin(1.7 * static_cast<double>(i) + t) + 0.1 * t; }

Tensor gradient(const Shape& shape, int t) {
  Tensor g = Tensor::empty(shape);
  for (std::size_t i = 0; i < g.mutable_data().size(); ++i)
    g.mutable_data()[i] = static_cast<Real>(slope(static_cast<std::int64_t>(i), t));
  return g;
}

std::vector<Tensor> start() {
  return {Input({kSize}).make(1).set_requires_grad(), Input({2, 3}).make(2).set_requires_grad()};
}

void take(Optimizer& optimizer, int t) {
  std::vector<Tensor> gradients;
  for (const Tensor& p : optimizer.parameters()) gradients.push_back(gradient(p.shape(), t));
  optimizer.step(gradients);
}

/// Five steps, compared; then the same steps with a save and a load in the middle have the same
/// bits.
template <class Make>
void check(const std::string& name, Make make, const Rule& rule) {
  CAPTURE(name);
  const std::vector<Tensor> parameters = start();
  std::vector<std::vector<double>> wanted;
  for (const Tensor& p : parameters) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < p.size(); ++i) {
      double value = static_cast<double>(p.data()[static_cast<std::size_t>(i)]);
      double memory[4] = {0, 0, 0, 0};
      for (int t = 1; t <= 5; ++t)
        rule(value, static_cast<double>(static_cast<Real>(slope(i, t))), memory, t);
      values.push_back(value);
    }
    wanted.push_back(values);
  }
  const auto optimizer = make(parameters);
  for (int t = 1; t <= 5; ++t) take(*optimizer, t);
  CHECK(optimizer->steps() == 5);
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    double off = 0;
    for (std::size_t i = 0; i < wanted[k].size(); ++i)
      off = std::max(off, std::abs(static_cast<double>(parameters[k].data()[i]) - wanted[k][i]));
    CHECK(off < kRounding);
  }

  const std::vector<Tensor> again = start();
  const auto first = make(again);
  for (int t = 1; t <= 2; ++t) take(*first, t);
  const auto second = make(again);
  second->load_state(first->state());
  CHECK(second->steps() == 2);
  for (int t = 3; t <= 5; ++t) take(*second, t);
  CHECK(hash(again) == hash(parameters));
}

template <class O, class Options>
auto maker(const Options& options) {
  return [options](const std::vector<Tensor>& p) { return std::make_unique<O>(p, options); };
}

}  // namespace

TEST_CASE("SGD: plain, momentum, Nesterov, weight decay, resumes bit for bit") {
  check("plain", maker<SGD>(SGDOptions{.lr = 0.1}),
        [](double& p, double g, double*, int) { p -= 0.1 * g; });
  check("weight decay", maker<SGD>(SGDOptions{.lr = 0.1, .weight_decay = 0.2}),
        [](double& p, double g, double*, int) { p -= 0.1 * (g + 0.2 * p); });
  check("momentum", maker<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.5}),
        [](double& p, double g, double* s, int t) {
          s[0] = t == 1 ? g : 0.9 * s[0] + 0.5 * g;
          p -= 0.1 * s[0];
        });
  check("Nesterov",
        maker<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.2, .nesterov = true}),
        [](double& p, double g, double* s, int) {
          const double d = g + 0.2 * p;
          s[0] = 0.9 * s[0] + d;
          p -= 0.1 * (d + 0.9 * s[0]);
        });
}

TEST_CASE("Adam, AMSGrad, AdamW, resume bit for bit") {
  const auto adam = [](double& p, double g, double* s, int t, double beta1, bool amsgrad) {
    s[0] = beta1 * s[0] + (1 - beta1) * g;
    s[1] = 0.99 * s[1] + 0.01 * g * g;
    s[2] = std::max(s[2], s[1]);
    const double m = s[0] / (1 - std::pow(beta1, t));
    const double v = (amsgrad ? s[2] : s[1]) / (1 - std::pow(0.99, t));
    p -= 0.01 * m / (std::sqrt(v) + 1e-8);
  };
  check("Adam", maker<Adam>(AdamOptions{.lr = 0.01, .beta2 = 0.99}),
        [&](double& p, double g, double* s, int t) { adam(p, g, s, t, 0.9, false); });
  check("Adam with weight decay",
        maker<Adam>(AdamOptions{.lr = 0.01, .beta1 = 0.5, .beta2 = 0.99, .weight_decay = 0.1}),
        [&](double& p, double g, double* s, int t) { adam(p, g + 0.1 * p, s, t, 0.5, false); });
  check("AMSGrad", maker<Adam>(AdamOptions{.lr = 0.01, .beta2 = 0.99, .amsgrad = true}),
        [&](double& p, double g, double* s, int t) { adam(p, g, s, t, 0.9, true); });
  check("AdamW",
        maker<Adam>(AdamOptions{.lr = 0.01, .beta2 = 0.99, .weight_decay = 0.1, .decoupled = true}),
        [&](double& p, double g, double* s, int t) {
          p -= 0.01 * 0.1 * p;
          adam(p, g, s, t, 0.9, false);
        });
}

TEST_CASE("RMSprop and Adagrad, resume bit for bit") {
  check("RMSprop", maker<RMSprop>(RMSpropOptions{.lr = 0.01, .alpha = 0.9, .weight_decay = 0.1}),
        [](double& p, double g, double* s, int) {
          g += 0.1 * p;
          s[0] = 0.9 * s[0] + 0.1 * g * g;
          p -= 0.01 * g / (std::sqrt(s[0]) + 1e-8);
        });
  // A large eps: centered, v − m² is 0 but for rounding where the gradients hardly vary.
  check("RMSprop, centered, momentum",
        maker<RMSprop>(RMSpropOptions{
            .lr = 0.01, .alpha = 0.9, .eps = 0.1, .momentum = 0.8, .centered = true}),
        [](double& p, double g, double* s, int) {
          s[0] = 0.9 * s[0] + 0.1 * g * g;
          s[1] = 0.9 * s[1] + 0.1 * g;
          s[2] = 0.8 * s[2] + g / (std::sqrt(s[0] - s[1] * s[1]) + 0.1);
          p -= 0.01 * s[2];
        });
  check("Adagrad",
        maker<Adagrad>(AdagradOptions{
            .lr = 0.1, .lr_decay = 0.05, .weight_decay = 0.1, .initial_accumulator = 0.3}),
        [](double& p, double g, double* s, int t) {
          g += 0.1 * p;
          s[0] = (t == 1 ? 0.3 : s[0]) + g * g;
          p -= 0.1 / (1 + (t - 1) * 0.05) * g / (std::sqrt(s[0]) + 1e-10);
        });
}

TEST_CASE("optimizers: the learning rate is read at each step") {
  const std::vector<Tensor> parameters{Tensor::zeros({1}).set_requires_grad()};
  SGD sgd(parameters, {.lr = 1});
  const std::vector<Tensor> g{Tensor::ones({1})};
  sgd.step(g);
  sgd.lr = 0.25;
  sgd.step(g);
  CHECK(parameters[0].item() == Real(-1.25));
}

TEST_CASE("optimizers: refusals change nothing") {
  const std::vector<Tensor> parameters{Tensor::ones({2}).set_requires_grad().set_name("a.weight"),
                                       Tensor::ones({3}).set_requires_grad().set_name("a.bias")};
  Adam adam(parameters);
  const std::uint64_t before = hash(parameters);
  const auto refusal = [&](const std::vector<Tensor>& gradients) {
    return error_text([&] { adam.step(gradients); });
  };
  CHECK(contains(refusal({Tensor::ones({2})}), "1 gradients for 2 parameters"));
  CHECK(contains(refusal({Tensor::ones({2}), Tensor::ones({2})}), "a.bias"));
  for (const Real bad :
       {std::numeric_limits<Real>::quiet_NaN(), std::numeric_limits<Real>::infinity()})
    CHECK(contains(refusal({Tensor::ones({2}), Tensor::from({0, bad, 0}, {3})}),
                   "the gradient of a.bias is not finite at step 1"));
  CHECK(hash(parameters) == before);
  adam.lr = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(refusal({Tensor::ones({2}), Tensor::ones({3})}), "learning rate"));
  CHECK(hash(parameters) == before);
  CHECK(adam.steps() == 0);

  CHECK(contains(error_text([&] { SGD(parameters, {.lr = -1}); }), "-1"));
  CHECK(contains(error_text([&] { SGD(parameters, {.nesterov = true}); }), "Nesterov"));
  CHECK(contains(error_text([&] { Adam(parameters, {.beta1 = 1}); }), "beta1"));
  CHECK(contains(error_text([&] { Adam({}, {}); }), "no parameters"));
  std::vector<Named<Tensor>> state = adam.state();
  state.erase(state.begin());
  CHECK(contains(error_text([&] { adam.load_state(state); }), "exp_avg.0"));
  // What another optimizer, or another network, would leave behind is not dropped in silence.
  Adam amsgrad(parameters, {.amsgrad = true});
  const std::string text = error_text([&] { adam.load_state(amsgrad.state()); });
  CHECK(contains(text, "has max_exp_avg_sq.0, which this optimizer does not keep"));
  CHECK(contains(text, "kept here   exp_avg, exp_avg_sq, step\n"));
  state = adam.state();
  state.push_back({"exp_avg.2", Tensor::zeros({2})});
  CHECK(contains(error_text([&] { adam.load_state(state); }), "exp_avg.2"));
  WeightAverage average(parameters, 0.9);
  state = average.state();
  state.push_back({"average.7", Tensor::zeros({2})});
  CHECK(contains(error_text([&] { average.load_state(state); }), "average.7"));
}

TEST_CASE("make_optimizer: by name") {
  OptimizerSetting setting;
  for (const char* type : {"sgd", "adam", "adamw", "rmsprop", "adagrad"}) {
    setting.type = type;
    CHECK(make_optimizer(setting, start())->lr == setting.lr());
  }
  setting.type = "adamm";
  CHECK(contains(error_text([&] { make_optimizer(setting, start()); }), "\"adamm\""));
}

TEST_CASE("clipping: by norm, by largest number, by value") {
  const auto gradients = [] {
    return std::vector<Tensor>{Tensor::from({3, 0}, {2}), Tensor::from({-4}, {1})};
  };
  std::vector<Tensor> g = gradients();
  CHECK(clip_grad_norm(g, 10) == doctest::Approx(5));
  CHECK(g[0].data()[0] == 3);  // short enough
  CHECK(clip_grad_norm(g, 2.5) == doctest::Approx(5));
  CHECK(g[0].data()[0] == doctest::Approx(1.5));
  CHECK(g[1].data()[0] == doctest::Approx(-2));
  g = gradients();
  CHECK(clip_grad_norm(g, 1, true) == doctest::Approx(4));
  CHECK(g[1].data()[0] == doctest::Approx(-1));
  CHECK(g[0].data()[0] == doctest::Approx(0.75));
  g = gradients();
  clip_grad_value(g, 3.5);
  CHECK(g[0].data()[0] == 3);
  CHECK(g[1].data()[0] == -3.5);
  CHECK(contains(error_text([&] { clip_grad_norm(g, -1); }), "-1"));
  CHECK(contains(error_text([&] { clip_grad_value(g, -2); }), "-2"));
}

TEST_CASE("clipping: gradients that share their numbers are scaled once") {
  // Both summands of a sum get the same gradient.
  const Tensor a = Tensor::ones({4}).set_requires_grad(), b = Tensor::ones({4}).set_requires_grad();
  Tape tape;
  const Tensor y = sum((a + b) * 3);
  std::vector<Tensor> g = tape.gradient(y, {a, b});
  clip_grad_norm(g, 1);
  double total = 0;
  for (const Tensor& one : g) {
    for (const Real value : one.data()) total += static_cast<double>(value * value);
  }
  CHECK(std::sqrt(total) == doctest::Approx(1));
}

TEST_CASE("WeightAverage: formula, swap, resume") {
  std::vector<Tensor> parameters{Tensor::full({3}, 1).set_requires_grad()};
  WeightAverage average(parameters, 0.75);
  const auto set = [&](Real value) {
    for (Real& one : parameters[0].mutable_data()) one = value;
  };
  set(5);
  average.update();  // 0.75·1 + 0.25·5 = 2
  set(6);
  average.update();  // 0.75·2 + 0.25·6 = 3
  average.swap();
  CHECK(parameters[0].data()[2] == doctest::Approx(3));
  average.swap();
  CHECK(parameters[0].data()[2] == 6);
  CHECK(contains(error_text([&] { WeightAverage(parameters, 1.5); }), "got 1.5"));
  WeightAverage resumed(parameters, 0.75);
  resumed.load_state(average.state());
  resumed.swap();
  CHECK(parameters[0].data()[0] == doctest::Approx(3));
}

}  // namespace tapestry::testing
