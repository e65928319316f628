// Checks of an op or a layer against finite differences: derivatives of first, second and third
// order, threads, SIMD targets, and fused against composed gradients.
#ifndef TAPESTRY_TESTS_SUPPORT_GRADCHECK_H_
#define TAPESTRY_TESTS_SUPPORT_GRADCHECK_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace tapestry::testing {

/// Computes a tensor from tensors.
using Function = std::function<Tensor(const std::vector<Tensor>&)>;

/// An input of check_op(): its shape, and which numbers fill it.
///
///     Input({3, 5}).between(0.5, 2)     positive
///     Input({3, 5}).away_from({0})      at least 0.1 from a kink at 0
///     Input({3, 5}).distinct()          no two closer than (high − low)/size: for max and the like
///     Input({3}).values({1, 2, 3})      exactly these
///     Input({5}).additive()             a bias: no gradient depends on it
///     Input({3, 5}).fixed()             has no gradient: a condition, for example
class Input {
 public:
  Input() = default;
  Input(std::initializer_list<std::int64_t> extents) : shape_(extents) {}
  Input(const Shape& shape) : shape_(shape) {}  // NOLINT: implicit

  Input between(double low, double high) const;
  Input away_from(std::vector<double> kinks) const;
  Input distinct() const;
  Input values(std::vector<double> numbers) const;
  Input additive() const;
  Input fixed() const;

  /// The tensor; `seed` chooses its random numbers.
  Tensor make(std::uint64_t seed) const;
  bool is_additive() const { return additive_; }
  bool is_fixed() const { return fixed_; }

 private:
  Shape shape_;
  double low_ = -2, high_ = 2;
  std::vector<double> kinks_, values_;
  bool distinct_ = false, additive_ = false, fixed_ = false;
};

/// A tensor that check_gradients() moves, in place, to see what follows.
struct Variable {
  Variable(Tensor tensor_, bool additive_ = false)  // NOLINT: implicit
      : tensor(std::move(tensor_)), additive(additive_) {}
  Tensor tensor;
  bool additive = false;  // no gradient depends on it
};

struct CheckOptions {
  int order = 2;               // highest order of derivative, 1 to 3
  bool linear = false;         // every variable is additive: the second derivative must be 0
  bool zero_gradient = false;  // the first derivative must be 0 (a step function); else 0 fails
  bool zero_third = false;     // the third derivative must be 0 (a product of two variables)
  Function reference = {};     // a naive twin to compare with (check_op only)
  // Largest difference relative to the largest number of the tensor compared. In float, finite
  // differences lose half of the digits.
  double tolerance = kDouble ? 1e-7 : 1e-2;
  // Of the 4th-order stencil: its error h⁴·f⁽⁵⁾/30 and rounding, ε·f/h, are balanced for f⁽⁵⁾ ~ f.
  double step = kDouble ? 1e-3 : 3e-2;
  std::uint64_t seed = 1;
};

/// What a check found. Errors are relative to the largest number of the tensor compared.
struct CheckResult {
  double forward = 0, first = 0, second = 0, third = 0;
  std::vector<std::string> faults;  // one line each; empty when all is well
};

/// Checks f(), a function of `variables` that it holds on to: layers pass input and parameters.
///
/// With random cotangents: each gradient equals the 4th-order central difference, element by
/// element, for each order (second order also with respect to the upstream gradient); no
/// gradient is all zeros, unless the options say so; the composed gradient (create_graph) equals
/// the fused one; forward and gradients have the same bits at 1, 2, 3 and 7 threads, and agree on
/// every SIMD target.
CheckResult find_faults(std::string_view name, const std::vector<Variable>& variables,
                        const std::function<Tensor()>& f, const CheckOptions& options = {});

/// find_faults() with each fault reported to the test framework. TAPESTRY_GRADIENT_TABLE=1 in the
/// environment prints a line with the errors.
CheckResult check_gradients(std::string_view name, const std::vector<Variable>& variables,
                            const std::function<Tensor()>& f, const CheckOptions& options = {});

/// Forward and gradient at 1, 2, 3 and 7 threads have the same bits: for shapes large enough to be
/// cut into chunks, for which finite differences would take too long.
void check_threads(std::string_view name, const std::vector<Variable>& variables,
                   const std::function<Tensor()>& f);

/// max |a − b| / max |b|, or max |a| where b is 0; Inf when shapes differ, or one is NaN or Inf and
/// the other is not the same.
double difference(const Tensor& a, const Tensor& b);

namespace detail {

CheckResult check_op(std::string_view name, const std::vector<Input>& inputs, const Function& f,
                     const CheckOptions& options);
void check_op_threads(std::string_view name, const std::vector<Input>& inputs, const Function& f);

/// fn(a), fn(a, b), … or fn(vector) as a Function.
template <class F>
Function spread(F fn) {
  using T = const Tensor&;
  if constexpr (std::is_invocable_v<F, const std::vector<Tensor>&>) {
    return fn;
  } else if constexpr (std::is_invocable_v<F, T>) {
    return [fn](const std::vector<Tensor>& x) { return fn(x.at(0)); };
  } else if constexpr (std::is_invocable_v<F, T, T>) {
    return [fn](const std::vector<Tensor>& x) { return fn(x.at(0), x.at(1)); };
  } else {
    return [fn](const std::vector<Tensor>& x) { return fn(x.at(0), x.at(1), x.at(2)); };
  }
}

}  // namespace detail

/// check_gradients() for an op on random inputs, and its result against options.reference:
///
///     check_op("softplus", {{3, 5}}, [](const Tensor& x) { return softplus(x); });
template <class F>
CheckResult check_op(std::string_view name, const std::vector<Input>& inputs, F fn,
                     const CheckOptions& options = {}) {
  return detail::check_op(name, inputs, detail::spread(fn), options);
}

/// check_threads() for an op on random inputs.
template <class F>
void check_op_threads(std::string_view name, const std::vector<Input>& inputs, F fn) {
  detail::check_op_threads(name, inputs, detail::spread(fn));
}

/// A reference that applies a function of numbers to the elements of tensors of one shape.
Function elementwise(std::function<double(double)> f);
Function elementwise(std::function<double(double, double)> f);

/// what() of the Error that f() throws; fails the test when it throws none.
std::string error_text(const std::function<void()>& f);

}  // namespace tapestry::testing

#endif  // TAPESTRY_TESTS_SUPPORT_GRADCHECK_H_
