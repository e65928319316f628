// Optimizers, learning-rate schedules and gradient clipping.
#include <algorithm>
#include <memory>
#include <string>

#include "core/error.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

optim::OptimizerSetting setting(const Call& c) {
  optim::OptimizerSetting s;
  s.type = c.op();
  s.sgd = {.lr = c.number("lr", 0.1),
           .momentum = c.number("momentum", 0),
           .dampening = c.number("dampening", 0),
           .weight_decay = c.number("weight_decay", 0),
           .nesterov = c.flag("nesterov", false)};
  s.adam = {.lr = c.number("lr", 1e-3),
            .eps = c.number("eps", 1e-8),
            .weight_decay = c.number("weight_decay", c.op() == "adamw" ? 0.01 : 0),
            .amsgrad = c.flag("amsgrad", false),
            .decoupled = c.op() == "adamw"};
  if (const std::vector<double> betas = c.numbers("betas"); !betas.empty()) {
    if (betas.size() != 2) throw BadCase("attribute 'betas': expected two numbers");
    s.adam.beta1 = betas[0];
    s.adam.beta2 = betas[1];
  }
  s.rmsprop = {.lr = c.number("lr", 0.01),
               .alpha = c.number("alpha", 0.99),
               .eps = c.number("eps", 1e-8),
               .weight_decay = c.number("weight_decay", 0),
               .momentum = c.number("momentum", 0),
               .centered = c.flag("centered", false)};
  s.adagrad = {.lr = c.number("lr", 0.01),
               .lr_decay = c.number("lr_decay", 0),
               .eps = c.number("eps", 1e-10),
               .weight_decay = c.number("weight_decay", 0),
               .initial_accumulator = c.number("initial_accumulator_value", 0)};
  return s;
}

/// Inputs p0, p1, …: parameters; g<t>_<i>: their gradients at step t = 1, 2, …
Result optimize(const Call& c) {
  std::vector<Tensor> parameters;
  while (c.has(format("p{}", parameters.size()))) {
    parameters.push_back(c[format("p{}", parameters.size())].clone());
    parameters.back().set_requires_grad();
  }
  if (parameters.empty()) throw BadCase("no input 'p0'");
  const auto optimizer = optim::make_optimizer(setting(c), parameters);
  Result result;
  for (int step = 1; c.has(format("g{}_0", step)); ++step) {
    std::vector<Tensor> gradients;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      gradients.push_back(c[format("g{}_{}", step, i)]);
    }
    optimizer->step(gradients);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      result.add(format("p{}_s{}", i, step), parameters[i].clone());
    }
  }
  for (const Named<Tensor>& state : optimizer->state()) {
    std::string name = state.name;  // "exp_avg.0"
    std::replace(name.begin(), name.end(), '.', '_');
    result.add(name, state.value);
  }
  return result;
}

/// The rate at steps 0 to 19.
Result rates(const Call& c) {
  constexpr std::int64_t kSteps = 20;
  const optim::Schedule schedule{
      .type = c.text("type", "constant"),
      .step_size = c.integer("step_size", 1),
      .milestones = c.numbers("milestones"),
      .gamma = c.number("gamma", 0.1),
      .minimum = c.number("eta_min", 0),
      .start_factor = c.number("start_factor", 1),
      .end_factor = c.number("end_factor", 1),
      .length = c.integer("T_max", c.integer("total_iters", 0)),
  };
  std::vector<Real> found;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    found.push_back(static_cast<Real>(schedule.rate(c.number("base_lr"), step, kSteps)));
  }
  Result result;
  result.add("lr", Tensor::from(found, {kSteps}));
  return result;
}

Result clip(const Call& c) {
  std::vector<Tensor> gradients;
  for (const Named<Tensor>& input : c.inputs()) gradients.push_back(input.value.clone());
  const std::string type = c.text("norm_type", "2");
  if (type != "inf" && c.number("norm_type", 2) != 2) c.unknown("norm_type");
  const double norm = optim::clip_grad_norm(gradients, c.number("max_norm"), type == "inf");
  Result result;
  result.add("aux.total_norm", Tensor::scalar(static_cast<Real>(norm)));
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    result.add("aux." + c.inputs()[i].name, gradients[i]);
  }
  return result;
}

}  // namespace

void add_optimizers(Table& table) {
  for (const char* name : {"sgd", "adam", "adamw", "rmsprop", "adagrad"}) table[name] = optimize;
  table["lr_schedule"] = rates;
  table["clip_grad_norm"] = clip;
}

}  // namespace tapestry::conformance
