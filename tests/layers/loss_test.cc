// Losses: against numbers worked out by hand, and by gradients.
#include "layers/loss.h"

#include <cmath>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/softmax.h"
#include "core/tape.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;
using T = const Tensor&;
using Labels = std::vector<std::int32_t>;

doctest::Approx about(double value) { return doctest::Approx(value).epsilon(1e-5); }
double softplus_of(double x) { return std::log1p(std::exp(x)); }

}  // namespace

TEST_CASE("regression losses: by hand") {
  const Tensor x = Tensor::from({1, 2, 5}, {3}), t = Tensor::from({1, 2.5, 2}, {3});
  CHECK(mse_loss(x, t).item() == about(9.25 / 3));
  CHECK(mse_loss(x, t, Reduction::kSum).item() == about(9.25));
  CHECK(mse_loss(x, t, Reduction::kNone).data()[2] == about(9));
  CHECK(l1_loss(x, t).item() == about(3.5 / 3));
  CHECK(huber_loss(x, t, 2, Reduction::kSum).item() == about(0.125 + 2 * (3 - 1)));
  CHECK(smooth_l1_loss(x, t, 2, Reduction::kSum).item() == about((0.125 + 4) / 2));
  CHECK(smooth_l1_loss(x, t, 0, Reduction::kSum).item() == about(3.5));
  CHECK(contains(error_text([&] { mse_loss(x, Tensor::zeros({2})); }), "[2]"));
  CHECK(contains(error_text([] { reduction("average"); }), "mean"));
}

TEST_CASE("cross_entropy: by hand, with weights, smoothing and ignored labels") {
  const Tensor logits = Tensor::from({0, std::log(Real(3)), 0, 0}, {2, 2});  // ¼ ¾, ½ ½
  const Labels labels{1, 0};
  const double a = -std::log(0.75), b = -std::log(0.5);
  CHECK(cross_entropy(logits, labels).item() == about((a + b) / 2));
  CHECK(cross_entropy(logits, labels, {.reduction = Reduction::kSum}).item() == about(a + b));
  const Tensor weight = Tensor::from({1, 3}, {2});
  CHECK(cross_entropy(logits, labels, {.class_weight = weight}).item() == about((3 * a + b) / 4));
  const Labels ignored{1, -100};
  CHECK(cross_entropy(logits, ignored).item() == about(a));
  // Smoothed: 0.8·(−log p of the label) + 0.2·mean of all −log p.
  const double even_a = (a - std::log(0.25)) / 2, even_b = b;
  CHECK(cross_entropy(logits, labels, {.label_smoothing = Real(0.2)}).item() ==
        about((0.8 * (a + b) + 0.2 * (even_a + even_b)) / 2));
  const Tensor target = Tensor::from({0.5, 0.5, 1, 0}, {2, 2});
  CHECK(cross_entropy(logits, target).item() == about((even_a + b) / 2));
  CHECK(nll_loss(log_softmax(logits), labels).item() == about((a + b) / 2));
  // Logits of a thousand do not overflow.
  CHECK(cross_entropy(Tensor::from({1000, 0}, {1, 2}), Labels{1}).item() == about(1000));
  CHECK(contains(error_text([&] { cross_entropy(logits, Labels{1, 2}); }), "2"));
  CHECK(contains(error_text([&] { cross_entropy(logits, Labels{1}); }), "1"));
}

TEST_CASE("bce_with_logits and kl_div: by hand") {
  const Tensor x = Tensor::from({2, -1}, {2}), t = Tensor::from({1, 0.25}, {2});
  const double first = softplus_of(-2), second = 0.75 * -1 + softplus_of(1);
  CHECK(bce_with_logits(x, t).item() == about((first + second) / 2));
  CHECK(bce_with_logits(x, Real(1)).item() == about((first + softplus_of(1)) / 2));
  const Tensor three = Tensor::full({2}, 3);
  CHECK(bce_with_logits(x, t, {.weight = three}).item() == about(3 * (first + second) / 2));
  const double weighted = 0.75 * -1 + (1 + 2 * 0.25) * softplus_of(1);
  CHECK(bce_with_logits(x, t, {.pos_weight = three}).item() == about((3 * first + weighted) / 2));
  CHECK(bce_with_logits(Tensor::from({-500}, {1}), Real(1)).item() == about(500));
  const Tensor p = Tensor::from({0, 1, 0.5, 0.5}, {2, 2});
  const Tensor log_q = Tensor::full({2, 2}, std::log(Real(0.25)));
  CHECK(kl_div_batchmean(log_q, p).item() == about((std::log(4.0) + std::log(2.0)) / 2));
}

