#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <doctest/doctest.h>

#include "core/parallel.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using Words = std::array<std::uint32_t, 4>;

struct Moments {
  double mean = 0, variance = 0, skewness = 0, kurtosis = 0;
};

Moments moments(const Tensor& x) {
  Moments m;
  const double n = static_cast<double>(x.size());
  for (const Real value : x.data()) m.mean += static_cast<double>(value) / n;
  for (const Real value : x.data()) {
    const double d = static_cast<double>(value) - m.mean;
    m.variance += d * d / n;
    m.skewness += d * d * d / n;
    m.kurtosis += d * d * d * d / n;
  }
  m.skewness /= std::pow(m.variance, 1.5);
  m.kurtosis /= m.variance * m.variance;
  return m;
}

double correlation(const Tensor& a, const Tensor& b) {
  const Moments ma = moments(a), mb = moments(b);
  double total = 0;
  for (std::size_t i = 0; i < a.data().size(); ++i)
    total +=
        (static_cast<double>(a.data()[i]) - ma.mean) * (static_cast<double>(b.data()[i]) - mb.mean);
  return total / static_cast<double>(a.size()) / std::sqrt(ma.variance * mb.variance);
}

}  // namespace

TEST_CASE("philox: the known answers of Random123") {
  constexpr std::uint32_t kOnes = 0xffffffff;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // The digits of pi.
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: moments of the distributions") {
  // With 400,000 numbers the bounds are about five standard errors.
  const Shape shape{400000};
  Rng rng(7);
  const Moments normal = moments(rng.normal(shape));
  CHECK(std::abs(normal.mean) < 0.008);
  CHECK(std::abs(normal.variance - 1) < 0.012);
  CHECK(std::abs(normal.skewness) < 0.02);
  CHECK(std::abs(normal.kurtosis - 3) < 0.04);
  const Moments uniform = moments(rng.uniform(shape));
  CHECK(std::abs(uniform.mean - 0.5) < 0.0025);
  CHECK(std::abs(uniform.variance - 1.0 / 12) < 0.0007);
  CHECK(std::abs(uniform.kurtosis - 1.8) < 0.01);
  const Moments shifted = moments(rng.normal(shape, 3, 2));
  CHECK(std::abs(shifted.mean - 3) < 0.016);
  CHECK(std::abs(shifted.variance - 4) < 0.05);
  const Moments coin = moments(rng.bernoulli(shape, Real(0.3)));
  CHECK(std::abs(coin.mean - 0.3) < 0.004);
  CHECK(std::abs(coin.variance - 0.21) < 0.003);
}

TEST_CASE("random: uniform numbers stay below the upper bound, also where rounding reaches it") {
  Rng rng(1);
  const Tensor x = rng.uniform({10000}, Real(1 << 24), Real((1 << 24) + 2));
  for (const Real value : x.data()) {
    REQUIRE(value >= Real(1 << 24));
    REQUIRE(value < Real((1 << 24) + 2));
  }
  const Tensor unit = rng.uniform({10000}, -1, 1);
  for (const Real value : unit.data()) {
    REQUIRE(value >= -1);
    REQUIRE(value < 1);
  }
  CHECK(rng.uniform({3}, 2, 2).to_vector() == std::vector<Real>{2, 2, 2});
}

TEST_CASE("random: the same numbers at any number of threads, in one draw or in pieces") {
  const int before = threads();
  std::set<std::uint64_t> seen;
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    Rng rng(5);
    const std::vector<Tensor> drawn{rng.normal({100003}), rng.uniform({70001}),
                                    rng.bernoulli({3, 33333}, Real(0.5))};
    seen.insert(hash(drawn));
  }
  set_threads(before);
  CHECK(seen.size() == 1);
  Rng whole(5), parts(5);
  const std::vector<Real> all = whole.normal({100}).to_vector();
  std::vector<Real> joined = parts.normal({60}).to_vector();
  for (const Real value : parts.normal({40}).to_vector()) joined.push_back(value);
  CHECK(all == joined);
}

TEST_CASE("random: streams split by purpose or number are unrelated and ignore the position") {
  Rng rng(3);
  const Rng before = rng.split("latent");
  rng.normal({10});
  CHECK(rng.split("latent").state() == before.state());
  const Shape shape{20000};
  std::vector<Tensor> streams{rng.split("latent").normal(shape),
                              rng.split("data").normal(shape),
                              rng.split(0).normal(shape),
                              rng.split(1).normal(shape),
                              rng.split("latent").split("latent").normal(shape),
                              Rng(4).split("latent").normal(shape),
                              Rng(3).normal(shape)};
  for (std::size_t i = 0; i < streams.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k)
      CHECK(std::abs(correlation(streams[i], streams[k])) < 5 / std::sqrt(20000.0));
  }
}

TEST_CASE("random: a restored stream goes on exactly") {
  Rng rng(9);
  rng.normal({7});
  rng.uniform();
  const Rng::State state = rng.state();
  const auto draw = [](Rng& from) {
    std::vector<double> numbers{from.uniform(), from.normal(),
                                static_cast<double>(from.below(100))};
    for (const std::int64_t i : from.permutation(5)) numbers.push_back(static_cast<double>(i));
    return numbers;
  };
  const auto first = draw(rng);
  Rng other(0);
  other.restore(state);
  CHECK(draw(other) == first);
}

TEST_CASE("random: below is fair and permutations are permutations") {
  Rng rng(11);
  std::vector<int> counts(6, 0);
  for (int i = 0; i < 60000; ++i) ++counts[static_cast<std::size_t>(rng.below(6))];
  double chi2 = 0;
  for (const int count : counts) chi2 += std::pow(count - 10000, 2) / 10000;
  CHECK(chi2 < 20.5);  // 99.9 % for 5 degrees of freedom
  CHECK(rng.below(1) == 0);
  for (const std::int64_t n : {0, 1, 2, 100}) {
    std::vector<std::int64_t> order = rng.permutation(n);
    REQUIRE(static_cast<std::int64_t>(order.size()) == n);
    std::sort(order.begin(), order.end());
    for (std::int64_t i = 0; i < n; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
  }
  // Each of the 3! orders about equally often.
  std::map<std::vector<std::int64_t>, int> orders;
  for (int i = 0; i < 12000; ++i) ++orders[rng.permutation(3)];
  CHECK(orders.size() == 6);
  for (const auto& [order, count] : orders) CHECK(std::abs(count - 2000) < 200);
}

TEST_CASE("random: refused arguments") {
  Rng rng(1);
  CHECK(error_text([&] { rng.below(0); }) ==
        "Rng::below: needs at least one number to choose from, got 0");
  CHECK(error_text([&] { rng.bernoulli({2}, Real(1.5)); }) ==
        "bernoulli: a probability lies between 0 and 1, got 1.5");
  CHECK(error_text([&] { rng.bernoulli({2}, std::nan("")); }) != "");
  CHECK(rng.bernoulli({100}, 0).to_vector() == std::vector<Real>(100, 0));
  CHECK(rng.bernoulli({100}, 1).to_vector() == std::vector<Real>(100, 1));
}

}  // namespace tapestry::testing
