// From the name of an op in a reference vector to a call of Tapestry's public interface. Nothing
// here knows particular cases.
#ifndef TAPESTRY_TESTS_CONFORMANCE_TABLE_H_
#define TAPESTRY_TESTS_CONFORMANCE_TABLE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/case.h"

namespace tapestry::conformance {

/// What a call gave: outputs by name; those called "aux.…" have no gradient.
struct Result {
  Result() = default;
  Result(Tensor y) { add("y", std::move(y)); }  // NOLINT: most ops have one output
  void add(std::string name, Tensor value) {
    outputs.push_back({std::move(name), std::move(value)});
  }

  std::vector<Named<Tensor>> outputs;
  /// A layer holds copies of the inputs that are its parameters; gradients are asked of these.
  std::map<std::string, Tensor> leaves;
  /// Keeps that layer alive.
  std::shared_ptr<void> owner;
};

using Function = std::function<Result(const Call&)>;
using Table = std::map<std::string, Function>;

void add_elementwise(Table& table);
void add_reductions(Table& table);
void add_movement(Table& table);
void add_linear(Table& table);
void add_norms(Table& table);
void add_conditional_norms(Table& table);
void add_losses(Table& table);
void add_optimizers(Table& table);
void add_recurrent(Table& table);

/// All of them.
const Table& table();

/// gradient_penalty: a critic described by attributes, its gradient with respect to the input, and
/// the gradient of that. Runs on a tape of its own; results have their full names ("grad.x").
Result run_gradient_penalty(const Call& call);

}  // namespace tapestry::conformance

#endif  // TAPESTRY_TESTS_CONFORMANCE_TABLE_H_
