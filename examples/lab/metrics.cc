#include "examples/lab/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/ops/reduce.h"
#include "core/parallel.h"

namespace tapestry::lab {
namespace {

using Matrix = std::vector<double>;  // row-major, square

std::size_t at(std::int64_t row, std::int64_t column, std::int64_t width) {
  return static_cast<std::size_t>(row * width + column);
}

void check_features(std::string_view what, const Tensor& a, const Tensor& b) {
  if (a.rank() != 2 || b.rank() != 2 || a.dim(1) != b.dim(1) || a.dim(0) < 2 || b.dim(0) < 2) {
    throw Error(what,
                "needs two tables of features with equally many columns and at least two rows")
        .shape("a", a)
        .shape("b", b);
  }
}

struct Moments {
  std::vector<double> mean;
  Matrix covariance;
};

Moments moments(const Tensor& x) {
  const std::int64_t n = x.dim(0), d = x.dim(1);
  const Real* data = x.data().data();
  Moments result{std::vector<double>(static_cast<std::size_t>(d), 0),
                 Matrix(static_cast<std::size_t>(d * d), 0)};
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j)
      result.mean[static_cast<std::size_t>(j)] += data[i * d + j];
  }
  for (double& value : result.mean) value /= static_cast<double>(n);
  std::vector<double> centered(static_cast<std::size_t>(n * d));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j)
      centered[at(i, j, d)] = data[i * d + j] - result.mean[static_cast<std::size_t>(j)];
  }
  parallel_for(d, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = begin; j < end; ++j) {
        for (std::int64_t k = 0; k < d; ++k)
          result.covariance[at(j, k, d)] += centered[at(i, j, d)] * centered[at(i, k, d)];
      }
    }
  });
  for (double& value : result.covariance) value /= static_cast<double>(n - 1);
  return result;
}

Matrix multiply(const Matrix& a, const Matrix& b, std::int64_t n) {
  Matrix c(a.size(), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < n; ++k) {
      for (std::int64_t j = 0; j < n; ++j) c[at(i, j, n)] += a[at(i, k, n)] * b[at(k, j, n)];
    }
  }
  return c;
}

/// V · diag(√max(λ, 0)) · Vᵀ: the root of a covariance, whose eigenvalues may come out slightly
/// negative.
Matrix square_root(const Matrix& matrix, int n) {
  const Eigen eigen = symmetric_eigen(matrix, n);
  Matrix result(matrix.size(), 0);
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < n; ++k) {
      const double scaled = eigen.vectors[at(i, k, n)] *
                            std::sqrt(std::max(eigen.values[static_cast<std::size_t>(k)], 0.0));
      for (int j = 0; j < n; ++j) result[at(i, j, n)] += scaled * eigen.vectors[at(j, k, n)];
    }
  }
  return result;
}

double squared_distance(const Real* a, const Real* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t j = 0; j < d; ++j) {
    const double difference = static_cast<double>(a[j]) - b[j];
    sum += difference * difference;
  }
  return sum;
}

/// For each row of x the squared distance to its k-th nearest other row.
std::vector<double> ball_radii(const Tensor& x, int k) {
  const std::int64_t n = x.dim(0), d = x.dim(1);
  std::vector<double> radii(static_cast<std::size_t>(n));
  parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> distances(static_cast<std::size_t>(n));
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        distances[static_cast<std::size_t>(j)] =
            squared_distance(x.data().data() + i * d, x.data().data() + j * d, d);
      }
      std::nth_element(distances.begin(), distances.begin() + k,
                       distances.end());  // place 0 is the row itself
      radii[static_cast<std::size_t>(i)] = distances[static_cast<std::size_t>(k)];
    }
  });
  return radii;
}

/// Σ q log(q · n) over a histogram.
double divergence_from_uniform(const std::vector<std::int64_t>& counts) {
  const double total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  if (total == 0) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (const std::int64_t count : counts) {
    const double share = static_cast<double>(count) / total;
    if (count > 0) sum += share * std::log(share * static_cast<double>(counts.size()));
  }
  return sum;
}

}  // namespace

