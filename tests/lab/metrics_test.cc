#include "examples/lab/metrics.h"

#include <cmath>
#include <numbers>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/random.h"

using namespace tapestry;
using namespace tapestry::lab;

TEST_CASE("accuracy counts rows whose largest entry is the label") {
  const Tensor logits = Tensor::from({1, 2, 3, 9, 0, 0, 0, 5, 1}, {3, 3});
  CHECK(accuracy(logits, std::vector<std::int32_t>{2, 0, 1}) == 1);
  CHECK(accuracy(logits, std::vector<std::int32_t>{2, 1, 0}) == doctest::Approx(1.0 / 3));
  CHECK_THROWS_AS(accuracy(logits, std::vector<std::int32_t>{2, 1}), Error);
}

TEST_CASE("symmetric_eigen: a matrix with known eigenvalues, and A·v = λ·v for a random one") {
  const Eigen known = symmetric_eigen({2, 1, 1, 2}, 2);
  CHECK(known.values[0] == doctest::Approx(1));
  CHECK(known.values[1] == doctest::Approx(3));
  const int n = 17;
  Rng rng(3);
  std::vector<double> a(n * n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j)
      a[static_cast<std::size_t>(i * n + j)] = a[static_cast<std::size_t>(j * n + i)] =
          rng.normal();
  }
  const Eigen eigen = symmetric_eigen(a, n);
  for (int k = 0; k < n; ++k) {
    for (int i = 0; i < n; ++i) {
      double product = 0;
      for (int j = 0; j < n; ++j) {
        product += a[static_cast<std::size_t>(i * n + j)] *
                   eigen.vectors[static_cast<std::size_t>(j * n + k)];
      }
      const double expected = eigen.values[static_cast<std::size_t>(k)] *
                              eigen.vectors[static_cast<std::size_t>(i * n + k)];
      CHECK(std::abs(product - expected) < 1e-10);
    }
  }
}

TEST_CASE(
    "frechet_distance: zero for the same samples, and the closed form for shifted and scaled "
    "normals") {
  Rng rng(1);
  const Tensor x = rng.normal({4000, 3});
  CHECK(std::abs(frechet_distance(x, x)) < 1e-8);
  // The same numbers shifted by 2 in each of 3 dimensions: only the means differ.
  CHECK(frechet_distance(x, x + 2) == doctest::Approx(12).epsilon(1e-4));
  // Scaled by 3: tr(Σ + 9Σ − 6Σ) = 4 tr Σ, plus the mean's share, close to 0 here.
  CHECK(frechet_distance(x, x * 3) == doctest::Approx(12).epsilon(0.05));
}

TEST_CASE("kernel_distance: near zero for one distribution, large for two") {
  Rng rng(2);
  const Tensor a = rng.normal({300, 4}), b = rng.normal({300, 4});
  CHECK(std::abs(kernel_distance(a, b)) < 0.1);
  CHECK(kernel_distance(a, b + 1) > 1);
}

TEST_CASE(
    "neighborhood: identical distributions have density near 1 and coverage near 0.97 at k = 5") {
  Rng rng(4);
  const Tensor a = rng.normal({600, 8}), b = rng.normal({600, 8});
  const Neighborhood same = neighborhood(a, b, 5);
  CHECK(same.density == doctest::Approx(1).epsilon(0.1));
  CHECK(same.coverage > 0.93);  // 1 − 2⁻⁵ ≈ 0.97 in expectation
  const Neighborhood far = neighborhood(a, b + 100, 5);
  CHECK(far.precision == 0);
  CHECK(far.coverage == 0);
  CHECK(far.recall == 0);
}

TEST_CASE("mode_coverage: known samples around known centers") {
  const Tensor centers = Tensor::from({0, 0, 10, 0, 0, 10, 10, 10}, {4, 2});
  const Tensor samples = Tensor::from({0, Real(0.1), Real(0.1), 0, 10, Real(0.2), 5, 5}, {4, 2});
  const ModeCoverage coverage = mode_coverage(samples, centers, 1);
  CHECK(coverage.covered == 2);
  CHECK(coverage.good_share == doctest::Approx(0.75));
  CHECK(coverage.reverse_kl ==
        doctest::Approx(2.0 / 3 * std::log(8.0 / 3) + 1.0 / 3 * std::log(4.0 / 3)));
  CHECK(std::isnan(mode_coverage(samples + 1000, centers, 1).reverse_kl));
}

TEST_CASE("class_divergence: zero for a uniform histogram, log(classes) for a collapsed one") {
  CHECK(class_divergence(Tensor::from({1, 0, 0, 1}, {2, 2})) == doctest::Approx(0));
  CHECK(class_divergence(Tensor::from({1, 0, 1, 0}, {2, 2})) == doctest::Approx(std::numbers::ln2));
}
