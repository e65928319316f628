// Probabilities from scores.
#ifndef TAPESTRY_CORE_OPS_SOFTMAX_H_
#define TAPESTRY_CORE_OPS_SOFTMAX_H_

#include "core/tensor.h"

namespace tapestry {

/// eˣ / Σ eˣ along one axis; the largest score is subtracted first, so nothing overflows. A score
/// of −Inf gets probability 0.
Tensor softmax(const Tensor& x, int axis = -1);
/// ln softmax(x), accurate also where the probability is too small for a float.
Tensor log_softmax(const Tensor& x, int axis = -1);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_SOFTMAX_H_
