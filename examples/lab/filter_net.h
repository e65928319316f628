// The loss network of style transfer without a download: random filters of several sizes, fixed by
// a seed.
//
// He, Wang and Hopcroft (2016) and Ustyuzhaninov et al. (2016) found that the filters of a
// perceptual loss need not be trained for textures, if each layer's contribution is brought to one
// scale. What a trained network would know about objects is missing, so content is kept by
// structure only.
#ifndef TAPESTRY_EXAMPLES_LAB_FILTER_NET_H_
#define TAPESTRY_EXAMPLES_LAB_FILTER_NET_H_

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace tapestry::lab {

/// Three stages of random filters with ReLU, each at half the resolution of the one before: 3×3,
/// 5×5 and 7×7 filters side by side on the picture, then 3×3 filters. He-normal weights, reflection
/// padding, average pooling, no normalization. Every stage is rescaled so that its output has unit
/// mean square on white noise. The same seed gives the same filters; another seed gives an
/// independent judge.
class FilterNet {
 public:
  explicit FilterNet(std::uint64_t seed);

  /// (N, 3, H, W) in [0, 1] → one tensor per stage: (N, 48, H, W), (N, 64, H/2, W/2), (N, 96, H/4,
  /// W/4). H, W ≥ 16.
  std::vector<Tensor> operator()(const Tensor& images) const;
  static constexpr int kStages = 3;

 private:
  Tensor stage(const Tensor& x, int index) const;
  std::vector<std::vector<Tensor>> filters_;  // per stage one bank per filter size
  std::vector<Real> scales_;
};

/// Second moments of the features between channels, which forget where things are: (N, C, H, W) →
/// (N, C, C), F·Fᵀ / (C·H·W). Gatys, Ecker, Bethge 2015.
Tensor gram(const Tensor& features);

/// What a stylized picture is measured against: the Gram matrices of a style, and the weights of
/// the three terms.
struct StyleTarget {
  std::vector<Tensor> grams;  // (1, C, C) per stage
};
StyleTarget style_target(const FilterNet& net, const Tensor& style);

/// Per stage ‖G(y) − G(style)‖² / ‖G(style)‖², averaged over stages and pictures: 0 for a perfect
/// texture, about 1 for a blank one.
Tensor style_loss(const std::vector<Tensor>& features, const StyleTarget& target);
/// Mean square distance of one stage's features from the content picture's, over their variance: 0
/// for equal structure, about 1–2 for unrelated pictures.
Tensor content_loss(const Tensor& features, const Tensor& content_features);
/// Mean absolute difference of neighboring pixels, horizontally plus vertically (Rudin, Osher,
/// Fatemi 1992, anisotropic).
Tensor total_variation(const Tensor& images);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_FILTER_NET_H_
