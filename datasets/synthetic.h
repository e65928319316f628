// Data made from a seed: known modes for generators, and pictures for style transfer, without a
// download.
#ifndef TAPESTRY_DATASETS_SYNTHETIC_H_
#define TAPESTRY_DATASETS_SYNTHETIC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"
#include "datasets/dataset.h"

namespace tapestry::data {

/// A mixture of equal, round normal distributions in the plane; the label is the component.
class GaussianMixture : public InMemory {
 public:
  GaussianMixture(Tensor centers, Real deviation, std::int64_t count, const Rng& rng,
                  std::string description);
  /// (modes, 2)
  const Tensor& centers() const { return centers_; }
  Real deviation() const { return deviation_; }

 private:
  Tensor centers_;
  Real deviation_;
};
/// `modes` normals of deviation 0.01·radius·… on a circle: Metz et al. 2017 use 8, radius 1,
/// deviation 0.01 (Lin et al. 2018).
std::unique_ptr<GaussianMixture> ring(std::int64_t count, const Rng& rng, int modes = 8,
                                      Real radius = 1, Real deviation = Real(0.01));
/// side² normals on a square grid of the given spacing; Lin et al. 2018 use 5 × 5, spacing 2,
/// deviation 0.05.
std::unique_ptr<GaussianMixture> grid(std::int64_t count, const Rng& rng, int side = 5,
                                      Real spacing = 2, Real deviation = Real(0.05));

/// Four kinds of textures, each a family with random parameters.
enum class Texture { kWaves, kChecks, kCells, kNoise };
/// "waves", "checks", "cells", "noise"; Throws Error with the list for anything else.
Texture texture_kind(std::string_view name);
/// One RGB picture (3, size, size) in [0, 1]. waves: mixtures of sinusoids; checks: rotated,
/// distorted checkerboards; cells: Voronoi cells with dark borders (Worley 1996); noise: octaves of
/// value noise, turned into bands (Perlin 1985).
Tensor texture(Texture kind, std::int64_t size, Rng rng);

/// One RGB landscape (3, size, size) in [0, 1]: a sky with a sun, hills, houses and trees. With
/// vary_contrast the whole picture is moved to a random mean and contrast, which instance
/// normalization takes out again and batch normalization does not.
Tensor scene(std::int64_t size, Rng rng, bool vary_contrast = true);

/// Scenes or textures numbered by a seed, made when asked for; the same number gives the same
/// picture.
class Scenes : public Dataset {
 public:
  Scenes(std::int64_t count, std::int64_t size, const Rng& rng, bool vary_contrast = true);
  std::int64_t size() const override { return count_; }
  Example get(std::int64_t index) const override;
  std::string describe() const override;

 private:
  std::int64_t count_, size_;
  Rng rng_;
  bool vary_contrast_;
};

/// Textures of all four kinds in turn; the label is the kind.
class Textures : public Dataset {
 public:
  Textures(std::int64_t count, std::int64_t size, const Rng& rng);
  std::int64_t size() const override { return count_; }
  Example get(std::int64_t index) const override;
  int classes() const override { return 4; }
  std::string describe() const override;

 private:
  std::int64_t count_, size_;
  Rng rng_;
};

/// Grey pictures (1, size, size) of one filled shape each: disc, square, triangle, cross; random
/// place, size, turn and brightness. The label is the shape.
class Shapes : public Dataset {
 public:
  Shapes(std::int64_t count, std::int64_t size, const Rng& rng);
  std::int64_t size() const override { return count_; }
  Example get(std::int64_t index) const override;
  int classes() const override { return 4; }
  std::string describe() const override;

 private:
  std::int64_t count_, size_;
  Rng rng_;
};

}  // namespace tapestry::data

#endif  // TAPESTRY_DATASETS_SYNTHETIC_H_
