#include "layers/builder.h"

#include <algorithm>

#include "core/tape.h"
#include "layers/conv.h"
#include "layers/linear.h"
#include "layers/reparameterize.h"

namespace tapestry::nn {
namespace {

constexpr double kMaxWidth = 1 << 16;

const std::vector<std::string>& norm_words() {
  static const std::vector<std::string> words = [] {
    std::vector<std::string> all = norm_names();
    all.insert(all.begin(), "inherit");
    return all;
  }();
  return words;
}

const std::vector<std::string>& block_names() {
  static const std::vector<std::string> names{"conv",
                                              "conv_transpose",
                                              "linear",
                                              "residual",
                                              "upsample",
                                              "max_pool",
                                              "average_pool",
                                              "pixel_shuffle",
                                              "global_average_pool",
                                              "flatten",
                                              "reshape",
                                              "dropout",
                                              "activation",
                                              "norm"};
  return names;
}

const std::vector<std::string>& block_orders() {
  static const std::vector<std::string> orders{"layer-norm-activation", "layer-activation-norm",
                                               "norm-layer-activation", "norm-activation-layer",
                                               "activation-layer-norm", "activation-norm-layer"};
  return orders;
}

/// "layer", "norm", "activation" as a block's setting orders them.
std::vector<std::string> parts_in_order(const std::string& order) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t dash = order.find('-'); dash != order.npos; dash = order.find('-', begin)) {
    parts.push_back(order.substr(begin, dash - begin));
    begin = dash + 1;
  }
  parts.push_back(order.substr(begin));
  return parts;
}

Pair pair(const std::vector<double>& values) {
  return {static_cast<int>(values[0]), static_cast<int>(values[1])};
}

WeightRule weight_rule(const std::string& name) {
  if (name == "spectral_norm") return WeightRule::kSpectral;
  if (name == "weight_norm") return WeightRule::kNorm;
  if (name == "weight_standardization") return WeightRule::kStandard;
  throw Error("reparameterize", "there is no rule \"{}\"", name)
      .hint("use none, spectral_norm, weight_norm or weight_standardization");
}

}  // namespace

void describe(Fields& f, NormChoice& s) {
  f.variant("type", s.type, norm_words(), "which numbers share a mean and a variance");
  if (s.type == "none" || s.type == "inherit") return;
  f.number("eps", s.eps, {.above = 0}, "added to the variance");
  if (s.type == "pixel") return;
  f.boolean("affine", s.affine, "learn a scale and a shift per channel");
  if (s.type == "group")
    f.integer("groups", s.groups, {.min = 1, .max = kMaxWidth},
              "groups of channels; lowered to a common divisor with the channels");
  if (s.type == "batch")
    f.number("momentum", s.momentum, {.min = 0, .max = 1},
             "weight of the new batch in the running averages");
}

void describe_norm(Fields& f, NormChoice& s) {
  f.word_or_object("norm", s, "type", norm_words(),
                   "normalizer; inherit: the nearest enclosing one");
}

void describe(Fields& f, ActivationSetting& s) {
  f.variant("type", s.type, activation_names(), "activation function");
  if (s.type == "leaky_relu") f.number("slope", s.slope, {}, "slope for negative numbers");
}

void describe(Fields& f, InitSetting& s) {
  f.variant("type", s.type, init_names(), "how weights start");
  if (s.type == "normal") f.number("std", s.std, {.above = 0}, "standard deviation");
  if (s.type != "normal" && s.type != "default")
    f.number("gain", s.gain, {.above = 0}, "multiplies the rule's scale");
}

