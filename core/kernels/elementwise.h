// Kernels that compute each number from the numbers at the same place: pure loops over SIMD
// vectors. No threads here: callers split the work and call a kernel on each range. Every kernel
// has a naive twin in namespace kernels::reference.
#ifndef TAPESTRY_CORE_KERNELS_ELEMENTWISE_H_
#define TAPESTRY_CORE_KERNELS_ELEMENTWISE_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

// One operand: y[i] = f(x[i]) for i < n; y may be x. Largest errors in float, in units in the last
// place of the result: 0.5 for sqrt and reciprocal, 1 for rsqrt, 2 for exp and sin, 4 for log,
// log1p, tanh and sigmoid, 1 for erf, 12 for gelu, 8 for the other activations.
void neg(const Real* x, Real* y, std::int64_t n);
void abs(const Real* x, Real* y, std::int64_t n);
void sign(const Real* x, Real* y, std::int64_t n);
void square(const Real* x, Real* y, std::int64_t n);
void reciprocal(const Real* x, Real* y, std::int64_t n);
void sqrt(const Real* x, Real* y, std::int64_t n);
void rsqrt(const Real* x, Real* y, std::int64_t n);
void exp(const Real* x, Real* y, std::int64_t n);
void log(const Real* x, Real* y, std::int64_t n);
void log1p(const Real* x, Real* y, std::int64_t n);
void sin(const Real* x, Real* y, std::int64_t n);
void cos(const Real* x, Real* y, std::int64_t n);
void tanh(const Real* x, Real* y, std::int64_t n);
void erf(const Real* x, Real* y, std::int64_t n);
void sigmoid(const Real* x, Real* y, std::int64_t n);
void log_sigmoid(const Real* x, Real* y, std::int64_t n);
void gelu(const Real* x, Real* y, std::int64_t n);
void gelu_tanh(const Real* x, Real* y, std::int64_t n);
void silu(const Real* x, Real* y, std::int64_t n);
void mish(const Real* x, Real* y, std::int64_t n);
void softsign(const Real* x, Real* y, std::int64_t n);
void hardsigmoid(const Real* x, Real* y, std::int64_t n);
void hardswish(const Real* x, Real* y, std::int64_t n);

// The same with numbers that choose the function.
/// scale·x + shift
void affine(const Real* x, Real* y, std::int64_t n, Real scale, Real shift);
void pow(const Real* x, Real* y, std::int64_t n, Real exponent);
/// scale·(x above 0, α·(eˣ − 1) else)
void elu(const Real* x, Real* y, std::int64_t n, Real alpha, Real scale);
void softplus(const Real* x, Real* y, std::int64_t n, Real beta, Real threshold);
void clamp(const Real* x, Real* y, std::int64_t n, Real low, Real high);

// Gradients: dx[i] from the upstream g[i] and the saved x[i] or y[i]; dx may be g.
/// g·(1 − y²)
void tanh_grad(const Real* g, const Real* y, Real* dx, std::int64_t n);
/// g·y·(1 − y)
void sigmoid_grad(const Real* g, const Real* y, Real* dx, std::int64_t n);
/// g where low ≤ x ≤ high (without equality unless `bounds`) or NaN, 0 else
void clamp_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real low, Real high,
                bool bounds);
void elu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real alpha, Real scale);
void gelu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n);
void gelu_tanh_grad(const Real* g, const Real* x, Real* dx, std::int64_t n);
void silu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n);
void softplus_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real beta,
                   Real threshold);

// One kink at 0. Bit i % 64 of closed[i / 64] says that x[i] ≤ 0; NaN is open.
/// x where open, slope·x where closed, which is 0 for slope 0 even if x is infinite. `closed` may
/// be nullptr.
void rectify(const Real* x, Real* y, std::uint64_t* closed, std::int64_t n, Real slope);
/// g where open, slope·g where closed: the gradient.
void gate(const Real* g, const std::uint64_t* closed, Real* dx, std::int64_t n, Real slope);

/// An operand of the kernels below: number j of row i is data[i·row + j·step], with step 0 (one
/// number repeated along the row) or 1. Rows repeat with row = 0.
struct Rows {
  const Real* data;
  std::int64_t row, step;
};

// Two operands: y[i·n + j] = f(a(i, j), b(i, j)) for i < rows, j < n. y may be an operand that is
// not repeated.
void add(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void sub(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void mul(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void div(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void pow(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
/// NaN if either is.
void maximum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void minimum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
/// 0 where a < b, ½ where a = b, 1 else: the share of a maximum's gradient that goes to a.
void larger_share(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
/// a where c ≠ 0, else b.
void where(const Rows& c, const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_ELEMENTWISE_H_
