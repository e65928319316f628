// The same seed gives the same bits at any number of threads: twenty steps of a net with every kind
// of layer, and of a critic with gradient penalty.
#include <cstdio>
#include <functional>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/tape.h"
#include "layers/layers.h"
#include "optim/optimizer.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

constexpr int kSteps = 20;

nn::Sequential residual_body() {
  return nn::Sequential{nn::Conv2d(8, 8, {.kernel = 3, .padding = 1, .groups = 2}),
                        nn::InstanceNorm2d(8, {.affine = true}), nn::SiLU(),
                        nn::Conv2d(8, 8, {.kernel = 1})};
}

nn::Sequential every_layer(const Rng& rng) {
  return nn::Sequential{nn::Pad2d(1, PadMode::kReflect),
                        nn::Conv2d(3, 8, {.kernel = 3}),
                        nn::BatchNorm2d(8),
                        nn::LeakyReLU({.slope = Real(0.2)}),
                        nn::Residual(std::make_shared<nn::Sequential>(residual_body())),
                        nn::GroupNorm(2, 8),
                        nn::PReLU(8),
                        nn::Conv2d(8, 12, {.kernel = 4, .stride = 2, .padding = 1}),
                        nn::LayerNorm(Shape{12, 8, 8}),
                        nn::GELU(),
                        nn::ConvTranspose2d(12, 8, {.kernel = 4, .stride = 2, .padding = 1}),
                        nn::ChannelRMSNorm(8),
                        nn::PixelNorm(),
                        nn::MaxPool2d({.kernel = 3, .stride = 2, .padding = 1}),
                        nn::Upsample({.mode = Resample::kBilinear}),
                        nn::AvgPool2d({.kernel = 2}),
                        nn::PixelShuffle(2),
                        nn::Dropout({.probability = Real(0.2)}, rng.split("dropout")),
                        nn::Flatten(),
                        nn::Linear(2 * 16 * 16, 32),
                        nn::RMSNorm(Shape{32}),
                        nn::Tanh(),
                        nn::Linear(32, 10)};
}

/// Everything that training left behind: weights, running statistics, moments, losses.
struct Trained {
  std::uint64_t bits = 0;
  double first_loss = 0, last_loss = 0;
};

using MakeOptimizer =
    std::function<std::unique_ptr<optim::Optimizer>(std::vector<Tensor> parameters)>;

Trained train_classifier(const MakeOptimizer& make) {
  const Rng rng(17);
  nn::Sequential net = every_layer(rng);
  net.reset_parameters(rng.split("weights"));
  const auto optimizer = make(net.parameters());
  Rng data = rng.split("data");
  Indices labels;
  for (int i = 0; i < 24; ++i) labels.push_back(static_cast<std::int32_t>(data.below(10)));
  const Tensor images = data.normal({24, 3, 16, 16});
  std::vector<Tensor> left;
  for (int step = 0; step < kSteps; ++step) {
    Tape tape;
    const Tensor loss = nn::cross_entropy(net(images), labels, {.label_smoothing = Real(0.1)});
    optimizer->step(tape.gradient(loss, optimizer->parameters()));
    left.push_back(loss.detach());
  }
  const Trained result{0, static_cast<double>(left.front().item()),
                       static_cast<double>(left.back().item())};
  for (const auto& [name, value] : net.state()) left.push_back(value);
  for (const auto& [name, value] : optimizer->state()) left.push_back(value);
  return {hash(left), result.first_loss, result.last_loss};
}

