// Convolution with one image in each lane, for small images in large batches.
#ifndef TAPESTRY_CORE_KERNELS_CONV_BATCH_H_
#define TAPESTRY_CORE_KERNELS_CONV_BATCH_H_

#include "core/kernels/conv_stencil.h"
#include "core/real.h"

namespace tapestry::kernels {

/// Whether run_batch() is expected to be faster than run_stencil().
bool batch_pays(const Stencil& stencil);

/// Expected time of the better of run_batch() and run_stencil() in cycles.
double direct_cost(const Stencil& stencil);

/// As run_stencil().
void run_batch(const Stencil& stencil, const Real* source, const Real* weight, const Real* bias,
               Real* result);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_BATCH_H_