TEST_CASE("adversarial losses: by hand") {
  const Tensor real = Tensor::from({2, 0.5}, {2}), fake = Tensor::from({-1, 0.5}, {2});
  const auto both = [&](const char* name) {
    const GanLoss loss = gan_loss(name);
    return std::pair<double, double>(loss.discriminator(real, fake).item(),
                                     loss.generator(fake).item());
  };
  CHECK(both("nonsaturating").first ==
        about((softplus_of(-2) + softplus_of(-0.5) + softplus_of(-1) + softplus_of(0.5)) / 2));
  CHECK(both("nonsaturating").second == about((softplus_of(1) + softplus_of(-0.5)) / 2));
  CHECK(both("least_squares").first == about(((1 + 0.25) / 2 + (1 + 0.25) / 2) / 2));
  CHECK(both("least_squares").second == about((4 + 0.25) / 4));
  CHECK(both("hinge").first == about(0.5 / 2 + 1.5 / 2));
  CHECK(both("hinge").second == about(0.25));
  CHECK(both("wasserstein").first == about(-0.25 - 1.25));
  CHECK(both("wasserstein").second == about(0.25));
  // One-sided smoothing: only the real target becomes 0.9.
  CHECK(gan_loss("nonsaturating", Real(0.1)).discriminator(real, fake).item() ==
        about(both("nonsaturating").first + 0.1 * (2 + 0.5) / 2));
  CHECK(contains(error_text([] { gan_loss("wgan"); }), "wasserstein"));
}

TEST_CASE("losses: gradient") {
  const Input x{4, 3}, probabilities = Input({4, 3}).between(0.1, 0.6);
  const Labels labels{2, 0, 1, 2};
  const Tensor target = Input({4, 3}).make(77), weight = Input({3}).between(0.5, 2).make(78);
  check_op("mse_loss", {x, x}, [](T a, T b) { return mse_loss(a, b); });
  check_op("huber_loss", {Input({4, 3}).away_from({-1, 1})}, [](T a) {
    return huber_loss(a, Tensor::zeros({4, 3}));
  });
  check_op("l1_loss", {Input({4, 3}).away_from({0})},
           [](T a) {
             return l1_loss(a, Tensor::zeros({4, 3}));
           },
           {.linear = true});
  check_op("cross_entropy", {x}, [&](T a) { return cross_entropy(a, labels); });
  check_op("cross_entropy, weighted and smoothed", {x}, [&](T a) {
    return cross_entropy(a, labels, {.class_weight = weight, .label_smoothing = Real(0.1)});
  });
  check_op("cross_entropy, probabilities", {x, probabilities},
           [](T a, T t) { return cross_entropy(a, t); });
  check_op("bce_with_logits", {x, probabilities}, [](T a, T t) { return bce_with_logits(a, t); });
  check_op("kl_div_batchmean", {x, probabilities.fixed()},
           [](T a, T t) { return kl_div_batchmean(a, t); }, {.linear = true});
  for (const char* name : {"nonsaturating", "least_squares"}) {
    check_op(std::string(name) + ", discriminator", {Input{5}, Input{5}},
             [&](T real, T fake) { return gan_loss(name).discriminator(real, fake); });
    check_op(std::string(name) + ", generator", {Input{5}},
             [&](T fake) { return gan_loss(name).generator(fake); });
  }
  check_op("hinge", {Input({5}).away_from({1}), Input({5}).away_from({-1})},
           [](T real, T fake) { return hinge().discriminator(real, fake); }, {.linear = true});
}

}  // namespace tapestry::testing
