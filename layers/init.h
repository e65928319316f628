// How weights start. Every parameter's random stream is keyed by its name, so that networks that
// share names share values.
#ifndef TAPESTRY_LAYERS_INIT_H_
#define TAPESTRY_LAYERS_INIT_H_

#include <string>
#include <vector>

#include "core/random.h"
#include "layers/module.h"

namespace tapestry::nn {

/// A rule for the weights of convolutions and linear layers; biases then start at 0, and norms at γ
/// = 1, β = 0. default: each layer's own rule (PyTorch's). normal: N(0, std²), DCGAN's is 0.02.
/// xavier_uniform, xavier_normal: variance 2/(fan_in + fan_out) (Glorot & Bengio 2010).
/// kaiming_uniform, kaiming_normal: variance 2/fan_in (He et al. 2015). orthogonal: rows or columns
/// orthonormal (Saxe et al. 2014).
struct InitSetting {
  std::string type = "default";
  double std = 0.02;  // normal
  double gain = 1;    // multiplies what xavier, kaiming and orthogonal give
};
const std::vector<std::string>& init_names();

/// Gives every parameter of the module a value.
void initialize(Module& module, const InitSetting& setting, const Rng& rng);

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_INIT_H_
