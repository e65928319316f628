#include "layers/norm.h"

#include <algorithm>
#include <numeric>

#include "core/tape.h"

namespace tapestry::nn {
namespace {

/// "16·16·64 numbers per channel (batch, height, width)"
std::string averaged(const std::vector<std::int64_t>& extents, const std::string& per,
                     const std::string& over) {
  std::string text;
  for (const std::int64_t extent : extents)
    text += (text.empty() ? "" : "·") + std::to_string(extent);
  return text + " numbers per " + per + " (over " + over + ")";
}

std::vector<std::int64_t> without(const Shape& shape, std::initializer_list<int> axes) {
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) extents.push_back(shape[axis]);
  }
  return extents;
}

std::string positions(const Shape& shape) {
  return shape.rank() == 4 ? "height, width" : shape.rank() == 3 ? "length" : "";
}

void check_channels(std::string_view layer, const Tensor& x, std::int64_t channels) {
  if (x.rank() < 2 || x.dim(1) != channels) {
    throw Error(layer, "was made for {} channels on axis 1", channels)
        .shape("input", x, "(N, C, …)")
        .hint("build it as {}({})", layer, x.rank() < 2 ? channels : x.dim(1));
  }
}

/// γ and β of one number per channel: a set of the affine part, whatever the statistics are taken
/// over.
NormAffine per_channel_affine(const Tensor& weight, const Tensor& bias, const Shape& shape) {
  return {weight, bias, per_channel(shape)};
}

/// BatchNorm and InstanceNorm need two values for a variance.
void check_several(std::string_view layer, const Tensor& x, const NormSet& set) {
  if (set.count() > 1) return;
  throw Error(layer, "has {} value{} per channel to take a mean and a variance of; it needs 2",
              set.count(), set.count() == 1 ? "" : "s")
      .shape("input", x, "(N, C, …)")
      .hint("leave the layer out where maps are 1×1, or use more than one sample per batch");
}

void move_average(Tensor& running, const Tensor& batch, double weight, double scale) {
  std::span<Real> to = running.mutable_data();
  for (std::size_t i = 0; i < to.size(); ++i) {
    to[i] = static_cast<Real>((1 - weight) * to[i] + weight * scale * batch.data()[i]);
  }
}

double unbiased(std::int64_t count) {
  return static_cast<double>(count) / static_cast<double>(count - 1);
}

}  // namespace

// Batch
// ----------------------------------------------------------------------------------------------------------------

BatchNorm::BatchNorm(std::int64_t channels, const BatchNormOptions& options)
    : channels_(channels), options_(options) {
  if (options.affine) {
    weight_ = parameter("weight", {channels}, Start::constant(1));
    bias_ = parameter("bias", {channels}, Start::constant(0));
  }
  if (options.track_running_stats) {
    running_mean_ = buffer("running_mean", Tensor::zeros({channels}));
    running_var_ = buffer("running_var", Tensor::ones({channels}));
    batches_ = buffer("num_batches_tracked", Tensor::zeros({}));
  }
}

std::string BatchNorm::describe() const {
  return format("BatchNorm({}{})", channels_, options_.affine ? "" : ", no affine");
}

Cost BatchNorm::cost(const Shape& input, const Shape&) const {
  const std::string where = positions(input);
  return {0, averaged(without(input, {1}), "channel", where.empty() ? "batch" : "batch, " + where)};
}

void BatchNorm::recalibrating(bool on) {
  recalibrating_ = on && options_.track_running_stats;
  if (recalibrating_) batches_.mutable_data()[0] = 0;
}

void BatchNorm::track(const NormStats& stats, std::int64_t count) {
  const Real seen = batches_.mutable_data()[0] += 1;
  const double weight = options_.momentum && !recalibrating_
                            ? static_cast<double>(*options_.momentum)
                            : 1.0 / static_cast<double>(seen);
  move_average(running_mean_, stats.mean, weight, 1);
  move_average(running_var_, stats.variance, weight, unbiased(count));
}

Tensor BatchNorm::forward(const Tensor& x) {
  check_channels("BatchNorm", x, channels_);
  const NormSet set = per_channel(x.shape());
  NormalizeOptions options{.eps = options_.eps,
                           .affine = per_channel_affine(weight_, bias_, x.shape())};
  const bool updating = (is_training() || recalibrating_) && options_.track_running_stats;
  if (!updating && !is_training() && options_.track_running_stats &&
      options_.evaluation == EvalStatistics::kRunning) {
    return normalize_with(x, set, {running_mean_, running_var_}, options);
  }
  check_several("BatchNorm", x, set);
  NormStats stats;
  if (updating) options.stats = &stats;
  Tensor y = normalize(x, set, options);
  if (updating) track(stats, set.count());
  return y;
}

void set_batch_norm_evaluation(Module& module, EvalStatistics evaluation) {
  for (const auto& [name, part] : module.modules()) {
    if (auto* norm = dynamic_cast<BatchNorm*>(part)) norm->set_evaluation(evaluation);
  }
}

