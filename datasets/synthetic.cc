#include "datasets/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace tapestry::data {
namespace {

constexpr double kPi = std::numbers::pi;

double between(Rng& rng, double low, double high) { return low + (high - low) * rng.uniform(); }

using Color = std::array<double, 3>;

Color mix(const Color& a, const Color& b, double share) {
  Color result{};
  for (std::size_t c = 0; c < 3; ++c) result[c] = a[c] + (b[c] - a[c]) * share;
  return result;
}

Color random_color(Rng& rng) { return {rng.uniform(), rng.uniform(), rng.uniform()}; }

/// 0 below `edge` − width, 1 above edge + width, smooth between: an anti-aliased step.
double step(double edge, double value, double width) {
  const double t = std::clamp((value - edge) / (2 * width) + 0.5, 0.0, 1.0);
  return t * t * (3 - 2 * t);
}

/// Fills a picture from color(u, v), u to the right and v downwards, both in [0, 1).
template <class F>
Tensor paint(std::int64_t size, F color) {
  Tensor image = Tensor::empty({3, size, size});
  Real* to = image.mutable_data().data();
  const std::int64_t area = size * size;
  for (std::int64_t i = 0; i < area; ++i) {
    const double u = (static_cast<double>(i % size) + 0.5) / static_cast<double>(size);
    const double v = (static_cast<double>(i / size) + 0.5) / static_cast<double>(size);
    const Color value = color(u, v);
    for (std::size_t c = 0; c < 3; ++c)
      to[static_cast<std::int64_t>(c) * area + i] =
          static_cast<Real>(std::clamp(value[c], 0.0, 1.0));
  }
  return image;
}

/// Value noise: random numbers on a lattice, smoothly interpolated, summed over octaves; roughly in
/// [0, 1].
class Noise {
 public:
  Noise(Rng& rng, int cells, int octaves) : cells_(cells), octaves_(octaves) {
    for (double& value : lattice_) value = rng.uniform();
  }
  double operator()(double u, double v) const {
    double sum = 0, weight = 1, total = 0;
    for (int octave = 0, cells = cells_; octave < octaves_; ++octave, cells *= 2, weight /= 2) {
      sum += weight * sample(u * cells, v * cells, octave);
      total += weight;
    }
    return sum / total;
  }

