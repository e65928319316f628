#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "core/error.h"

namespace tapestry::optim {

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> names{"constant",    "step",   "multistep",
                                              "exponential", "cosine", "linear"};
  return names;
}

double Schedule::rate(double base, std::int64_t step, std::int64_t total) const {
  const double span = static_cast<double>(std::max<std::int64_t>(1, length > 0 ? length : total));
  const double share = std::min(1.0, static_cast<double>(step) / span);
  double value = base;
  if (type == "step") {
    if (step_size < 1) throw Error("schedule", "step_size must be at least 1, got {}", step_size);
    value = base * std::pow(gamma, static_cast<double>(step / step_size));
  } else if (type == "multistep") {
    const auto passed = std::count_if(milestones.begin(), milestones.end(),
                                      [&](double at) { return static_cast<double>(step) >= at; });
    value = base * std::pow(gamma, static_cast<double>(passed));
  } else if (type == "exponential") {
    value = base * std::pow(gamma, static_cast<double>(step));
  } else if (type == "cosine") {
    value = minimum + (base - minimum) * (1 + std::cos(std::numbers::pi * share)) / 2;
  } else if (type == "linear") {
    value = base * (start_factor + (end_factor - start_factor) * share);
  } else if (type != "constant") {
    std::string names;
    for (const std::string& name : schedule_names()) names += (names.empty() ? "" : ", ") + name;
    throw Error("schedule", "there is no schedule \"{}\"; there are {}", type, names);
  }
  if (step < warm_up) value *= static_cast<double>(step + 1) / static_cast<double>(warm_up + 1);
  return value;
}

}  // namespace tapestry::optim
