#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/error.h"
#include "core/kernels/optimizer.h"
#include "core/parallel.h"

namespace tapestry::optim {
namespace {

// Numbers per chunk: an optimizer reads and writes about 30 bytes for each, so that a chunk takes
// some 20 µs.
constexpr std::int64_t kGrain = 1 << 14;

std::string number(const std::string& name, std::size_t i) {
  return name + "." + std::to_string(i);
}

void copy(const Tensor& from, Tensor& to) {
  std::copy(from.data().begin(), from.data().end(), to.mutable_data().begin());
}

/// Finds `name` with the given shape in a saved state.
const Tensor& saved(const std::vector<Named<Tensor>>& state, const std::string& name,
                    const Shape& shape) {
  for (const Named<Tensor>& entry : state) {
    if (entry.name != name) continue;
    if (!(entry.value.shape() == shape)) {
      throw Error("load_state", "{} has another shape in the checkpoint", name)
          .shape("here", shape)
          .shape("checkpoint", entry.value);
    }
    return entry.value;
  }
  throw Error("load_state", "the checkpoint has no {}", name)
      .hint("was it saved with another optimizer?");
}

// Throws for names in the checkpoint that are not among the expected ones.
void check_names(const std::vector<Named<Tensor>>& state,
                 const std::vector<Named<Tensor>>& expected) {
  for (const Named<Tensor>& entry : state) {
    const bool known =
        std::any_of(expected.begin(), expected.end(),
                    [&](const Named<Tensor>& mine) { return mine.name == entry.name; });
    if (known) continue;
    std::string names;
    for (const Named<Tensor>& mine : expected) {
      const std::string kind = mine.name.substr(0, mine.name.rfind('.'));
      if ((", " + names + ",").find(", " + kind + ",") == std::string::npos)
        names += (names.empty() ? "" : ", ") + kind;
    }
    throw Error("load_state", "the checkpoint has {}, which this optimizer does not keep",
                entry.name)
        .shape("checkpoint", entry.value)
        .fact("kept here", names)
        .hint("was it saved with another optimizer, other options, or more parameters?");
  }
}

// Writes without advancing the version: pieces of one tensor are updated by several threads.
Real* at(std::vector<Tensor>* tensors, std::size_t i, std::int64_t begin) {
  return tensors == nullptr ? nullptr : const_cast<Real*>((*tensors)[i].data().data()) + begin;
}

void check_rate(std::string_view optimizer, double lr) {
  if (!(lr >= 0) || !std::isfinite(lr))
    throw Error(optimizer, "the learning rate must be a finite number of at least 0, got {}", lr);
}

struct Setting {
  std::string_view name;
  double value;
};
void check_not_negative(std::string_view optimizer, std::initializer_list<Setting> settings) {
  for (const Setting& setting : settings) {
    if (!(setting.value >= 0))
      throw Error(optimizer, "{} must be at least 0, got {}", setting.name, setting.value);
  }
}

}  // namespace

Optimizer::Optimizer(std::vector<Tensor> parameters, double learning_rate)
    : lr(learning_rate), parameters_(std::move(parameters)) {
  check_rate("optimizer", lr);
  if (parameters_.empty()) throw Error("optimizer", "there are no parameters to train");
}

std::vector<Tensor>& Optimizer::moments(std::string name, Real start) {
  auto tensors = std::make_unique<std::vector<Tensor>>();
  for (const Tensor& parameter : parameters_)
    tensors->push_back(Tensor::full(parameter.shape(), start));
  moments_.push_back({std::move(name), std::move(tensors)});
  return *moments_.back().tensors;
}

void Optimizer::step(std::span<const Tensor> gradients) {
  check_rate("optimizer.step", lr);  // a schedule may have written it
  if (gradients.size() != parameters_.size()) {
    throw Error("optimizer.step", "{} gradients for {} parameters", gradients.size(),
                parameters_.size())
        .hint("pass tape.gradient(loss, optimizer.parameters())");
  }
  // Work is split over all parameters together: many small ones would otherwise each be too small
  // for a second thread.
  struct Piece {
    std::size_t i;
    std::int64_t begin, count;
  };
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (!(gradients[i].shape() == parameters_[i].shape())) {
      throw Error("optimizer.step", "the gradient of {} has another shape", parameters_[i].name())
          .shape("parameter", parameters_[i])
          .shape("gradient", gradients[i]);
    }
    for (std::int64_t begin = 0; begin < gradients[i].size(); begin += kGrain) {
      pieces.push_back({i, begin, std::min(kGrain, gradients[i].size() - begin)});
    }
  }
  std::vector<char> bad(pieces.size(), 0);
  const std::int64_t count = static_cast<std::int64_t>(pieces.size());
  parallel_for(count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t p = first; p < last; ++p) {
      const Piece& piece = pieces[static_cast<std::size_t>(p)];
      bad[static_cast<std::size_t>(p)] =
          !kernels::all_finite(gradients[piece.i].data().data() + piece.begin, piece.count);
    }
  });
  if (const auto found = std::find(bad.begin(), bad.end(), 1); found != bad.end()) {
    const Tensor& parameter = parameters_[pieces[static_cast<std::size_t>(found - bad.begin())].i];
    throw Error("optimizer.step", "the gradient of {} is not finite at step {}",
                parameter.name().empty() ? "a parameter" : parameter.name(), steps_ + 1)
        .shape("parameter", parameter)
        .hint("lower the learning rate or clip gradients; anomaly mode names the op where it began")
        .fault(Fault::kDiverged);
  }
  for (Tensor& parameter : parameters_) parameter.mutable_data();  // one version per step
  parallel_for(count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t p = first; p < last; ++p) {
      const Piece& piece = pieces[static_cast<std::size_t>(p)];
      Real* parameter = const_cast<Real*>(parameters_[piece.i].data().data()) + piece.begin;
      update(piece.i, parameter, gradients[piece.i].data().data() + piece.begin, piece.begin,
             piece.count);
    }
  });
  ++steps_;
}

