// Whole training steps, as users run them: the forward pass, the losses, the gradients, the
// optimizer.
#ifndef TAPESTRY_EXAMPLES_LAB_BENCH_STEPS_H_
#define TAPESTRY_EXAMPLES_LAB_BENCH_STEPS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/checkpoint.h"
#include "core/error.h"
#include "core/ops/index.h"
#include "core/random.h"
#include "core/tensor.h"
#include "layers/module.h"

namespace tapestry::lab {

/// Where a step's initial values and inputs come from: random streams, or a file, so that another
/// program can run the same step. In the file they are called "G.0.weight" (network G) and
/// "input.real".
class Source {
 public:
  explicit Source(const Checkpoint* file = nullptr) : file_(file), rng_(0) {}
  void initialize(const std::string& name, nn::Module& network) const;
  /// Standard normal, unless the file says otherwise.
  Tensor normal(const std::string& name, const Shape& shape) const;
  /// Uniform on [0, 1).
  Tensor uniform(const std::string& name, const Shape& shape) const;
  Indices labels(const std::string& name, std::int64_t count, int classes) const;

 private:
  Tensor from_file(const std::string& name, const Shape& shape) const;
  const Checkpoint* file_;
  Rng rng_;
};

/// A named step and what can be chosen about it.
struct StepInfo {
  std::string name, description;
  std::vector<std::string> norms;  // the first is the default
  std::int64_t batch;
  std::int64_t size;      // side of the pictures; 0: fixed by the nets
  std::int64_t multiple;  // that the side must be divisible by
};
const std::vector<StepInfo>& step_infos();

struct StepOptions {
  std::string norm = {};
  std::int64_t batch = 0, size = 0;  // 0: the default
};

class TrainingStep {
 public:
  struct Network {
    std::string name;
    nn::Module* module;
    std::int64_t parameters() const;
  };
  virtual ~TrainingStep() = default;
  /// One step; returns its losses.
  virtual std::vector<double> run() = 0;
  /// Multiplications and additions of the step's convolutions and matrix products, by the
  /// schoolbook method, counting each gradient that the step needs and no other.
  virtual double flops() = 0;
  const std::vector<Network>& networks() const { return networks_; }

 protected:
  explicit TrainingStep(const Source& source) : source_(source) {}
  /// Gives a network its initial values and its name.
  void start(const std::string& name, nn::Module& network);
  const Source source_;

 private:
  std::vector<Network> networks_;
};

/// "there is no step "dcgen"; did you mean "dcgan"?", with the list.
Error unknown_word(std::string_view where, std::string_view kind, const std::string& word,
                   const std::vector<std::string>& known);

/// Throws Error, with what would be right, for another name, norm or size.
std::unique_ptr<TrainingStep> make_step(const std::string& name, const StepOptions& options,
                                        const Source& source = Source());
const StepInfo& step_info(const std::string& name);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_BENCH_STEPS_H_