void describe(Fields& f, BlockSetting& s) {
  const Limits size{.min = 1, .max = 1024};
  f.variant("type", s.type, block_names(), "what the block does");
  const bool conv = s.type == "conv", transpose = s.type == "conv_transpose",
             linear = s.type == "linear", pool = s.type == "max_pool" || s.type == "average_pool";
  if (conv || transpose || linear) {
    f.required("width");
    f.integer("width", s.width, {.min = 1, .max = kMaxWidth}, "channels or features that come out");
  }
  if (conv || transpose || pool) {
    if (pool && !f.given("kernel")) s.kernel = {2, 2};
    f.numbers("kernel", s.kernel, 2, size, true, "height and width of the window");
    if (pool && !f.given("stride")) s.stride = s.kernel;
    f.numbers("stride", s.stride, 2, size, true, "step of the window");
    f.numbers("padding", s.padding, 2, {.min = 0, .max = 1024}, true, "border added on each side");
  }
  if (conv || transpose) {
    f.numbers("dilation", s.dilation, 2, size, true, "distance between the window's taps");
    f.integer("groups", s.groups, {.min = 1, .max = kMaxWidth}, "independent groups of channels");
  }
  if (transpose)
    f.numbers("output_padding", s.output_padding, 2, {.min = 0, .max = 1024}, true,
              "extra rows and columns at the far edge");
  if (conv)
    f.choice("padding_mode", s.padding_mode, {"zeros", "reflect", "replicate", "circular"},
             "what the border holds");
  if (conv || linear)
    f.choice("reparameterize", s.reparameterize,
             {"none", "spectral_norm", "weight_norm", "weight_standardization"},
             "what the weight is put through in each pass");
  if (conv || transpose || linear)
    f.choice("bias", s.bias, {"auto", "yes", "no"},
             "auto: none where a norm would take it out again");
  if (conv || transpose || linear || s.type == "norm") describe_norm(f, s.norm);
  if (conv || transpose || linear || s.type == "activation" || s.type == "residual") {
    f.word_or_object("activation", s.activation, "type", activation_names(), "applied last");
  }
  if (conv || transpose || linear)
    f.choice("order", s.order, block_orders(),
             "in which order the block's parts are applied; norm-activation-layer: pre-activation");
  if (s.type == "upsample" || s.type == "pixel_shuffle")
    f.integer("factor", s.factor, {.min = 1, .max = 64}, "how many times larger");
  if (s.type == "upsample")
    f.choice("mode", s.mode, {"nearest", "bilinear"}, "how pixels are filled in");
  if (s.type == "dropout")
    f.number("probability", s.probability, {.min = 0, .below = 1}, "share of numbers set to 0");
  if (s.type == "reshape") {
    f.required("shape");
    f.numbers("shape", s.shape_numbers, 0, {.min = 1, .max = kMaxWidth}, true,
              "shape of one example");
  }
  if (s.type == "residual") {
    f.required("blocks");
    f.list("blocks", s.blocks, "what is added to the input");
  }
}

void describe(Fields& f, NetworkSetting& s) {
  f.variant("type", s.type, {"blocks", "mlp", "johnson"}, "kind of network");
  describe_norm(f, s.norm);
  if (s.type == "blocks") {
    f.required("blocks");
    f.list("blocks", s.blocks, "layers in order");
  }
  if (s.type == "mlp") {
    f.required("widths");
    f.numbers("widths", s.widths, 0, {.min = 1, .max = kMaxWidth}, true,
              "features after each layer, the output last");
    if (!f.given("activation")) s.activation.type = "relu";
    f.word_or_object("activation", s.activation, "type", activation_names(), "between the layers");
  }
  if (s.type == "johnson") {
    f.integer("width", s.width, {.min = 1, .max = 512},
              "channels of the first layer; the middle has four times as many");
    f.integer("residual_blocks", s.residual_blocks, {.min = 0, .max = 64}, "blocks in the middle");
    f.choice("padding", s.padding, {"reflect", "zeros", "replicate"}, "border of the convolutions");
    f.choice("upsample", s.upsample, {"nearest", "bilinear"},
             "how pictures grow before the last convolutions");
  }
}

namespace {

/// Adds blocks one by one, following the shape.
class NetworkBuilder {
 public:
  NetworkBuilder(const Shape& example, NormSetting norm, Rng rng)
      : network_(std::make_unique<Sequential>()), norm_(std::move(norm)), rng_(rng) {
    std::vector<std::int64_t> extents{2};  // two examples: BatchNorm on vectors needs them
    extents.insert(extents.end(), example.begin(), example.end());
    sample_ = Tensor::zeros(Shape(extents));
  }

  void add(const BlockSetting& block, const std::string& path) {
    // The layer itself, its norm and its activation have fixed names within the block: cells of a
    // comparison with other norms share all other names.
    auto part = std::make_shared<Sequential>();
    try {
      fill(*part, block, path);
      try_out(*part);
    } catch (const Error& error) {
      throw Error(path, "the {} block cannot be built", block.type)
          .shape("input", sample_, "(batch, …)")
          .fact("because", error.what());
    }
    network_->add_shared(part);
  }

  std::unique_ptr<Sequential> take() { return std::move(network_); }

