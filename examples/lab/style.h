// Applying a trained style network to pictures.
#ifndef TAPESTRY_EXAMPLES_LAB_STYLE_H_
#define TAPESTRY_EXAMPLES_LAB_STYLE_H_

#include <filesystem>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "layers/sequential.h"

namespace tapestry::lab {

/// A transform net from a checkpoint of task "style".
class Stylizer {
 public:
  explicit Stylizer(const std::filesystem::path& checkpoint);
  /// (3, H, W) in [0, 1] of any size from 16 × 16 → the same size, stylized. BatchNorm uses its
  /// running statistics unless `batch_statistics`.
  Tensor operator()(const Tensor& picture, bool batch_statistics = false);

 private:
  std::unique_ptr<nn::Sequential> network_;
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_STYLE_H_
