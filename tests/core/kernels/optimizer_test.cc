// The optimizer kernels against their twins on every SIMD target, over several steps.
#include "core/kernels/optimizer.h"

#include <limits>
#include <utility>

#include "core/kernels/reference_pointwise.h"
#include "tests/core/kernels/pointwise_support.h"

namespace k = tapestry::kernels;
namespace ref = tapestry::kernels::reference;
using namespace tapestry::testing;
using tapestry::Real;

namespace {

constexpr int kSteps = 6;
constexpr double kTolerance = tapestry::kDouble ? 1e-13 : 4e-6;

// Runs step(state pointers…, gradient, t) for the kernel and the twin and compares parameter and
// state.
template <class Kernel, class Twin>
void compare(const char* name, Kernel kernel, Twin twin) {
  CAPTURE(std::string(name));
  for (const std::int64_t n : {0, 1, 3, 7, 8, 9, 16, 31, 33, 67}) {
    std::vector<Numbers> got(4, Numbers(static_cast<std::size_t>(n), 0)), want = got;
    got[0] = want[0] = numbers(n);
    for (int t = 1; t <= kSteps; ++t) {
      const Numbers g = numbers(n, -1, 1, static_cast<std::uint64_t>(t));
      kernel(got, g.data(), n, t);
      twin(want, g.data(), n, t);
    }
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(relative_error(got[i], want[i]) <= kTolerance);
    }
  }
}

using State = std::vector<Numbers>;

}  // namespace

TEST_CASE("all_finite finds a NaN or an Inf at any place") {
  on_every_target([] {
    for (const std::int64_t n : {0, 1, 3, 7, 8, 9, 16, 31, 33, 67, 130}) {
      Numbers x = numbers(n);
      if (n > 0) x[0] = std::numeric_limits<Real>::max();
      CHECK(k::all_finite(x.data(), n));
      for (std::int64_t i = 0; i < n; ++i) {
        for (const Real bad :
             {std::numeric_limits<Real>::quiet_NaN(), std::numeric_limits<Real>::infinity(),
              -std::numeric_limits<Real>::infinity()}) {
          const Real kept = std::exchange(x[static_cast<std::size_t>(i)], bad);
          CHECK(!k::all_finite(x.data(), n));
          x[static_cast<std::size_t>(i)] = kept;
        }
      }
    }
  });
}

TEST_CASE("sgd") {
  on_every_target([] {
    for (k::SgdStep s : {k::SgdStep{.lr = 0.1},
                         {.lr = 0.1, .weight_decay = 0.05},
                         {.lr = 0.05, .momentum = 0.9},
                         {.lr = 0.05, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01},
                         {.lr = 0.05, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true}}) {
      const auto step = [&](auto kernel) {
        return [=](State& p, const Real* g, std::int64_t n, int t) {
          k::SgdStep now = s;
          now.first = t == 1;
          kernel(p[0].data(), g, s.momentum != 0 ? p[1].data() : nullptr, n, now);
        };
      };
      compare("sgd", step(k::sgd_step), step(ref::sgd_step));
    }
  });
}

TEST_CASE("adam, adamw and amsgrad") {
  on_every_target([] {
    for (k::AdamStep s :
         {k::AdamStep{.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
          {.lr = 0.01, .beta1 = 0.0, .beta2 = 0.9, .eps = 1e-3},
          {.lr = 0.01, .beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1},
          {.lr = 0.01,
          .beta1 = 0.9,
          .beta2 = 0.999,
          .eps = 1e-8,
          .weight_decay = 0.1,
          .decoupled = true}}) {
      for (const bool amsgrad : {false, true}) {
        const auto step = [&](auto kernel) {
          return [=](State& p, const Real* g, std::int64_t n, int t) {
            k::AdamStep now = s;
            now.t = t;
            kernel(p[0].data(), g, p[1].data(), p[2].data(), amsgrad ? p[3].data() : nullptr, n,
                   now);
          };
        };
        compare("adam", step(k::adam_step), step(ref::adam_step));
      }
    }
  });
}

TEST_CASE("rmsprop") {
  on_every_target([] {
    for (const bool centered : {false, true}) {
      for (const double momentum : {0.0, 0.9}) {
        const k::RmspropStep s{
            .lr = 0.01, .alpha = 0.9, .eps = 1e-8, .weight_decay = 0.01, .momentum = momentum};
        const auto step = [&](auto kernel) {
          return [=](State& p, const Real* g, std::int64_t n, int) {
            kernel(p[0].data(), g, p[1].data(), centered ? p[2].data() : nullptr,
                   momentum != 0 ? p[3].data() : nullptr, n, s);
          };
        };
        compare("rmsprop", step(k::rmsprop_step), step(ref::rmsprop_step));
      }
    }
  });
}

TEST_CASE("a gradient that never changes leaves centered rmsprop finite") {
  on_every_target([] {
    Numbers p(9, 1), v(9, 0), mean(9, 0);
    const Numbers g(9, Real(0.3));
    for (int t = 0; t < 3000; ++t) {
      k::rmsprop_step(p.data(), g.data(), v.data(), mean.data(), nullptr, 9,
                      {.lr = 1e-6, .alpha = 0.9, .eps = 1e-3});
    }
    for (const Real value : p) CHECK(std::isfinite(value));
  });
}

TEST_CASE("adagrad") {
  on_every_target([] {
    for (const double decay : {0.0, 0.1}) {
      const auto step = [&](auto kernel) {
        return [=](State& p, const Real* g, std::int64_t n, int t) {
          kernel(p[0].data(), g, p[1].data(), n,
                 {.lr = 0.1, .lr_decay = decay, .eps = 1e-10, .weight_decay = 0.01, .t = t});
        };
      };
      compare("adagrad", step(k::adagrad_step), step(ref::adagrad_step));
    }
  });
}
