// Weights computed from other weights: normalizing what multiplies the input instead of the result.
#ifndef TAPESTRY_LAYERS_REPARAMETERIZE_H_
#define TAPESTRY_LAYERS_REPARAMETERIZE_H_

#include <string>

#include "layers/conv.h"
#include "layers/linear.h"
#include "layers/module.h"

namespace tapestry::nn {

struct SpectralOptions {
  int dim = 0;         // the axis that becomes the rows of the matrix
  int iterations = 1;  // of the power iteration; 0 leaves u and v as they are
  Real eps = Real(1e-12);
};
struct SpectralWeight {
  Tensor weight;  // weight/σ
  Tensor u, v;    // after the iterations
  Tensor sigma;   // uᵀ·W·v, close to W's largest singular value
};
/// weight/σ, σ = uᵀ·W·v with W the weight as a matrix, after some power iterations v = Wᵀ·u/‖Wᵀ·u‖,
/// u = W·v/‖W·v‖. u (rows) and v (columns) are constants of the gradient. Throws Error when they do
/// not fit. Miyato et al. 2018.
SpectralWeight spectral_normalize(const Tensor& weight, const Tensor& u, const Tensor& v,
                                  const SpectralOptions& options = {});

/// g·v/‖v‖, the norm over all axes but `dim`. Shapes: g has v's extent along dim and 1 elsewhere.
/// Throws Error otherwise. Salimans & Kingma 2016.
Tensor weight_norm(const Tensor& v, const Tensor& g, int dim = 0);

/// (W − mean)/√(var + eps) for each output channel (the first axis), with the biased variance; use
/// it before a norm. Qiao et al. 2019.
Tensor weight_standardize(const Tensor& weight, Real eps = Real(1e-5));

/// How a layer's weight comes about.
///
/// kSpectral: spectral_normalize(); one power iteration per forward pass in training. State:
/// parametrizations.weight.original, parametrizations.weight.0._u and ._v. kNorm: weight_norm().
/// State: parametrizations.weight.original0 (g), original1 (v); g starts at ‖v‖. kStandard:
/// weight_standardize(). State: weight. Names are those of torch.nn.utils.parametrizations.
enum class WeightRule { kSpectral, kNorm, kStandard };

/// A layer whose weight is computed anew in each forward pass.
class ReparameterizedModule : public UnaryModule {
 public:
  /// Sets what follows from new values of the parameters: g = ‖v‖; u and v after 15 iterations.
  void parameters_drawn() override;

 protected:
  explicit ReparameterizedModule(WeightRule rule, int iterations);
  void make_weight(const Shape& shape, Start start);
  /// The weight of this forward pass.
  Tensor weight();
  WeightRule rule() const { return rule_; }

 private:
  WeightRule rule_;
  int iterations_;
  Tensor original_, g_, u_, v_;
};

struct ReparameterizedLinearOptions {
  WeightRule rule = WeightRule::kSpectral;
  int iterations = 1;  // kSpectral: per forward pass in training
  bool bias = true;
};
/// Linear with a computed weight. State: bias (out) and the rule's.
class ReparameterizedLinear final : public ReparameterizedModule {
 public:
  ReparameterizedLinear(std::int64_t in, std::int64_t out,
                        const ReparameterizedLinearOptions& options = {});
  std::string_view kind() const override { return "ReparameterizedLinear"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t in_, out_;
  Tensor bias_;
};

struct ReparameterizedConv2dOptions {
  WeightRule rule = WeightRule::kSpectral;
  int iterations = 1;  // kSpectral: per forward pass in training
  Conv2dOptions conv = {};
};
/// Conv2d with a computed weight. State: bias (out) and the rule's.
class ReparameterizedConv2d final : public ReparameterizedModule {
 public:
  ReparameterizedConv2d(std::int64_t in, std::int64_t out,
                        const ReparameterizedConv2dOptions& options = {});
  std::string_view kind() const override { return "ReparameterizedConv2d"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t in_, out_;
  Conv2dOptions options_;
  Tensor bias_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_REPARAMETERIZE_H_
