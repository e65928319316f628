#include "layers/norm.h"

#include <algorithm>
#include <numeric>

#include "core/ops/unary.h"
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
        .hint(x.rank() < 2 ? "give it a batch of samples" : "build it for {} channels",
              x.rank() < 2 ? 0 : x.dim(1));
  }
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

/// ", eps 0.001" and the like, for what is not as usual.
template <class T>
std::string unless(std::string_view name, const T& value, const T& usual) {
  return value == usual ? "" : format(", {} {}", name, value);
}
std::string no_affine(bool affine) { return affine ? "" : ", no affine"; }

/// "[3, 5]" of a norm over trailing axes, which must have elements.
const Shape& checked_trailing(std::string_view layer, const Shape& shape) {
  if (shape.rank() < 1 || shape.size() < 1)
    throw Error(layer, "needs the extents of the axes to average over, got {}", shape)
        .hint("{}({64}) averages over the last axis, of 64 numbers", layer);
  return shape;
}

}  // namespace

Tensor Norm::rectified(const Tensor& x, Real slope) {
  const Context context(local_name(), kind());
  require_values();
  return normalized(x, slope);
}

Tensor rectified(UnaryModule& layer, const Tensor& x, Real slope) {
  if (auto* norm = dynamic_cast<Norm*>(&layer); norm != nullptr && !Probe::watching())
    return norm->rectified(x, slope);
  return leaky_relu(layer(x), slope);
}

ChannelNorm::ChannelNorm(std::string_view layer, std::int64_t channels, bool affine, bool tracked)
    : channels_(channels) {
  if (channels < 1) throw Error(layer, "needs at least one channel, got {}", channels);
  if (affine) {
    weight_ = parameter("weight", {channels}, Start::constant(1));
    bias_ = parameter("bias", {channels}, Start::constant(0));
  }
  if (tracked) {
    running_mean_ = buffer("running_mean", Tensor::zeros({channels}));
    running_var_ = buffer("running_var", Tensor::ones({channels}));
    batches_ = buffer("num_batches_tracked", Tensor::zeros({}));
  }
}

void ChannelNorm::move_averages(const NormStats& stats, double weight, std::int64_t count) {
  const double unbiased = static_cast<double>(count) / static_cast<double>(count - 1);
  move_average(running_mean_, stats.mean, weight, 1);
  move_average(running_var_, stats.variance, weight, unbiased);
}

NormalizeOptions ChannelNorm::with_affine(Real eps, const Shape& shape, Real slope) const {
  return {.eps = eps, .affine = {weight_, bias_, per_channel(shape)}, .slope = slope};
}

// Batch
// ----------------------------------------------------------------------------------------------------------------

BatchNorm::BatchNorm(std::int64_t channels, const BatchNormOptions& options)
    : ChannelNorm("BatchNorm", channels, options.affine, options.track_running_stats),
      options_(options) {}

std::string BatchNorm::describe() const {
  const BatchNormOptions usual, &o = options_;
  std::string text = format("BatchNorm({}", channels_) + unless("eps", o.eps, usual.eps);
  if (!o.track_running_stats) {
    text += ", no running statistics";
  } else if (!o.momentum) {
    text += ", plain averages";
  } else {
    text += unless("momentum", *o.momentum, *usual.momentum);
  }
  if (o.track_running_stats && o.evaluation == EvalStatistics::kBatch)
    text += ", evaluated with the batch's statistics";
  return text + no_affine(o.affine) + ")";
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
  move_averages(stats, weight, count);
}

