#include "layers/conditional_norm.h"

#include <algorithm>
#include <cmath>

#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/unary.h"

namespace tapestry::nn {
namespace {

void check_channels(std::string_view layer, const Tensor& x, std::int64_t channels, int rank = 0) {
  if (x.rank() >= 2 && x.dim(1) == channels && (rank == 0 || x.rank() == rank)) return;
  throw Error(layer, "was made for {} channels on axis 1{}", channels,
              rank == 4 ? " of images" : "")
      .shape("input", x, rank == 4 ? "(N, C, H, W)" : "(N, C, …)");
}

}  // namespace

// Conditions
// ----------------------------------------------------------------------------------------------

ConditionalNorm::ConditionalNorm(std::int64_t channels, std::int64_t conditions,
                                 const ConditionalNormOptions& options)
    : channels_(channels), conditions_(conditions), statistics_(options.statistics) {
  if (channels < 1 || conditions < 1) {
    throw Error(kind(), "needs at least one channel and one condition, got {} and {}", channels,
                conditions);
  }
  weight_ = parameter("weight", {conditions, channels}, Start::constant(1));
  bias_ = parameter("bias", {conditions, channels}, Start::constant(0));
  std::shared_ptr<UnaryModule> norm;
  if (statistics_ == Statistics::kBatch) {
    norm = std::make_shared<BatchNorm>(
        channels,
        BatchNormOptions{.eps = options.eps, .momentum = options.momentum, .affine = false});
  } else {
    norm = std::make_shared<InstanceNorm>(channels, InstanceNormOptions{.eps = options.eps});
  }
  norm_ = adopt<UnaryModule>("norm", std::move(norm));
}

std::string ConditionalNorm::describe() const {
  return format("ConditionalNorm({}, {} conditions, {})", channels_, conditions_,
                statistics_ == Statistics::kBatch ? "batch" : "instance");
}

Tensor ConditionalNorm::operator()(const Tensor& x, std::span<const std::int32_t> labels) {
  const Context context(local_name(), kind());
  require_values();
  if (x.rank() < 1 || static_cast<std::int64_t>(labels.size()) != x.dim(0)) {
    throw Error(kind(), "got {} labels; it needs one for each sample", labels.size())
        .shape("input", x, "(N, C, …)");
  }
  const Tensor normalized = norm_(x);
  return modulate(normalized, gather_rows(weight_, labels), gather_rows(bias_, labels));
}

Tensor ConditionalNorm::forward(const Tensor& x, const Tensor& mix) {
  if (mix.rank() != 2 || mix.dim(0) != x.dim(0) || mix.dim(1) != conditions_) {
    throw Error(kind(), "the weights must be {} for each sample, one per condition", conditions_)
        .shape("input", x, "(N, C, …)")
        .shape("weights", mix, "(N, conditions)");
  }
  const Tensor normalized = norm_(x);
  return modulate(normalized, matmul(mix, weight_), matmul(mix, bias_));
}

Tensor adain(const Tensor& content, const Tensor& style, const AdainOptions& options) {
  if (content.rank() != 4 || style.rank() != 4)
    throw Error("adain", "needs images")
        .shape("content", content, "(N, C, H, W)")
        .shape("style", style, "(N, C, H', W')");
  if (content.dim(0) != style.dim(0) || content.dim(1) != style.dim(1)) {
    throw Error("adain", "the content has {} samples of {} channels, the style {} of {}",
                content.dim(0), content.dim(1), style.dim(0), style.dim(1))
        .shape("content", content)
        .shape("style", style);
  }
  const NormSet planes = per_instance(content.shape());
  // The unbiased variance is 1/share times the biased one, which normalize() divides by.
  const Real share = options.unbiased ? 1 - 1 / static_cast<Real>(planes.count()) : Real{1};
  const Tensor deviation = sqrt(var(style, {2, 3}, {.unbiased = options.unbiased}) + options.eps);
  const Tensor normalized = normalize(content, planes, {.eps = options.eps * share});
  const Tensor y = modulate(normalized, deviation * std::sqrt(share), mean(style, {2, 3}));
  return options.alpha == 1 ? y : options.alpha * y + (1 - options.alpha) * content;
}

StyleNorm::StyleNorm(std::int64_t channels, std::int64_t style_width,
                     const StyleNormOptions& options)
    : channels_(channels), style_width_(style_width), eps_(options.eps) {
  affine_ = child("affine", Linear(style_width, 2 * channels));
}

std::string StyleNorm::describe() const {
  return format("StyleNorm({}, style {})", channels_, style_width_);
}

Tensor StyleNorm::forward(const Tensor& x, const Tensor& style) {
  check_channels(kind(), x, channels_);
  if (style.rank() != 2 || style.dim(0) != x.dim(0)) {
    throw Error(kind(), "needs one style vector of {} numbers for each sample", style_width_)
        .shape("input", x, "(N, C, …)")
        .shape("style", style, "(N, width)");
  }
  const std::vector<Tensor> scale_shift = chunk(affine_(style), 2, 1);
  return modulate(normalize(x, per_instance(x.shape()), {.eps = eps_}), 1 + scale_shift[0],
                  scale_shift[1]);
}

Tensor spade(const Tensor& x, const Tensor& gamma, const Tensor& beta, Real eps) {
  if (!(gamma.shape() == x.shape()) || !(beta.shape() == x.shape())) {
    throw Error("spade", "the maps need the input's shape")
        .shape("input", x)
        .shape("gamma", gamma)
        .shape("beta", beta);
  }
  return normalize(x, per_channel(x.shape()), {.eps = eps}) * (gamma + 1) + beta;
}

// Mixtures
// ------------------------------------------------------------------------------------------------

Tensor batch_instance_norm(const Tensor& x, const Tensor& rho, const Tensor& gamma,
                           const Tensor& beta, Real eps) {
  const Tensor batch = normalize(x, per_channel(x.shape()), {.eps = eps});
  const Tensor instance = normalize(x, per_instance(x.shape()), {.eps = eps});
  return modulate(modulate(batch, rho, {}) + modulate(instance, 1 - rho, {}), gamma, beta);
}

BatchInstanceNorm::BatchInstanceNorm(std::int64_t channels, const StyleNormOptions& options)
    : channels_(channels) {
  weight_ = parameter("weight", {channels}, Start::constant(1));
  bias_ = parameter("bias", {channels}, Start::constant(0));
  gate_ = parameter("gate", {channels}, Start::constant(1));
  batch_ = child("batch", BatchNorm(channels, {.eps = options.eps, .affine = false}));
  instance_ = child("instance", InstanceNorm(channels, {.eps = options.eps}));
}

std::string BatchInstanceNorm::describe() const {
  return format("BatchInstanceNorm({})", channels_);
}

void BatchInstanceNorm::clip_gate() {
  for (Real& share : gate_.mutable_data()) share = std::clamp(share, Real{0}, Real{1});
}

Tensor BatchInstanceNorm::forward(const Tensor& x) {
  const Tensor batch = batch_(x), instance = instance_(x);
  return modulate(modulate(batch, gate_, {}) + modulate(instance, 1 - gate_, {}), weight_, bias_);
}

Tensor switchable_norm(const Tensor& x, const Tensor& mean_logits, const Tensor& variance_logits,
                       const Tensor& gamma, const Tensor& beta, Real eps, const NormStats& batch) {
  if (x.rank() != 4)
    throw Error("switchable_norm", "needs images").shape("input", x, "(N, C, H, W)");
  const Tensor mean_shares = softmax(mean_logits), variance_shares = softmax(variance_logits);
  const auto mixed = [](const Tensor& shares, const Tensor& a, const Tensor& b, const Tensor& c) {
    return select(shares, 0, 0) * a + select(shares, 0, 1) * b + select(shares, 0, 2) * c;
  };
  const auto mean_over = [&](const Axes& axes) { return mean(x, axes, {.keepdim = true}); };
  const auto variance_over = [&](const Axes& axes) {
    return var(x, axes, {.unbiased = false, .keepdim = true});
  };
  const auto per_map = [](const Tensor& stat) { return reshape(stat, {1, -1, 1, 1}); };
  const Tensor middle = mixed(mean_shares, mean_over({2, 3}), mean_over({1, 2, 3}),
                              batch.mean.defined() ? per_map(batch.mean) : mean_over({0, 2, 3}));
  const Tensor spread =
      mixed(variance_shares, variance_over({2, 3}), variance_over({1, 2, 3}),
            batch.variance.defined() ? per_map(batch.variance) : variance_over({0, 2, 3}));
  return modulate((x - middle) * rsqrt(spread + eps), gamma, beta);
}

SwitchableNorm::SwitchableNorm(std::int64_t channels, const ConditionalNormOptions& options)
    : channels_(channels), options_(options) {
  weight_ = parameter("weight", {channels}, Start::constant(1));
  bias_ = parameter("bias", {channels}, Start::constant(0));
  mean_logits_ = parameter("mean_weight", {3}, Start::constant(1));
  variance_logits_ = parameter("var_weight", {3}, Start::constant(1));
  running_mean_ = buffer("running_mean", Tensor::zeros({channels}));
  running_var_ = buffer("running_var", Tensor::ones({channels}));
}

std::string SwitchableNorm::describe() const { return format("SwitchableNorm({})", channels_); }

Tensor SwitchableNorm::forward(const Tensor& x) {
  check_channels(kind(), x, channels_, 4);
  NormStats given;
  if (!is_training()) {
    given = {running_mean_, running_var_};
  } else {
    const Tensor constant = x.detach();
    const Tensor batch_mean = mean(constant, {0, 2, 3}), batch_var = var(constant, {0, 2, 3});
    const Real weight = options_.momentum;
    const auto move = [weight](Tensor& running, const Tensor& now) {
      std::span<Real> to = running.mutable_data();
      for (std::size_t i = 0; i < to.size(); ++i)
        to[i] = (1 - weight) * to[i] + weight * now.data()[i];
    };
    move(running_mean_, batch_mean);
    move(running_var_, batch_var);
  }
  return switchable_norm(x, mean_logits_, variance_logits_, weight_, bias_, options_.eps, given);
}

Tensor filter_response_norm(const Tensor& x, const Tensor& tau, const Tensor& gamma,
                            const Tensor& beta, Real eps) {
  if (x.rank() != 4)
    throw Error("filter_response_norm", "needs images").shape("input", x, "(N, C, H, W)");
  const Tensor y = root_mean_square_normalize(x, per_instance(x.shape()), {.eps = eps});
  return maximum(modulate(y, gamma, beta), reshape(tau, {1, -1, 1, 1}));
}

FilterResponseNorm::FilterResponseNorm(std::int64_t channels,
                                       const FilterResponseNormOptions& options)
    : eps_(options.eps) {
  weight_ = parameter("weight", {channels}, Start::constant(1));
  bias_ = parameter("bias", {channels}, Start::constant(0));
  tau_ = parameter("tau", {channels}, Start::constant(0));
}

std::string FilterResponseNorm::describe() const {
  return format("FilterResponseNorm({})", weight_.dim(0));
}

Tensor FilterResponseNorm::forward(const Tensor& x) {
  check_channels(kind(), x, weight_.dim(0), 4);
  return filter_response_norm(x, tau_, weight_, bias_, eps_);
}

}  // namespace tapestry::nn