 private:
  double at(std::int64_t x, std::int64_t y, int octave) const {
    const std::uint64_t hash = static_cast<std::uint64_t>(x) * 0x9E3779B1U ^
                               static_cast<std::uint64_t>(y) * 0x85EBCA77U ^
                               static_cast<std::uint64_t>(octave) * 0xC2B2AE3DU;
    return lattice_[(hash ^ (hash >> 15)) % lattice_.size()];
  }
  double sample(double x, double y, int octave) const {
    const double fx = std::floor(x), fy = std::floor(y);
    const std::int64_t i = static_cast<std::int64_t>(fx), j = static_cast<std::int64_t>(fy);
    const double a = step(0.5, x - fx, 0.5), b = step(0.5, y - fy, 0.5);
    const double top = at(i, j, octave) * (1 - a) + at(i + 1, j, octave) * a;
    const double bottom = at(i, j + 1, octave) * (1 - a) + at(i + 1, j + 1, octave) * a;
    return top * (1 - b) + bottom * b;
  }
  int cells_, octaves_;
  std::array<double, 1021> lattice_;  // a prime, so that lattice rows do not line up with it
};

Tensor waves(std::int64_t size, Rng& rng) {
  const Color a = random_color(rng), b = random_color(rng), c = random_color(rng);
  struct Wave {
    double x, y, phase;
  };
  std::vector<Wave> list;
  for (int i = 0; i < 3; ++i) {
    const double angle = between(rng, 0, kPi), frequency = 2 * kPi * between(rng, 3, 9);
    list.push_back(
        {frequency * std::cos(angle), frequency * std::sin(angle), between(rng, 0, 2 * kPi)});
  }
  return paint(size, [&](double u, double v) {
    double sum = 0;
    for (const Wave& wave : list) sum += std::sin(wave.x * u + wave.y * v + wave.phase);
    const double t = sum / 3;
    return t < 0 ? mix(a, b, 1 + t) : mix(b, c, t);
  });
}

Tensor checks(std::int64_t size, Rng& rng) {
  const Color a = random_color(rng), b = random_color(rng);
  const double angle = between(rng, 0, kPi / 2), cells = between(rng, 5, 11),
               bend = between(rng, 0, 0.08);
  return paint(size, [&](double u, double v) {
    const double x = u + bend * std::sin(2 * kPi * v), y = v + bend * std::sin(2 * kPi * u);
    const double p = std::sin(kPi * cells * (x * std::cos(angle) + y * std::sin(angle)));
    const double q = std::sin(kPi * cells * (y * std::cos(angle) - x * std::sin(angle)));
    return mix(a, b, step(0, p * q, 0.15));
  });
}

Tensor cells(std::int64_t size, Rng& rng) {
  struct Seed {
    double u, v;
    Color color;
  };
  std::vector<Seed> seeds;
  const Color base = random_color(rng);
  for (int i = 0; i < 40; ++i)
    seeds.push_back({rng.uniform(), rng.uniform(), mix(base, random_color(rng), 0.5)});
  const Color border{0.05, 0.05, 0.08};
  return paint(size, [&](double u, double v) {
    double nearest = 10, second = 10;
    const Seed* owner = nullptr;
    for (const Seed& seed : seeds) {
      double du = std::abs(u - seed.u), dv = std::abs(v - seed.v);
      du = std::min(du,
                    1 - du);  // wrap around, so that cells at the edge are as large as the others
      dv = std::min(dv, 1 - dv);
      const double distance = std::sqrt(du * du + dv * dv);
      if (distance < nearest) {
        second = nearest;
        nearest = distance;
        owner = &seed;
      } else {
        second = std::min(second, distance);
      }
    }
    return mix(border, owner->color, step(0.02, second - nearest, 0.012));
  });
}

Tensor clouds(std::int64_t size, Rng& rng) {
  const Color a = random_color(rng), b = random_color(rng);
  const double bands = between(rng, 2, 6);
  const Noise noise(rng, 4, 4);
  return paint(size, [&](double u, double v) {
    return mix(a, b, 0.5 + 0.5 * std::sin(2 * kPi * bands * noise(u, v)));
  });
}

/// Moves a picture to a random mean and contrast, as a photographer's exposure would.
void expose(Tensor& image, Rng& rng) {
  const double gain = between(rng, 0.25, 1), level = between(rng, 0.25, 0.75);
  double mean = 0;
  for (const Real value : image.data()) mean += value;
  mean /= static_cast<double>(image.size());
  for (Real& value : image.mutable_data()) {
    value =
        static_cast<Real>(std::clamp(level + gain * (static_cast<double>(value) - mean), 0.0, 1.0));
  }
}

}  // namespace

GaussianMixture::GaussianMixture(Tensor centers, Real deviation, std::int64_t count, const Rng& rng,
                                 std::string description)
    : InMemory(
          [&] {
            Tensor points = rng.split("points").normal({count, 2}, 0, deviation);
            std::span<Real> values = points.mutable_data();
            for (std::int64_t i = 0; i < count; ++i) {
              for (std::int64_t d = 0; d < 2; ++d) {
                values[static_cast<std::size_t>(2 * i + d)] +=
                    centers.data()[static_cast<std::size_t>(2 * (i % centers.dim(0)) + d)];
              }
            }
            return points;
          }(),
          [&] {
            std::vector<std::int32_t> labels;
            for (std::int64_t i = 0; i < count; ++i)
              labels.push_back(static_cast<std::int32_t>(i % centers.dim(0)));
            return labels;
          }(),
          static_cast<int>(centers.dim(0)), std::move(description)),
      centers_(centers),
      deviation_(deviation) {}

std::unique_ptr<GaussianMixture> ring(std::int64_t count, const Rng& rng, int modes, Real radius,
                                      Real deviation) {
  std::vector<Real> centers;
  for (int i = 0; i < modes; ++i) {
    const double angle = 2 * kPi * i / modes;
    centers.push_back(radius * static_cast<Real>(std::cos(angle)));
    centers.push_back(radius * static_cast<Real>(std::sin(angle)));
  }
  return std::make_unique<GaussianMixture>(
      Tensor::from(centers, {modes, 2}), deviation, count, rng,
      format("ring: {} points of {} normals on a circle", count, modes));
}

