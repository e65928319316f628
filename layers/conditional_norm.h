// Norms whose scale and shift depend on something else (a label, a style, a map), and mixtures of
// norms. Each is a function of tensors; those with parameters of their own are layers too.
#ifndef TAPESTRY_LAYERS_CONDITIONAL_NORM_H_
#define TAPESTRY_LAYERS_CONDITIONAL_NORM_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "layers/linear.h"
#include "layers/module.h"
#include "layers/norm.h"

namespace tapestry::nn {

// Conditions
// ----------------------------------------------------------------------------------------------

/// Which numbers share a mean and a variance.
enum class Statistics { kBatch, kInstance };

struct ConditionalNormOptions {
  Statistics statistics = Statistics::kBatch;
  Real eps = Real(1e-5);
  Real momentum = Real(0.1);  // batch
};

/// γ[label]·x̂ + β[label] with a row of two tables for each condition. x̂ is BatchNorm's
/// (class-conditional generators, de Vries et al. 2017) or InstanceNorm's (one network for many
/// styles, Dumoulin et al. 2017). Shapes: x (N, C, …); N labels, or weights (N, conditions) that
/// mix the rows. State: weight, bias (conditions, C), norm.running_mean, … (batch). Start: γ = 1, β
/// = 0. Throws Error when a label does not exist, or their number is not N.
class ConditionalNorm final : public BinaryModule {
 public:
  ConditionalNorm(std::int64_t channels, std::int64_t conditions,
                  const ConditionalNormOptions& options = {});
  std::string_view kind() const override { return "ConditionalNorm"; }
  std::string describe() const override;
  Tensor operator()(const Tensor& x, std::span<const std::int32_t> labels);
  using BinaryModule::operator();

 protected:
  Tensor forward(const Tensor& x, const Tensor& mix) override;

 private:
  std::int64_t channels_, conditions_;
  Statistics statistics_;
  Tensor weight_, bias_;
  Child<UnaryModule> norm_;
};

struct AdainOptions {
  Real eps = Real(1e-5);  // added to both variances
  bool unbiased = false;  // divide by H·W − 1 instead of H·W
  Real alpha = 1;         // α·adain + (1 − α)·content
};
/// Gives each map of the content the mean and standard deviation of the style's: σ(style)·(x −
/// μ(x))/σ(x) + μ(style), σ = √(var + eps) over H, W. Differentiable in both. Shapes: content (N,
/// C, H, W), style (N, C, H', W') → content's. Throws Error when N or C differ. Huang & Belongie
/// 2017.
Tensor adain(const Tensor& content, const Tensor& style, const AdainOptions& options = {});

struct StyleNormOptions {
  Real eps = Real(1e-5);
};
/// (1 + a)·InstanceNorm(x) + b with (a, b) = a learned affine map of a style vector. Shapes: x (N,
/// C, …), style (N, width). State: affine.weight (2·C, width), affine.bias (2·C). Karras et al.
/// 2019.
class StyleNorm final : public BinaryModule {
 public:
  StyleNorm(std::int64_t channels, std::int64_t style_width, const StyleNormOptions& options = {});
  std::string_view kind() const override { return "StyleNorm"; }
  std::string describe() const override;

 protected:
  Tensor forward(const Tensor& x, const Tensor& style) override;

 private:
  std::int64_t channels_, style_width_;
  Real eps_;
  Child<Linear> affine_;
};

/// (1 + γ)·x̂ + β with maps γ and β of x's shape, x̂ by the statistics of the batch. Park et al.
/// 2019.
Tensor spade(const Tensor& x, const Tensor& gamma, const Tensor& beta, Real eps = Real(1e-5));

// Mixtures
// ------------------------------------------------------------------------------------------------

/// (ρ·BN(x) + (1 − ρ)·IN(x))·γ + β, all per channel, by the statistics of the batch.
Tensor batch_instance_norm(const Tensor& x, const Tensor& rho, const Tensor& gamma,
                           const Tensor& beta, Real eps = Real(1e-5));

/// batch_instance_norm() as a layer: keeps the share of style that each channel needs. Evaluation
/// uses running averages for the batch part. State: weight, bias, gate (C), batch.running_mean, ….
/// Start: γ = 1, β = 0, gate 1. Call clip_gate() after each optimizer step. Nam & Kim 2018.
class BatchInstanceNorm final : public UnaryModule {
 public:
  explicit BatchInstanceNorm(std::int64_t channels, const StyleNormOptions& options = {});
  std::string_view kind() const override { return "BatchInstanceNorm"; }
  std::string describe() const override;
  /// Brings the gate back to [0, 1].
  void clip_gate();

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t channels_;
  Tensor weight_, bias_, gate_;
  Child<BatchNorm> batch_;
  Child<InstanceNorm> instance_;
};

/// γ·(x − μ)/√(v + eps) + β with μ and v mixtures of the instance's, the layer's and the batch's,
/// in that order, by softmax(mean_logits) and softmax(variance_logits), (3) each. Shapes: x (N, C,
/// H, W). `batch` gives the batch's part, (C) each; undefined: x's own.
Tensor switchable_norm(const Tensor& x, const Tensor& mean_logits, const Tensor& variance_logits,
                       const Tensor& gamma, const Tensor& beta, Real eps = Real(1e-5),
                       const NormStats& batch = {});

/// switchable_norm() as a layer; evaluation uses running averages for the batch part. State:
/// weight, bias (C), mean_weight, var_weight (3), running_mean, running_var (C). Start: equal
/// shares. Luo et al. 2019.
class SwitchableNorm final : public UnaryModule {
 public:
  explicit SwitchableNorm(std::int64_t channels, const ConditionalNormOptions& options = {});
  std::string_view kind() const override { return "SwitchableNorm"; }
  std::string describe() const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t channels_;
  ConditionalNormOptions options_;
  Tensor weight_, bias_, mean_logits_, variance_logits_, running_mean_, running_var_;
};

/// max(γ·x/√(⟨x²⟩ + eps) + β, τ), the mean over the positions of each sample and channel: no
/// centering, no batch, and a learned floor instead of ReLU. γ, β, τ per channel.
Tensor filter_response_norm(const Tensor& x, const Tensor& tau, const Tensor& gamma,
                            const Tensor& beta, Real eps = Real(1e-6));

struct FilterResponseNormOptions {
  Real eps = Real(1e-6);
};
/// filter_response_norm() as a layer. State: weight, bias, tau (C). Start: γ = 1, β = τ = 0. Singh
/// & Krishnan 2020.
class FilterResponseNorm final : public UnaryModule {
 public:
  explicit FilterResponseNorm(std::int64_t channels, const FilterResponseNormOptions& options = {});
  std::string_view kind() const override { return "FilterResponseNorm"; }
  std::string describe() const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  Real eps_;
  Tensor weight_, bias_, tau_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_CONDITIONAL_NORM_H_
