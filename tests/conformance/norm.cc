// Batch, layer, group and instance normalization and their relatives, and reparametrized weights.
#include "layers/norm.h"

#include <cstdio>
#include <memory>
#include <string>

#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "layers/reparameterize.h"
#include "tests/conformance/layer.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Real eps(const Call& c) { return c.real("eps", 1e-5); }

/// How many channels the layer is made for; x decides only when there is no weight, so that a
/// mismatch is the layer's to report.
std::int64_t channels(const Call& c, const Tensor& x) {
  if (c.has("weight")) return c["weight"].size();
  return x.rank() > 1 ? x.dim(1) : 1;
}

Result group_norm(const Call& c) {
  const Tensor& x = c("x", 0);
  const auto layer = std::make_shared<nn::GroupNorm>(
      c.integer("num_groups"), channels(c, x),
      nn::GroupNormOptions{.eps = eps(c), .affine = c.has("weight")});
  return call_layer(c, layer, x);
}

Result layer_norm(const Call& c) {
  const auto layer = std::make_shared<nn::LayerNorm>(
      Shape(c.extents("normalized_shape")),
      nn::LayerNormOptions{.eps = eps(c), .affine = c.has("weight"), .bias = c.has("bias")});
  return call_layer(c, layer, c("x", 0));
}

Result rms_norm(const Call& c) {
  const auto layer = std::make_shared<nn::RMSNorm>(
      Shape(c.extents("normalized_shape")),
      nn::RMSNormOptions{.eps = c.real("eps", 1e-6), .affine = c.has("weight")});
  return call_layer(c, layer, c("x", 0));
}

/// "train", "eval", "instance", or several calls in one of the forms "train 3 steps x0,x1,x2" and
/// "train 3 steps x0,x1,x2 then eval on x_eval".
Result in_mode(const Call& c, const std::shared_ptr<nn::UnaryModule>& layer) {
  const std::string mode = c.text("mode", "train");
  Result result;
  load_inputs(c, layer, result);
  if (c.has("x")) {
    if (mode != "train" && mode != "eval" && mode != "instance") c.unknown("mode");
    layer->train(mode != "eval");
    result.add("y", (*layer)(c["x"]));
  } else {
    for (const Named<Tensor>& input : c.inputs()) {
      if (!input.name.starts_with("x")) continue;
      const bool evaluation = input.name == "x_eval";
      layer->train(!evaluation);
      result.add(evaluation ? "y_eval" : "y" + input.name.substr(1), (*layer)(input.value));
    }
  }
  for (const Named<Tensor>& buffer : layer->named_buffers()) {
    result.add("aux." + buffer.name, buffer.value);
  }
  return result;
}

bool is_tracking(const Call& c) {
  return c.flag("track_running_stats", false) || c.has("running_mean");
}

Result batch_norm(const Call& c) {
  nn::BatchNormOptions options{.eps = eps(c),
                               .momentum = c.real("momentum", 0.1),
                               .affine = c.has("weight"),
                               .track_running_stats = is_tracking(c)};
  if (c.is_null("momentum")) options.momentum.reset();
  return in_mode(c, std::make_shared<nn::BatchNorm>(channels(c, c.at(0)), options));
}

Result instance_norm(const Call& c) {
  return in_mode(
      c, std::make_shared<nn::InstanceNorm>(
             channels(c, c.at(0)), nn::InstanceNormOptions{.eps = eps(c),
                                                           .affine = c.has("weight"),
                                                           .track_running_stats = is_tracking(c),
                                                           .momentum = c.real("momentum", 0.1)}));
}

Result pixel_norm(const Call& c) {
  return call_layer(c, std::make_shared<nn::PixelNorm>(c.real("eps", 1e-8)), c("x", 0));
}

Result spectral_norm(const Call& c) {
  const bool train = c.text("mode", "train") != "eval";
  const nn::SpectralWeight made =
      nn::spectral_normalize(c("weight", 0), c("u", 1), c("v", 2),
                             {.dim = c.integer("dim", 0),
                              .iterations = train ? c.integer("n_power_iterations", 1) : 0,
                              .eps = c.real("eps", 1e-12)});
  Result result(made.weight);
  result.add("aux.u", made.u);
  result.add("aux.v", made.v);
  result.add("aux.sigma", made.sigma);
  return result;
}

Result weight_norm(const Call& c) {
  const Tensor weight = nn::weight_norm(c("v", 1), c("g", 2), c.integer("dim", 0));
  const std::string layer = c.text("layer", "linear");
  if (layer == "linear") return linear(c("x", 0), weight);
  int padding = 0;  // "conv2d padding 1"
  if (layer == "conv2d" || std::sscanf(layer.c_str(), "conv2d padding %d", &padding) == 1) {
    return conv2d(c("x", 0), weight, {}, {.padding = padding});
  }
  c.unknown("layer");
}

Result weight_standardization(const Call& c) {
  return conv2d(c("x", 0), nn::weight_standardize(c("weight", 1), eps(c)), c.optional("bias"),
                {.stride = c.pair("stride", 1),
                 .padding = c.pair("padding", 0),
                 .groups = c.integer("groups", 1)});
}

}  // namespace

void add_norms(Table& table) {
  table["batch_norm"] = batch_norm;
  table["instance_norm"] = instance_norm;
  table["group_norm"] = group_norm;
  table["layer_norm"] = layer_norm;
  table["rms_norm"] = rms_norm;
  table["pixel_norm"] = pixel_norm;
  table["spectral_norm"] = spectral_norm;
  table["weight_norm"] = weight_norm;
  table["weight_standardization"] = weight_standardization;
}

}  // namespace tapestry::conformance