 private:
  /// Runs a layer on the sample, so that the next one knows its input.
  void try_out(UnaryModule& module) {
    const PauseRecording pause;
    module.reset_parameters(Rng(0));
    module.eval();
    sample_ = Tensor::zeros(module(sample_).shape());
    module.train();
  }

  NormSetting resolve(const NormChoice& choice) const {
    return choice.type == "inherit" ? norm_ : choice;
  }

  std::int64_t channels() const {
    if (sample_.rank() < 2) throw Error("block", "the input has no channels");
    return sample_.dim(1);
  }

  void fill(Sequential& part, const BlockSetting& b, const std::string& path) {
    // A norm alone and an activation alone have no layer to stand before or behind.
    for (const std::string& kind : parts_in_order(b.order)) {
      if (kind == "layer") {
        add_layer(part, b, path);
      } else if (kind == "norm") {
        add_norm(part, b);
      } else if (b.activation.type != "none") {
        part.add(make_activation(b.activation.type, static_cast<Real>(b.activation.slope)),
                 "activation");
      }
    }
  }

  static bool has_weights(const BlockSetting& b) {
    return b.type == "conv" || b.type == "conv_transpose" || b.type == "linear";
  }

  void add_norm(Sequential& part, const BlockSetting& b) const {
    if (!has_weights(b) && b.type != "norm") return;
    const bool before = b.order.find("norm") < b.order.find("layer");
    const std::int64_t width = b.type == "norm" || before ? channels() : b.width;
    if (std::shared_ptr<UnaryModule> layer = make_norm(resolve(b.norm), width))
      part.add_shared(layer, "norm");
  }

  void add_layer(Sequential& part, const BlockSetting& b, const std::string& path) {
    // A norm takes the bias out only where it follows at once.
    const bool norm_next = b.order.find("layer-norm") != std::string::npos;
    const bool bias =
        b.bias == "yes" || (b.bias == "auto" && !(norm_next && cancels_bias(resolve(b.norm))));
    const std::int64_t width = b.width;
    if (b.type == "conv") {
      const Conv2dOptions options{.kernel = pair(b.kernel),
                                  .stride = pair(b.stride),
                                  .padding = pair(b.padding),
                                  .dilation = pair(b.dilation),
                                  .groups = static_cast<int>(b.groups),
                                  .bias = bias,
                                  .padding_mode = pad_mode(b.padding_mode)};
      if (b.reparameterize == "none") {
        part.add(Conv2d(channels(), width, options), "conv");
      } else {
        const WeightRule rule = weight_rule(b.reparameterize);
        part.add(ReparameterizedConv2d(channels(), width, {.rule = rule, .conv = options}), "conv");
      }
    } else if (b.type == "conv_transpose") {
      if (sample_.rank() == 2) part.add(Unflatten({channels(), 1, 1}), "image");
      part.add(ConvTranspose2d(channels(), width,
                               {.kernel = pair(b.kernel),
                                .stride = pair(b.stride),
                                .padding = pair(b.padding),
                                .output_padding = pair(b.output_padding),
                                .dilation = pair(b.dilation),
                                .groups = static_cast<int>(b.groups),
                                .bias = bias}),
               "conv");
    } else if (b.type == "linear") {
      if (sample_.rank() > 2) part.add(Flatten(), "flatten");
      const std::int64_t features = sample_.size() / sample_.dim(0);
      if (b.reparameterize == "none") {
        part.add(Linear(features, width, {.bias = bias}), "linear");
      } else {
        const WeightRule rule = weight_rule(b.reparameterize);
        part.add(ReparameterizedLinear(features, width, {.rule = rule, .bias = bias}), "linear");
      }
    } else if (b.type == "residual") {
      NetworkBuilder inner(example(), norm_, rng_.split("residual"));
      for (std::size_t i = 0; i < b.blocks.size(); ++i)
        inner.add(b.blocks[i], path + "/blocks/" + std::to_string(i));
      part.add(Residual(inner.take()), "residual");
    } else if (b.type == "upsample") {
      part.add(Upsample({.factor = static_cast<int>(b.factor), .mode = resample_mode(b.mode)}),
               "upsample");
    } else if (b.type == "max_pool" || b.type == "average_pool") {
      const PoolGeometry geometry{
          .kernel = pair(b.kernel), .stride = pair(b.stride), .padding = pair(b.padding)};
      part.add(b.type == "max_pool" ? MaxPool2d(geometry) : AvgPool2d(geometry), "pool");
    } else if (b.type == "pixel_shuffle") {
      part.add(PixelShuffle(static_cast<int>(b.factor)), "shuffle");
    } else if (b.type == "global_average_pool") {
      part.add(GlobalAvgPool2d(), "pool");
    } else if (b.type == "flatten") {
      part.add(Flatten(), "flatten");
    } else if (b.type == "reshape") {
      part.add(Unflatten({b.shape_numbers.begin(), b.shape_numbers.end()}), "reshape");
    } else if (b.type == "dropout") {
      part.add(Dropout({.probability = static_cast<Real>(b.probability)}, rng_.split(path)),
               "dropout");
    }
  }

