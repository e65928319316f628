#include "core/ops/softmax.h"

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;

}  // namespace

TEST_CASE("softmax and log_softmax: gradient along every axis") {
  for (const int axis : {0, 1, 2, -1, -2}) {
    const auto by_definition = [=](const std::vector<Tensor>& x) {
      return exp(x[0]) / sum(exp(x[0]), {axis}, {.keepdim = true});
    };
    check_op("softmax", {{2, 3, 4}}, [=](T x) { return softmax(x, axis); },
             {.reference = by_definition});
    check_op("log_softmax", {{2, 3, 4}}, [=](T x) { return log_softmax(x, axis); },
             {.reference = [=](const auto& x) { return log(by_definition(x)); }});
  }
  check_op("softmax", {{2, 5}}, [](T x) { return softmax(x); }, {.order = 3});
  check_op("log_softmax", {{2, 5}}, [](T x) { return log_softmax(x); }, {.order = 3});
}

TEST_CASE("softmax: a composed loss, gradient") {
  check_op("entropy", {{3, 5}}, [](T x) { return sum(softmax(x) * log_softmax(x), {1}); },
           {.order = 3});
}

TEST_CASE("softmax: large, equal and infinite scores") {
  const Real inf = std::numeric_limits<Real>::infinity();
  CHECK(softmax(Tensor::from({1000, 1000}, {2})).to_vector() == std::vector<Real>{0.5, 0.5});
  CHECK(softmax(Tensor::from({-inf, 3}, {2})).to_vector() == std::vector<Real>{0, 1});
  CHECK(log_softmax(Tensor::from({0, 500}, {2})).to_vector() == std::vector<Real>{-500, 0});
  CHECK(softmax(Tensor::from({7}, {1})).item() == 1);
  CHECK(log_softmax(Tensor::from({7}, {1})).item() == 0);
  CHECK(softmax(Tensor::empty({0, 3})).shape() == Shape{0, 3});
  CHECK(softmax(Tensor::empty({3, 0})).shape() == Shape{3, 0});
}

TEST_CASE("softmax: rows of every length sum to one, bits do not depend on threads") {
  for (const std::int64_t n : {1, 2, 7, 8, 9, 15, 16, 17, 33, 100}) {
    const Tensor x = Input({5, n}).between(-10, 10).make(1);
    CHECK(difference(sum(softmax(x), {1}), Tensor::ones({5})) < 1e-6);
    CHECK(difference(log_softmax(x), x - logsumexp(x, {1}, {.keepdim = true})) < 1e-6);
  }
  check_op_threads("softmax", {{700, 129}}, [](T x) { return softmax(x); });
  check_op_threads("log_softmax", {{129, 700}}, [](T x) { return log_softmax(x, 0); });
}

TEST_CASE("softmax: a missing axis is refused") {
  CHECK(error_text([] { softmax(Tensor::ones({2}), 1); }).find("axis 1 does not exist") !=
        std::string::npos);
}

}  // namespace tapestry::testing
