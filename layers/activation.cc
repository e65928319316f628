#include "layers/activation.h"

#include "core/ops/softmax.h"
#include "core/ops/unary.h"

namespace tapestry::nn {

Lambda ReLU() {
  Lambda layer("ReLU", [](const Tensor& x) { return relu(x); });
  layer.slope_ = 0;
  return layer;
}
Lambda LeakyReLU(const LeakyReLUOptions& options) {
  Lambda layer(
      "LeakyReLU", [slope = options.slope](const Tensor& x) { return leaky_relu(x, slope); },
      format("LeakyReLU({})", options.slope));
  layer.slope_ = options.slope;
  return layer;
}
Lambda Tanh() {
  return Lambda("Tanh", [](const Tensor& x) { return tanh(x); });
}
Lambda Sigmoid() {
  return Lambda("Sigmoid", [](const Tensor& x) { return sigmoid(x); });
}
Lambda SiLU() {
  return Lambda("SiLU", [](const Tensor& x) { return silu(x); });
}
Lambda GELU() {
  return Lambda("GELU", [](const Tensor& x) { return gelu(x); });
}
Lambda Mish() {
  return Lambda("Mish", [](const Tensor& x) { return mish(x); });
}
Lambda ELU() {
  return Lambda("ELU", [](const Tensor& x) { return elu(x); });
}
Lambda SELU() {
  return Lambda("SELU", [](const Tensor& x) { return selu(x); });
}
Lambda Softplus() {
  return Lambda("Softplus", [](const Tensor& x) { return softplus(x); });
}
Lambda Softsign() {
  return Lambda("Softsign", [](const Tensor& x) { return softsign(x); });
}
Lambda Softmax(int axis) {
  return Lambda("Softmax", [axis](const Tensor& x) { return softmax(x, axis); });
}
Lambda Identity() {
  return Lambda("Identity", [](const Tensor& x) { return x; });
}

const std::vector<std::string>& activation_names() {
  static const std::vector<std::string> names{"none",    "relu", "leaky_relu", "tanh",
                                              "sigmoid", "silu", "gelu",       "mish",
                                              "elu",     "selu", "softplus",   "softsign"};
  return names;
}

Lambda make_activation(std::string_view name, Real slope) {
  if (name == "none") return Identity();
  if (name == "relu") return ReLU();
  if (name == "leaky_relu") return LeakyReLU({.slope = slope});
  if (name == "tanh") return Tanh();
  if (name == "sigmoid") return Sigmoid();
  if (name == "silu") return SiLU();
  if (name == "gelu") return GELU();
  if (name == "mish") return Mish();
  if (name == "elu") return ELU();
  if (name == "selu") return SELU();
  if (name == "softplus") return Softplus();
  if (name == "softsign") return Softsign();
  std::string known;
  for (const std::string& one : activation_names()) known += (known.empty() ? "" : ", ") + one;
  throw Error("activation", "there is no activation \"{}\"", name).hint("use one of {}", known);
}

PReLU::PReLU(std::int64_t channels) {
  if (channels < 1) throw Error("PReLU", "needs at least one slope, got {}", channels);
  weight_ = parameter("weight", {channels}, Start::constant(Real(0.25)));
}
Tensor PReLU::forward(const Tensor& x) { return prelu(x, weight_); }

}  // namespace tapestry::nn
