// Depthwise convolution: each channel has a kernel of its own.
#ifndef TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_H_
#define TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_H_

#include "core/kernels/conv_stencil.h"
#include "core/real.h"

namespace tapestry::kernels {

/// As run_stencil(), for one input and one output channel in each group. It is never slower there:
/// the arithmetic is the same, without tables for channels that do not exist.
void run_depthwise(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                   Real* result);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_DEPTHWISE_H_
