// Depthwise convolution: each channel has a kernel of its own.
#ifndef TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_H_
#define TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_H_

#include "core/kernels/conv_stencil.h"
#include "core/real.h"

namespace tapestry::kernels {

/// As run_stencil(), for one input and one output channel in each group.
void run_depthwise(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                   Real* result);

/// Its two ways: vectors along the rows of a map, and one channel in each lane, for small maps of
/// many channels; and their expected times in cycles.
void run_depthwise_rows(const Stencil& stencil, const Real* source, const Real* weight,
                        const Real* bias, Real* result);
double depthwise_rows_cost(const Stencil& stencil);
void run_depthwise_lanes(const Stencil& stencil, const Real* source, const Real* weight,
                         const Real* bias, Real* result);
double depthwise_lanes_cost(const Stencil& stencil);

/// As conv_weight_grad, for shapes with at least one output pixel, with one channel in each lane;
/// and its expected time in cycles, infinity where the convolution is not depthwise.
void run_weight_depthwise(const ConvShape& shape, const Real* g, const Real* x, Real* dw);
double weight_depthwise_cost(const ConvShape& shape);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_H_