/// A Wasserstein critic with gradient penalty: gradients of gradients reach the weights.
Trained train_critic(const std::function<std::shared_ptr<nn::UnaryModule>()>& norm) {
  const Rng rng(23);
  nn::Sequential critic;
  critic.add(nn::Conv2d(2, 8, {.kernel = 4, .stride = 2, .padding = 1}));
  critic.add_shared(norm());
  critic.add(nn::LeakyReLU({.slope = Real(0.2)}));
  critic.add(nn::Flatten());
  critic.add(nn::Linear(8 * 8 * 8, 1));
  critic.reset_parameters(rng.split("weights"));
  optim::Adam adam(critic.parameters(), {.lr = 1e-3, .beta1 = 0.5});
  Rng data = rng.split("data");
  std::vector<Tensor> left;
  for (int step = 0; step < kSteps; ++step) {
    const Tensor real = data.normal({16, 2, 16, 16}, Real(0.5)),
                 fake = data.normal({16, 2, 16, 16});
    const Tensor share = data.uniform({16, 1, 1, 1});
    Tape tape;
    const Tensor mixed = tape.watch((share * real + (Real(1) - share) * fake).detach());
    const Tensor g = tape.gradient(sum(critic(mixed)), {mixed}, {.create_graph = true})[0];
    const Tensor length = tapestry::norm(g, {1, 2, 3}, {.eps = Real(1e-12)});
    const Tensor loss = mean(critic(fake)) - mean(critic(real)) +
                        mean((length - Real(1)) * (length - Real(1))) * Real(10);
    adam.step(tape.gradient(loss, adam.parameters()));
    left.push_back(loss.detach());
  }
  const Trained result{0, static_cast<double>(left.front().item()),
                       static_cast<double>(left.back().item())};
  for (const auto& [name, value] : critic.state()) left.push_back(value);
  return {hash(left), result.first_loss, result.last_loss};
}

/// Runs at 1, 2, 3 and 7 threads, and at 1 again.
void check_equal_bits(const char* name, const std::function<Trained()>& train) {
  const int before = threads();
  set_threads(1);
  const Trained one = train();
  CHECK_MESSAGE(one.last_loss < one.first_loss, name, " learned nothing: ", one.first_loss, " to ",
                one.last_loss);
  for (const int count : {2, 3, 7, 1}) {
    set_threads(count);
    const std::uint64_t bits = train().bits;
    CHECK_MESSAGE(bits == one.bits, name, " differs at ", count, " threads");
  }
  set_threads(before);
  std::printf("%-28s %016llx at 1, 2, 3 and 7 threads; loss %.4f to %.4f\n", name,
              static_cast<unsigned long long>(one.bits), one.first_loss, one.last_loss);
}

}  // namespace

TEST_CASE("20 steps of every kind of layer have the same bits at 1, 2, 3 and 7 threads") {
  check_equal_bits("Adam", [] {
    return train_classifier([](std::vector<Tensor> p) {
      return std::make_unique<optim::Adam>(std::move(p), optim::AdamOptions{.lr = 2e-3});
    });
  });
}

TEST_CASE("each optimizer has the same bits at 1, 2, 3 and 7 threads") {
  check_equal_bits("SGD", [] {
    return train_classifier([](std::vector<Tensor> p) {
      return std::make_unique<optim::SGD>(
          std::move(p), optim::SGDOptions{.lr = 0.05, .momentum = 0.9, .nesterov = true});
    });
  });
  check_equal_bits("RMSprop", [] {
    return train_classifier([](std::vector<Tensor> p) {
      return std::make_unique<optim::RMSprop>(std::move(p), optim::RMSpropOptions{.lr = 1e-3});
    });
  });
  check_equal_bits("Adagrad", [] {
    return train_classifier([](std::vector<Tensor> p) {
      return std::make_unique<optim::Adagrad>(std::move(p), optim::AdagradOptions{.lr = 1e-2});
    });
  });
}

TEST_CASE("a gradient penalty through each norm has the same bits at 1, 2, 3 and 7 threads") {
  check_equal_bits("penalty through BatchNorm", [] {
    return train_critic([] { return std::make_shared<nn::BatchNorm2d>(8); });
  });
  check_equal_bits("penalty through LayerNorm", [] {
    return train_critic([] { return std::make_shared<nn::LayerNorm>(Shape{8, 8, 8}); });
  });
  check_equal_bits("penalty through GroupNorm", [] {
    return train_critic([] { return std::make_shared<nn::GroupNorm>(2, 8); });
  });
  check_equal_bits("penalty through InstanceNorm", [] {
    return train_critic([] {
      return std::make_shared<nn::InstanceNorm2d>(8, nn::InstanceNormOptions{.affine = true});
    });
  });
}

}  // namespace tapestry::testing
