// Learning rates over time, by hand.
#include "optim/schedule.h"

#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using optim::Schedule;

/// Rates of steps 0, 1, … of a training of `total` steps with base rate 1.
std::vector<double> rates(const Schedule& schedule, int steps, std::int64_t total) {
  std::vector<double> result;
  for (int step = 0; step < steps; ++step) result.push_back(schedule.rate(1, step, total));
  return result;
}

void check(const Schedule& schedule, const std::vector<double>& wanted, std::int64_t total = 100) {
  CAPTURE(schedule.type);
  const std::vector<double> found = rates(schedule, static_cast<int>(wanted.size()), total);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i] == doctest::Approx(wanted[i]).epsilon(1e-12));
  }
}

}  // namespace

TEST_CASE("schedules: each by hand") {
  check({}, {1, 1, 1});
  check({.type = "step", .step_size = 2, .gamma = 0.5}, {1, 1, 0.5, 0.5, 0.25});
  check({.type = "multistep", .milestones = {1, 3}, .gamma = 0.1}, {1, 0.1, 0.1, 0.01, 0.01});
  check({.type = "exponential", .gamma = 0.9}, {1, 0.9, 0.81});
  const double diagonal = std::sqrt(0.5);
  check({.type = "cosine", .minimum = 0.2, .length = 4},
        {1, 0.2 + 0.4 * (1 + diagonal), 0.6, 0.2 + 0.4 * (1 - diagonal), 0.2, 0.2});
  check({.type = "cosine"}, {1, 0.5 * (1 + diagonal), 0.5, 0.5 * (1 - diagonal), 0}, 4);
  check({.type = "linear", .start_factor = 1, .end_factor = 0.5, .length = 2}, {1, 0.75, 0.5, 0.5});
  check({.warm_up = 3}, {0.25, 0.5, 0.75, 1, 1});
  check({.type = "exponential", .gamma = 0.5, .warm_up = 1}, {0.5, 0.5, 0.25});
}

TEST_CASE("schedules: the base rate scales all, and names are checked") {
  for (const std::string& name : optim::schedule_names()) {
    const Schedule schedule{.type = name};
    CHECK(schedule.rate(3, 5, 10) == doctest::Approx(3 * schedule.rate(1, 5, 10)));
  }
  const auto refused = [](const Schedule& schedule) {
    return error_text([&] { schedule.rate(1, 0, 10); });
  };
  CHECK(refused({.type = "cosin"}).find("exponential") != std::string::npos);
  CHECK(refused({.type = "step", .step_size = 0}).find("step_size") != std::string::npos);
}

}  // namespace tapestry::testing
