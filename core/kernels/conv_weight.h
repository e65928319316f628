// The gradient of a convolution's weight as a matrix product: rows are output channels, columns
// (tap, input channel), and the inner dimension runs over all pixels of all images.
#ifndef TAPESTRY_CORE_KERNELS_CONV_WEIGHT_H_
#define TAPESTRY_CORE_KERNELS_CONV_WEIGHT_H_

#include "core/kernels/conv.h"
#include "core/real.h"

namespace tapestry::kernels {

/// As conv_weight_grad, for shapes with at least one output pixel. Vectors run along (tap column,
/// input channel).
void run_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw);
/// Expected time in cycles.
double weight_grad_cost(const ConvShape& shape);

/// The same with vectors along pixels: for few input channels, where the other kind's vectors would
/// be half empty.
void run_weight_pixels(const ConvShape& shape, const Real* g, const Real* x, Real* dw);
double weight_pixels_cost(const ConvShape& shape);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_WEIGHT_H_
