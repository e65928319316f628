// Convolution layers. Shapes and weight layouts are PyTorch's.
#ifndef TAPESTRY_LAYERS_CONV_H_
#define TAPESTRY_LAYERS_CONV_H_

#include "core/ops/conv.h"
#include "core/ops/pad.h"
#include "layers/module.h"

namespace tapestry::nn {

struct Conv2dOptions {
  Pair kernel = 3, stride = 1, padding = 0, dilation = 1;
  int groups = 1;
  bool bias = true;
  PadMode padding_mode = PadMode::kConstant;  // constant: zeros
};

/// Throws Error when there are no channels, groups do not divide them, or the kernel is empty.
void check_conv_sizes(std::string_view layer, std::int64_t in, std::int64_t out,
                      std::int64_t groups, Pair kernel);
/// "Conv2d(3, 64, kernel 4, stride 2)"
std::string conv2d_text(std::int64_t in, std::int64_t out, const Conv2dOptions& options);
/// conv2d() with the border that the options choose.
Tensor padded_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv2dOptions& options);

/// Cross-correlation with learned filters; see conv2d().
/// Shapes: (N, in, H, W) → (N, out, H', W'), H' = ⌊(H + 2p − d(k−1) − 1)/s⌋ + 1. State: weight
/// (out, in/groups, kH, kW), bias (out). Start: U(±1/√(in/groups·kH·kW)), as PyTorch.
class Conv2d final : public UnaryModule {
 public:
  Conv2d(std::int64_t in, std::int64_t out, const Conv2dOptions& options = {});
  std::string_view kind() const override { return "Conv2d"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t in_, out_;
  Conv2dOptions options_;
  Tensor weight_, bias_;
};

struct Conv1dOptions {
  int kernel = 3, stride = 1, padding = 0, dilation = 1, groups = 1;
  bool bias = true;
};

/// Shapes: (N, in, L) → (N, out, L'). State: weight (out, in/groups, k), bias (out).
class Conv1d final : public UnaryModule {
 public:
  Conv1d(std::int64_t in, std::int64_t out, const Conv1dOptions& options = {});
  std::string_view kind() const override { return "Conv1d"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t in_, out_;
  Conv1dOptions options_;
  Tensor weight_, bias_;
};

struct ConvTranspose2dOptions {
  Pair kernel = 4, stride = 1, padding = 0, output_padding = 0, dilation = 1;
  int groups = 1;
  bool bias = true;
};

/// The transpose of a convolution: stride makes pictures larger. See conv_transpose2d().
/// Shapes: (N, in, H, W) → (N, out, H', W'), H' = (H−1)s − 2p + d(k−1) + output_padding + 1. State:
/// weight (in, out/groups, kH, kW), bias (out).
class ConvTranspose2d final : public UnaryModule {
 public:
  ConvTranspose2d(std::int64_t in, std::int64_t out, const ConvTranspose2dOptions& options = {});
  std::string_view kind() const override { return "ConvTranspose2d"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t in_, out_;
  ConvTranspose2dOptions options_;
  Tensor weight_, bias_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_CONV_H_
