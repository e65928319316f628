#include "tests/support/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/kernels/simd_info.h"
#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/tape.h"

namespace tapestry::testing {

// Inputs
// ---------------------------------------------------------------------------------------------

Input Input::between(double low, double high) const {
  Input copy = *this;
  copy.low_ = low;
  copy.high_ = high;
  return copy;
}

Input Input::away_from(std::vector<double> kinks) const {
  Input copy = *this;
  copy.kinks_ = std::move(kinks);
  return copy;
}

Input Input::distinct() const {
  Input copy = *this;
  copy.distinct_ = true;
  return copy;
}

Input Input::values(std::vector<double> numbers) const {
  Input copy = *this;
  copy.values_ = std::move(numbers);
  return copy;
}

Input Input::additive() const {
  Input copy = *this;
  copy.additive_ = true;
  return copy;
}

Input Input::fixed() const {
  Input copy = *this;
  copy.fixed_ = true;
  return copy;
}

Tensor Input::make(std::uint64_t seed) const {
  constexpr double kMargin = 0.1;  // more than the reach of the widest stencil, 2 · 0.03
  Rng rng(seed);
  const std::int64_t n = shape_.size();
  const std::vector<std::int64_t> order =
      distinct_ ? rng.permutation(n) : std::vector<std::int64_t>();
  std::vector<Real> numbers(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    double x = low_ + (high_ - low_) * rng.uniform();
    if (distinct_)
      x = low_ + (high_ - low_) * (static_cast<double>(order[i]) + 0.5) / static_cast<double>(n);
    for (const double kink : kinks_) {
      if (std::abs(x - kink) < kMargin) x = kink + (x < kink ? -1.5 : 1.5) * kMargin;
    }
    numbers[i] = static_cast<Real>(values_.empty() ? x : values_.at(i));
  }
  return Tensor::from(numbers, shape_);
}

// Comparing
// ---------------------------------------------------------------------------------------------

double difference(const Tensor& a, const Tensor& b) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (!(a.shape() == b.shape())) return kInfinite;
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < a.data().size(); ++i) {
    const double x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
    if (x == y || (std::isnan(x) && std::isnan(y))) {
      if (std::isfinite(y)) scale = std::max(scale, std::abs(y));
      continue;
    }
    if (!std::isfinite(x) || !std::isfinite(y)) return kInfinite;
    worst = std::max(worst, std::abs(x - y));
    scale = std::max(scale, std::abs(y));
  }
  return worst == 0 ? 0 : worst / (scale > 0 ? scale : 1);
}

namespace {

// Between SIMD targets, and between fused and composed gradients: a few roundings of sums of some
// hundred terms.
constexpr double kRounding = kDouble ? 1e-11 : 1e-4;
// Below this the largest number of a gradient counts as "all zeros": inputs and cotangents are of
// the order of 1.
constexpr double kFloor = 1e-4;

double largest(const Tensor& x) {
  double result = 0;
  for (const Real value : x.data()) {
    const double size = std::abs(static_cast<double>(value));
    if (!(size <= result)) result = size;  // a NaN is kept
  }
  return result;
}

double dot(const Tensor& a, const Tensor& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.data().size(); ++i)
    total += static_cast<double>(a.data()[i]) * static_cast<double>(b.data()[i]);
  return total;
}

// Note [Scalars of each order]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// With random cotangents r, s, t: S₀ = ⟨f(x), r⟩ and Sₙ = Σ ⟨∂Sₙ₋₁/∂x, tₙ⟩. The gradient of Sₙ₋₁
// is what the tape computes at order n; moving each element of x (and, from order 2 on, of r) gives
// the same by differences of Sₙ₋₁, which needs gradients of order n − 1 only.
class Check {
 public:
  Check(std::string_view name, const std::vector<Variable>& variables,
        const std::function<Tensor()>& f, const CheckOptions& options)
      : name_(name), variables_(variables), f_(f), options_(options) {
    for (const Variable& variable : variables) x_.push_back(variable.tensor);
    const Tensor y = f();
    Rng rng = Rng(options.seed).split("cotangents");
    // Away from 0, so that no element of a gradient goes unseen.
    const auto cotangent = [&](const Shape& shape) {
      Tensor result = rng.uniform(shape, Real(0.5), Real(1.5));
      for (Real& value : result.mutable_data()) value = rng.uniform() < 0.5 ? -value : value;
      return result;
    };
    r_ = cotangent(y.shape());
    for (std::vector<Tensor>& order : t_) {
      for (const Tensor& x : x_) order.push_back(cotangent(x.shape()));
    }
    with_r_ = x_;
    with_r_.push_back(r_);
  }

  CheckResult run() {
    for (int order = 1; order <= options_.order; ++order) check_order(order);
    check_fused();
    check_threads();
    check_targets();
    return result_;
  }

