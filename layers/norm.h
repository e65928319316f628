// Normalization layers. They differ in one thing only: which numbers share a mean and a variance.
// The arithmetic is written once, in core/ops/normalize.h.
#ifndef TAPESTRY_LAYERS_NORM_H_
#define TAPESTRY_LAYERS_NORM_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/ops/normalize.h"
#include "layers/module.h"

namespace tapestry::nn {

/// A layer that normalizes, alone or with the (leaky) ReLU that follows: in one pass, forward and
/// backward.
class Norm : public UnaryModule {
 public:
  /// leaky_relu((*this)(x), slope), the same bits; relu with slope 0. A Probe does not see it.
  Tensor rectified(const Tensor& x, Real slope);

 protected:
  virtual Tensor normalized(const Tensor& x, Real slope) = 0;
  Tensor forward(const Tensor& x) final { return normalized(x, 1); }
};

/// leaky_relu(layer(x), slope), in one pass if the layer is a norm that no Probe watches: `h =
/// conv2_(rectified(*norm1_, conv1_(x)))`. Sequential does so by itself.
Tensor rectified(UnaryModule& layer, const Tensor& x, Real slope = 0);

/// A norm with γ and β per channel and, where they are asked for, running averages. State: weight
/// (C), bias (C) if affine; running_mean (C), running_var (C), num_batches_tracked () if tracked.
/// Start: γ = 1, β = 0.
class ChannelNorm : public Norm {
 protected:
  ChannelNorm(std::string_view layer, std::int64_t channels, bool affine, bool tracked = false);
  /// running = (1 − weight)·running + weight·stats, the variance made unbiased for `count` values.
  void move_averages(const NormStats& stats, double weight, std::int64_t count);
  /// The normalization's options, with γ and β.
  NormalizeOptions with_affine(Real eps, const Shape& shape, Real slope) const;

