// Naive twins of the kernels in elementwise.h, reduce.h, normalize.h, softmax.h and optimizer.h:
// one loop each, computed wider than Real. They are the readable definitions, and what the tests
// compare with.
#ifndef TAPESTRY_CORE_KERNELS_REFERENCE_POINTWISE_H_
#define TAPESTRY_CORE_KERNELS_REFERENCE_POINTWISE_H_

#include <cstdint>

#include "core/kernels/elementwise.h"
#include "core/kernels/normalize.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/reduce.h"
#include "core/kernels/softmax.h"
#include "core/real.h"

namespace tapestry::kernels::reference {

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

void affine(const Real* x, Real* y, std::int64_t n, Real scale, Real shift);
void pow(const Real* x, Real* y, std::int64_t n, Real exponent);
void elu(const Real* x, Real* y, std::int64_t n, Real alpha, Real scale);
void softplus(const Real* x, Real* y, std::int64_t n, Real beta, Real threshold);
void clamp(const Real* x, Real* y, std::int64_t n, Real low, Real high);

void tanh_grad(const Real* g, const Real* y, Real* dx, std::int64_t n);
void sigmoid_grad(const Real* g, const Real* y, Real* dx, std::int64_t n);
void rectify(const Real* x, Real* y, std::uint64_t* closed, std::int64_t n, Real slope);
void gate(const Real* g, const std::uint64_t* closed, Real* dx, std::int64_t n, Real slope);
void clamp_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real low, Real high,
                bool bounds);
void elu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real alpha, Real scale);
void gelu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n);
void gelu_tanh_grad(const Real* g, const Real* x, Real* dx, std::int64_t n);
void silu_grad(const Real* g, const Real* x, Real* dx, std::int64_t n);
void softplus_grad(const Real* g, const Real* x, Real* dx, std::int64_t n, Real beta,
                   Real threshold);

void add(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void sub(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void mul(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void div(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void pow(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void maximum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void minimum(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void larger_share(const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);
void where(const Rows& c, const Rows& a, const Rows& b, Real* y, std::int64_t rows, std::int64_t n);

void sum(const Real* x, double* y, const ReduceView& view);
void sum_of_squares(const Real* x, double* y, const ReduceView& view);
void prod(const Real* x, double* y, const ReduceView& view);
void max(const Real* x, Real* y, const ReduceView& view);
void min(const Real* x, Real* y, const ReduceView& view);
void argmax(const Real* x, std::int32_t* y, const ReduceView& view);
void cumsum(const Real* x, Real* y, const ReduceView& view, bool reverse);

void norm_forward(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                  double eps, bool centered, const NormMoments& moments, double* variance);
void norm_apply(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                const NormMoments& moments);
void norm_backward(const Real* g, const Real* x, Real* dx, const NormView& view,
                   const AffineView& affine, const NormMoments& moments, NormKind kind,
                   Real* dgamma, Real* dbeta);
void norm_second(const Real* v, const Real* h, const Real* x, Real* dx, const NormView& view,
                 const NormMoments& moments, NormKind kind);

void softmax(const Real* x, Real* y, const ReduceView& view);
void log_softmax(const Real* x, Real* y, const ReduceView& view);
void softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& view);
void log_softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& view);

void sgd_step(Real* p, const Real* g, Real* buffer, std::int64_t n, const SgdStep& step);
void adam_step(Real* p, const Real* g, Real* m, Real* v, Real* largest, std::int64_t n,
               const AdamStep& step);
void rmsprop_step(Real* p, const Real* g, Real* v, Real* mean, Real* buffer, std::int64_t n,
                  const RmspropStep& step);
void adagrad_step(Real* p, const Real* g, Real* s, std::int64_t n, const AdagradStep& step);

}  // namespace tapestry::kernels::reference

#endif  // TAPESTRY_CORE_KERNELS_REFERENCE_POINTWISE_H_