  void check_threads() {
    const int before = threads();
    set_threads(1);
    const std::uint64_t one = bits();
    for (const int count : {2, 3, 7}) {
      set_threads(count);
      if (bits() != one) fault(format("bits differ between 1 and {} threads", count));
    }
    set_threads(before);
  }

  CheckResult& result() { return result_; }

 private:
  void fault(const std::string& text) { result_.faults.push_back(name_ + ": " + text); }

  const std::vector<Tensor>& targets(int order) const { return order == 1 ? x_ : with_r_; }

  /// ∂Sₙ₋₁/∂targets, by the tape.
  std::vector<Tensor> derivative(int order, bool create_graph = false) const {
    Tape tape;
    for (const Tensor& x : with_r_) tape.watch(x);
    std::vector<Tensor> g =
        tape.vjp(f_(), r_, order == 1 ? targets(1) : x_,
                 {.create_graph = order > 1 || create_graph, .allow_unused = true});
    for (int n = 2; n <= order; ++n) {
      Tensor s = Tensor::scalar(0);
      for (std::size_t k = 0; k < x_.size(); ++k) s = s + sum(g[k] * t_[n - 2][k]);
      g = tape.gradient(s, n == order ? targets(order) : x_,
                        {.create_graph = n < order || create_graph, .allow_unused = true});
    }
    for (Tensor& tensor : g) tensor = tensor.detach();
    return g;
  }

  /// Sₙ
  double scalar(int order) const {
    if (order == 0) return dot(f_(), r_);
    const std::vector<Tensor> g = derivative(order);
    double total = 0;
    for (std::size_t k = 0; k < x_.size(); ++k)
      total += dot(g[k], t_[static_cast<std::size_t>(order - 1)][k]);
    return total;
  }

  /// ∂Sₙ₋₁/∂x by the stencil (8·(f(h) − f(−h)) − (f(2h) − f(−2h)))/12h.
  Tensor differences(int order, Tensor x) const {
    Tensor result = Tensor::empty(x.shape());
    const std::span<Real> out = result.mutable_data();
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Real before = x.data()[i];
      double at[2] = {}, reach[2] = {};
      for (int k = 0; k < 2; ++k) {
        const Real up = before + static_cast<Real>((k + 1) * options_.step);
        const Real down = before - static_cast<Real>((k + 1) * options_.step);
        x.mutable_data()[i] = up;
        at[k] = scalar(order - 1);
        x.mutable_data()[i] = down;
        at[k] -= scalar(order - 1);
        reach[k] = static_cast<double>(up) - static_cast<double>(down);  // as rounded
      }
      x.mutable_data()[i] = before;
      out[i] = static_cast<Real>((4 * at[0] / reach[0] - at[1] / reach[1]) / 3);
    }
    return result;
  }

  bool expect_zero(int order, std::size_t k) const {
    const bool upstream = k == x_.size();
    if (options_.zero_gradient) return true;
    if (order == 1 || (upstream && order == 2)) return false;
    if (options_.linear || (order == 3 && options_.zero_third)) return true;
    return !upstream && variables_[k].additive;
  }

  std::string called(std::size_t k) const {
    if (k == x_.size()) return "the upstream gradient";
    return x_[k].name().empty() ? "input " + std::to_string(k) : std::string(x_[k].name());
  }

  void check_order(int order) {
    double& worst = order == 1 ? result_.first : order == 2 ? result_.second : result_.third;
    const std::vector<Tensor> exact = derivative(order);
    for (std::size_t k = 0; k < targets(order).size(); ++k) {
      const std::string what =
          format("derivative of order {} with respect to {}", order, called(k));
      if (!(exact[k].shape() == targets(order)[k].shape())) {
        fault(format("{} has shape {}, not {}", what, exact[k].shape(), targets(order)[k].shape()));
        continue;
      }
      if (exact[k].size() == 0) continue;
      const Tensor numeric = differences(order, targets(order)[k]);
      const double size = largest(numeric);
      if (expect_zero(order, k)) {
        if (!(largest(exact[k]) <= options_.tolerance) || !(size <= options_.tolerance))
          fault(format("{} should be 0, is {}, by differences {}", what, largest(exact[k]), size));
        continue;
      }
      if (!(size > kFloor) || !(largest(exact[k]) > kFloor)) {
        fault(format("{} is 0 everywhere (by differences {}): nothing was checked", what, size));
        continue;
      }
      const double error = difference(exact[k], numeric);
      worst = std::max(worst, error);
      if (!(error <= options_.tolerance)) {
        std::size_t at = 0;
        double most = -1;
        for (std::size_t i = 0; i < exact[k].data().size(); ++i) {
          const double off = std::abs(static_cast<double>(exact[k].data()[i]) -
                                      static_cast<double>(numeric.data()[i]));
          if (!(off <= most)) at = i, most = off;
        }
        fault(format("{} is off by {} of its scale: element {} is {}, by differences {}", what,
                     error, at, exact[k].data()[at], numeric.data()[at]));
      }
    }
  }

  void compare(const std::string& what, const std::vector<Tensor>& a,
               const std::vector<Tensor>& b) {
    for (std::size_t k = 0; k < a.size(); ++k) {
      const double error = difference(a[k], b[k]);
      if (!(error <= kRounding)) fault(format("{}: {} is off by {}", what, called(k), error));
    }
  }

  void check_fused() {
    for (int order = 1; order <= std::min(options_.order, 2); ++order) {
      compare(format("composed and fused gradient of order {} differ", order),
              derivative(order, true), derivative(order));
    }
  }

  std::uint64_t bits() const {
    std::vector<Tensor> all{f_()};
    for (int order = 1; order <= std::min(options_.order, 2); ++order) {
      const std::vector<Tensor> g = derivative(order);
      all.insert(all.end(), g.begin(), g.end());
    }
    return hash(all);
  }

  void check_targets() {
    const std::vector<std::string> names = kernels::simd_targets();
    const std::string before(kernels::simd_target());
    const std::vector<Tensor> forward{f_()}, first = derivative(1);
    for (const std::string& name : names) {
      if (name == before) continue;
      kernels::force_simd_target(name);
      compare(name + " and " + before + " differ, forward", {f_()}, forward);
      compare(name + " and " + before + " differ, gradient", derivative(1), first);
    }
    kernels::force_simd_target(before);
  }

  std::string name_;
  std::vector<Variable> variables_;
  std::function<Tensor()> f_;
  CheckOptions options_;
  std::vector<Tensor> x_, with_r_, t_[2];
  Tensor r_;
  CheckResult result_;
};