  std::int64_t channels_;
  Tensor weight_, bias_, running_mean_, running_var_, batches_;
};

/// What BatchNorm (and InstanceNorm with running statistics) does in evaluation: use the averages
/// collected in training, or the statistics of the batch at hand. A third way, recalibration, is
/// recalibrate() followed by kRunning.
enum class EvalStatistics { kRunning, kBatch };

struct BatchNormOptions {
  Real eps = Real(1e-5);
  std::optional<Real> momentum = Real(0.1);  // weight of the NEW value (Keras counts the old one);
                                             // nothing: the plain average of all batches so far
  bool affine = true;
  bool track_running_stats = true;
  EvalStatistics evaluation = EvalStatistics::kRunning;
};

/// (x − mean)/√(var + eps)·γ + β with one mean and variance per channel, over the batch and all
/// positions.
///
/// Training uses the batch's biased variance and moves the running averages: running = (1 −
/// momentum)·running + momentum·batch, with the UNBIASED variance. Evaluation uses the running
/// averages, or the batch's own where they are not tracked. Shapes: (N, C), (N, C, L) or (N, C, H,
/// W) → same. State: weight (C), bias (C), running_mean (C), running_var (C), num_batches_tracked
/// (). Start: γ = 1, β = 0. Throws Error in training when a channel has one value only. Ioffe &
/// Szegedy 2015.
class BatchNorm final : public ChannelNorm {
 public:
  explicit BatchNorm(std::int64_t channels, const BatchNormOptions& options = {});
  std::string_view kind() const override { return "BatchNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;
  void set_evaluation(EvalStatistics evaluation) { options_.evaluation = evaluation; }
  /// Forgets the running averages and, until the next call with `false`, averages all batches
  /// equally.
  void recalibrating(bool on);

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  void track(const NormStats& stats, std::int64_t count);
  BatchNormOptions options_;
  bool recalibrating_ = false;
};
using BatchNorm1d = BatchNorm;
using BatchNorm2d = BatchNorm;

/// Sets how every BatchNorm below `module` behaves in evaluation.
void set_batch_norm_evaluation(Module& module, EvalStatistics evaluation);
/// Replaces the running averages of every BatchNorm below `module` by the plain averages over the
/// batches that `run` pushes through it. The weights stay.
void recalibrate(Module& module, const std::function<void()>& run);

struct LayerNormOptions {
  Real eps = Real(1e-5);
  bool affine = true;
  bool bias = true;
};

/// One mean and variance per sample, over the trailing axes `normalized_shape`; γ and β have one
/// number per element of it. Shapes: (…, normalized_shape) → same. State: weight, bias
/// (normalized_shape). Ba, Kiros, Hinton 2016.
class LayerNorm final : public Norm {
 public:
  explicit LayerNorm(const Shape& normalized_shape, const LayerNormOptions& options = {});
  std::string_view kind() const override { return "LayerNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  Shape normalized_shape_;
  LayerNormOptions options_;
  Tensor weight_, bias_;
};

struct GroupNormOptions {
  Real eps = Real(1e-5);
  bool affine = true;
};

/// One mean and variance per sample and group of neighboring channels; γ and β per channel. One
/// group is layer normalization as convolutional nets use it, as many as channels is InstanceNorm.
/// Shapes: (N, C, …) → same. State: weight (C), bias (C). Wu & He 2018.
class GroupNorm final : public ChannelNorm {
 public:
  GroupNorm(std::int64_t groups, std::int64_t channels, const GroupNormOptions& options = {});
  std::string_view kind() const override { return "GroupNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  std::int64_t groups_;
  GroupNormOptions options_;
};

struct InstanceNormOptions {
  Real eps = Real(1e-5);
  bool affine = false;               // PyTorch's default
  bool track_running_stats = false;  // then evaluation uses averages over all samples seen, and is
                                     // no longer instance normalization
  Real momentum = Real(0.1);
};

/// One mean and variance per sample and channel, over all positions. Training and evaluation are
/// the same unless running statistics are tracked. Shapes: (N, C, L) or (N, C, H, W) → same. State:
/// with affine weight (C), bias (C); when tracked running_mean, running_var (C),
/// num_batches_tracked (). Throws Error for a single position: the result would be β whatever the
/// input. Ulyanov, Vedaldi, Lempitsky 2016.
class InstanceNorm final : public ChannelNorm {
 public:
  explicit InstanceNorm(std::int64_t channels, const InstanceNormOptions& options = {});
  std::string_view kind() const override { return "InstanceNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  InstanceNormOptions options_;
};
using InstanceNorm1d = InstanceNorm;
using InstanceNorm2d = InstanceNorm;

struct RMSNormOptions {
  Real eps = Real(1e-6);
  bool affine = true;
};

/// γ·x/√(⟨x²⟩ + eps) over the trailing axes: LayerNorm without centering. State: weight
/// (normalized_shape). Zhang & Sennrich 2019.
class RMSNorm final : public Norm {
 public:
  explicit RMSNorm(const Shape& normalized_shape, const RMSNormOptions& options = {});
  std::string_view kind() const override { return "RMSNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  Shape normalized_shape_;
  RMSNormOptions options_;
  Tensor weight_;
};

/// RMSNorm of images: one mean square per sample over (C, H, W), γ and β per channel. State: weight
/// (C), bias (C).
class ChannelRMSNorm final : public ChannelNorm {
 public:
  explicit ChannelRMSNorm(std::int64_t channels, const RMSNormOptions& options = {});
  std::string_view kind() const override { return "ChannelRMSNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  RMSNormOptions options_;
};

/// x/√(mean over channels of x² + eps), at each pixel; no parameters. Karras et al. 2018.
class PixelNorm final : public Norm {
 public:
  explicit PixelNorm(Real eps = Real(1e-8)) : eps_(eps) {}
  std::string_view kind() const override { return "PixelNorm"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor normalized(const Tensor& x, Real slope) override;

 private:
  Real eps_;
};

/// A normalizer by name, as configs choose it.
struct NormSetting {
  std::string type = "batch";  // none, batch, layer, group, instance, rms, pixel
  std::int64_t groups = 8;     // group; lowered to its greatest common divisor with the channels
  bool affine = true;
  double eps = 1e-5;
  double momentum = 0.1;  // batch
};
const std::vector<std::string>& norm_names();
/// The layer for images or vectors of this many channels; nullptr for "none". Layer, group,
/// instance and rms take γ and β per channel.
std::shared_ptr<UnaryModule> make_norm(const NormSetting& setting, std::int64_t channels);
/// Whether the norm subtracts the mean of each channel over its whole support: a bias before it has
/// no effect and no gradient.
bool cancels_bias(const NormSetting& setting);

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_NORM_H_
