// How good is a classifier, a generator, a stylized picture? Figures computed in double precision
// from tensors whose rows are samples. They compare runs made by this program on the same data;
// they are not the published metrics of the same family, and say so by name.
#ifndef TAPESTRY_EXAMPLES_LAB_METRICS_H_
#define TAPESTRY_EXAMPLES_LAB_METRICS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace tapestry::lab {

/// Share of rows of `logits` (N, classes) whose largest entry is the label's.
double accuracy(const Tensor& logits, std::span<const std::int32_t> labels);

/// Fréchet distance between two sets of features (N, D), (M, D), each taken as a normal
/// distribution: ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½). 0 for equal moments; biased upwards
/// for few samples, so always show real against real. Heusel et al. 2017 with Inception features
/// call it FID; in features of our own it is "FD-own" and comparable only with itself.
double frechet_distance(const Tensor& a, const Tensor& b);

/// Squared maximum mean discrepancy with the kernel (x·y/D + 1)³, unbiased: around 0 for samples of
/// one distribution, may be negative. Bińkowski et al. 2018.
double kernel_distance(const Tensor& a, const Tensor& b);

/// Fidelity and diversity by nearest neighbors in feature space. precision: share of fakes inside
/// some real k-ball; recall: share of reals inside some fake k-ball (Kynkäänniemi et al. 2019).
/// density: mean number of real k-balls around a fake, over k; coverage: share of reals with a fake
/// in their k-ball (Naeem et al. 2020).
struct Neighborhood {
  double precision = 0, recall = 0, density = 0, coverage = 0;
};
Neighborhood neighborhood(const Tensor& real, const Tensor& fake, int k = 5);

/// Which of the known modes of a mixture (ring, grid) a generator reaches. A sample belongs to its
/// nearest center and is good within `radius` of it; a mode is covered by one good sample.
/// reverse_kl is Σ q log(q·modes), the divergence of the good samples' histogram q from uniform
/// (Lin et al. 2018); NaN without any good sample.
struct ModeCoverage {
  int covered = 0;
  double good_share = 0, reverse_kl = 0;
};
ModeCoverage mode_coverage(const Tensor& samples, const Tensor& centers, double radius);

/// Divergence of the predicted classes' histogram from uniform, Σ q log(q·classes), 0 ≤ … ≤ log
/// classes: large when a generator collapses.
double class_divergence(const Tensor& logits);

/// Eigenvalues (ascending) and eigenvectors (columns) of a symmetric matrix given row-major, by
/// Jacobi's rotations (1846): slow for large matrices, simple, and accurate.
struct Eigen {
  std::vector<double> values, vectors;
};
Eigen symmetric_eigen(std::vector<double> matrix, int n);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_METRICS_H_
