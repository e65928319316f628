#include "core/kernels/conv.h"

#include <algorithm>

#include "core/kernels/conv_stencil.h"
#include "core/kernels/conv_weight.h"

namespace tapestry::kernels {

void conv_forward(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                  Real* y) {
  if (shape.y_size() == 0) return;
  run_stencil(forward_stencil(shape), x, weight, bias, y);
}

void conv_input_grad(const ConvShape& shape, const Real* g, const Real* weight, const Real* bias,
                     Real* dx) {
  if (shape.x_size() == 0) return;
  run_stencil(input_grad_stencil(shape), g, weight, bias, dx);
}

void conv_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw) {
  if (shape.w_size() == 0) return;
  if (shape.y_size() == 0) {
    std::fill(dw, dw + shape.w_size(), Real(0));
    return;
  }
  run_weight_grad(shape, g, x, dw);
}

}  // namespace tapestry::kernels
