// A task: what is trained, how one step goes, how it is judged, and which pictures show it.
// Everything around it (run folders, checkpoints, comparisons, reports) knows only this interface,
// so that a new task is one file.
#ifndef TAPESTRY_EXAMPLES_LAB_TASK_H_
#define TAPESTRY_EXAMPLES_LAB_TASK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/checkpoint.h"
#include "core/random.h"
#include "core/tensor.h"
#include "examples/lab/settings.h"
#include "examples/lab/statistics.h"
#include "layers/module.h"

namespace tapestry::lab {

/// Named numbers in the order to show them: losses of a step, results of an evaluation.
using Figures = std::vector<std::pair<std::string, double>>;

/// What a figure of an evaluation means; the report reads it.
struct FigureInfo {
  std::string name = {}, label = {};
  Goal goal = Goal::kNone;
  std::string note = {};        // one sentence: what it measures, its bias
  double reference = kMissing;  // for example real data against real data
  std::string reference_label = {};
  std::int64_t samples = 0;  // behind one value
};

/// A labeled picture, (C, H, W) with 1 or 3 channels in [0, 1].
struct Shown {
  std::string label;
  Tensor image;
};

/// A network of the task, and an input batch of it for summaries and layer figures.
struct Network {
  std::string name;
  nn::UnaryModule* module = nullptr;
  Tensor input;
};

/// One training in progress. Random numbers come from named streams of the run's seed: cells of a
/// comparison that share a seed share data order, latent noise and the initial values of equally
/// named parameters.
class Task {
 public:
  virtual ~Task() = default;

  /// One training step, number `step` from 0. Returns the losses.
  virtual Figures step(std::int64_t step) = 0;
  /// Judges the current networks. Draws no random numbers that training would draw.
  virtual Figures evaluate() = 0;
  /// The figures of evaluate(), the one to rank by first.
  virtual std::vector<FigureInfo> figures() const = 0;
  /// What the current networks make, always from the same inputs.
  virtual std::vector<Shown> pictures() = 0;
  /// What it is trained on or given, shown once.
  virtual std::vector<Shown> inputs() = 0;
  /// The networks, the one that matters most first.
  virtual std::vector<Network> networks() = 0;
  /// Norm of the last step's gradient of each parameter, by network and parameter name.
  virtual std::vector<Named<double>> gradient_norms() const = 0;
  virtual std::string data_description() const = 0;

  /// Everything that a later step depends on: networks, optimizers, averages, random streams,
  /// loader position.
  virtual void save(Checkpoint& checkpoint) const = 0;
  /// Restores what save() wrote. Throws Error naming what does not fit.
  virtual void load(const Checkpoint& checkpoint) = 0;
};

/// Builds the task that the setting names.
std::unique_ptr<Task> make_task(const ExperimentSetting& setting);
std::unique_ptr<Task> make_classify(const ExperimentSetting& setting);
std::unique_ptr<Task> make_gan(const ExperimentSetting& setting);
std::unique_ptr<Task> make_style(const ExperimentSetting& setting);

// What the tasks share
// ---------------------------------------------------------------------------------------------------

/// A network with its optimizer: built, initialized, stepped, saved and restored together.
class Trained {
 public:
  Trained(std::string name, std::unique_ptr<nn::Sequential> network,
          const Optimization& optimization, const ExperimentSetting& setting, const Rng& rng);
  nn::Sequential& operator*() { return *network_; }
  nn::Sequential* operator->() { return network_.get(); }
  const std::vector<Tensor>& parameters() const { return optimizer_->parameters(); }
  const std::string& name() const { return name_; }
  /// Clips the gradients, sets the learning rate of this step, moves the weights.
  void step(std::vector<Tensor> gradients, std::int64_t step);
  std::vector<Named<double>> gradient_norms() const;
  void save(Checkpoint& checkpoint) const;
  void load(const Checkpoint& checkpoint);

 private:
  std::string name_;
  std::unique_ptr<nn::Sequential> network_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::vector<Named<Tensor>> named_;
  std::vector<double> norms_;
  optim::Schedule schedule_;
  double base_rate_, clip_;
  std::int64_t total_steps_;
};

/// Evaluation mode for a scope, with the way BatchNorm is to behave; training mode afterwards.
/// "recalibrated" runs `calibrate` first and restores the running statistics in the end.
class Evaluating {
 public:
  Evaluating(nn::UnaryModule& network, const std::string& batch_norm,
             const std::function<void()>& calibrate);
  ~Evaluating();
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  nn::UnaryModule& network_;
  std::vector<std::pair<Tensor, Tensor>> kept_;
};

/// Throws Error (Fault::kDiverged) naming the loss and the step when a loss is not finite.
void check_finite(const Figures& losses, std::int64_t step);

/// Random streams and the loader's position as texts of a checkpoint.
std::string state_text(const Rng& rng);
void restore(Rng& rng, const std::string& text);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_TASK_H_