std::unique_ptr<GaussianMixture> grid(std::int64_t count, const Rng& rng, int side, Real spacing,
                                      Real deviation) {
  std::vector<Real> centers;
  for (int i = 0; i < side * side; ++i) {
    centers.push_back(spacing * static_cast<Real>(i % side - (side - 1) / 2.0));
    centers.push_back(spacing * static_cast<Real>(i / side - (side - 1) / 2.0));
  }
  return std::make_unique<GaussianMixture>(
      Tensor::from(centers, {side * side, 2}), deviation, count, rng,
      format("grid: {} points of {} × {} normals", count, side, side));
}

Texture texture_kind(std::string_view name) {
  if (name == "waves") return Texture::kWaves;
  if (name == "checks") return Texture::kChecks;
  if (name == "cells") return Texture::kCells;
  if (name == "noise") return Texture::kNoise;
  throw Error("texture", "there is no texture \"{}\"", name)
      .hint("use waves, checks, cells or noise");
}

Tensor texture(Texture kind, std::int64_t size, Rng rng) {
  if (size < 1) throw Error("texture", "needs a size of at least 1, got {}", size);
  switch (kind) {
    case Texture::kWaves:
      return waves(size, rng);
    case Texture::kChecks:
      return checks(size, rng);
    case Texture::kCells:
      return cells(size, rng);
    case Texture::kNoise:
      break;
  }
  return clouds(size, rng);
}

Tensor scene(std::int64_t size, Rng rng, bool vary_contrast) {
  if (size < 1) throw Error("scene", "needs a size of at least 1, got {}", size);
  const double edge = 0.7 / static_cast<double>(size);  // soft edges about one pixel wide
  const Color high = mix({0.2, 0.4, 0.8}, random_color(rng), 0.4),
              low = mix({0.9, 0.8, 0.6}, random_color(rng), 0.3);
  const Color sun{1, between(rng, 0.8, 1), between(rng, 0.4, 0.8)};
  const double sun_u = rng.uniform(), sun_v = between(rng, 0.08, 0.35),
               sun_radius = between(rng, 0.05, 0.11);
  const double horizon = between(rng, 0.45, 0.65);
  struct Hill {
    double height, frequency, phase, offset;
    Color color;
  };
  std::vector<Hill> hills;
  for (int i = 0; i < 3; ++i) {
    hills.push_back({between(rng, 0.03, 0.1), between(rng, 1, 3), between(rng, 0, 2 * kPi),
                     0.12 * i, mix({0.15 + 0.1 * i, 0.45, 0.2}, random_color(rng), 0.35)});
  }
  struct House {
    double u, v, width, height;
    Color wall, roof;
  };
  std::vector<House> houses;
  const std::int64_t house_count = 1 + rng.below(3);
  for (std::int64_t i = 0; i < house_count; ++i) {
    const double width = between(rng, 0.12, 0.25);
    houses.push_back({between(rng, 0, 1 - width), between(rng, horizon + 0.1, 0.8), width,
                      between(rng, 0.1, 0.18), random_color(rng), random_color(rng)});
  }
  struct Tree {
    double u, v, radius;
    Color leaves;
  };
  std::vector<Tree> trees;
  const std::int64_t tree_count = 2 + rng.below(4);
  for (std::int64_t i = 0; i < tree_count; ++i) {
    trees.push_back({rng.uniform(), between(rng, horizon + 0.05, 0.95), between(rng, 0.04, 0.09),
                     mix({0.1, 0.4, 0.1}, random_color(rng), 0.25)});
  }
  const Noise grain(rng, 8, 3);
  Tensor image = paint(size, [&](double u, double v) {
    Color color = mix(high, low, v / horizon);
    const double to_sun = std::hypot(u - sun_u, v - sun_v);
    color = mix(sun, color, step(sun_radius, to_sun, edge));
    for (const Hill& hill : hills) {
      const double top =
          horizon + hill.offset + hill.height * std::sin(2 * kPi * hill.frequency * u + hill.phase);
      color = mix(color, hill.color, step(top, v, edge));
    }
    if (v > horizon) color = mix(color, {0, 0, 0}, 0.25 * grain(u, v));
    for (const House& house : houses) {
      const double x = (u - house.u) / house.width, top = house.v - house.height;
      if (x <= 0 || x >= 1) continue;
      if (v > top && v < house.v) color = house.wall;
      const double ridge = top - 0.5 * house.height * (1 - std::abs(2 * x - 1));
      if (v > ridge && v <= top) color = house.roof;
      if (v > top + 0.4 * house.height && v < house.v && x > 0.4 && x < 0.6)
        color = {0.15, 0.1, 0.08};
    }
    for (const Tree& tree : trees) {
      if (std::abs(u - tree.u) < 0.15 * tree.radius && v > tree.v && v < tree.v + 1.6 * tree.radius)
        color = {0.3, 0.2, 0.1};
      color = mix(tree.leaves, color, step(tree.radius, std::hypot(u - tree.u, v - tree.v), edge));
    }
    return color;
  });
  if (vary_contrast) expose(image, rng);
  return image;
}

