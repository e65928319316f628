#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/kernels/reference_linear.h"

namespace tapestry::kernels::reference {
namespace {

/// Calls visit(index into x, index into w, index into y) for every product that convolution is made
/// of.
template <class Visit>
void each_product(const ConvShape& s, Visit visit) {
  const std::int64_t inputs = s.channels / s.groups, outputs = s.out_channels / s.groups;
  const std::int64_t out_h = s.out_h(), out_w = s.out_w();
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t o = 0; o < s.out_channels; ++o) {
      for (std::int64_t c = 0; c < inputs; ++c) {
        const std::int64_t x_plane = n * s.channels + o / outputs * inputs + c,
                           w_plane = o * inputs + c;
        for (std::int64_t i = 0; i < out_h; ++i) {
          for (std::int64_t j = 0; j < out_w; ++j) {
            const std::int64_t y = ((n * s.out_channels + o) * out_h + i) * out_w + j;
            for (std::int64_t a = 0; a < s.kernel_h; ++a) {
              const std::int64_t row = i * s.stride_h + a * s.dilation_h - s.padding_h;
              if (row < 0 || row >= s.height) continue;
              for (std::int64_t b = 0; b < s.kernel_w; ++b) {
                const std::int64_t column = j * s.stride_w + b * s.dilation_w - s.padding_w;
                if (column < 0 || column >= s.width) continue;
                visit((x_plane * s.height + row) * s.width + column,
                      (w_plane * s.kernel_h + a) * s.kernel_w + b, y);
              }
            }
          }
        }
      }
    }
  }
}

void round(const std::vector<double>& sums, Real* out) {
  std::transform(sums.begin(), sums.end(), out, [](double sum) { return static_cast<Real>(sum); });
}

std::vector<double> start(std::int64_t images, std::int64_t channels, std::int64_t pixels,
                          const Real* bias) {
  std::vector<double> sums(static_cast<std::size_t>(images * channels * pixels));
  for (std::size_t i = 0; bias != nullptr && i < sums.size(); ++i) {
    sums[i] = bias[static_cast<std::int64_t>(i) / pixels % channels];
  }
  return sums;
}

}  // namespace

void conv_forward(const ConvShape& s, const Real* x, const Real* weight, const Real* bias,
                  Real* y) {
  std::vector<double> sums = start(s.n, s.out_channels, s.out_h() * s.out_w(), bias);
  each_product(s, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
    sums[static_cast<std::size_t>(iy)] += static_cast<double>(x[ix]) * weight[iw];
  });
  round(sums, y);
}

void conv_input_grad(const ConvShape& s, const Real* g, const Real* weight, const Real* bias,
                     Real* dx) {
  std::vector<double> sums = start(s.n, s.channels, s.height * s.width, bias);
  each_product(s, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
    sums[static_cast<std::size_t>(ix)] += static_cast<double>(g[iy]) * weight[iw];
  });
  round(sums, dx);
}

void conv_weight_grad(const ConvShape& s, const Real* g, const Real* x, Real* dw) {
  std::vector<double> sums(static_cast<std::size_t>(s.w_size()));
  each_product(s, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
    sums[static_cast<std::size_t>(iw)] += static_cast<double>(g[iy]) * x[ix];
  });
  round(sums, dw);
}

}  // namespace tapestry::kernels::reference
