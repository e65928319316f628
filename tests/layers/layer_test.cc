// Linear, convolution, embedding, activations, containers: gradients, names, state, refusals.
#include <cmath>
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

const LayerCheck kWeightAndBias{.names = {"weight", "bias"}, .additive = {"bias"}};
const LayerCheck kWeight{.names = {"weight"}};

}  // namespace

TEST_CASE("layers: gradient of every parameter and input, names, state") {
  check_layer(
      "Linear", [] { return Linear(5, 3); }, Input{4, 5}, kWeightAndBias);
  check_layer(
      "Linear, three axes", [] { return Linear(5, 3); }, Input{2, 3, 5}, kWeightAndBias);
  check_layer(
      "Linear, no bias", [] { return Linear(5, 3, {.bias = false}); }, Input{4, 5}, kWeight);
  check_layer(
      "Conv2d",
      [] {
        return Conv2d(2, 4, {.kernel = {3, 2}, .stride = 2, .padding = {1, 0}});
      },
      Input{2, 2, 5, 4}, kWeightAndBias);
  check_layer(
      "Conv2d, groups and dilation",
      [] { return Conv2d(4, 4, {.kernel = 2, .dilation = 2, .groups = 2, .bias = false}); },
      Input{2, 4, 4, 5}, kWeight);
  check_layer(
      "Conv2d, reflected border",
      [] { return Conv2d(2, 3, {.padding = 1, .padding_mode = PadMode::kReflect}); },
      Input{2, 2, 4, 3}, kWeightAndBias);
  check_layer(
      "Conv1d", [] { return Conv1d(2, 3, {.kernel = 3, .stride = 2, .padding = 1}); },
      Input{2, 2, 7}, kWeightAndBias);
  check_layer(
      "ConvTranspose2d",
      [] {
        return ConvTranspose2d(
            2, 4, {.kernel = 3, .stride = 2, .padding = 1, .output_padding = 1, .groups = 2});
      },
      Input{2, 2, 3, 2}, kWeightAndBias);
  check_layer(
      "PReLU", [] { return PReLU(3); }, Input({4, 3, 2}).away_from({0}), kWeight);
  check_layer(
      "Residual",
      [] { return Residual(std::make_shared<Linear>(4, 3), std::make_shared<Linear>(4, 3)); },
      Input{2, 4},
      {.names = {"body.weight", "body.bias", "shortcut.weight", "shortcut.bias"},
       .additive = {"body.bias", "shortcut.bias"}});
  check_layer("Sequential",
              [] { return Sequential(Linear(4, 3), Tanh(), BatchNorm(3), Linear(3, 2)); },
              Input{5, 4},
              {.names = {"0.weight", "0.bias", "2.weight", "2.bias", "2.running_mean",
                         "2.running_var", "2.num_batches_tracked", "3.weight", "3.bias"},
               .additive = {"3.bias"}});
}

TEST_CASE("activation layers: gradient of each by name") {
  for (const std::string& name : activation_names()) {
    if (name == "none") continue;
    check_layer(name, [&] { return make_activation(name); },
                Input({3, 4}).between(-1.5, 1.5).away_from({0}),
                {.options = {.linear = name == "relu" || name == "leaky_relu"}});
  }
  const Tensor x = Tensor::from({-1, 2}, {2});
  CHECK(make_activation("leaky_relu", Real(0.2))(x).data()[0] == doctest::Approx(-0.2));
  CHECK(make_activation("none")(x).data()[0] == -1);
  CHECK(contains(error_text([] { make_activation("rellu"); }), "leaky_relu"));
}

TEST_CASE("layers: describe and cost") {
  CHECK(Linear(3, 4).describe() == "Linear(3, 4)");
  CHECK(Linear(3, 4, {.bias = false}).describe() == "Linear(3, 4, no bias)");
  CHECK(Conv2d(3, 64, {.kernel = 4, .stride = 2, .padding = 1}).describe() ==
        "Conv2d(3, 64, kernel 4, stride 2, padding 1)");
  CHECK(Conv2d(4, 8, {.kernel = {3, 5}, .groups = 2, .bias = false}).describe() ==
        "Conv2d(4, 8, kernel 3×5, groups 2, no bias)");
  CHECK(Conv2d(4, 8, {.padding = {0, 2}, .dilation = 2, .padding_mode = PadMode::kReflect})
            .describe() == "Conv2d(4, 8, kernel 3, padding 0×2, dilation 2, padding mode reflect)");
  CHECK(Conv1d(4, 8, {.kernel = 5, .padding = 4, .dilation = 2, .groups = 4}).describe() ==
        "Conv1d(4, 8, kernel 5, padding 4, dilation 2, groups 4)");
  CHECK(ConvTranspose2d(4, 8, {.stride = 2, .output_padding = 1, .dilation = 3, .groups = 2})
            .describe() ==
        "ConvTranspose2d(4, 8, kernel 4, stride 2, dilation 3, groups 2, output padding 1)");
  CHECK(ConvTranspose2d(4, 8, {.kernel = {3, 2}, .padding = 1, .bias = false}).describe() ==
        "ConvTranspose2d(4, 8, kernel 3×2, padding 1, no bias)");
  CHECK(Embedding(4, 3, {.padding_index = 0}).describe() == "Embedding(4, 3, padding index 0)");
  CHECK(MaxPool2d({.kernel = 3, .stride = 2, .padding = 1}).describe() ==
        "MaxPool2d(3×3, stride 2×2, padding 1×1)");
  CHECK(AvgPool2d({.kernel = {2, 3}, .ceil_mode = true}, false).describe() ==
        "AvgPool2d(2×3, stride 2×3, ceil mode, borders not counted)");
  CHECK(Upsample({.mode = Resample::kBilinear, .align_corners = true}).describe() ==
        "Upsample(2, bilinear, corners aligned)");
  CHECK(Pad2d(3, PadMode::kReflect).describe() == "Pad2d(3, reflect)");
  CHECK(Conv2d(3, 8).cost({2, 3, 6, 6}, {2, 8, 4, 4}).multiply_adds == 2 * 8 * 4 * 4 * 3 * 9);
  CHECK(Linear(3, 4).cost({5, 3}, {5, 4}).multiply_adds == 60);
}