  Shape example() const {
    const std::vector<std::int64_t> extents = sample_.shape().extents();
    return Shape(std::span(extents).subspan(1));
  }

  std::unique_ptr<Sequential> network_;
  NormSetting norm_;
  Rng rng_;
  Tensor sample_;
};

std::vector<BlockSetting> mlp_blocks(const NetworkSetting& s) {
  std::vector<BlockSetting> blocks;
  for (std::size_t i = 0; i < s.widths.size(); ++i) {
    BlockSetting block;
    block.type = "linear";
    block.width = static_cast<std::int64_t>(s.widths[i]);
    block.activation = s.activation;
    if (i + 1 == s.widths.size()) {
      block.norm.type = "none";
      block.activation.type = "none";
    }
    blocks.push_back(block);
  }
  return blocks;
}

/// 9×9 in, two convolutions that halve the picture, residual blocks, two that double it, 9×9 out
/// and a sigmoid onto [0, 1].
std::vector<BlockSetting> johnson_blocks(const NetworkSetting& s) {
  const auto conv = [&](std::int64_t width, double kernel, double stride,
                        const std::string& activation) {
    BlockSetting block;
    block.width = width;
    block.kernel = {kernel, kernel};
    block.stride = {stride, stride};
    block.padding = {(kernel - 1) / 2, (kernel - 1) / 2};
    block.padding_mode = s.padding;
    block.activation.type = activation;
    return block;
  };
  std::vector<BlockSetting> blocks{conv(s.width, 9, 1, "relu"), conv(2 * s.width, 3, 2, "relu"),
                                   conv(4 * s.width, 3, 2, "relu")};
  for (std::int64_t i = 0; i < s.residual_blocks; ++i) {
    BlockSetting residual;
    residual.type = "residual";
    residual.blocks = {conv(4 * s.width, 3, 1, "relu"), conv(4 * s.width, 3, 1, "none")};
    blocks.push_back(residual);
  }
  BlockSetting upsample;
  upsample.type = "upsample";
  upsample.mode = s.upsample;
  for (const std::int64_t width : {2 * s.width, s.width}) {
    blocks.push_back(upsample);
    blocks.push_back(conv(width, 3, 1, "relu"));
  }
  blocks.push_back(conv(3, 9, 1, "sigmoid"));
  blocks.back().norm.type = "none";
  return blocks;
}

}  // namespace

std::unique_ptr<Sequential> build_network(const NetworkSetting& setting, const Shape& example,
                                          const NormSetting& outer_norm, const std::string& path,
                                          Rng rng) {
  NetworkBuilder builder(example, setting.norm.type == "inherit" ? outer_norm : setting.norm, rng);
  const std::vector<BlockSetting> blocks = setting.type == "mlp"       ? mlp_blocks(setting)
                                           : setting.type == "johnson" ? johnson_blocks(setting)
                                                                       : setting.blocks;
  if (blocks.empty()) throw Error(path, "the network has no layers");
  for (std::size_t i = 0; i < blocks.size(); ++i)
    builder.add(blocks[i],
                path + (setting.type == "blocks" ? "/blocks/" : "/layer ") + std::to_string(i));
  return builder.take();
}

Shape output_shape(UnaryModule& network, const Shape& example) {
  std::vector<std::int64_t> extents{2};
  extents.insert(extents.end(), example.begin(), example.end());
  const PauseRecording pause;
  const bool was_training = network.is_training();
  network.eval();
  const Shape batch = network(Tensor::zeros(Shape(extents))).shape();
  network.train(was_training);
  const std::vector<std::int64_t> out = batch.extents();
  return Shape(std::span(out).subspan(1));
}

}  // namespace tapestry::nn