void report(const CheckResult& result) {
  for (const std::string& fault : result.faults) FAIL_CHECK(fault);
  CHECK(result.faults.empty());  // counts as an assertion
}

}  // namespace

CheckResult find_faults(std::string_view name, const std::vector<Variable>& variables,
                        const std::function<Tensor()>& f, const CheckOptions& options) {
  return Check(name, variables, f, options).run();
}

CheckResult check_gradients(std::string_view name, const std::vector<Variable>& variables,
                            const std::function<Tensor()>& f, const CheckOptions& options) {
  const CheckResult result = find_faults(name, variables, f, options);
  report(result);
  if (std::getenv("TAPESTRY_GRADIENT_TABLE") != nullptr) {
    std::printf("gradient | %-32s | %8.1e | %8.1e | %8.1e\n", std::string(name).c_str(),
                result.first, result.second, result.third);
  }
  return result;
}

void check_threads(std::string_view name, const std::vector<Variable>& variables,
                   const std::function<Tensor()>& f) {
  Check check(name, variables, f, {.order = 1});
  check.check_threads();
  report(check.result());
}

namespace detail {
namespace {

/// The inputs made, and f of them; fixed ones are no variables.
struct Made {
  std::vector<Tensor> tensors;
  std::vector<Variable> variables;
};

Made make(std::string_view name, const std::vector<Input>& inputs, std::uint64_t seed) {
  Made made;
  const Rng rng = Rng(seed).split(name);
  for (const Input& input : inputs) {
    const std::uint64_t number = made.tensors.size();
    made.tensors.push_back(input.make(rng.split(number).state().key));
    if (!input.is_fixed()) made.variables.emplace_back(made.tensors.back(), input.is_additive());
  }
  return made;
}

}  // namespace

CheckResult check_op(std::string_view name, const std::vector<Input>& inputs, const Function& f,
                     const CheckOptions& options) {
  const Made made = make(name, inputs, options.seed);
  double forward = 0;
  if (options.reference) {
    forward = difference(f(made.tensors), options.reference(made.tensors));
    CHECK_MESSAGE(forward <= kRounding, name, " is off by ", forward, " from its reference");
  }
  CheckResult result = check_gradients(
      name, made.variables, [&] { return f(made.tensors); }, options);
  result.forward = forward;
  return result;
}

void check_op_threads(std::string_view name, const std::vector<Input>& inputs, const Function& f) {
  const Made made = make(name, inputs, 1);
  check_threads(name, made.variables, [&] { return f(made.tensors); });
}

}  // namespace detail

Function elementwise(std::function<double(double)> f) {
  return [f](const std::vector<Tensor>& x) {
    Tensor y = Tensor::empty(x.at(0).shape());
    const std::span<Real> out = y.mutable_data();
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<Real>(f(static_cast<double>(x[0].data()[i])));
    return y;
  };
}

Function elementwise(std::function<double(double, double)> f) {
  return [f](const std::vector<Tensor>& x) {
    Tensor y = Tensor::empty(x.at(0).shape());
    const std::span<Real> out = y.mutable_data();
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<Real>(
          f(static_cast<double>(x[0].data()[i]), static_cast<double>(x.at(1).data()[i])));
    return y;
  };
}

std::string error_text(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL_CHECK("an Error was expected");
  return "";
}

}  // namespace tapestry::testing
