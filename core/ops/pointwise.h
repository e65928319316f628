// How ops run the elementwise kernels: allocate the result, align the shapes, split the work over
// threads. Not for users.
#ifndef TAPESTRY_CORE_OPS_POINTWISE_H_
#define TAPESTRY_CORE_OPS_POINTWISE_H_

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "core/kernels/elementwise.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace tapestry::detail {

/// Elements in a chunk of work: 64 KiB of floats keep a thread busy for some 10 µs even with the
/// cheapest kernel.
inline constexpr std::int64_t kGrain = 16384;

/// y[i] = kernel(x[i]…; args…) for tensors of one shape.
template <class... Kernel, class... Args>
Tensor map(void (*kernel)(const Real*, Real*, std::int64_t, Kernel...), const Tensor& x,
           Args... args) {
  Tensor y = Tensor::empty(x.shape());
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  parallel_for(x.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    kernel(from + begin, to + begin, end - begin, args...);
  });
  return y;
}

/// The same for a kernel of two tensors of one shape: the upstream gradient and what was saved.
template <class... Kernel, class... Args>
Tensor map(void (*kernel)(const Real*, const Real*, Real*, std::int64_t, Kernel...),
           const Tensor& g, const Tensor& x, Args... args) {
  Tensor y = Tensor::empty(x.shape());
  const Real* upstream = g.data().data();
  const Real* from = x.data().data();
  Real* to = y.mutable_data().data();
  parallel_for(x.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    kernel(upstream + begin, from + begin, to + begin, end - begin, args...);
  });
  return y;
}

using BinaryKernel = void (*)(const kernels::Rows&, const kernels::Rows&, Real*, std::int64_t rows,
                              std::int64_t n);
using TernaryKernel = void (*)(const kernels::Rows&, const kernels::Rows&, const kernels::Rows&,
                               Real*, std::int64_t rows, std::int64_t n);

/// y = kernel(a, b) with broadcasting. Throws Error naming `op` when the shapes do not fit.
Tensor zip(std::string_view op, BinaryKernel kernel, const Tensor& a, const Tensor& b);
Tensor zip(std::string_view op, TernaryKernel kernel, const Tensor& a, const Tensor& b,
           const Tensor& c);

/// g where x is above 0, slope·g else: the gradient of leaky_relu, an op that is linear in g. x is
/// a constant; its numbers are not kept.
Tensor rectify_gate(const Tensor& g, const Tensor& x, Real slope);

/// x repeated to `shape`. Throws Error when it does not fit.
Tensor expand(const Tensor& x, const Shape& shape);

}  // namespace tapestry::detail

#endif  // TAPESTRY_CORE_OPS_POINTWISE_H_
