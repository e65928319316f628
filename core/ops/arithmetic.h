// Arithmetic on two tensors, or a tensor and a number, with NumPy broadcasting: shapes are aligned
// at the last axis, and an extent of 1 is repeated. The gradient of a repeated operand is summed
// back to its shape.
#ifndef TAPESTRY_CORE_OPS_ARITHMETIC_H_
#define TAPESTRY_CORE_OPS_ARITHMETIC_H_

#include "core/tensor.h"

namespace tapestry {

/// a + b. Throws Error when the shapes do not broadcast; so do all ops here.
Tensor add(const Tensor& a, const Tensor& b);
/// a − b
Tensor sub(const Tensor& a, const Tensor& b);
/// a · b, element by element.
Tensor mul(const Tensor& a, const Tensor& b);
/// a / b; division by 0 gives ±Inf or NaN as IEEE 754 says.
Tensor div(const Tensor& a, const Tensor& b);
/// Scale and shift by numbers: scale·x + shift.
Tensor affine(const Tensor& x, Real scale, Real shift);
/// −x
Tensor neg(const Tensor& x);

/// xᵖ for a number p. NaN for negative x unless p is a whole number; the gradient at x = 0 with p <
/// 1 is Inf.
Tensor pow(const Tensor& x, Real exponent);
/// xᵖ element by element. The gradient with respect to the exponent, xᵖ·ln x, is 0 where x = 0 and
/// p ≥ 0.
Tensor pow(const Tensor& x, const Tensor& exponent);

/// The larger of a and b; NaN if either is. Where they are equal, each gets half of the gradient.
Tensor maximum(const Tensor& a, const Tensor& b);
/// The smaller of a and b; NaN if either is. Where they are equal, each gets half of the gradient.
Tensor minimum(const Tensor& a, const Tensor& b);
/// a where condition ≠ 0, else b. The three shapes broadcast; the condition has no gradient.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }
inline Tensor operator+(const Tensor& a, Real b) { return affine(a, 1, b); }
inline Tensor operator+(Real a, const Tensor& b) { return affine(b, 1, a); }
inline Tensor operator-(const Tensor& a, Real b) { return affine(a, 1, -b); }
inline Tensor operator-(Real a, const Tensor& b) { return affine(b, -1, a); }
inline Tensor operator*(const Tensor& a, Real b) { return affine(a, b, 0); }
inline Tensor operator*(Real a, const Tensor& b) { return affine(b, a, 0); }
Tensor operator/(const Tensor& a, Real b);
Tensor operator/(Real a, const Tensor& b);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_ARITHMETIC_H_
