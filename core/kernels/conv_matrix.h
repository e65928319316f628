// Convolution as a product of matrices: with a 1 × 1 kernel, or by im2col for few pixels and many
// weights.
#ifndef TAPESTRY_CORE_KERNELS_CONV_MATRIX_H_
#define TAPESTRY_CORE_KERNELS_CONV_MATRIX_H_

#include "core/kernels/conv.h"
#include "core/real.h"

namespace tapestry::kernels {

/// Expected time in cycles of each of the three below; infinity for shapes that they should not do.
double matrix_cost(const ConvShape& shape);
double matrix_input_cost(const ConvShape& shape);
double matrix_weight_cost(const ConvShape& shape);

/// As conv_forward(), conv_input_grad() and conv_weight_grad(), for shapes with at least one pixel.
void run_matrix_forward(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                        Real* y);
void run_matrix_input_grad(const ConvShape& shape, const Real* g, const Real* weight,
                           const Real* bias, Real* dx);
void run_matrix_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_MATRIX_H_
