// Optimizers: they take the gradients that a tape gives and move the parameters, in place, one pass
// over each.
//
//     optim::Adam adam(model.parameters(), {.lr = 2e-4, .beta1 = 0.5});
//     adam.step(tape.gradient(loss, adam.parameters()));
#ifndef TAPESTRY_OPTIM_OPTIMIZER_H_
#define TAPESTRY_OPTIM_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tapestry::optim {

/// What all optimizers share. Formulas and defaults are PyTorch's.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update from one gradient per parameter, in the same order. Throws Error, before anything
  /// is changed, when their number or a shape differs, or when a gradient is not finite
  /// (Fault::kDiverged, naming the parameter).
  void step(std::span<const Tensor> gradients);
  const std::vector<Tensor>& parameters() const { return parameters_; }
  std::int64_t steps() const { return steps_; }

  /// Moments and the step count, for exact resume: "exp_avg.0", "exp_avg_sq.0", …, "step".
  std::vector<Named<Tensor>> state() const;
  /// Restores state(). Throws Error naming what is missing, unknown or has another shape; then
  /// nothing is changed.
  void load_state(const std::vector<Named<Tensor>>& state);

  /// The learning rate of the next step; schedules write it.
  double lr;

 protected:
  Optimizer(std::vector<Tensor> parameters, double learning_rate);
  /// One tensor of zeros like each parameter, saved as "name.0", "name.1", …
  std::vector<Tensor>& moments(std::string name, Real start = 0);
  virtual void update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
                      std::int64_t count) = 0;
  /// The number of the step in progress, from 1.
  std::int64_t time() const { return steps_ + 1; }

 private:
  struct Moments {
    std::string name;
    std::unique_ptr<std::vector<Tensor>> tensors;
  };
  std::vector<Tensor> parameters_;
  std::vector<Moments> moments_;
  std::int64_t steps_ = 0;
};

struct SGDOptions {
  double lr = 0.1, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
};
/// p −= lr·d with d = g + weight_decay·p, or with the momentum buffer b = momentum·b + (1 −
/// dampening)·d (first: b = d). Nesterov: d + momentum·b. Sutskever et al. 2013.
class SGD final : public Optimizer {
 public:
  SGD(std::vector<Tensor> parameters, const SGDOptions& options);

 private:
  void update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
              std::int64_t count) override;
  SGDOptions options_;
  std::vector<Tensor>* buffer_ = nullptr;
};

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool amsgrad = false;
  bool decoupled = false;  // AdamW: p −= lr·weight_decay·p apart from the gradient
};
/// Adam (Kingma & Ba 2015), with decoupled = true AdamW (Loshchilov & Hutter 2019).
class Adam final : public Optimizer {
 public:
  Adam(std::vector<Tensor> parameters, const AdamOptions& options = {});

 private:
  void update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
              std::int64_t count) override;
  AdamOptions options_;
  std::vector<Tensor>*first_, *second_, *largest_ = nullptr;
};

struct RMSpropOptions {
  double lr = 0.01, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false;
};
/// p −= lr·g/(√v + eps), v the decaying mean of g². Tieleman & Hinton 2012.
class RMSprop final : public Optimizer {
 public:
  RMSprop(std::vector<Tensor> parameters, const RMSpropOptions& options = {});

 private:
  void update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
              std::int64_t count) override;
  RMSpropOptions options_;
  std::vector<Tensor>*square_, *mean_ = nullptr, *buffer_ = nullptr;
};

struct AdagradOptions {
  double lr = 0.01, lr_decay = 0, eps = 1e-10, weight_decay = 0, initial_accumulator = 0;
};
/// p −= lr/(1 + (t − 1)·lr_decay)·g/(√Σg² + eps). Duchi, Hazan, Singer 2011.
class Adagrad final : public Optimizer {
 public:
  Adagrad(std::vector<Tensor> parameters, const AdagradOptions& options = {});

 private:
  void update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
              std::int64_t count) override;
  AdagradOptions options_;
  std::vector<Tensor>* sum_;
};

/// An optimizer as a config describes it.
struct OptimizerSetting {
  std::string type = "adam";  // sgd, adam, adamw, rmsprop, adagrad
  SGDOptions sgd;
  AdamOptions adam;
  RMSpropOptions rmsprop;
  AdagradOptions adagrad;
  /// The learning rate of the chosen type.
  double lr() const;
};
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSetting& setting,
                                          std::vector<Tensor> parameters);

/// Scales all gradients by min(1, max_norm/(norm + 1e-6)), norm being the 2-norm of all numbers
/// together, or the largest absolute one for infinity. Returns the norm before. Pascanu et al.
/// 2013.
double clip_grad_norm(std::vector<Tensor>& gradients, double max_norm, bool infinity_norm = false);
/// Clips every number to [−limit, limit].
void clip_grad_value(std::vector<Tensor>& gradients, double limit);

/// Moving averages of parameters: average = decay·average + (1 − decay)·parameter after each step.
/// Generators look better with them (Yazıcı et al. 2019).
class WeightAverage {
 public:
  WeightAverage(std::vector<Tensor> parameters, double decay);
  void update();
  /// Exchanges the averages with the parameters: call it before and after an evaluation.
  void swap();
  std::vector<Named<Tensor>> state() const;
  void load_state(const std::vector<Named<Tensor>>& state);

 private:
  std::vector<Tensor> parameters_, averages_;
  double decay_;
};

}  // namespace tapestry::optim

#endif  // TAPESTRY_OPTIM_OPTIMIZER_H_
