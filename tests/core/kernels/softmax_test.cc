// The softmax kernels against their twins on every SIMD target.
#include "core/kernels/softmax.h"

#include <limits>

#include "core/kernels/reference_pointwise.h"
#include "tests/core/kernels/pointwise_support.h"

namespace k = tapestry::kernels;
namespace ref = tapestry::kernels::reference;
using namespace tapestry::testing;
using tapestry::Real;

TEST_CASE("softmax and its gradients agree with their twins along rows and columns") {
  on_every_target([] {
    for (std::int64_t n = 1; n <= 67; ++n) {
      for (const k::ReduceView& v : {k::ReduceView{3, n, 1}, {2, 5, n}, {1, n, 7}}) {
        const std::int64_t size = v.outer * v.reduced * v.inner;
        const Numbers x = numbers(size, -30, 30), g = numbers(size, -1, 1, 2);
        Numbers y(x.size()), want(x.size()), dx(x.size()), dx_want(x.size());
        k::softmax(x.data(), y.data(), v);
        ref::softmax(x.data(), want.data(), v);
        CHECK(relative_error(y, want) <= kRounding);
        k::softmax_grad(g.data(), want.data(), dx.data(), v);
        ref::softmax_grad(g.data(), want.data(), dx_want.data(), v);
        // Relative to g: where one probability is almost 1, the result is a small difference.
        for (std::size_t i = 0; i < dx.size(); ++i)
          CHECK(std::abs(dx[i] - dx_want[i]) <= kRounding);
        k::log_softmax(x.data(), y.data(), v);
        ref::log_softmax(x.data(), want.data(), v);
        CHECK(relative_error(y, want) <= kRounding);
        k::log_softmax_grad(g.data(), want.data(), dx.data(), v);
        ref::log_softmax_grad(g.data(), want.data(), dx_want.data(), v);
        CHECK(relative_error(dx, dx_want) <= kRounding);
      }
    }
  });
}

TEST_CASE("large scores do not overflow, −Inf has probability 0, NaN spoils its set only") {
  constexpr Real kInf = std::numeric_limits<Real>::infinity();
  on_every_target([] {
    for (const k::ReduceView& v : {k::ReduceView{2, 3, 1}, {1, 3, 2}}) {
      const bool rows = v.inner == 1;
      // Two sets: 1e30, −Inf, 1e30 and 0, NaN, 1.
      const Numbers x = rows ? Numbers{Real(1e30), -kInf, Real(1e30), 0, Real(NAN), 1}
                             : Numbers{Real(1e30), 0, -kInf, Real(NAN), Real(1e30), 1};
      const std::size_t step = rows ? 1 : 2, second = rows ? 3 : 1;
      Numbers y(6);
      k::softmax(x.data(), y.data(), v);
      CHECK(y[0] == Real(0.5));
      CHECK(y[step] == 0);
      CHECK(y[2 * step] == Real(0.5));
      for (std::size_t i = 0; i < 3; ++i) CHECK(std::isnan(y[second + i * step]));
      k::log_softmax(x.data(), y.data(), v);
      CHECK(y[step] == -kInf);
      for (std::size_t i = 0; i < 3; ++i) CHECK(std::isnan(y[second + i * step]));
    }
  });
}

TEST_CASE("softmax has the same bits at any thread count") {
  for (const k::ReduceView& v : {k::ReduceView{1000, 33, 1}, {7, 50, 101}, {2, 50000, 1}}) {
    const Numbers x = numbers(v.outer * v.reduced * v.inner, -9, 9);
    same_at_any_thread_count([&] {
      Numbers y(x.size());
      k::softmax(x.data(), y.data(), v);
      return y;
    });
  }
}