Tensor BatchNorm::normalized(const Tensor& x, Real slope) {
  check_channels("BatchNorm", x, channels_);
  const NormSet set = per_channel(x.shape());
  NormalizeOptions options = with_affine(options_.eps, x.shape(), slope);
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
    : normalized_shape_(checked_trailing("LayerNorm", normalized_shape)), options_(options) {
  if (options.affine) {
    weight_ = parameter("weight", normalized_shape, Start::constant(1));
    if (options.bias) bias_ = parameter("bias", normalized_shape, Start::constant(0));
  }
}

std::string LayerNorm::describe() const {
  return format("LayerNorm({}", normalized_shape_) +
         unless("eps", options_.eps, LayerNormOptions().eps) +
         (options_.affine && !options_.bias ? ", no bias" : no_affine(options_.affine)) + ")";
}

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

Tensor LayerNorm::normalized(const Tensor& x, Real slope) {
  check_trailing("LayerNorm", x, normalized_shape_);
  const int axes = normalized_shape_.rank();
  return normalize(x, per_row(x.shape(), axes),
                   {.eps = options_.eps,
                    .affine = {weight_, bias_, per_position(x.shape(), axes)},
                    .allow_single = true,
                    .slope = slope});
}

// Group
// ----------------------------------------------------------------------------------------------------------------

GroupNorm::GroupNorm(std::int64_t groups, std::int64_t channels, const GroupNormOptions& options)
    : ChannelNorm("GroupNorm", channels, options.affine), groups_(groups), options_(options) {
  if (groups < 1 || channels % groups != 0) {
    throw Error("GroupNorm", "{} groups do not divide {} channels", groups, channels)
        .hint("choose a divisor of the channels, for example 4 to 16 channels per group");
  }
}

std::string GroupNorm::describe() const {
  return format("GroupNorm({}, {}", groups_, channels_) +
         unless("eps", options_.eps, GroupNormOptions().eps) + no_affine(options_.affine) + ")";
}

Cost GroupNorm::cost(const Shape& input, const Shape&) const {
  std::vector<std::int64_t> extents = without(input, {0, 1});
  extents.insert(extents.begin(), channels_ / groups_);
  return {0, averaged(extents, groups_ == 1 ? "sample" : "sample and group",
                      positions(input).empty() ? "channels" : "channels, " + positions(input))};
}

Tensor GroupNorm::normalized(const Tensor& x, Real slope) {
  check_channels("GroupNorm", x, channels_);
  return normalize(x, per_group(x.shape(), groups_), with_affine(options_.eps, x.shape(), slope));
}

// Instance
// -------------------------------------------------------------------------------------------------------------

InstanceNorm::InstanceNorm(std::int64_t channels, const InstanceNormOptions& options)
    : ChannelNorm("InstanceNorm", channels, options.affine, options.track_running_stats),
      options_(options) {}

std::string InstanceNorm::describe() const {
  const InstanceNormOptions usual, &o = options_;
  std::string text = format("InstanceNorm({}", channels_) + unless("eps", o.eps, usual.eps);
  if (o.track_running_stats)
    text += ", running statistics" + unless("momentum", o.momentum, usual.momentum);
  return text + no_affine(o.affine) + ")";
}

Cost InstanceNorm::cost(const Shape& input, const Shape&) const {
  return {0, averaged(without(input, {0, 1}), "sample and channel", positions(input))};
}

Tensor InstanceNorm::normalized(const Tensor& x, Real slope) {
  check_channels("InstanceNorm", x, channels_);
  if (x.rank() < 3)
    throw Error("InstanceNorm", "needs positions to average over, the input has none")
        .shape("input", x, "(N, C)")
        .hint("use LayerNorm or GroupNorm on vectors");
  NormalizeOptions options = with_affine(options_.eps, x.shape(), slope);
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
    move_averages({over_samples(stats.mean), over_samples(stats.variance)},
                  static_cast<double>(options_.momentum), set.count());
  }
  return y;
}

// Root mean square
// -----------------------------------------------------------------------------------------------------

RMSNorm::RMSNorm(const Shape& normalized_shape, const RMSNormOptions& options)
    : normalized_shape_(checked_trailing("RMSNorm", normalized_shape)), options_(options) {
  if (options.affine) weight_ = parameter("weight", normalized_shape, Start::constant(1));
}
std::string RMSNorm::describe() const {
  return format("RMSNorm({}", normalized_shape_) +
         unless("eps", options_.eps, RMSNormOptions().eps) + no_affine(options_.affine) + ")";
}
Cost RMSNorm::cost(const Shape&, const Shape&) const {
  return {0, averaged(normalized_shape_.extents(), "sample", "the trailing axes; no mean")};
}
Tensor RMSNorm::normalized(const Tensor& x, Real slope) {
  check_trailing("RMSNorm", x, normalized_shape_);
  const int axes = normalized_shape_.rank();
  return root_mean_square_normalize(x, per_row(x.shape(), axes),
                                    {.eps = options_.eps,
                                     .affine = {weight_, {}, per_position(x.shape(), axes)},
                                     .slope = slope});
}

ChannelRMSNorm::ChannelRMSNorm(std::int64_t channels, const RMSNormOptions& options)
    : ChannelNorm("ChannelRMSNorm", channels, options.affine), options_(options) {}
std::string ChannelRMSNorm::describe() const {
  return format("ChannelRMSNorm({}", channels_) +
         unless("eps", options_.eps, RMSNormOptions().eps) + no_affine(options_.affine) + ")";
}
Cost ChannelRMSNorm::cost(const Shape& input, const Shape&) const {
  return {0, averaged(without(input, {0}), "sample", "channels and positions; no mean")};
}
Tensor ChannelRMSNorm::normalized(const Tensor& x, Real slope) {
  check_channels("ChannelRMSNorm", x, channels_);
  return root_mean_square_normalize(x, per_group(x.shape(), 1),
                                    with_affine(options_.eps, x.shape(), slope));
}

std::string PixelNorm::describe() const {
  return eps_ == Real(1e-8) ? "PixelNorm" : format("PixelNorm(eps {})", eps_);
}
Cost PixelNorm::cost(const Shape& input, const Shape&) const {
  return {0, averaged({input.rank() > 1 ? input[1] : 1}, "pixel", "channels; no mean")};
}
Tensor PixelNorm::normalized(const Tensor& x, Real slope) {
  return root_mean_square_normalize(x, per_pixel(x.shape()), {.eps = eps_, .slope = slope});
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
