// The part of a recurrent step that is done number by number: an LSTM's gates. The matrix products
// are the caller's.
#ifndef TAPESTRY_CORE_KERNELS_RECURRENT_H_
#define TAPESTRY_CORE_KERNELS_RECURRENT_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// Gates of `rows` samples, each (i, f, g, o) with `hidden` numbers: gates = (σ, σ, tanh, σ)(gates
/// + more), c = f·before + i·g, h = o·tanh(c). Runs on all threads.
void lstm_gates(Real* gates, const Real* more, const Real* before, Real* c, Real* h,
                std::int64_t rows, std::int64_t hidden);

/// The gradient of lstm_gates from its results. gh + gh_more and gc arrive at h and c, dc what
/// later steps add to gc; dc becomes the gradient of `before`.
void lstm_gates_grad(const Real* gates, const Real* before, const Real* c, const Real* gh,
                     const Real* gh_more, const Real* gc, Real* dc, Real* dgates, std::int64_t rows,
                     std::int64_t hidden);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_RECURRENT_H_