Scenes::Scenes(std::int64_t count, std::int64_t size, const Rng& rng, bool vary_contrast)
    : count_(count), size_(size), rng_(rng.split("scenes")), vary_contrast_(vary_contrast) {}
Example Scenes::get(std::int64_t index) const {
  return {scene(size_, rng_.split(static_cast<std::uint64_t>(index)), vary_contrast_), 0};
}
std::string Scenes::describe() const {
  return format("{} procedural scenes of {} × {} pixels", count_, size_, size_);
}

Textures::Textures(std::int64_t count, std::int64_t size, const Rng& rng)
    : count_(count), size_(size), rng_(rng.split("textures")) {}
Example Textures::get(std::int64_t index) const {
  const std::int32_t kind = static_cast<std::int32_t>(index % 4);
  return {texture(static_cast<Texture>(kind), size_, rng_.split(static_cast<std::uint64_t>(index))),
          kind};
}
std::string Textures::describe() const {
  return format("{} procedural textures of {} × {} pixels", count_, size_, size_);
}

Shapes::Shapes(std::int64_t count, std::int64_t size, const Rng& rng)
    : count_(count), size_(size), rng_(rng.split("shapes")) {}
Example Shapes::get(std::int64_t index) const {
  Rng rng = rng_.split(static_cast<std::uint64_t>(index));
  const std::int32_t kind = static_cast<std::int32_t>(index % 4);
  const double radius = between(rng, 0.2, 0.35), cu = between(rng, 0.38, 0.62),
               cv = between(rng, 0.38, 0.62);
  const double turn = between(rng, 0, 2 * kPi), ink = between(rng, 0.6, 1),
               paper = between(rng, 0, 0.2), edge = 0.7 / static_cast<double>(size_);
  Tensor image = Tensor::empty({1, size_, size_});
  Real* to = image.mutable_data().data();
  for (std::int64_t i = 0; i < size_ * size_; ++i) {
    const double u = (static_cast<double>(i % size_) + 0.5) / static_cast<double>(size_) - cu;
    const double v = (static_cast<double>(i / size_) + 0.5) / static_cast<double>(size_) - cv;
    const double x = u * std::cos(turn) + v * std::sin(turn),
                 y = v * std::cos(turn) - u * std::sin(turn);
    double distance = 0;  // to the outline, negative inside
    switch (kind) {
      case 0:
        distance = std::hypot(x, y) - radius;
        break;
      case 1:
        distance = std::max(std::abs(x), std::abs(y)) - 0.85 * radius;
        break;
      case 2:
        distance = std::max(-y, std::max(0.866 * x + 0.5 * y, -0.866 * x + 0.5 * y)) - 0.5 * radius;
        break;
      default:
        distance = std::min(std::max(std::abs(x), std::abs(y) - radius),
                            std::max(std::abs(y), std::abs(x) - radius)) -
                   0.3 * radius * 0.8;
    }
    to[i] = static_cast<Real>(ink + (paper - ink) * step(0, distance, edge));
  }
  return {image, kind};
}
std::string Shapes::describe() const {
  return format("{} grey pictures of four shapes, {} × {} pixels", count_, size_, size_);
}

}  // namespace tapestry::data
