// Module: parameters and buffers with names, submodules, and the state dictionary that PyTorch
// would have.
#ifndef TAPESTRY_LAYERS_MODULE_H_
#define TAPESTRY_LAYERS_MODULE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/tensor.h"

namespace tapestry::nn {

/// How a layer's parameter starts when nobody says otherwise; initialize() may override it. See
/// layers/init.h.
struct Start {
  enum class Kind { kConstant, kUniform, kNormal };
  Kind kind = Kind::kConstant;
  Real a = 0, b = 0;  // the constant; low and high; mean and standard deviation

  static Start constant(Real value) { return {Kind::kConstant, value, 0}; }
  static Start uniform(Real low, Real high) { return {Kind::kUniform, low, high}; }
  static Start normal(Real mean, Real stddev) { return {Kind::kNormal, mean, stddev}; }
};

/// What a layer does to one example, as summary() shows it.
struct Cost {
  std::int64_t multiply_adds = 0;
  std::string averages_over;  // norms only: "64·16·16 numbers per channel (batch, height, width)"
};

class Module;

/// Shared ownership of a submodule. Calling it forwards: `h = relu(conv1_(x))`.
template <class M>
class Child {
 public:
  Child() = default;
  explicit Child(std::shared_ptr<M> module) : module_(std::move(module)) {}
  M* operator->() const { return module_.get(); }
  M& operator*() const { return *module_; }
  explicit operator bool() const { return module_ != nullptr; }
  template <class... Args>
  auto operator()(Args&&... args) const {
    return (*module_)(std::forward<Args>(args)...);
  }

 private:
  std::shared_ptr<M> module_;
};

/// A part of a network that owns parameters. Creating a parameter registers it, so none can be
/// forgotten.
///
/// Movable, not copyable: two modules never share weights by accident. Names are PyTorch's:
/// "main.0.weight".
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Trainable tensors, own ones first in order of registration, then the children's.
  std::vector<Tensor> parameters() const;
  std::vector<Named<Tensor>> named_parameters() const;
  /// Tensors that are saved but not trained: running statistics, power-iteration vectors.
  std::vector<Named<Tensor>> named_buffers() const;
  /// Parameters and buffers under PyTorch's state_dict names and in its order.
  std::vector<Named<Tensor>> state() const;
  /// Copies values into this module's tensors. Throws one Error that lists every missing,
  /// unexpected and mis-shaped name; then nothing is changed.
  void load_state(const std::vector<Named<Tensor>>& state);

  /// Draws every parameter anew from its layer's default distribution. Each one's stream is keyed
  /// by its name: inserting a layer changes no other layer's start, and order does not matter.
  void reset_parameters(const Rng& rng);

  /// Called when this module's own parameters were drawn: sets what is derived from their values.
  virtual void parameters_drawn() {}

  /// Training or evaluation behavior of this module and its children (BatchNorm, Dropout, spectral
  /// norm).
  Module& train(bool on = true);
  Module& eval() { return train(false); }
  bool is_training() const { return training_; }

  /// What it is called in errors and summaries: "Conv2d".
  virtual std::string_view kind() const = 0;
  /// One line with its settings: "Conv2d(3, 64, kernel 4, stride 2, padding 1)". Default: kind().
  virtual std::string describe() const { return std::string(kind()); }
  /// What one forward pass on an input of this shape costs, children excluded.
  virtual Cost cost(const Shape& input, const Shape& output) const;

  /// The direct children with their names, in order.
  std::vector<std::pair<std::string, Module*>> children() const;
  /// This module and all below it, with full names ("" for this one), parents before children.
  std::vector<std::pair<std::string, Module*>> modules();
  /// Its name within its parent; "" at the top.
  const std::string& local_name() const { return name_; }
  /// The top module's name in errors: "generator".
  Module& set_name(std::string name);

 protected:
  /// Creates and registers a trainable tensor. Until reset_parameters() or load_state() it holds
  /// NaN, and forward passes say so.
  Tensor parameter(std::string name, const Shape& shape, Start start);
  /// Registers a tensor that is saved but not trained.
  Tensor buffer(std::string name, Tensor value);
  /// Registers a submodule. Throws Error, as for parameters and buffers, when the name is taken.
  template <class M>
  Child<M> child(std::string name, M module) {
    return adopt<M>(std::move(name), std::make_shared<M>(std::move(module)));
  }
  /// Throws Error when a parameter of this module was never given values.
  void require_values() const;
  template <class M>
  Child<M> adopt(std::string name, std::shared_ptr<M> module) {
    adopt_module(std::move(name), module);
    return Child<M>(std::move(module));
  }

 private:
  struct Parameter {
    std::string name;
    Tensor value;
    Start start;
  };
  void adopt_module(std::string name, std::shared_ptr<Module> module);
  void require_new_name(const std::string& name) const;
  template <class F>
  void visit(const std::string& prefix, F&& each) const;

  std::string name_;
  bool training_ = true;
  std::vector<Parameter> parameters_;
  std::vector<Named<Tensor>> buffers_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
};

/// A module with one input: most layers. Calling it puts its name into error messages and onto the
/// tape.
class UnaryModule : public Module {
 public:
  Tensor operator()(const Tensor& x);

 protected:
  virtual Tensor forward(const Tensor& x) = 0;
};

/// A module with a second input that steers it: a label, a style.
class BinaryModule : public Module {
 public:
  Tensor operator()(const Tensor& x, const Tensor& condition);

 protected:
  virtual Tensor forward(const Tensor& x, const Tensor& condition) = 0;
};

/// Watches calls of UnaryModules on this thread while it lives: what summaries and layer statistics
/// are made from. Probes nest.
class Probe {
 public:
  virtual ~Probe();
  Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  /// Whether one lives on this thread.
  static bool watching();
  /// Called after each forward pass of a module.
  virtual void called(Module& module, const Tensor& input, const Tensor& output) = 0;

 private:
  friend class UnaryModule;
  Probe* outer_;
};

/// A table: name, layer, output shape, parameters, multiply-adds, activation memory, and what each
/// norm averages over. Runs the module once on zeros of shape `input`, in evaluation mode, without
/// recording.
std::string summary(UnaryModule& module, const Shape& input);

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_MODULE_H_
