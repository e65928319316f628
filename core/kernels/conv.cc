#include "core/kernels/conv.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "core/kernels/conv_batch.h"
#include "core/kernels/conv_depthwise.h"
#include "core/kernels/conv_matrix.h"
#include "core/kernels/conv_stencil.h"
#include "core/kernels/conv_weight.h"
#include "core/kernels/conv_winograd.h"

namespace tapestry::kernels {
namespace {

std::atomic<bool> exact = [] {
  const char* text = std::getenv("TAPESTRY_EXACT_CONV");
  return text != nullptr && std::string_view(text) == "1";
}();

bool is_depthwise(const Stencil& st) { return st.in_channels == 1 && st.out_channels == 1; }

/// Runs what is expected to be fastest, or returns false if that is im2col with its cost `matrix`.
bool run(double matrix, const Stencil& stencil, const Real* source, const Real* weight,
         const Real* bias, Real* result) {
  if (is_depthwise(stencil)) {
    run_depthwise(stencil, source, weight, bias, result);
    return true;
  }
  const double direct = direct_cost(stencil),
               winograd = exact ? std::numeric_limits<double>::infinity() : winograd_cost(stencil);
  if (matrix < std::min(direct, winograd)) return false;
  if (winograd < direct) {
    run_winograd(stencil, source, weight, bias, result);
  } else {
    (batch_pays(stencil) ? run_batch : run_stencil)(stencil, source, weight, bias, result);
  }
  return true;
}

}  // namespace

bool exact_convolution() { return exact; }
void set_exact_convolution(bool value) { exact = value; }

void conv_forward(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                  Real* y) {
  if (shape.y_size() == 0) return;
  if (!run(matrix_cost(shape), forward_stencil(shape), x, weight, bias, y))
    run_matrix_forward(shape, x, weight, bias, y);
}

void conv_input_grad(const ConvShape& shape, const Real* g, const Real* weight, const Real* bias,
                     Real* dx) {
  if (shape.x_size() == 0) return;
  // The stencil has a pass for each remainder by the stride. So many of them are slow, and take 0.2
  // ms even to look at.
  constexpr std::int64_t kManyPasses = 64;
  const double matrix = matrix_input_cost(shape);
  const bool only_matrix = shape.stride_h * shape.stride_w >= kManyPasses &&
                           matrix < std::numeric_limits<double>::infinity();
  if (only_matrix || !run(matrix, input_grad_stencil(shape), g, weight, bias, dx))
    run_matrix_input_grad(shape, g, weight, bias, dx);
}

void conv_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw) {
  if (shape.w_size() == 0) return;
  if (shape.y_size() == 0) {
    std::fill(dw, dw + shape.w_size(), Real(0));
    return;
  }
  const double plain = weight_grad_cost(shape), pixels = weight_pixels_cost(shape),
               matrix = matrix_weight_cost(shape), depthwise = weight_depthwise_cost(shape),
               least = std::min({plain, pixels, matrix, depthwise});
  if (!exact && winograd_weight_cost(shape) < least) return run_winograd_weight(shape, g, x, dw);
  if (depthwise == least) return run_weight_depthwise(shape, g, x, dw);
  if (matrix == least) return run_matrix_weight_grad(shape, g, x, dw);
  (pixels < plain ? run_weight_pixels : run_weight_grad)(shape, g, x, dw);
}

}  // namespace tapestry::kernels
