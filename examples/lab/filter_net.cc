#include "examples/lab/filter_net.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/pad.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/random.h"
#include "core/tape.h"

namespace tapestry::lab {
namespace {

struct Bank {
  int size, width;
};
// Small filters see edges, large ones strokes; 16 of each are enough for Gram matrices that tell
// textures apart.
const std::vector<std::vector<Bank>> kBanks = {{{3, 16}, {5, 16}, {7, 16}}, {{3, 64}}, {{3, 96}}};

Tensor reflect(const Tensor& x, int border) {
  return pad(x, {{border, border}, {border, border}}, PadMode::kReflect);
}

}  // namespace

FilterNet::FilterNet(std::uint64_t seed) {
  const PauseRecording pause;
  const Rng rng = Rng(seed).split("filters");
  std::int64_t channels = 3;
  for (std::size_t s = 0; s < kBanks.size(); ++s) {
    std::vector<Tensor> banks;
    std::int64_t width = 0;
    for (const Bank& bank : kBanks[s]) {
      const double fan_in = static_cast<double>(channels * bank.size * bank.size);
      Rng stream = rng.split(s * 16 + static_cast<std::uint64_t>(bank.size));
      banks.push_back(stream.normal({bank.width, channels, bank.size, bank.size}, 0,
                                    static_cast<Real>(std::sqrt(2 / fan_in))));
      width += bank.width;
    }
    filters_.push_back(std::move(banks));
    channels = width;
  }
  Rng noise = rng.split("noise");
  Tensor x = noise.normal({2, 3, 64, 64});
  for (int s = 0; s < kStages; ++s) {
    scales_.push_back(1);
    if (s > 0) x = avg_pool2d(x, {.kernel = 2});
    x = stage(x, s);
    scales_.back() = 1 / std::sqrt(mean(square(x)).item());
    x = x * scales_.back();
  }
}

Tensor FilterNet::stage(const Tensor& x, int index) const {
  const std::size_t s = static_cast<std::size_t>(index);
  std::vector<Tensor> parts;
  for (const Tensor& bank : filters_[s]) {
    parts.push_back(conv2d(reflect(x, static_cast<int>(bank.dim(2) / 2)), bank, Tensor()));
  }
  return relu(parts.size() == 1 ? parts[0] : concat(parts, 1)) * scales_[s];
}

std::vector<Tensor> FilterNet::operator()(const Tensor& images) const {
  if (images.rank() != 4 || images.dim(1) != 3 || images.dim(2) < 16 || images.dim(3) < 16) {
    throw Error("filter_net", "needs RGB pictures of at least 16 × 16 pixels")
        .shape("input", images, "(N, 3, H, W)");
  }
  std::vector<Tensor> features;
  // Pixels in [0, 1] are brought to the scale of the noise that the stages were measured on.
  Tensor x = affine(images, 4, -2);
  for (int s = 0; s < kStages; ++s) {
    if (s > 0) x = avg_pool2d(x, {.kernel = 2});
    x = stage(x, s);
    features.push_back(x);
  }
  return features;
}

Tensor gram(const Tensor& features) {
  const std::int64_t n = features.dim(0), c = features.dim(1),
                     area = features.dim(2) * features.dim(3);
  const Tensor rows = reshape(features, Shape{n, c, area});
  return matmul(rows, rows, {.transpose_b = true}) * (Real{1} / static_cast<Real>(c * area));
}

StyleTarget style_target(const FilterNet& net, const Tensor& style) {
  const PauseRecording pause;
  StyleTarget target;
  for (const Tensor& features : net(style))
    target.grams.push_back(mean(gram(features), {0}, {.keepdim = true}));
  return target;
}

Tensor style_loss(const std::vector<Tensor>& features, const StyleTarget& target) {
  Tensor total;
  for (std::size_t s = 0; s < features.size(); ++s) {
    const Tensor difference = gram(features[s]) - target.grams[s];
    const Real scale =
        1 / (sum(square(target.grams[s])).item() * static_cast<Real>(features[s].dim(0)));
    const Tensor term = sum(square(difference)) * scale;
    total = total.defined() ? total + term : term;
  }
  return total * (Real{1} / static_cast<Real>(features.size()));
}

Tensor content_loss(const Tensor& features, const Tensor& content_features) {
  const Real scale =
      1 / std::max(var(content_features, {}, {.unbiased = false}).item(), Real(1e-8));
  return mean(square(features - content_features)) * scale;
}

Tensor total_variation(const Tensor& images) {
  const Tensor down = slice(images, 2, {.start = 1}) - slice(images, 2, {.end = -1});
  const Tensor right = slice(images, 3, {.start = 1}) - slice(images, 3, {.end = -1});
  return mean(abs(down)) + mean(abs(right));
}

}  // namespace tapestry::lab
