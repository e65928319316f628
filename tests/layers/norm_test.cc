// The normalization layers: gradients, what equals what, running statistics, refusals.
#include "layers/norm.h"

#include <cmath>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "layers/conditional_norm.h"
#include "layers/sequential.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;

const LayerCheck kScaleAndShift{.names = {"weight", "bias"}, .additive = {"bias"}};
const Input kImage{3, 4, 3, 2};
// Two passes over few numbers; what is left is rounding.
constexpr double kRounding = kDouble ? 1e-13 : 2e-5;

std::string line(const std::string& name, const CheckResult& result) {
  char text[100];
  std::snprintf(text, sizeof text, "\n  %-26s %9.1e %9.1e", name.c_str(), result.first,
                result.second);
  return text;
}

}  // namespace

TEST_CASE("norm layers: gradient of every parameter and input, table of the worst errors") {
  std::string table;
  const auto add = [&](const std::string& name, const CheckResult& result) {
    table += line(name, result);
  };
  const LayerCheck tracked{
      .names = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"},
      .additive = {"bias"}};
  LayerCheck evaluated = tracked;
  evaluated.training = false;
  add("BatchNorm", check_layer(
                       "BatchNorm", [] { return BatchNorm(4); }, kImage, tracked));
  add("BatchNorm, vectors",
      check_layer(
          "BatchNorm, vectors", [] { return BatchNorm(4); }, Input{6, 4}, tracked));
  add("BatchNorm, evaluation",
      check_layer(
          "BatchNorm, evaluation", [] { return BatchNorm(4); }, kImage, evaluated));
  add("LayerNorm", check_layer(
                       "LayerNorm",
                       [] {
                         return LayerNorm({4, 3, 2});
                       },
                       kImage, kScaleAndShift));
  add("LayerNorm, vectors",
      check_layer(
          "LayerNorm, vectors", [] { return LayerNorm({7}); }, Input{5, 7}, kScaleAndShift));
  add("GroupNorm, 1 group",
      check_layer(
          "GroupNorm, 1 group", [] { return GroupNorm(1, 4); }, kImage, kScaleAndShift));
  add("GroupNorm, 2 groups",
      check_layer(
          "GroupNorm, 2 groups", [] { return GroupNorm(2, 4); }, kImage, kScaleAndShift));
  add("InstanceNorm", check_layer(
                          "InstanceNorm", [] { return InstanceNorm(4); }, kImage));
  add("InstanceNorm, affine",
      check_layer(
          "InstanceNorm, affine", [] { return InstanceNorm(4, {.affine = true}); }, kImage,
          kScaleAndShift));
  add("InstanceNorm, tracked",
      check_layer(
          "InstanceNorm, tracked",
          [] { return InstanceNorm(4, {.affine = true, .track_running_stats = true}); }, kImage,
          tracked));
  add("RMSNorm",
      check_layer("RMSNorm", [] { return RMSNorm({7}); }, Input{5, 7}, {.names = {"weight"}}));
  add("ChannelRMSNorm",
      check_layer(
          "ChannelRMSNorm", [] { return ChannelRMSNorm(4); }, kImage, kScaleAndShift));
  add("PixelNorm", check_layer(
                       "PixelNorm", [] { return PixelNorm(); }, kImage));
  MESSAGE("worst gradient error, relative to the largest number of the tensor, Real = "
          << std::string(kDouble ? "double" : "float")
          << "\n  norm                     1st order 2nd order" << table);
}

TEST_CASE("norm layers: identities") {
  const Tensor one = Input({1, 6, 4, 3}).make(1), x = Input({3, 6, 4, 3}).make(2);
  BatchNorm batch(6, {.affine = false});
  InstanceNorm instance(6);
  GroupNorm single(1, 6, {.affine = false}), whole(6, 6, {.affine = false});
  LayerNorm layer({6, 4, 3}, {.affine = false});
  CHECK(difference(batch(one), instance(one)) < kRounding);  // a batch of one image
  CHECK(difference(single(x), layer(x)) < kRounding);
  CHECK(difference(whole(x), instance(x)) < kRounding);
  CHECK(difference(batch(x), instance(x)) > 0.01);
  // x̂ does not see scale and shift of what it normalizes.
  CHECK(difference(instance(x * 3 + 5), instance(x)) < 1e-4);
}

