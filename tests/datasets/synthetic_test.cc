#include "datasets/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include <doctest/doctest.h>

#include "tests/support/errors.h"

using namespace tapestry;
using testing::contains;
using testing::error_of;

namespace {

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data().data(), b.data().data(), a.data().size_bytes()) == 0;
}

struct Moments {
  double mean = 0, deviation = 0, least = 1e9, most = -1e9;
};
Moments moments(const Tensor& x) {
  Moments m;
  for (const Real value : x.data()) {
    m.mean += static_cast<double>(value);
    m.least = std::min(m.least, static_cast<double>(value));
    m.most = std::max(m.most, static_cast<double>(value));
  }
  m.mean /= static_cast<double>(x.size());
  for (const Real value : x.data()) m.deviation += std::pow(static_cast<double>(value) - m.mean, 2);
  m.deviation = std::sqrt(m.deviation / static_cast<double>(x.size()));
  return m;
}

/// Points minus the centers of their modes, and how many each mode has.
void check_mixture(const data::GaussianMixture& set, double deviation) {
  const std::int64_t modes = set.centers().dim(0);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(modes));
  Tensor residual = set.images().clone();
  std::span<Real> values = residual.mutable_data();
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const std::int64_t mode = set.labels()[static_cast<std::size_t>(i)];
    ++counts[static_cast<std::size_t>(mode)];
    for (std::int64_t d = 0; d < 2; ++d)
      values[static_cast<std::size_t>(2 * i + d)] -=
          set.centers().data()[static_cast<std::size_t>(2 * mode + d)];
  }
  CHECK(*std::max_element(counts.begin(), counts.end()) -
            *std::min_element(counts.begin(), counts.end()) <=
        1);
  const Moments m = moments(residual);
  const double error = 5 * deviation / std::sqrt(2.0 * static_cast<double>(set.size()));
  CHECK(std::abs(m.mean) < error);
  CHECK(std::abs(m.deviation - deviation) < error);
}

}  // namespace

TEST_CASE("mixtures: modes where the papers have them, equal shares, the stated deviation") {
  const auto ring = data::ring(8000, Rng(1));
  CHECK(ring->classes() == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    const double angle = static_cast<double>(i) * std::numbers::pi / 4;
    CHECK(ring->centers().data()[2 * i] == doctest::Approx(std::cos(angle)).epsilon(1e-6));
    CHECK(ring->centers().data()[2 * i + 1] == doctest::Approx(std::sin(angle)).epsilon(1e-6));
  }
  check_mixture(*ring, 0.01);
  const auto grid = data::grid(10'000, Rng(2));
  CHECK(grid->classes() == 25);
  CHECK(grid->centers().data()[0] == -4);
  CHECK(grid->centers().data()[1] == -4);
  CHECK(grid->centers().data()[48] == 4);
  CHECK(grid->centers().data()[49] == 4);
  check_mixture(*grid, 0.05);
  CHECK(same(data::ring(50, Rng(1))->images(), data::ring(50, Rng(1))->images()));
  CHECK(!same(data::ring(50, Rng(1))->images(), data::ring(50, Rng(2))->images()));
}

TEST_CASE("procedural pictures: a function of seed and number, in [0, 1], not flat") {
  const data::Scenes scenes(12, 24, Rng(1)), scenes_again(99, 24, Rng(1)), others(12, 24, Rng(2));
  const data::Textures textures(12, 24, Rng(1)), textures_again(99, 24, Rng(1));
  const data::Shapes shapes(12, 24, Rng(1)), shapes_again(99, 24, Rng(1));
  for (std::int64_t i = 0; i < 12; ++i) {
    CHECK(scenes.get(i).image.shape() == Shape{3, 24, 24});
    CHECK(textures.get(i).image.shape() == Shape{3, 24, 24});
    CHECK(shapes.get(i).image.shape() == Shape{1, 24, 24});
    CHECK(same(scenes.get(i).image, scenes_again.get(i).image));
    CHECK(same(textures.get(i).image, textures_again.get(i).image));
    CHECK(same(shapes.get(i).image, shapes_again.get(i).image));
    CHECK(!same(scenes.get(i).image, others.get(i).image));
    CHECK(!same(scenes.get(i).image, scenes.get((i + 1) % 12).image));
    CHECK(textures.get(i).label == i % 4);
    CHECK(shapes.get(i).label == i % 4);
    for (const Tensor& image : {scenes.get(i).image, textures.get(i).image, shapes.get(i).image}) {
      const Moments m = moments(image);
      CHECK(m.least >= 0);
      CHECK(m.most <= 1);
      CHECK(m.deviation > 0.01);
    }
  }
}

TEST_CASE("scenes: exposure varies the mean and the contrast of the whole picture") {
  std::vector<double> means, deviations, plain;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const Moments m = moments(data::scene(24, Rng(3).split(i)));
    means.push_back(m.mean);
    deviations.push_back(m.deviation);
    plain.push_back(moments(data::scene(24, Rng(3).split(i), false)).mean);
  }
  const auto span = [](const std::vector<double>& values) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return *high - *low;
  };
  CHECK(span(means) > 0.3);
  CHECK(*std::max_element(deviations.begin(), deviations.end()) >
        2.5 * *std::min_element(deviations.begin(), deviations.end()));
  CHECK(span(means) > 1.3 * span(plain));
}

TEST_CASE("textures: by name") {
  CHECK(data::texture_kind("cells") == data::Texture::kCells);
  CHECK(contains(error_of([] { data::texture_kind("stripes"); }),
                 "use waves, checks, cells or noise"));
  CHECK(contains(error_of([] { data::texture(data::Texture::kWaves, 0, Rng(1)); }),
                 "a size of at least 1"));
}
