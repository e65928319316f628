// Matrix products. The gradient of a product is two more products, so derivatives of any order stay
// here.
#ifndef TAPESTRY_CORE_OPS_MATMUL_H_
#define TAPESTRY_CORE_OPS_MATMUL_H_

#include "core/tensor.h"

namespace tapestry {

/// Which operand's last two axes are swapped before multiplying. Nothing is copied for it.
struct MatmulOptions {
  bool transpose_a = false, transpose_b = false;
};

/// a·b over the last two axes; leading axes broadcast.
///
/// Shapes  a (…, M, K), b (…, K, N) → (…, M, N); with transpose_a, a is (…, K, M), with
/// transpose_b, b is (…, N, K). A vector a counts as a row, a vector b as a column, and that axis
/// is dropped from the result: two vectors give a scalar. Throws Error when the inner extents
/// differ, for scalars, and for a transposed vector.
Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options = {});

/// x·Wᵀ + b over the last axis of x.
///
/// Shapes  x (…, in), weight (out, in), bias (out) or undefined for none → (…, out). Throws Error
/// on other shapes.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_MATMUL_H_