double accuracy(const Tensor& logits, std::span<const std::int32_t> labels) {
  if (logits.rank() != 2 || logits.dim(0) != static_cast<std::int64_t>(labels.size()) ||
      labels.empty()) {
    throw Error("accuracy", "needs one label for each row of logits, got {} labels", labels.size())
        .shape("logits", logits, "(N, classes)");
  }
  const std::vector<std::int32_t> guesses = argmax(logits, 1);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += guesses[i] == labels[i];
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

Eigen symmetric_eigen(std::vector<double> a, int n) {
  std::vector<double> v(a.size(), 0);
  for (int i = 0; i < n; ++i) v[at(i, i, n)] = 1;
  double size = 0;
  for (const double value : a) size += value * value;
  constexpr int kSweeps = 60;  // convergence is quadratic: ten are usual
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double off = 0;
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) off += a[at(p, q, n)] * a[at(p, q, n)];
    }
    if (off <= 1e-30 * size) break;  // the rounding of a double, squared
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        if (a[at(p, q, n)] == 0) continue;
        // The rotation by the smaller angle that makes a[p][q] zero.
        const double theta = (a[at(q, q, n)] - a[at(p, p, n)]) / (2 * a[at(p, q, n)]);
        const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < n; ++k) {
          const double kp = a[at(k, p, n)], kq = a[at(k, q, n)];
          a[at(k, p, n)] = c * kp - s * kq;
          a[at(k, q, n)] = s * kp + c * kq;
        }
        for (int k = 0; k < n; ++k) {
          const double pk = a[at(p, k, n)], qk = a[at(q, k, n)];
          a[at(p, k, n)] = c * pk - s * qk;
          a[at(q, k, n)] = s * pk + c * qk;
          const double vp = v[at(k, p, n)], vq = v[at(k, q, n)];
          v[at(k, p, n)] = c * vp - s * vq;
          v[at(k, q, n)] = s * vp + c * vq;
        }
      }
    }
  }
  std::vector<int> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int i, int j) { return a[at(i, i, n)] < a[at(j, j, n)]; });
  Eigen result{{}, std::vector<double>(a.size())};
  for (int k = 0; k < n; ++k) {
    const int from = order[static_cast<std::size_t>(k)];
    result.values.push_back(a[at(from, from, n)]);
    for (int i = 0; i < n; ++i) result.vectors[at(i, k, n)] = v[at(i, from, n)];
  }
  return result;
}

double frechet_distance(const Tensor& a, const Tensor& b) {
  check_features("frechet_distance", a, b);
  const int d = static_cast<int>(a.dim(1));
  const Moments p = moments(a), q = moments(b);
  double distance = 0;
  for (std::size_t j = 0; j < p.mean.size(); ++j)
    distance += (p.mean[j] - q.mean[j]) * (p.mean[j] - q.mean[j]);
  const Matrix root = square_root(p.covariance, d);
  Matrix middle = multiply(multiply(root, q.covariance, d), root, d);
  for (int i = 0; i < d; ++i) {  // rounding made it slightly asymmetric
    for (int j = 0; j < i; ++j)
      middle[at(i, j, d)] = middle[at(j, i, d)] = (middle[at(i, j, d)] + middle[at(j, i, d)]) / 2;
  }
  for (const double value : symmetric_eigen(middle, d).values)
    distance -= 2 * std::sqrt(std::max(value, 0.0));
  for (int i = 0; i < d; ++i) distance += p.covariance[at(i, i, d)] + q.covariance[at(i, i, d)];
  return distance;
}

