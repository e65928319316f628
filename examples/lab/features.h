// The feature space in which generated images are judged: the last hidden layer of a small
// classifier that our own config trained.
#ifndef TAPESTRY_EXAMPLES_LAB_FEATURES_H_
#define TAPESTRY_EXAMPLES_LAB_FEATURES_H_

#include <filesystem>
#include <memory>

#include "core/tensor.h"
#include "layers/sequential.h"

namespace tapestry::lab {

/// A trained classifier, read from a checkpoint of task "classify".
class FeatureNet {
 public:
  explicit FeatureNet(const std::filesystem::path& checkpoint);
  /// What the last layer sees, (N, D), and what it says, (N, classes). Images (N, C, H, W) in [0,
  /// 1] of the size it was trained on, or that with a border.
  struct Result {
    Tensor features, logits;
  };
  Result operator()(const Tensor& images) const;

 private:
  std::unique_ptr<nn::Sequential> network_;
  Shape input_;
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_FEATURES_H_
