// Learning rates over time: functions of the step, so that there is no state to save.
#ifndef TAPESTRY_OPTIM_SCHEDULE_H_
#define TAPESTRY_OPTIM_SCHEDULE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tapestry::optim {

/// A schedule as a config describes it. rate(base, step, total) gives the learning rate of step 0,
/// 1, …: constant: base. step: base·gammaᵏ, k = ⌊step/step_size⌋. multistep: k = milestones passed.
/// exponential: base·gammaˢᵗᵉᵖ. cosine: from base to minimum along half a cosine over `length`
/// steps (Loshchilov & Hutter 2017). linear: from base·start_factor to base·end_factor over
/// `length` steps, then flat. All are multiplied by (step + 1)/(warm_up + 1) during the first
/// warm_up steps (Goyal et al. 2017).
struct Schedule {
  std::string type = "constant";
  std::int64_t step_size = 1000;
  std::vector<double> milestones = {};
  double gamma = 0.1;
  double minimum = 0;
  double start_factor = 1, end_factor = 0;
  std::int64_t length = 0;  // 0: the whole training
  std::int64_t warm_up = 0;

  double rate(double base, std::int64_t step, std::int64_t total) const;
};
const std::vector<std::string>& schedule_names();

}  // namespace tapestry::optim

#endif  // TAPESTRY_OPTIM_SCHEDULE_H_
