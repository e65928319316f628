#include "layers/sequential.h"

#include <algorithm>

#include "core/ops/arithmetic.h"
#include "layers/norm.h"

namespace tapestry::nn {

Tensor Sequential::run(const Tensor& x, std::size_t first, std::size_t last) {
  last = std::min(last, layers_.size());
  Tensor y = x;
  for (std::size_t i = first; i < last; ++i) {
    auto* norm = dynamic_cast<Norm*>(layers_[i].get());
    const auto* next = i + 1 < last ? dynamic_cast<Lambda*>(layers_[i + 1].get()) : nullptr;
    // A norm and the ReLU after it are one pass, unless somebody looks between them.
    if (norm != nullptr && next != nullptr && next->slope() && !Probe::watching()) {
      y = norm->rectified(y, *next->slope());
      ++i;
    } else {
      y = (*layers_[i])(y);
    }
  }
  return y;
}

Residual::Residual(std::shared_ptr<UnaryModule> body, std::shared_ptr<UnaryModule> shortcut) {
  body_ = adopt<UnaryModule>("body", std::move(body));
  if (shortcut) shortcut_ = adopt<UnaryModule>("shortcut", std::move(shortcut));
}

Tensor Residual::forward(const Tensor& x) {
  const Tensor y = body_(x), kept = shortcut_ ? shortcut_(x) : x;
  if (!(y.shape() == kept.shape())) {
    throw Error("Residual", "the body changes the shape")
        .shape("input", x)
        .shape("body", y)
        .hint("give a shortcut that changes it the same way, such as a 1×1 convolution");
  }
  return y + kept;
}

Lambda Flatten() {
  return Lambda("Flatten", [](const Tensor& x) { return flatten(x); });
}

Lambda Unflatten(std::vector<std::int64_t> extents) {
  const std::string text = format("Unflatten({})", Shape(extents));
  return Lambda(
      "Unflatten",
      [extents = std::move(extents)](const Tensor& x) {
        std::vector<std::int64_t> all{x.dim(0)};
        all.insert(all.end(), extents.begin(), extents.end());
        return reshape(x, Shape(all));
      },
      text);
}

namespace {

std::string pool_text(std::string_view name, const PoolGeometry& g, bool borders_count = true) {
  const auto pair = [](Pair p) { return format("{}×{}", p.h, p.w); };
  std::string text = format("{}({}", name, pair(g.kernel));
  text += ", stride " + pair(g.stride == Pair(0) ? g.kernel : g.stride);
  if (!(g.padding == Pair(0))) text += ", padding " + pair(g.padding);
  if (!(g.dilation == Pair(1))) text += ", dilation " + pair(g.dilation);
  if (g.ceil_mode) text += ", ceil mode";
  return text + (borders_count ? ")" : ", borders not counted)");
}

}  // namespace

Lambda MaxPool2d(const PoolGeometry& geometry) {
  return Lambda(
      "MaxPool2d", [geometry](const Tensor& x) { return max_pool2d(x, geometry); },
      pool_text("MaxPool2d", geometry));
}

Lambda AvgPool2d(const PoolGeometry& geometry, bool count_include_pad) {
  return Lambda(
      "AvgPool2d", [=](const Tensor& x) { return avg_pool2d(x, geometry, count_include_pad); },
      pool_text("AvgPool2d", geometry, count_include_pad));
}

Lambda GlobalAvgPool2d() {
  return Lambda("GlobalAvgPool2d", [](const Tensor& x) { return global_avg_pool2d(x); });
}

Lambda Upsample(const UpsampleOptions& options) {
  return Lambda(
      "Upsample",
      [options](const Tensor& x) {
        const Pair size(static_cast<int>(x.dim(-2)) * options.factor,
                        static_cast<int>(x.dim(-1)) * options.factor);
        return upsample(x, size, options.mode, options.align_corners);
      },
      format("Upsample({}, {}{})", options.factor,
             options.mode == Resample::kNearest ? "nearest" : "bilinear",
             options.align_corners ? ", corners aligned" : ""));
}

Lambda PixelShuffle(int factor) {
  return Lambda(
      "PixelShuffle", [factor](const Tensor& x) { return pixel_shuffle(x, factor); },
      format("PixelShuffle({})", factor));
}

Lambda Pad2d(int border, PadMode mode) {
  return Lambda(
      "Pad2d",
      [border, mode](const Tensor& x) {
        return pad(x, {{border, border}, {border, border}}, mode);
      },
      format("Pad2d({}, {})", border, pad_mode_name(mode)));
}

Dropout::Dropout(const DropoutOptions& options, const Rng& rng)
    : options_(options), rng_(rng), drawn_(buffer("drawn", Tensor::zeros({}))) {
  if (!(options.probability >= 0 && options.probability < 1)) {
    throw Error("Dropout", "the probability must be at least 0 and below 1, got {}",
                options.probability);
  }
}

std::string Dropout::describe() const { return format("Dropout({})", options_.probability); }

Tensor Dropout::forward(const Tensor& x) {
  if (!is_training() || options_.probability == 0) return x;
  Rng stream = rng_.split(local_name()).split(static_cast<std::uint64_t>(drawn_.item()));
  drawn_.mutable_data()[0] += 1;
  const Real kept = 1 - options_.probability;
  return x * (stream.bernoulli(x.shape(), kept) * (1 / kept));
}

}  // namespace tapestry::nn
