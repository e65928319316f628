// Recurrences over whole sequences as one op, where going step by step on the tape would cost more
// than the arithmetic.
#ifndef TAPESTRY_CORE_OPS_RECURRENT_H_
#define TAPESTRY_CORE_OPS_RECURRENT_H_

#include "core/tensor.h"

namespace tapestry {

/// What an LSTM multiplies, rows in the order of the gates i, f, g, o. Shapes: x (4·H, in), h (4·H,
/// H), bias (4·H) or undefined.
struct LstmWeights {
  Tensor x, h, bias = {};
};

/// What makes an LSTM a LayerNorm-LSTM: W_x·x and W_h·h are normalized and multiplied by `x` and
/// `h` before they are added, and c' passes a LayerNorm with `cell` and `cell_bias` on its way to
/// h'. Ba, Kiros, Hinton 2016.
///
/// Shapes: x and h (4·H), cell and cell_bias (H); all or none.
struct LstmNorms {
  Tensor x = {}, h = {}, cell = {}, cell_bias = {};
  Real eps = Real(1e-5);
};

/// An LSTM over a sequence. With (i, f, g, o) = W_x·x[t] + W_h·h + bias in each step: c' = σ(f)·c +
/// σ(i)·tanh(g), h' = σ(o)·tanh(c'). Differentiable to any order.
///
/// Shapes: x (T, N, in), h and c (N, H) → (2, T, N, H), every h and then every c. Throws Error when
/// shapes do not fit. Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000.
Tensor lstm(const Tensor& x, const LstmWeights& weights, const Tensor& h, const Tensor& c,
            const LstmNorms& norms = {});

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_RECURRENT_H_
