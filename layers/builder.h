// Networks from settings: what a JSON config says becomes a module. The describe() functions are
// the config's reference: keys, ranges, defaults.
#ifndef TAPESTRY_LAYERS_BUILDER_H_
#define TAPESTRY_LAYERS_BUILDER_H_

#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "layers/init.h"
#include "layers/norm.h"
#include "layers/sequential.h"

namespace tapestry::nn {

/// "norm" in a config: a word or an object with "type". "inherit" takes the nearest enclosing one:
/// block, network, model.
struct NormChoice : NormSetting {
  NormChoice() { type = "inherit"; }
};
void describe(Fields& fields, NormChoice& setting);
/// Reads the key "norm".
void describe_norm(Fields& fields, NormChoice& setting);

struct ActivationSetting {
  std::string type = "none";
  double slope = 0.2;  // leaky_relu
};
void describe(Fields& fields, ActivationSetting& setting);

void describe(Fields& fields, InitSetting& setting);

/// One block of a network: a layer, its norm and its activation, in this order unless it says
/// otherwise.
struct BlockSetting {
  std::string type = "conv";
  std::int64_t width = 0;
  std::vector<double> kernel{3, 3}, stride{1, 1}, padding{0, 0}, output_padding{0, 0},
      dilation{1, 1};
  std::int64_t groups = 1;
  std::string bias = "auto";  // auto: none where a norm takes it out again
  std::string padding_mode = "zeros";
  std::string reparameterize = "none";  // conv, linear: how the weight is computed, see WeightRule
  NormChoice norm;
  ActivationSetting activation;
  std::string order = "layer-norm-activation";  // conv, conv_transpose, linear
  std::int64_t factor = 2;
  std::string mode = "nearest";
  double probability = 0.5;
  std::vector<double> shape_numbers;
  std::vector<BlockSetting> blocks;  // residual
};
void describe(Fields& fields, BlockSetting& setting);

/// A network: a list of blocks, or one of the named ones.
/// mlp: linear layers of the given widths. johnson: the transform net of Johnson, Alahi & Fei-Fei
/// 2016, a picture in, a picture out.
struct NetworkSetting {
  std::string type = "blocks";
  NormChoice norm;
  std::vector<BlockSetting> blocks;
  std::vector<double> widths;
  ActivationSetting activation;
  std::int64_t width = 16, residual_blocks = 3;
  std::string padding = "reflect", upsample = "nearest";
};
void describe(Fields& fields, NetworkSetting& setting);

/// Builds the network for inputs of shape `example` (without the batch axis): (C, H, W), or (D) for
/// vectors. Each block is tried on a zero batch as it is added, so that a mistake is reported with
/// its path ("/model/generator/blocks/2") and both shapes before training. The parameters have no
/// values yet: call initialize().
std::unique_ptr<Sequential> build_network(const NetworkSetting& setting, const Shape& example,
                                          const NormSetting& outer_norm, const std::string& path,
                                          Rng rng);

/// The shape of one output for one input: (C, H, W) or (D).
Shape output_shape(UnaryModule& network, const Shape& example);

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_BUILDER_H_
