// The part of a recurrent step that is done number by number: an LSTM's gates. The matrix products
// are the caller's.
#ifndef TAPESTRY_CORE_KERNELS_RECURRENT_H_
#define TAPESTRY_CORE_KERNELS_RECURRENT_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// Gates of `rows` samples, each (i, f, g, o) with `hidden` numbers: gates = (σ, σ, tanh, σ)(gates
/// + more), c = f·before + i·g; no `more` if nullptr. All four run on all threads.
void lstm_gates(Real* gates, const Real* more, const Real* before, Real* c, std::int64_t rows,
                std::int64_t hidden);

/// What leaves through the gate o: top = tanh(c) and h = o·top; top may be c.
void lstm_output(const Real* gates, const Real* c, Real* top, Real* h, std::int64_t rows,
                 std::int64_t hidden);

/// The gradient of lstm_output from its results; dgates may be gates. gh + gh_more arrives at h;
/// fills o's part of dgates, and the gradient of c.
void lstm_output_grad(const Real* gates, const Real* top, const Real* gh, const Real* gh_more,
                      Real* dgates, Real* dc, std::int64_t rows, std::int64_t hidden);

/// The gradient of lstm_gates from its results; dgates may be gates. gc + gc_more + dc arrives at
/// c; dc becomes the gradient of `before`. Fills the other three parts of dgates.
void lstm_gates_grad(const Real* gates, const Real* before, const Real* gc, const Real* gc_more,
                     Real* dc, Real* dgates, std::int64_t rows, std::int64_t hidden);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_RECURRENT_H_
