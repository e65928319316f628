// Recurrences over whole sequences as one op, where going step by step on the tape would cost more
// than the arithmetic.
#ifndef TAPESTRY_CORE_OPS_RECURRENT_H_
#define TAPESTRY_CORE_OPS_RECURRENT_H_

#include "core/tensor.h"

namespace tapestry {

/// What makes an LSTM a LayerNorm-LSTM: W_hh·h is normalized and multiplied by `hidden` before
/// b_hh is added, and c' passes a LayerNorm with `cell` and `cell_bias` on its way to h'. Ba,
/// Kiros, Hinton 2016.
///
/// Shapes: hidden (4·H), cell and cell_bias (H); all or none.
struct LstmNorms {
  Tensor hidden = {}, cell = {}, cell_bias = {};
  Real eps = Real(1e-5);
};

/// An LSTM over a sequence, from what its inputs give to the gates. With (i, f, g, o) =
/// from_inputs[t] + W_hh·h + b_hh in each step: c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c').
/// Differentiable to any order.
///
/// Shapes: from_inputs (T, N, 4·H), w_hh (4·H, H), b_hh (4·H) or undefined, h and c (N, H) → (2, T,
/// N, H), every h and then every c. Throws Error when shapes do not fit. Hochreiter & Schmidhuber
/// 1997; forget gate Gers et al. 2000.
Tensor lstm(const Tensor& from_inputs, const Tensor& w_hh, const Tensor& b_hh, const Tensor& h,
            const Tensor& c, const LstmNorms& norms = {});

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_RECURRENT_H_