TEST_CASE("layers: refusals") {
  CHECK(contains(error_text([] { Linear(0, 3); }), "got 0 and 3"));
  CHECK(contains(error_text([] { Conv2d(3, 4, {.groups = 2}); }), "2 groups"));
  CHECK(contains(error_text([] { Conv2d(3, 4, {.kernel = 0}); }), "0 × 0"));
  CHECK(contains(error_text([] { Embedding(0, 4); }), "got 0 and 4"));
  CHECK(contains(error_text([] { PReLU(0); }), "got 0"));
  CHECK(LeakyReLU({.slope = Real(0.2)}).describe() == "LeakyReLU(0.2)");
  Sequential net{Linear(4, 3), Tanh(), Linear(4, 2)};
  net.set_name("critic");
  net.reset_parameters(Rng(1));
  const std::string text = error_text([&] { net(Tensor::zeros({2, 4})); });
  CHECK(contains(text, "critic"));
  CHECK(contains(text, "2 (Linear)"));
  CHECK(contains(text, "[2, 3]"));
  Residual widening(std::make_shared<Linear>(4, 3));
  widening.reset_parameters(Rng(1));
  CHECK(contains(error_text([&] { widening(Tensor::zeros({2, 4})); }), "changes the shape"));
}

TEST_CASE("Embedding: rows, gradient, padding row") {
  Embedding table(4, 3, {.padding_index = 0});
  CHECK(table.describe() == "Embedding(4, 3, padding index 0)");
  draw(table, 1);
  const std::vector<std::int32_t> tokens{2, 0, 2};
  const Tensor weight = table.parameters()[0];
  Tape tape;
  const Tensor y = table(tokens);
  CHECK(y.shape() == Shape{3, 3});
  CHECK(y.data()[3] == weight.data()[0]);  // the padding row is read
  const Tensor g = tape.gradient(sum(y), {weight})[0];
  const std::vector<Real> wanted{0, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 0};
  CHECK(g.to_vector() == wanted);
  const std::vector<std::int32_t> outside{4};
  CHECK(contains(error_text([&] { table(outside); }), "4"));
}

TEST_CASE("Dropout: keeps the mean, is off in evaluation, resumes") {
  const auto make = [] { return Dropout({.probability = Real(0.25)}, Rng(3)); };
  Dropout dropout = make();
  const Tensor x = Tensor::ones({100, 100});
  const Tensor y = dropout(x);
  CHECK(mean(y).item() == doctest::Approx(1).epsilon(0.03));
  for (const Real value : y.data()) {
    if (value != 0) REQUIRE(value == doctest::Approx(1 / 0.75));
  }
  Dropout resumed = make();
  resumed.load_state(dropout.state());
  const Tensor next = dropout(x), its = resumed(x);
  CHECK(hash({&next, 1}) == hash({&its, 1}));
  CHECK(hash({&next, 1}) != hash({&y, 1}));
  dropout.eval();
  CHECK(difference(dropout(x), x) == 0);
}

TEST_CASE("Module: load_state lists everything that does not fit, and changes nothing") {
  Sequential net{Linear(4, 3), Linear(3, 2)};
  net.reset_parameters(Rng(1));
  std::vector<Named<Tensor>> state;
  for (const Named<Tensor>& entry : net.state()) state.push_back({entry.name, entry.value.clone()});
  const std::uint64_t before = hash(net.parameters());
  state[0].value = Tensor::zeros({9, 9});
  state[1].name = "0.offset";
  state[2].value.mutable_data()[0] = 77;
  const std::string text = error_text([&] { net.load_state(state); });
  CHECK(contains(text, "3 of the names or shapes"));
  CHECK(contains(text, "mis-shaped  0.weight: the model has [3, 4], the file [9, 9]"));
  CHECK(contains(text, "missing     0.bias"));
  CHECK(contains(text, "unexpected  0.offset"));
  CHECK(hash(net.parameters()) == before);
}

TEST_CASE("Module: a name is given once") {
  Sequential net;
  net.add(Linear(4, 3), "1");
  CHECK(contains(error_text([&] { net.add(Linear(3, 2)); }), "part named \"1\" already"));
  CHECK(net.size() == 1);  // as before
  CHECK(net.children().size() == 1);
}

TEST_CASE("Module: names, paths, and what a Probe and a summary see") {
  Sequential net;
  net.add(Conv2d(1, 4, {.padding = 1}), "conv");
  net.add(BatchNorm(4), "norm");
  net.add(Residual(std::make_shared<Sequential>(Conv2d(4, 4, {.padding = 1}), ReLU())));
  net.reset_parameters(Rng(1));
  std::vector<std::string> names;
  for (const auto& [name, module] : net.modules()) names.push_back(name);
  CHECK(names ==
        std::vector<std::string>{"", "conv", "norm", "2", "2.body", "2.body.0", "2.body.1"});
  const std::string text = summary(net, {1, 1, 8, 8});
  CHECK(contains(text, "2.body.0"));
  CHECK(contains(text, "[1, 4, 8, 8]"));
  CHECK(contains(text, "averages 1·8·8 numbers per channel"));
  CHECK(contains(text, "input [1, 1, 8, 8]: 196 parameters"));  // 40 + 8 + 148
  CHECK(net.is_training());
}

}  // namespace tapestry::testing