void recalibrate(Module& module, const std::function<void()>& run) {
  std::vector<BatchNorm*> norms;
  for (const auto& [name, part] : module.modules()) {
    if (auto* norm = dynamic_cast<BatchNorm*>(part)) norms.push_back(norm);
  }
  struct Recalibrating {  // ends when run() throws, too: evaluation must not track
    explicit Recalibrating(const std::vector<BatchNorm*>& all) : norms(all) {
      for (BatchNorm* norm : norms) norm->recalibrating(true);
    }
    ~Recalibrating() {
      for (BatchNorm* norm : norms) norm->recalibrating(false);
    }
    const std::vector<BatchNorm*>& norms;
  };
  const Recalibrating recalibrating(norms);
  const PauseRecording pause;
  run();
}

// Layer
// ----------------------------------------------------------------------------------------------------------------

LayerNorm::LayerNorm(const Shape& normalized_shape, const LayerNormOptions& options)
    : normalized_shape_(normalized_shape), options_(options) {
  if (options.affine) {
    weight_ = parameter("weight", normalized_shape, Start::constant(1));
    if (options.bias) bias_ = parameter("bias", normalized_shape, Start::constant(0));
  }
}

std::string LayerNorm::describe() const { return format("LayerNorm({})", normalized_shape_); }

Cost LayerNorm::cost(const Shape&, const Shape&) const {
  return {0, averaged(normalized_shape_.extents(), "sample", "the trailing axes")};
}

namespace {

void check_trailing(std::string_view layer, const Tensor& x, const Shape& wanted) {
  bool fits = x.rank() >= wanted.rank();
  for (int back = 1; fits && back <= wanted.rank(); ++back) fits = x.dim(-back) == wanted[-back];
  if (!fits)
    throw Error(layer, "was made for inputs that end in {}", wanted)
        .shape("input", x)
        .hint("build it with the trailing axes of the input");
}

}  // namespace

Tensor LayerNorm::forward(const Tensor& x) {
  check_trailing("LayerNorm", x, normalized_shape_);
  const int axes = normalized_shape_.rank();
  return normalize(x, per_row(x.shape(), axes),
                   {.eps = options_.eps,
                    .affine = {weight_, bias_, per_position(x.shape(), axes)},
                    .allow_single = true});
}

// Group
// ----------------------------------------------------------------------------------------------------------------

GroupNorm::GroupNorm(std::int64_t groups, std::int64_t channels, const GroupNormOptions& options)
    : groups_(groups), channels_(channels), options_(options) {
  if (groups < 1 || channels < 1 || channels % groups != 0) {
    throw Error("GroupNorm", "{} groups do not divide {} channels", groups, channels)
        .hint("choose a divisor of the channels, for example 4 to 16 channels per group");
  }
  if (options.affine) {
    weight_ = parameter("weight", {channels}, Start::constant(1));
    bias_ = parameter("bias", {channels}, Start::constant(0));
  }
}

std::string GroupNorm::describe() const { return format("GroupNorm({}, {})", groups_, channels_); }

Cost GroupNorm::cost(const Shape& input, const Shape&) const {
  std::vector<std::int64_t> extents = without(input, {0, 1});
  extents.insert(extents.begin(), channels_ / groups_);
  return {0, averaged(extents, groups_ == 1 ? "sample" : "sample and group",
                      positions(input).empty() ? "channels" : "channels, " + positions(input))};
}

Tensor GroupNorm::forward(const Tensor& x) {
  check_channels("GroupNorm", x, channels_);
  return normalize(x, per_group(x.shape(), groups_),
                   {.eps = options_.eps, .affine = per_channel_affine(weight_, bias_, x.shape())});
}

// Instance
// -------------------------------------------------------------------------------------------------------------

InstanceNorm::InstanceNorm(std::int64_t channels, const InstanceNormOptions& options)
    : channels_(channels), options_(options) {
  if (options.affine) {
    weight_ = parameter("weight", {channels}, Start::constant(1));
    bias_ = parameter("bias", {channels}, Start::constant(0));
  }
  if (options.track_running_stats) {
    running_mean_ = buffer("running_mean", Tensor::zeros({channels}));
    running_var_ = buffer("running_var", Tensor::ones({channels}));
    batches_ = buffer("num_batches_tracked", Tensor::zeros({}));
  }
}

std::string InstanceNorm::describe() const {
  return format("InstanceNorm({}{})", channels_, options_.affine ? "" : ", no affine");
}

Cost InstanceNorm::cost(const Shape& input, const Shape&) const {
  return {0, averaged(without(input, {0, 1}), "sample and channel", positions(input))};
}

