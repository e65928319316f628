// Convolution with fewer multiplications (S. Winograd 1980; A. Lavin and S. Gray 2016), by
// windows of 2 × 2 to 5 × 5 taps: larger kernels, and what a stride leaves of them in each plane,
// fall into several.
#ifndef TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_H_
#define TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_H_

#include <span>

#include "core/kernels/conv.h"
#include "core/kernels/conv_stencil.h"
#include "core/kernels/conv_transform.h"
#include "core/real.h"

namespace tapestry::kernels {

/// Expected time in cycles; infinity for stencils that it cannot, or should not, do.
double winograd_cost(const Stencil& stencil);

/// As run_stencil(), with the error bounds of Note [Winograd], in the cheapest of some ways.
void run_winograd(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
                  Real* result, std::span<const Scheme> schemes = kSchemes);

/// Expected time of run_winograd_weight() in cycles.
double winograd_weight_cost(const ConvShape& shape);

/// As conv_weight_grad(), with the error bounds of Note [Winograd], in the cheapest of some ways.
void run_winograd_weight(const ConvShape& shape, const Real* g, const Real* x, Real* dw,
                         std::span<const Scheme> schemes = kSchemes);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_H_
