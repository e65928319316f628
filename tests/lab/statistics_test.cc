#include "examples/lab/statistics.h"

#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include "core/error.h"

using namespace tapestry;
using namespace tapestry::lab;

TEST_CASE("Student's t quantiles are those of the printed tables") {
  struct Row {
    double p, dof, t;
  };
  // Three decimals, as tables print them.
  for (const Row& row : {Row{0.975, 1, 12.706},
                         {0.975, 2, 4.303},
                         {0.975, 3, 3.182},
                         {0.975, 4, 2.776},
                         {0.975, 9, 2.262},
                         {0.975, 30, 2.042},
                         {0.975, 120, 1.980},
                         {0.95, 5, 2.015},
                         {0.995, 7, 3.499},
                         {0.9, 1, 3.078}}) {
    CAPTURE(row.dof);
    CHECK(std::abs(student_t_quantile(row.p, row.dof) - row.t) < 5.1e-4);
    CHECK(student_t_quantile(1 - row.p, row.dof) ==
          doctest::Approx(-student_t_quantile(row.p, row.dof)));
  }
  CHECK(student_t_quantile(0.5, 3) == doctest::Approx(0).epsilon(1e-9));
  CHECK(student_t_quantile(0.975, 1e7) == doctest::Approx(1.959964).epsilon(1e-6));
  CHECK_THROWS_AS(student_t_quantile(1, 3), Error);
  CHECK_THROWS_AS(student_t_quantile(0.5, 0), Error);
}

TEST_CASE("the t distribution has its closed forms for one and two degrees of freedom") {
  for (const double t : {-7.0, -1.0, -0.2, 0.0, 0.3, 1.0, 4.0, 60.0}) {
    CHECK(student_t_cdf(t, 1) ==
          doctest::Approx(0.5 + std::atan(t) / std::acos(-1)).epsilon(1e-12));
    CHECK(student_t_cdf(t, 2) ==
          doctest::Approx(0.5 + t / (2 * std::sqrt(2 + t * t))).epsilon(1e-12));
  }
}

TEST_CASE("a summary agrees with values computed by hand") {
  const std::vector<double> values{2, 4, kMissing, 9};
  const Summary s = summarize(values);
  CHECK(s.n == 3);
  CHECK(s.mean == 5);
  CHECK(s.sd == doctest::Approx(std::sqrt(13.0)));                   // (9 + 1 + 16) / 2
  CHECK(s.half == doctest::Approx(4.302653 * std::sqrt(13.0 / 3)));  // t(0.975, 2) · sd / √3
  CHECK(s.min == 2);
  CHECK(s.max == 9);
  const Summary one = summarize(std::vector<double>{7});
  CHECK(one.mean == 7);
  CHECK(std::isnan(one.sd));
  CHECK(std::isnan(one.half));
  CHECK(summarize({}).n == 0);
  CHECK(std::isnan(summarize({}).mean));
}

TEST_CASE("pairing removes what all cells of a seed share") {
  const std::vector<double> a{10, 20, 31}, b{8, 18, 28};  // seeds differ by 10, cells by 2, 2 and 3
  const Summary d = paired_difference(a, b);
  CHECK(d.mean == doctest::Approx(7.0 / 3));
  CHECK(d.low() > 0);  // 2.333 ± 1.434
  CHECK(d.half == doctest::Approx(4.302653 * std::sqrt(1.0 / 3) / std::sqrt(3.0)));
  CHECK(summarize(a).low() < summarize(b).high());  // unpaired, the intervals overlap widely
  CHECK(paired_difference(std::vector<double>{1, kMissing}, std::vector<double>{0, 5}).n == 1);
  CHECK_THROWS_AS(paired_difference(a, std::vector<double>{1}), Error);
}

TEST_CASE("the verdict follows the interval and the goal") {
  const Summary below =
      paired_difference(std::vector<double>{1, 1.1, 0.9}, std::vector<double>{3, 3, 3.1});
  CHECK(decide(below, Goal::kMin) == Decision::kConfirmed);
  CHECK(decide(below, Goal::kMax) == Decision::kContradicted);
  CHECK(decide(below, Goal::kNone) == Decision::kUndecided);
  const Summary wide = paired_difference(std::vector<double>{1, 2}, std::vector<double>{3, 3.1});
  CHECK(decide(wide, Goal::kMin) == Decision::kUndecided);  // −1.55 ± 5.7: two seeds
  const Summary one = paired_difference(std::vector<double>{1}, std::vector<double>{30});
  CHECK(decide(one, Goal::kMin) == Decision::kUndecided);
  CHECK(decide(Summary{}, Goal::kMin) == Decision::kUndecided);
  CHECK(decision_name(Decision::kUndecided) == "not decided at this scale");
}

TEST_CASE("best and last values of a series") {
  const Series s{"m", {{0, kMissing}, {10, 3}, {20, 1}, {30, 1}, {40, HUGE_VAL}, {50, 2}}};
  CHECK(best_point(s, Goal::kMin).step == 20);
  CHECK(best_point(s, Goal::kMax).value == 3);
  CHECK(std::isnan(best_point(s, Goal::kNone).value));
  CHECK(last_value(s) == 2);
  CHECK(std::isnan(last_value({"empty", {}})));
}

TEST_CASE("a thinned curve keeps its ends, its extremes and its gaps") {
  std::vector<Point> points;
  for (int i = 0; i < 10000; ++i) points.push_back({static_cast<double>(i), std::sin(i * 0.01)});
  points[4321].value = 99;
  points[777].value = -99;
  points[6000].value = kMissing;
  const std::vector<Point> kept = thinned(points, 200);
  CHECK(kept.size() <= 2 + 3 * 100);
  CHECK(kept.front().step == 0);
  CHECK(kept.back().step == 9999);
  bool high = false, low = false, gap = false, ordered = true;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    high = high || kept[i].value == 99;
    low = low || kept[i].value == -99;
    gap = gap || std::isnan(kept[i].value);
    ordered = ordered && (i == 0 || kept[i - 1].step < kept[i].step);
  }
  CHECK((high && low && gap && ordered));
  CHECK(thinned(std::vector<Point>(5), 2).size() == 5);
}
