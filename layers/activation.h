// Activation functions as layers without parameters; the functions themselves are in
// core/ops/unary.h.
#ifndef TAPESTRY_LAYERS_ACTIVATION_H_
#define TAPESTRY_LAYERS_ACTIVATION_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "layers/module.h"

namespace tapestry::nn {

struct LeakyReLUOptions {
  Real slope = Real(0.01);  // PyTorch's default; GANs use 0.2
};

/// A function of one tensor as a layer: `Lambda("ReLU", [](const Tensor& x) { return relu(x); })`.
class Lambda final : public UnaryModule {
 public:
  using Function = std::function<Tensor(const Tensor&)>;
  Lambda(std::string kind, Function function, std::string description = "")
      : kind_(std::move(kind)),
        description_(description.empty() ? kind_ : std::move(description)),
        function_(std::move(function)) {}
  std::string_view kind() const override { return kind_; }
  std::string describe() const override { return description_; }
  /// If it is leaky_relu: the slope, 0 for relu.
  std::optional<Real> slope() const { return slope_; }

 protected:
  Tensor forward(const Tensor& x) override { return function_(x); }

 private:
  friend Lambda ReLU();
  friend Lambda LeakyReLU(const LeakyReLUOptions& options);

  std::string kind_, description_;
  Function function_;
  std::optional<Real> slope_;
};

Lambda ReLU();
Lambda LeakyReLU(const LeakyReLUOptions& options = {});
Lambda Tanh();
Lambda Sigmoid();
Lambda SiLU();
Lambda GELU();
Lambda Mish();
Lambda ELU();
Lambda SELU();
Lambda Softplus();
Lambda Softsign();
Lambda Softmax(int axis = -1);
Lambda Identity();

/// "relu", "leaky_relu" (with slope), "tanh", …, "none". Throws Error with the list for anything
/// else.
Lambda make_activation(std::string_view name, Real slope = Real(0.2));
/// The names make_activation knows.
const std::vector<std::string>& activation_names();

/// max(x, 0) + weight · min(x, 0), with one learned weight (start 0.25) or one per channel. He et
/// al. 2015. State: weight (1) or (C).
class PReLU final : public UnaryModule {
 public:
  explicit PReLU(std::int64_t channels = 1);
  std::string_view kind() const override { return "PReLU"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  Tensor weight_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_ACTIVATION_H_