std::vector<Named<Tensor>> Optimizer::state() const {
  std::vector<Named<Tensor>> result;
  for (const Moments& kind : moments_) {
    for (std::size_t i = 0; i < kind.tensors->size(); ++i)
      result.push_back({number(kind.name, i), (*kind.tensors)[i]});
  }
  // Two numbers, because a float counts exactly only to 2²⁴.
  constexpr std::int64_t kBase = 1 << 20;
  result.push_back(
      {"step",
       Tensor::from({static_cast<Real>(steps_ / kBase), static_cast<Real>(steps_ % kBase)}, {2})});
  return result;
}

void Optimizer::load_state(const std::vector<Named<Tensor>>& state) {
  check_names(state, this->state());
  const Tensor& count = saved(state, "step", {2});
  for (const Moments& kind : moments_) {
    for (std::size_t i = 0; i < kind.tensors->size(); ++i)
      saved(state, number(kind.name, i), (*kind.tensors)[i].shape());
  }
  for (Moments& kind : moments_) {
    for (std::size_t i = 0; i < kind.tensors->size(); ++i) {
      Tensor& mine = (*kind.tensors)[i];
      copy(saved(state, number(kind.name, i), mine.shape()), mine);
    }
  }
  steps_ = static_cast<std::int64_t>(count.data()[0]) * (1 << 20) +
           static_cast<std::int64_t>(count.data()[1]);
}

SGD::SGD(std::vector<Tensor> parameters, const SGDOptions& options)
    : Optimizer(std::move(parameters), options.lr), options_(options) {
  check_not_negative("SGD",
                     {{"momentum", options.momentum}, {"weight_decay", options.weight_decay}});
  if (options.nesterov && (options.momentum <= 0 || options.dampening != 0))
    throw Error("SGD", "Nesterov momentum needs a momentum and no dampening");
  if (options.momentum != 0) buffer_ = &moments("momentum_buffer");
}

void SGD::update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
                 std::int64_t count) {
  kernels::sgd_step(parameter, gradient, at(buffer_, i, begin), count,
                    {.lr = lr,
                     .momentum = options_.momentum,
                     .dampening = options_.dampening,
                     .weight_decay = options_.weight_decay,
                     .nesterov = options_.nesterov,
                     .first = time() == 1});
}

Adam::Adam(std::vector<Tensor> parameters, const AdamOptions& options)
    : Optimizer(std::move(parameters), options.lr),
      options_(options),
      first_(&moments("exp_avg")),
      second_(&moments("exp_avg_sq")) {
  if (!(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1)) {
    throw Error("Adam", "beta1 and beta2 must be at least 0 and below 1, got {} and {}",
                options.beta1, options.beta2);
  }
  check_not_negative("Adam", {{"eps", options.eps}, {"weight_decay", options.weight_decay}});
  if (options.amsgrad) largest_ = &moments("max_exp_avg_sq");
}

void Adam::update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
                  std::int64_t count) {
  kernels::adam_step(parameter, gradient, at(first_, i, begin), at(second_, i, begin),
                     at(largest_, i, begin), count,
                     {.lr = lr,
                      .beta1 = options_.beta1,
                      .beta2 = options_.beta2,
                      .eps = options_.eps,
                      .weight_decay = options_.weight_decay,
                      .t = time(),
                      .decoupled = options_.decoupled});
}

RMSprop::RMSprop(std::vector<Tensor> parameters, const RMSpropOptions& options)
    : Optimizer(std::move(parameters), options.lr),
      options_(options),
      square_(&moments("square_avg")) {
  check_not_negative("RMSprop", {{"alpha", options.alpha},
                                 {"eps", options.eps},
                                 {"momentum", options.momentum},
                                 {"weight_decay", options.weight_decay}});
  if (options.centered) mean_ = &moments("grad_avg");
  if (options.momentum != 0) buffer_ = &moments("momentum_buffer");
}

void RMSprop::update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
                     std::int64_t count) {
  kernels::rmsprop_step(parameter, gradient, at(square_, i, begin), at(mean_, i, begin),
                        at(buffer_, i, begin), count,
                        {.lr = lr,
                         .alpha = options_.alpha,
                         .eps = options_.eps,
                         .weight_decay = options_.weight_decay,
                         .momentum = options_.momentum});
}