TEST_CASE("a norm and the ReLU after it are one op, unless somebody looks between them") {
  struct Seen final : Probe {
    void called(Module& module, const Tensor&, const Tensor&) override {
      kinds.push_back(std::string(module.kind()));
    }
    std::vector<std::string> kinds;
  };
  Tensor x = Input({3, 6, 3, 2}).make(1);
  x.set_requires_grad();
  const Tensor weights = Input(x.shape()).make(2);
  for (const std::string& name : norm_names()) {
    if (name == "none") continue;
    for (const bool training : {true, false}) {
      for (const std::string activation : {"relu", "leaky_relu", "tanh"}) {
        CAPTURE(name);
        CAPTURE(training);
        CAPTURE(activation);
        const auto net = [&] {
          Sequential layers;
          layers.add_shared(make_norm({.type = name}, 6), "norm");
          layers.add(make_activation(activation));
          layers.reset_parameters(Rng(1));
          layers.train(training);
          return layers;
        };
        // Everything that a step sees and leaves behind, and the number of ops.
        const auto step = [&](Sequential& layers) {
          Tape tape;
          std::vector<Tensor> all{layers(x)};
          const std::size_t ops = tape.entries().size();
          std::vector<Tensor> wrt = layers.parameters();
          wrt.push_back(x);
          for (const Tensor& g : tape.gradient(sum(all[0] * weights), wrt)) all.push_back(g);
          for (const Named<Tensor>& entry : layers.named_buffers()) all.push_back(entry.value);
          return std::pair(all, ops);
        };
        Sequential alone = net(), watched = net();
        const auto [got, ops] = step(alone);
        Seen seen;
        const auto [want, ops_watched] = step(watched);
        CHECK(seen.kinds.size() == 3);
        CHECK(ops_watched == ops + (activation == "tanh" ? 0 : 1));
        for (std::size_t i = 0; i < got.size(); ++i) CHECK(difference(got[i], want[i]) == 0);
      }
    }
  }
  // Not where the ReLU is left out, or is another layer's.
  Sequential net{BatchNorm(6), ReLU()};
  net.reset_parameters(Rng(1));
  const Tensor normalized = net.run(x, 0, 1);
  CHECK(difference(relu(normalized), net(x)) == 0);
  CHECK(difference(normalized, net(x)) > 0.1);
  BatchNorm norm(6);
  norm.reset_parameters(Rng(1));
  Lambda none = Identity();
  CHECK(difference(rectified(norm, x), net(x)) == 0);
  CHECK(difference(rectified(none, x, Real(0.2)), leaky_relu(x, Real(0.2))) == 0);
  const std::string text = error_text([&] { net(Tensor::zeros({2, 3, 5, 5})); });
  CHECK(contains(text, "6 channels"));
}

TEST_CASE("BatchNorm: running statistics follow the formula") {
  const Tensor x =
      Tensor::from({1, 2, 3, 6}, {4, 1});  // mean 3, biased variance 3.5, unbiased 14/3
  BatchNorm norm(1);
  norm.reset_parameters(Rng(1));
  norm(x);
  norm(x);
  const auto state = norm.state();
  const double m = 0.1, mean = 3, variance = 14.0 / 3;
  CHECK(state[2].value.item() == doctest::Approx((1 - m) * m * mean + m * mean));
  CHECK(state[3].value.item() ==
        doctest::Approx((1 - m) * ((1 - m) + m * variance) + m * variance));
  CHECK(state[4].value.item() == 2);

  norm.eval();
  const double running_mean = static_cast<double>(state[2].value.item()),
               running_var = static_cast<double>(state[3].value.item());
  CHECK(norm(x).data()[3] ==
        doctest::Approx((6 - running_mean) / std::sqrt(running_var + 1e-5)).epsilon(1e-5));
  CHECK(state[4].value.item() == 2);  // evaluation tracks nothing
  norm.set_evaluation(EvalStatistics::kBatch);
  CHECK(norm(x).data()[3] == doctest::Approx(3 / std::sqrt(3.5 + 1e-5)).epsilon(1e-5));
}

TEST_CASE("BatchNorm: without momentum and when recalibrated, the plain average") {
  const Tensor a = Tensor::from({0, 2}, {2, 1}), b = Tensor::from({4, 8}, {2, 1});
  BatchNorm norm(1, {.momentum = {}});
  norm.reset_parameters(Rng(1));
  norm(a);
  norm(b);
  CHECK(norm.state()[2].value.item() == doctest::Approx((1 + 6) / 2.0));
  CHECK(norm.state()[3].value.item() == doctest::Approx((2 + 8) / 2.0));

  Sequential net{BatchNorm(1)};
  net.reset_parameters(Rng(1));
  for (int i = 0; i < 5; ++i) net(a * 100);  // to be forgotten
  net.eval();
  recalibrate(net, [&] {
    net(a);
    net(b);
  });
  CHECK(net.state()[2].value.item() == doctest::Approx(3.5));
  CHECK(net.state()[3].value.item() == doctest::Approx(5));
  // A pass that fails ends it: evaluation tracks nothing afterwards.
  CHECK(contains(error_text([&] { recalibrate(net, [&] {
                                    net(Tensor::zeros({2, 3}));
                                  }); }),
                 "1 channels"));
  net(a);
  CHECK(net.state()[4].value.item() == 0);
  set_batch_norm_evaluation(net, EvalStatistics::kBatch);
  CHECK(net(a).data()[1] == doctest::Approx(1).epsilon(1e-4));
}

