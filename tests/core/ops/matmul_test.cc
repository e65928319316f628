#include "core/ops/matmul.h"

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;

/// a·b for matrices, as in the textbook.
Tensor product(T a, T b) {
  const std::int64_t m = a.dim(0), k = a.dim(1), n = b.dim(1);
  std::vector<Real> y;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double total = 0;
      for (std::int64_t t = 0; t < k; ++t)
        total += static_cast<double>(a.data()[static_cast<std::size_t>(i * k + t)]) *
                 static_cast<double>(b.data()[static_cast<std::size_t>(t * n + j)]);
      y.push_back(static_cast<Real>(total));
    }
  }
  return Tensor::from(y, {m, n});
}

}  // namespace

TEST_CASE("matmul: gradient of plain and transposed products") {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      check_op("matmul", {ta ? Shape{5, 3} : Shape{3, 5}, tb ? Shape{4, 5} : Shape{5, 4}},
               [=](T a, T b) {
                 return matmul(a, b, {ta, tb});
               },
               {.order = 2, .reference = [=](const std::vector<Tensor>& x) {
                  return product(ta ? transpose(x[0]) : x[0], tb ? transpose(x[1]) : x[1]);
                }});
    }
  }
}

TEST_CASE("matmul: gradient of batched, broadcast and vector products") {
  const auto plain = [](T a, T b) { return matmul(a, b); };
  struct Shapes {
    Shape a, b, y;
  };
  for (const Shapes& s : {Shapes{{2, 3, 4}, {2, 4, 2}, {2, 3, 2}},
                          {{2, 3, 4}, {4, 2}, {2, 3, 2}},
                          {{3, 4}, {2, 4, 2}, {2, 3, 2}},
                          {{2, 1, 3, 4}, {3, 4, 2}, {2, 3, 3, 2}},
                          {{4}, {4, 3}, {3}},
                          {{3, 4}, {4}, {3}},
                          {{4}, {4}, {}},
                          {{2, 3, 4}, {4}, {2, 3}},
                          {{4}, {2, 4, 3}, {2, 3}},
                          {{1, 1}, {1, 1}, {1, 1}}}) {
    CHECK(plain(Tensor::ones(s.a), Tensor::ones(s.b)).shape() == s.y);
    check_op("matmul " + s.a.str() + s.b.str(), {s.a, s.b}, plain);
  }
  check_op("matmul batched, transposed", {{2, 4, 3}, {1, 5, 4}},
           [](T a, T b) { return matmul(a, b, {.transpose_a = true, .transpose_b = true}); });
  check_op("matmul shared", {{3, 3}}, [](T a) { return matmul(a, a); });
}

TEST_CASE("matmul: gradient of a stack multiplied by itself, as in Gram matrices") {
  for (const MatmulOptions& o : {MatmulOptions{.transpose_b = true}, {.transpose_a = true}, {}}) {
    const bool square = !o.transpose_a && !o.transpose_b;
    check_op("matmul", {square ? Shape{2, 3, 3} : Shape{2, 3, 4}},
             [=](T a) { return matmul(a, a, o); }, {.order = 2});
  }
}

TEST_CASE("matmul: every size near the tiles against the textbook") {
  for (const std::int64_t m : {1, 5, 6, 7, 17, 33}) {
    for (const std::int64_t n : {1, 7, 16, 31, 32, 65}) {
      for (const std::int64_t k : {0, 1, 3, 8, 130}) {
        const Tensor a = Input({m, k}).make(1), b = Input({k, n}).make(2);
        const double error = difference(matmul(a, b), product(a, b));
        CHECK_MESSAGE(error < (kDouble ? 1e-13 : 3e-6), m, " ", n, " ", k, ": ", error);
      }
    }
  }
  CHECK(matmul(Tensor::empty({0, 3}), Tensor::ones({3, 2})).shape() == Shape{0, 2});
  CHECK(matmul(Tensor::empty({2, 0}), Tensor::empty({0, 3})).to_vector() ==
        std::vector<Real>(6, 0));
}

TEST_CASE("linear: gradient with and without bias, of any rank") {
  check_op(
      "linear", {{2, 3, 4}, {5, 4}, Input({5}).additive()},
      [](T x, T w, T b) { return linear(x, w, b); },
      {.reference = [](const std::vector<Tensor>& x) {
        return reshape(product(reshape(x[0], Shape{6, 4}), transpose(x[1])), Shape{2, 3, 5}) + x[2];
      }});
  check_op("linear without bias", {{3, 4}, {2, 4}}, [](T x, T w) { return linear(x, w); });
  check_op("linear on a vector", {{4}, {2, 4}}, [](T x, T w) { return linear(x, w); });
}

TEST_CASE("two layers: third-order gradient") {
  check_op("two layers", {{3, 4}, {5, 4}, {2, 5}},
           [](T x, T w, T v) { return linear(tanh(linear(x, w)), v); }, {.order = 3});
}

TEST_CASE("matmul and linear: bits do not depend on threads") {
  check_op_threads("matmul", {{150, 200}, {200, 170}}, [](T a, T b) { return matmul(a, b); });
  check_op_threads("matmul batched", {{40, 30, 50}, {40, 50, 20}},
                   [](T a, T b) { return matmul(a, b); });
  check_op_threads("linear", {{300, 100}, {70, 100}, {70}},
                   [](T x, T w, T b) { return linear(x, w, b); });
}

TEST_CASE("matmul and linear: shapes that do not fit are named") {
  for (const auto& f : std::vector<std::function<Tensor()>>{
           [] {
             return matmul(Tensor::ones({2, 3}), Tensor::ones({2, 3}));
           },
           [] {
             return matmul(Tensor::scalar(1), Tensor::ones({2, 3}));
           },
           [] {
             return matmul(Tensor::ones({3}), Tensor::ones({3, 2}), {.transpose_a = true});
           },
           [] {
             return matmul(Tensor::ones({2, 3, 4}), Tensor::ones({3, 4, 2}));
           }}) {
    const std::string text = error_text([&] { f(); });
    CHECK(text.find("matmul: ") == 0);
    CHECK(text.find('[') != std::string::npos);  // the shapes
  }
  for (const auto& f : std::vector<std::function<Tensor()>>{
           [] {
             return linear(Tensor::ones({2, 3}), Tensor::ones({4, 2}));
           },
           [] {
             return linear(Tensor::ones({2, 3}), Tensor::ones({4, 3}), Tensor::ones({3}));
           },
           [] {
             return linear(Tensor::ones({2, 3}), Tensor::ones({3}));
           }}) {
    const std::string text = error_text([&] { f(); });
    CHECK(text.find("linear: ") == 0);
    CHECK(text.find('[') != std::string::npos);
  }
}

}  // namespace tapestry::testing
