// The little statistics a comparison over a few seeds needs, and the rule that turns an interval
// into a word.
#ifndef TAPESTRY_EXAMPLES_LAB_STATISTICS_H_
#define TAPESTRY_EXAMPLES_LAB_STATISTICS_H_

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tapestry::lab {

/// "Not measured": never part of a mean, a gap in a curve, a dash in a table.
inline constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

struct Point {
  double step = 0, value = kMissing;
};

/// A quantity over training steps, steps increasing.
struct Series {
  std::string name;
  std::vector<Point> points;
};

enum class Goal { kNone, kMin, kMax };

/// P(T ≤ t) for Student's t with `dof` > 0 degrees of freedom.
double student_t_cdf(double t, double dof);

/// The t with P(T ≤ t) = p, 0 < p < 1; t(0.975, 1) = 12.706.
double student_t_quantile(double p, double dof);

/// Mean and spread of n values; NaN values are left out.
struct Summary {
  int n = 0;
  double mean = kMissing;
  double sd = kMissing;  ///< with n − 1; missing for n < 2
  double half =
      kMissing;  ///< half the 95 % t-interval: t(0.975, n − 1) · sd / √n; missing for n < 2
  double min = kMissing, max = kMissing;

  double low() const { return mean - half; }
  double high() const { return mean + half; }
};
Summary summarize(std::span<const double> values);

/// Summary of a[i] − b[i] over the pairs in which neither is missing. Throws Error when the lengths
/// differ.
Summary paired_difference(std::span<const double> a, std::span<const double> b);

enum class Decision { kConfirmed, kContradicted, kUndecided };

/// Confirmed when the 95 % interval of `first − second` excludes zero on the side of `goal`,
/// contradicted when it excludes zero on the other side, else undecided; undecided too with fewer
/// than two pairs or without a goal.
Decision decide(const Summary& difference, Goal goal);

/// "confirmed", "contradicted", "not decided at this scale".
std::string_view decision_name(Decision decision);

/// Value of the last point, missing when there is none.
double last_value(const Series& series);

/// The best finite point (the earliest of equals); a missing value when there is none or the goal
/// is kNone.
Point best_point(const Series& series, Goal goal);

/// At most about `limit` points of a long curve: first and last, and of every bucket between them
/// the lowest and the highest; gaps (NaN) stay gaps.
std::vector<Point> thinned(std::span<const Point> points, std::size_t limit);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_STATISTICS_H_
