// Convolution: three maps, each linear in both arguments, each the gradient of the other two.
// Derivatives of any order stay among them. Images are (N, C, H, W).
#ifndef TAPESTRY_CORE_OPS_CONV_H_
#define TAPESTRY_CORE_OPS_CONV_H_

#include "core/tensor.h"

namespace tapestry {

/// A number for each image axis; one number means both.
struct Pair {
  int h, w;
  constexpr Pair(int both)
      : h(both), w(both) {}  // NOLINT: implicit, so that {.stride = 2} can be written
  constexpr Pair(int rows, int columns) : h(rows), w(columns) {}
  bool operator==(const Pair&) const = default;
};

/// stride ≥ 1, padding ≥ 0 zeros on each side, dilation ≥ 1 pixels between taps; channels fall into
/// `groups` that do not mix.
struct ConvGeometry {
  Pair stride = 1, padding = 0, dilation = 1;
  int groups = 1;
};

/// Slides a filter over images: y[n, o, i, j] = b[o] + Σ_{c, a, b} w[o, c, a, b] · x[n, c, i·stride
/// + a·dilation − padding, …].
///
/// Shapes  x (N, C, H, W), weight (O, C / groups, kH, kW), bias (O) or undefined → (N, O, ⌊(H +
/// 2·padding − dilation·(kH − 1) − 1) / stride⌋ + 1, …). Throws Error when channels and groups do
/// not fit, when the kernel is larger than the padded image, and on a geometry out of range; so do
/// the other ops here.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const ConvGeometry& geometry = {});

/// The gradient of Σ g · conv2d(x, weight) with respect to x, which has `input_shape`.
Tensor conv2d_input_grad(const Tensor& g, const Tensor& weight, const Shape& input_shape,
                         const ConvGeometry& geometry = {});

/// The gradient of Σ g · conv2d(x, weight) with respect to the weight, which has `weight_shape`.
Tensor conv2d_weight_grad(const Tensor& g, const Tensor& x, const Shape& weight_shape,
                          const ConvGeometry& geometry = {});

/// output_padding: rows and columns added at the bottom and right, 0 ≤ output_padding < max(stride,
/// dilation). With a stride, several input sizes of conv2d give one output size; this chooses among
/// them.
struct ConvTransposeGeometry {
  Pair stride = 1, padding = 0, output_padding = 0, dilation = 1;
  int groups = 1;
};

/// Transposed ("fractionally strided") convolution: conv2d's input gradient as a layer that
/// enlarges images.
///
/// Shapes  x (N, C, H, W), weight (C, O / groups, kH, kW), bias (O) or undefined → (N, O, (H −
/// 1)·stride − 2·padding + dilation·(kH − 1) + output_padding + 1, …).
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTransposeGeometry& geometry = {});

/// ConvGeometry for sequences.
struct Conv1dGeometry {
  int stride = 1, padding = 0, dilation = 1, groups = 1;
};

/// Slides a filter over sequences. Shapes  x (N, C, L), weight (O, C / groups, k), bias (O) or
/// undefined → (N, O, L').
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const Conv1dGeometry& geometry = {});

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_CONV_H_