TEST_CASE("InstanceNorm: tracks the mean of the samples' own statistics") {
  const Tensor x = Tensor::from({0, 2, 10, 14}, {2, 1, 2});  // variances (unbiased) 2 and 8
  InstanceNorm norm(1, {.track_running_stats = true, .momentum = 1});
  norm(x);
  CHECK(norm.state()[0].value.item() == doctest::Approx((1 + 12) / 2.0));
  CHECK(norm.state()[1].value.item() == doctest::Approx((2 + 8) / 2.0));  // a batch has 41.67
  norm.eval();
  CHECK(norm(x).data()[3] == doctest::Approx(7.5 / std::sqrt(5.0)).epsilon(1e-4));
}

TEST_CASE("norm layers: describe and what they average over") {
  const Shape shape{8, 4, 16, 16};
  CHECK(BatchNorm(4).describe() == "BatchNorm(4)");
  CHECK(BatchNorm(4, {.eps = Real(1e-3), .momentum = Real(0.2), .affine = false}).describe() ==
        "BatchNorm(4, eps 0.001, momentum 0.2, no affine)");
  CHECK(BatchNorm(4, {.momentum = {}, .evaluation = EvalStatistics::kBatch}).describe() ==
        "BatchNorm(4, plain averages, evaluated with the batch's statistics)");
  CHECK(BatchNorm(4, {.track_running_stats = false}).describe() ==
        "BatchNorm(4, no running statistics)");
  CHECK(LayerNorm({3, 5}).describe() == "LayerNorm([3, 5])");
  CHECK(LayerNorm({3}, {.eps = 1, .bias = false}).describe() == "LayerNorm([3], eps 1, no bias)");
  CHECK(GroupNorm(2, 4).describe() == "GroupNorm(2, 4)");
  CHECK(GroupNorm(2, 4, {.affine = false}).describe() == "GroupNorm(2, 4, no affine)");
  CHECK(InstanceNorm(4, {.affine = true, .track_running_stats = true}).describe() ==
        "InstanceNorm(4, running statistics)");
  CHECK(RMSNorm({3}).describe() == "RMSNorm([3])");
  CHECK(ChannelRMSNorm(3, {.eps = Real(1e-5)}).describe() == "ChannelRMSNorm(3, eps 1e-05)");
  CHECK(PixelNorm().describe() == "PixelNorm");
  CHECK(contains(error_text([] { BatchNorm(0); }), "BatchNorm: needs at least one channel"));
  CHECK(contains(error_text([] { InstanceNorm(-1); }), "got -1"));
  CHECK(contains(error_text([] { LayerNorm({0}); }), "LayerNorm: needs the extents"));
  CHECK(contains(error_text([] { RMSNorm(Shape{}); }), "RMSNorm: needs the extents"));
  CHECK(BatchNorm(4).cost(shape, shape).averages_over ==
        "8·16·16 numbers per channel (over batch, height, width)");
  CHECK(InstanceNorm(4).cost(shape, shape).averages_over ==
        "16·16 numbers per sample and channel (over height, width)");
  CHECK(GroupNorm(2, 4).cost(shape, shape).averages_over ==
        "2·16·16 numbers per sample and group (over channels, height, width)");
}

TEST_CASE("norm layers: refusals name the layer, the numbers and the shapes") {
  const auto ready = [](auto layer) {
    layer.reset_parameters(Rng(1));
    return layer;
  };
  BatchNorm batch = ready(BatchNorm(4));
  std::string text = error_text([&] { batch(Tensor::zeros({2, 3, 5, 5})); });
  CHECK(contains(text, "4 channels"));
  CHECK(contains(text, "[2, 3, 5, 5]"));
  CHECK(contains(error_text([&] { batch(Tensor::zeros({1, 4})); }), "1 value per channel"));
  batch.eval();
  CHECK_NOTHROW(batch(Tensor::zeros({1, 4})));  // evaluation needs no batch
  InstanceNorm instance = ready(InstanceNorm(4));
  CHECK(contains(error_text([&] { instance(Tensor::zeros({2, 4})); }), "LayerNorm or GroupNorm"));
  CHECK(contains(error_text([&] { instance(Tensor::zeros({2, 4, 1, 1})); }), "1 value"));
  CHECK(contains(error_text([] { GroupNorm(3, 8); }), "3 groups do not divide 8 channels"));
  LayerNorm layer = ready(LayerNorm({5}));
  CHECK(contains(error_text([&] { layer(Tensor::zeros({2, 4})); }), "end in [5]"));
  CHECK(contains(error_text([] { make_norm({.type = "bath"}, 4); }), "\"bath\""));
}

TEST_CASE("make_norm: every name, and groups that fit the channels") {
  for (const std::string& name : norm_names()) {
    const std::shared_ptr<UnaryModule> norm = make_norm({.type = name}, 6);
    CAPTURE(name);
    CHECK((norm == nullptr) == (name == "none"));
    if (norm == nullptr) continue;
    norm->reset_parameters(Rng(1));
    CHECK((*norm)(Input({2, 6, 3, 3}).make(1)).shape() == Shape{2, 6, 3, 3});
  }
  CHECK(make_norm({.type = "group", .groups = 8}, 12)->describe() == "GroupNorm(4, 12)");
  CHECK(make_norm({.type = "layer"}, 12)->describe() == "GroupNorm(1, 12)");
}

}  // namespace tapestry::testing
