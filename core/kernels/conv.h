// The three kernels of convolution: forward, the gradient of the input, and the gradient of the
// weight. Each is bilinear, and each is the adjoint of the other two. All tensors are N C H W,
// contiguous.
#ifndef TAPESTRY_CORE_KERNELS_CONV_H_
#define TAPESTRY_CORE_KERNELS_CONV_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// The sizes of a 2-D convolution y = x ∗ w.
///
/// x (n, channels, height, width), w (out_channels, channels / groups, kernel_h, kernel_w), y (n,
/// out_channels, out_h, out_w): y[n, o, i, j] = Σ_{c, a, b} w[o, c, a, b] · x[n, group(o) + c,
/// i·stride_h + a·dilation_h − padding_h, j·stride_w + …], x being 0 outside.
struct ConvShape {
  std::int64_t n = 0;
  std::int64_t channels = 0, height = 0, width = 0;
  std::int64_t out_channels = 0, kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t padding_h = 0, padding_w = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t groups = 1;

  std::int64_t out_h() const { return extent(height, kernel_h, stride_h, padding_h, dilation_h); }
  std::int64_t out_w() const { return extent(width, kernel_w, stride_w, padding_w, dilation_w); }
  std::int64_t x_size() const { return n * channels * height * width; }
  std::int64_t w_size() const { return out_channels * (channels / groups) * kernel_h * kernel_w; }
  std::int64_t y_size() const { return n * out_channels * out_h() * out_w(); }

 private:
  static std::int64_t extent(std::int64_t in, std::int64_t kernel, std::int64_t stride,
                             std::int64_t padding, std::int64_t dilation) {
    const std::int64_t room = in + 2 * padding - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
  }
};

/// y = x ∗ w + bias; bias has one number for each output channel, or is null.
void conv_forward(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                  Real* y);

/// dx = the gradient of Σ g·y with respect to x, g shaped like y; plus bias, one number for each
/// channel of x, or null: so this is also the forward pass of a transposed convolution.
void conv_input_grad(const ConvShape& shape, const Real* g, const Real* weight, const Real* bias,
                     Real* dx);

/// dw = the gradient of Σ g·y with respect to w.
void conv_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw);

/// Whether the algorithms with fewer multiplications (Note [Winograd]) are left out, which makes
/// rounding errors 3 to 10 times smaller and 3 × 3 convolutions half as fast. Default: false, or
/// true if the environment variable TAPESTRY_EXACT_CONV is 1.
bool exact_convolution();
void set_exact_convolution(bool exact);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_H_
