// Softmax over the middle axis of [outer, reduced, inner], and its gradients. Exponentials are
// summed in double precision; the kernels use threads by themselves, and results do not depend on
// how many.
#ifndef TAPESTRY_CORE_KERNELS_SOFTMAX_H_
#define TAPESTRY_CORE_KERNELS_SOFTMAX_H_

#include "core/kernels/reduce.h"
#include "core/real.h"

namespace tapestry::kernels {

/// y = e^(x − m)/Σ e^(x − m), m the largest x of the set.
void softmax(const Real* x, Real* y, const ReduceView& view);
/// y = x − m − ln Σ e^(x − m)
void log_softmax(const Real* x, Real* y, const ReduceView& view);
/// dx = y·(g − Σ g·y), from y = softmax(x).
void softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& view);
/// dx = g − e^y·Σ g, from y = log_softmax(x).
void log_softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& view);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_SOFTMAX_H_
