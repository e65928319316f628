#include "examples/lab/statistics.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace tapestry::lab {
namespace {

// Continued fraction of the incomplete beta function by Lentz's method; converges fast for x < (a +
// 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300, kEnough = 1e-15;
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), result = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1;
    for (const double term : {even, odd}) {
      d = 1 / away_from_zero(1 + term * d);
      c = away_from_zero(1 + term / c);
      change = c * d;
      result *= change;
    }
    if (std::abs(change - 1) < kEnough) break;
  }
  return result;
}

// Regularized incomplete beta function I_x(a, b).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                   : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

}  // namespace

double student_t_cdf(double t, double dof) {
  const double tail = 0.5 * incomplete_beta(dof / 2, 0.5, dof / (dof + t * t));
  return t > 0 ? 1 - tail : tail;
}

double student_t_quantile(double p, double dof) {
  if (!(p > 0 && p < 1 && dof > 0)) {
    throw Error("student_t_quantile", "needs 0 < p < 1 and dof > 0, got p = {}, dof = {}", p, dof);
  }
  if (p < 0.5) return -student_t_quantile(1 - p, dof);
  double low = 0, high = 1;
  while (student_t_cdf(high, dof) < p && high < 1e30) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-14 * high; ++i) {
    const double middle = (low + high) / 2;
    (student_t_cdf(middle, dof) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

Summary summarize(std::span<const double> values) {
  Summary s;
  double sum = 0;
  for (const double v : values) {
    if (std::isnan(v)) continue;
    s.min = s.n == 0 ? v : std::min(s.min, v);
    s.max = s.n == 0 ? v : std::max(s.max, v);
    sum += v;
    ++s.n;
  }
  if (s.n == 0) return s;
  s.mean = sum / s.n;
  if (s.n < 2) return s;
  double squares = 0;
  for (const double v : values) {
    if (!std::isnan(v)) squares += (v - s.mean) * (v - s.mean);
  }
  s.sd = std::sqrt(squares / (s.n - 1));
  s.half = student_t_quantile(0.975, s.n - 1) * s.sd / std::sqrt(s.n);
  return s;
}

Summary paired_difference(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) {
    throw Error("paired_difference", "pairs need equal lengths, got {} and {}", a.size(), b.size());
  }
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  return summarize(differences);
}

Decision decide(const Summary& difference, Goal goal) {
  // Written so that a missing or infinite interval decides nothing.
  const bool below = difference.n >= 2 && difference.high() < 0;
  const bool above = difference.n >= 2 && difference.low() > 0;
  if (goal == Goal::kNone || (!below && !above)) return Decision::kUndecided;
  return below == (goal == Goal::kMin) ? Decision::kConfirmed : Decision::kContradicted;
}

std::string_view decision_name(Decision decision) {
  switch (decision) {
    case Decision::kConfirmed:
      return "confirmed";
    case Decision::kContradicted:
      return "contradicted";
    case Decision::kUndecided:
      break;
  }
  return "not decided at this scale";
}

double last_value(const Series& series) {
  return series.points.empty() ? kMissing : series.points.back().value;
}

Point best_point(const Series& series, Goal goal) {
  Point best;
  if (goal == Goal::kNone) return best;
  for (const Point& p : series.points) {
    if (!std::isfinite(p.value)) continue;
    const bool better = goal == Goal::kMin ? p.value < best.value : p.value > best.value;
    if (std::isnan(best.value) || better) best = p;
  }
  return best;
}

std::vector<Point> thinned(std::span<const Point> points, std::size_t limit) {
  if (points.size() <= std::max<std::size_t>(limit, 8)) return {points.begin(), points.end()};
  // Each bucket gives at most three points (lowest, highest, one gap).
  const std::size_t inner = points.size() - 2, buckets = std::max<std::size_t>(limit / 2, 1);
  std::vector<Point> kept{points.front()};
  for (std::size_t b = 0; b < buckets; ++b) {
    const std::size_t begin = 1 + b * inner / buckets, end = 1 + (b + 1) * inner / buckets;
    std::size_t low = end, high = end, gap = end;
    for (std::size_t i = begin; i < end; ++i) {
      const double v = points[i].value;
      if (std::isnan(v)) {
        gap = i;
        continue;
      }
      if (low == end || v < points[low].value) low = i;
      if (high == end || v > points[high].value) high = i;
    }
    std::vector<std::size_t> picked{low, high, gap};
    std::sort(picked.begin(), picked.end());
    picked.erase(std::unique(picked.begin(), picked.end()), picked.end());
    for (const std::size_t i : picked) {
      if (i < end) kept.push_back(points[i]);
    }
  }
  kept.push_back(points.back());
  return kept;
}

}  // namespace tapestry::lab
