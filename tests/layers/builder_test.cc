// Networks from settings: shapes inferred, norms inherited, mistakes reported with their path.
#include "layers/builder.h"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;

BlockSetting block(const std::string& type, std::int64_t width = 0) {
  BlockSetting setting;
  setting.type = type;
  setting.width = width;
  return setting;
}

NetworkSetting blocks(std::vector<BlockSetting> list) {
  NetworkSetting setting;
  setting.blocks = std::move(list);
  return setting;
}

std::vector<std::string> names(const NetworkSetting& setting, const Shape& example,
                               const std::string& norm) {
  const auto net = build_network(setting, example, {.type = norm}, "/model/net", Rng(1));
  return names_of(net->named_parameters());
}

bool has(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

TEST_CASE("build_network: infers channels and features") {
  BlockSetting conv = block("conv", 6);
  conv.stride = {2, 2};
  conv.padding = {1, 1};
  const auto net = build_network(
      blocks({conv, block("conv_transpose", 5), block("upsample"), block("linear", 7)}), {3, 8, 8},
      {.type = "none"}, "/model", Rng(1));
  const auto parameters = net->named_parameters();
  REQUIRE(parameters.size() == 6);
  CHECK(parameters[0].name == "0.conv.weight");
  CHECK(parameters[0].value.shape() == Shape{6, 3, 3, 3});
  CHECK(parameters[2].value.shape() == Shape{6, 5, 3, 3});
  CHECK(parameters[4].name == "3.linear.weight");
  CHECK(parameters[4].value.shape() == Shape{7, 5 * 12 * 12});  // 8 → 4 → 6 → 12 pixels
  CHECK(output_shape(*net, {3, 8, 8}) == Shape{7});
}

TEST_CASE("build_network: the parts of a block in any order") {
  const std::pair<const char*, const char*> kinds[] = {
      {"layer-norm-activation", "Conv2d BatchNorm ReLU"},
      {"layer-activation-norm", "Conv2d ReLU BatchNorm"},
      {"norm-layer-activation", "BatchNorm Conv2d ReLU"},
      {"norm-activation-layer", "BatchNorm ReLU Conv2d"},
      {"activation-layer-norm", "ReLU Conv2d BatchNorm"},
      {"activation-norm-layer", "ReLU BatchNorm Conv2d"}};
  for (const auto& kind : kinds) {
    const char *order = kind.first, *wanted = kind.second;
    CAPTURE(order);
    BlockSetting conv = block("conv", 6);
    conv.activation.type = "relu";
    conv.order = order;
    const auto net = build_network(blocks({conv}), {3, 8, 8}, {.type = "batch"}, "/m", Rng(1));
    std::string found;
    for (const auto& [name, part] : net->children()[0].second->children())
      found += (found.empty() ? "" : " ") + std::string(part->kind());
    CHECK(found == wanted);
    const auto parameters = net->named_parameters();
    const std::string text = order;
    for (const auto& parameter : parameters) {
      // Before the convolution the norm sees its input; names do not depend on the order.
      if (parameter.name == "0.norm.weight")
        CHECK(parameter.value.dim(0) == (text.find("norm") < text.find("layer") ? 3 : 6));
    }
    // Only a norm right behind the convolution makes its bias useless.
    CHECK(has(names_of(parameters), "0.conv.bias") == (text.find("layer-norm") == text.npos));
  }
}

TEST_CASE("block settings: the order is checked") {
  BlockSetting setting;
  Problems problems;
  read_settings(parse_json(R"({"width": 3, "order": "norm-activation-layers"})", "c"), setting,
                problems);
  const std::string text = error_text([&] { problems.throw_if_any(); });
  CHECK(contains(text, "/order\n  must be one of layer-norm-activation, "));
  CHECK(contains(text, "did you mean \"norm-activation-layer\"?"));
  Problems none;
  BlockSetting flat;
  read_settings(parse_json(R"({"type": "flatten", "order": "norm-activation-layer"})", "c"), flat,
                none);
  CHECK(contains(error_text([&] { none.throw_if_any(); }), "unknown key \"order\" in flatten"));
}

TEST_CASE("build_network: a norm is inherited, the nearest one wins, and takes the bias along") {
  BlockSetting own = block("conv", 4);
  own.norm.type = "group";
  BlockSetting none = block("conv", 4);
  none.norm.type = "none";
  NetworkSetting setting = blocks({block("conv", 4), own, none});
  const auto inherited = names(setting, {1, 12, 12}, "batch");
  CHECK(inherited == std::vector<std::string>{"0.conv.weight", "0.norm.weight", "0.norm.bias",
                                              "1.conv.weight", "1.conv.bias", "1.norm.weight",
                                              "1.norm.bias", "2.conv.weight", "2.conv.bias"});
  setting.norm.type = "none";  // the network's own stands before the model's
  CHECK(!has(names(setting, {1, 12, 12}, "batch"), "0.norm.weight"));
  // All norms leave the names of the other layers as they are.
  const auto plain = names(setting, {1, 12, 12}, "none");
  for (const char* name : {"0.conv.weight", "1.conv.weight", "2.conv.weight"})
    CHECK(has(plain, name));
  setting.blocks[0].bias = "yes";
  setting.norm.type = "batch";
  CHECK(has(names(setting, {1, 12, 12}, "none"), "0.conv.bias"));
}

TEST_CASE("build_network: computed weights") {
  BlockSetting conv = block("conv", 4), linear = block("linear", 3);
  conv.reparameterize = "spectral_norm";
  linear.reparameterize = "weight_norm";
  const auto net =
      build_network(blocks({conv, linear}), {1, 6, 6}, {.type = "none"}, "/model", Rng(1));
  CHECK(names_of(net->state()) ==
        std::vector<std::string>{"0.conv.bias", "0.conv.parametrizations.weight.original",
                                 "0.conv.parametrizations.weight.0._u",
                                 "0.conv.parametrizations.weight.0._v", "1.linear.bias",
                                 "1.linear.parametrizations.weight.original0",
                                 "1.linear.parametrizations.weight.original1"});
  CHECK(output_shape(*net, {1, 6, 6}) == Shape{3});
  linear.reparameterize = "spectral";
  const std::string text = error_text([&] {
    build_network(blocks({conv, linear}), {1, 6, 6}, {.type = "none"}, "/model", Rng(1));
  });
  CHECK(contains(text, "/model/blocks/1"));
  CHECK(contains(text, "spectral_norm"));
}

TEST_CASE("build_network: residual blocks pass the norm on") {
  BlockSetting inside = block("conv", 4);
  inside.padding = {1, 1};
  BlockSetting residual = block("residual");
  residual.blocks = {inside, inside};
  const auto list = names(blocks({inside, residual}), {1, 6, 6}, "instance");
  CHECK(has(list, "1.residual.body.0.conv.weight"));
  CHECK(has(list, "1.residual.body.1.norm.weight"));
}

TEST_CASE("build_network: mlp and johnson") {
  NetworkSetting mlp;
  mlp.type = "mlp";
  mlp.widths = {8, 3};
  mlp.activation.type = "relu";
  const auto small = build_network(mlp, {2}, {.type = "batch"}, "/model", Rng(1));
  CHECK(names_of(small->named_parameters()) ==
        std::vector<std::string>{"0.linear.weight", "0.norm.weight", "0.norm.bias",
                                 "1.linear.weight", "1.linear.bias"});
  CHECK(output_shape(*small, {2}) == Shape{3});
  NetworkSetting johnson;
  johnson.type = "johnson";
  johnson.width = 4;
  johnson.residual_blocks = 1;
  const auto style = build_network(johnson, {3, 16, 16}, {.type = "instance"}, "/model", Rng(1));
  CHECK(output_shape(*style, {3, 16, 16}) == Shape{3, 16, 16});
  CHECK(!has(names_of(style->named_parameters()), "8.norm.weight"));  // none at the output
}

TEST_CASE("build_network: a mistake is reported with its path and both shapes") {
  const auto fails = [](std::vector<BlockSetting> list, const Shape& example) {
    return error_text([&] {
      build_network(blocks(std::move(list)), example, {.type = "none"}, "/model/net", Rng(1));
    });
  };
  BlockSetting wide = block("conv", 4);
  wide.kernel = {9, 9};
  std::string text = fails({block("conv", 4), wide}, {1, 8, 8});
  CHECK(contains(text, "/model/net/blocks/1"));
  CHECK(contains(text, "6, 6"));  // what the first one leaves
  BlockSetting groups = block("conv", 4);
  groups.groups = 3;
  CHECK(contains(fails({groups}, {1, 8, 8}), "3 groups"));
  BlockSetting residual = block("residual");
  residual.blocks = {block("conv", 4)};
  text = fails({block("conv", 4), residual}, {1, 8, 8});
  CHECK(contains(text, "/model/net/blocks/1"));
  CHECK(contains(text, "changes the shape"));
  CHECK(contains(fails({}, {1, 8, 8}), "no layers"));
}

TEST_CASE("build_network: the same seed gives the same dropout") {
  const auto outputs = [] {
    const auto net = build_network(blocks({block("dropout"), block("linear", 3)}), {6},
                                   {.type = "none"}, "/model", Rng(4));
    net->reset_parameters(Rng(2));
    return (*net)(Input({5, 6}).make(1));
  };
  const Tensor a = outputs(), b = outputs();
  CHECK(hash({&a, 1}) == hash({&b, 1}));
}

}  // namespace tapestry::testing