double kernel_distance(const Tensor& a, const Tensor& b) {
  check_features("kernel_distance", a, b);
  const std::int64_t d = a.dim(1);
  // Mean of the kernel over pairs; a row is not paired with itself.
  const auto mean_kernel = [d](const Tensor& x, const Tensor& y, bool same) {
    const std::int64_t n = x.dim(0), m = y.dim(0);
    const double sum = parallel_sum(n, 16, [&](std::int64_t begin, std::int64_t end) {
      double part = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t j = 0; j < m; ++j) {
          if (same && i == j) continue;
          double dot = 0;
          for (std::int64_t k = 0; k < d; ++k)
            dot += static_cast<double>(x.data()[at(i, k, d)]) * y.data()[at(j, k, d)];
          const double base = dot / static_cast<double>(d) + 1;
          part += base * base * base;
        }
      }
      return part;
    });
    return sum / (static_cast<double>(n) * static_cast<double>(same ? m - 1 : m));
  };
  return mean_kernel(a, a, true) + mean_kernel(b, b, true) - 2 * mean_kernel(a, b, false);
}

Neighborhood neighborhood(const Tensor& real, const Tensor& fake, int k) {
  check_features("neighborhood", real, fake);
  const std::int64_t n = real.dim(0), m = fake.dim(0), d = real.dim(1);
  if (k < 1 || k >= n || k >= m)
    throw Error("neighborhood", "{} neighbors need more than {} samples of each kind", k, k);
  const std::vector<double> real_radii = ball_radii(real, k), fake_radii = ball_radii(fake, k);
  std::vector<std::int64_t> balls_around_fake(static_cast<std::size_t>(m), 0);
  std::vector<char> recalled(static_cast<std::size_t>(n), 0),
      covered(static_cast<std::size_t>(n), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < m; ++j) {
      const double distance =
          squared_distance(real.data().data() + i * d, fake.data().data() + j * d, d);
      const std::size_t r = static_cast<std::size_t>(i), f = static_cast<std::size_t>(j);
      balls_around_fake[f] += distance <= real_radii[r];
      recalled[r] |= distance <= fake_radii[f];
      covered[r] |= distance <= real_radii[r];
    }
  }
  const auto share = [](std::int64_t count, std::int64_t total) {
    return static_cast<double>(count) / static_cast<double>(total);
  };
  return {
      share(std::count_if(balls_around_fake.begin(), balls_around_fake.end(),
                          [](std::int64_t c) { return c > 0; }),
            m),
      share(std::count(recalled.begin(), recalled.end(), 1), n),
      share(std::accumulate(balls_around_fake.begin(), balls_around_fake.end(), std::int64_t{0}),
            m * k),
      share(std::count(covered.begin(), covered.end(), 1), n)};
}

ModeCoverage mode_coverage(const Tensor& samples, const Tensor& centers, double radius) {
  check_features("mode_coverage", samples, centers);
  const std::int64_t d = samples.dim(1);
  std::vector<std::int64_t> good(static_cast<std::size_t>(centers.dim(0)), 0);
  for (std::int64_t i = 0; i < samples.dim(0); ++i) {
    std::size_t nearest = 0;
    double best = std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < centers.dim(0); ++j) {
      const double distance =
          squared_distance(samples.data().data() + i * d, centers.data().data() + j * d, d);
      if (distance < best) {
        best = distance;
        nearest = static_cast<std::size_t>(j);
      }
    }
    good[nearest] += best <= radius * radius;
  }
  const std::int64_t total = std::accumulate(good.begin(), good.end(), std::int64_t{0});
  return {static_cast<int>(
              std::count_if(good.begin(), good.end(), [](std::int64_t c) { return c > 0; })),
          static_cast<double>(total) / static_cast<double>(samples.dim(0)),
          divergence_from_uniform(good)};
}

double class_divergence(const Tensor& logits) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(logits.dim(1)), 0);
  for (const std::int32_t guess : argmax(logits, 1)) ++counts[static_cast<std::size_t>(guess)];
  return divergence_from_uniform(counts);
}

}  // namespace tapestry::lab