Tensor InstanceNorm::forward(const Tensor& x) {
  check_channels("InstanceNorm", x, channels_);
  if (x.rank() < 3)
    throw Error("InstanceNorm", "needs positions to average over, the input has none")
        .shape("input", x, "(N, C)")
        .hint("use LayerNorm or GroupNorm on vectors");
  NormalizeOptions options{.eps = options_.eps,
                           .affine = per_channel_affine(weight_, bias_, x.shape())};
  if (options_.track_running_stats && !is_training())
    return normalize_with(x, per_channel(x.shape()), {running_mean_, running_var_}, options);
  const NormSet set = per_instance(x.shape());
  check_several("InstanceNorm", x, set);
  NormStats stats;
  if (options_.track_running_stats) options.stats = &stats;
  Tensor y = normalize(x, set, options);
  if (options_.track_running_stats) {
    // The average over the samples of each one's own statistics, which is not the batch's variance.
    const auto over_samples = [&](const Tensor& per_set) {
      Tensor average = Tensor::zeros({channels_});
      for (std::int64_t i = 0; i < per_set.size(); ++i) {
        average.mutable_data()[static_cast<std::size_t>(i % channels_)] +=
            per_set.data()[static_cast<std::size_t>(i)] / static_cast<Real>(x.dim(0));
      }
      return average;
    };
    batches_.mutable_data()[0] += 1;
    const double weight = static_cast<double>(options_.momentum);
    move_average(running_mean_, over_samples(stats.mean), weight, 1);
    move_average(running_var_, over_samples(stats.variance), weight, unbiased(set.count()));
  }
  return y;
}

// Root mean square
// -----------------------------------------------------------------------------------------------------

RMSNorm::RMSNorm(const Shape& normalized_shape, const RMSNormOptions& options)
    : normalized_shape_(normalized_shape), options_(options) {
  if (options.affine) weight_ = parameter("weight", normalized_shape, Start::constant(1));
}
std::string RMSNorm::describe() const { return format("RMSNorm({})", normalized_shape_); }
Cost RMSNorm::cost(const Shape&, const Shape&) const {
  return {0, averaged(normalized_shape_.extents(), "sample", "the trailing axes; no mean")};
}
Tensor RMSNorm::forward(const Tensor& x) {
  check_trailing("RMSNorm", x, normalized_shape_);
  const int axes = normalized_shape_.rank();
  return root_mean_square_normalize(
      x, per_row(x.shape(), axes),
      {.eps = options_.eps, .affine = {weight_, {}, per_position(x.shape(), axes)}});
}

ChannelRMSNorm::ChannelRMSNorm(std::int64_t channels, const RMSNormOptions& options)
    : options_(options) {
  if (!options.affine) return;
  weight_ = parameter("weight", {channels}, Start::constant(1));
  bias_ = parameter("bias", {channels}, Start::constant(0));
}
std::string ChannelRMSNorm::describe() const { return "ChannelRMSNorm"; }
Cost ChannelRMSNorm::cost(const Shape& input, const Shape&) const {
  return {0, averaged(without(input, {0}), "sample", "channels and positions; no mean")};
}
Tensor ChannelRMSNorm::forward(const Tensor& x) {
  return root_mean_square_normalize(
      x, per_group(x.shape(), 1),
      {.eps = options_.eps, .affine = per_channel_affine(weight_, bias_, x.shape())});
}

Cost PixelNorm::cost(const Shape& input, const Shape&) const {
  return {0, averaged({input.rank() > 1 ? input[1] : 1}, "pixel", "channels; no mean")};
}
Tensor PixelNorm::forward(const Tensor& x) {
  return root_mean_square_normalize(x, per_pixel(x.shape()), {.eps = eps_});
}

// By name
// --------------------------------------------------------------------------------------------------------------

const std::vector<std::string>& norm_names() {
  static const std::vector<std::string> names{"none",     "batch", "layer", "group",
                                              "instance", "rms",   "pixel"};
  return names;
}

std::shared_ptr<UnaryModule> make_norm(const NormSetting& setting, std::int64_t channels) {
  const Real eps = static_cast<Real>(setting.eps);
  if (setting.type == "none") return nullptr;
  if (setting.type == "batch") {
    return std::make_shared<BatchNorm>(
        channels,
        BatchNormOptions{
            .eps = eps, .momentum = static_cast<Real>(setting.momentum), .affine = setting.affine});
  }
  if (setting.type == "layer")
    return std::make_shared<GroupNorm>(1, channels,
                                       GroupNormOptions{.eps = eps, .affine = setting.affine});
  if (setting.type == "group") {
    return std::make_shared<GroupNorm>(std::gcd(setting.groups, channels), channels,
                                       GroupNormOptions{.eps = eps, .affine = setting.affine});
  }
  if (setting.type == "instance")
    return std::make_shared<InstanceNorm>(
        channels, InstanceNormOptions{.eps = eps, .affine = setting.affine});
  if (setting.type == "rms")
    return std::make_shared<ChannelRMSNorm>(channels,
                                            RMSNormOptions{.eps = eps, .affine = setting.affine});
  if (setting.type == "pixel") return std::make_shared<PixelNorm>(eps);
  throw Error("norm", "there is no normalizer \"{}\"", setting.type);
}

bool cancels_bias(const NormSetting& setting) {
  return setting.type == "batch" || setting.type == "instance";
}

}  // namespace tapestry::nn
