// The definitions that the fast matrix and convolution kernels are tested against: plain loops,
// sums in double.
#ifndef TAPESTRY_CORE_KERNELS_REFERENCE_LINEAR_H_
#define TAPESTRY_CORE_KERNELS_REFERENCE_LINEAR_H_

#include "core/kernels/conv.h"
#include "core/kernels/gemm.h"
#include "core/real.h"

namespace tapestry::kernels::reference {

/// As kernels::gemm.
void gemm(const GemmShape& shape, const Real* a, const Real* b, Real* c);

/// As kernels::conv_forward, conv_input_grad and conv_weight_grad.
void conv_forward(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                  Real* y);
void conv_input_grad(const ConvShape& shape, const Real* g, const Real* weight, const Real* bias,
                     Real* dx);
void conv_weight_grad(const ConvShape& shape, const Real* g, const Real* x, Real* dw);

}  // namespace tapestry::kernels::reference

#endif  // TAPESTRY_CORE_KERNELS_REFERENCE_LINEAR_H_