Adagrad::Adagrad(std::vector<Tensor> parameters, const AdagradOptions& options)
    : Optimizer(std::move(parameters), options.lr),
      options_(options),
      sum_(&moments("sum", static_cast<Real>(options.initial_accumulator))) {
  check_not_negative("Adagrad", {{"lr_decay", options.lr_decay},
                                 {"eps", options.eps},
                                 {"initial_accumulator", options.initial_accumulator},
                                 {"weight_decay", options.weight_decay}});
}

void Adagrad::update(std::size_t i, Real* parameter, const Real* gradient, std::int64_t begin,
                     std::int64_t count) {
  kernels::adagrad_step(parameter, gradient, at(sum_, i, begin), count,
                        {.lr = lr,
                         .lr_decay = options_.lr_decay,
                         .eps = options_.eps,
                         .weight_decay = options_.weight_decay,
                         .t = time()});
}

double OptimizerSetting::lr() const {
  return type == "sgd"       ? sgd.lr
         : type == "rmsprop" ? rmsprop.lr
         : type == "adagrad" ? adagrad.lr
                             : adam.lr;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSetting& setting,
                                          std::vector<Tensor> parameters) {
  if (setting.type == "sgd") return std::make_unique<SGD>(std::move(parameters), setting.sgd);
  if (setting.type == "rmsprop")
    return std::make_unique<RMSprop>(std::move(parameters), setting.rmsprop);
  if (setting.type == "adagrad")
    return std::make_unique<Adagrad>(std::move(parameters), setting.adagrad);
  if (setting.type != "adam" && setting.type != "adamw") {
    throw Error("optimizer", "there is no optimizer \"{}\"", setting.type)
        .hint("use sgd, adam, adamw, rmsprop or adagrad");
  }
  AdamOptions adam = setting.adam;
  adam.decoupled = setting.type == "adamw";
  return std::make_unique<Adam>(std::move(parameters), adam);
}

namespace {

/// A new tensor: gradients may share their numbers, with each other or with what the caller keeps.
template <class F>
Tensor changed(const Tensor& gradient, F&& change) {
  Tensor result = Tensor::empty(gradient.shape());
  std::transform(gradient.data().begin(), gradient.data().end(), result.mutable_data().begin(),
                 change);
  return result;
}

}  // namespace

double clip_grad_norm(std::vector<Tensor>& gradients, double max_norm, bool infinity_norm) {
  if (!(max_norm >= 0))
    throw Error("clip_grad_norm", "max_norm must be at least 0, got {}", max_norm);
  double total = 0;
  for (const Tensor& gradient : gradients) {
    for (const Real value : gradient.data()) {
      const double size = std::abs(static_cast<double>(value));
      total = infinity_norm ? std::max(total, size) : total + size * size;
    }
  }
  if (!infinity_norm) total = std::sqrt(total);
  const double scale = max_norm / (total + 1e-6);
  if (scale < 1) {
    for (Tensor& gradient : gradients) {
      gradient = changed(gradient, [&](Real value) { return static_cast<Real>(value * scale); });
    }
  }
  return total;
}

void clip_grad_value(std::vector<Tensor>& gradients, double limit) {
  if (!(limit >= 0)) throw Error("clip_grad_value", "the limit must be at least 0, got {}", limit);
  for (Tensor& gradient : gradients) {
    gradient = changed(gradient, [bound = static_cast<Real>(limit)](Real value) {
      return std::clamp(value, -bound, bound);
    });
  }
}

WeightAverage::WeightAverage(std::vector<Tensor> parameters, double decay)
    : parameters_(std::move(parameters)), decay_(decay) {
  if (!(decay >= 0 && decay <= 1))
    throw Error("WeightAverage", "the decay must be between 0 and 1, got {}", decay);
  for (const Tensor& parameter : parameters_) averages_.push_back(parameter.clone());
}

void WeightAverage::update() {
  const Real kept = static_cast<Real>(decay_), moved = static_cast<Real>(1 - decay_);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    std::span<Real> average = averages_[i].mutable_data();
    for (std::size_t k = 0; k < average.size(); ++k)
      average[k] = kept * average[k] + moved * parameters_[i].data()[k];
  }
}

void WeightAverage::swap() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    std::span<Real> a = averages_[i].mutable_data(), p = parameters_[i].mutable_data();
    std::swap_ranges(a.begin(), a.end(), p.begin());
  }
}

std::vector<Named<Tensor>> WeightAverage::state() const {
  std::vector<Named<Tensor>> result;
  for (std::size_t i = 0; i < averages_.size(); ++i)
    result.push_back({number("average", i), averages_[i]});
  return result;
}

void WeightAverage::load_state(const std::vector<Named<Tensor>>& state) {
  check_names(state, this->state());
  for (std::size_t i = 0; i < averages_.size(); ++i)
    saved(state, number("average", i), averages_[i].shape());
  for (std::size_t i = 0; i < averages_.size(); ++i)
    copy(saved(state, number("average", i), averages_[i].shape()), averages_[i]);
}

}  // namespace tapestry::optim
