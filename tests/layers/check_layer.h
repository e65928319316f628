// What every layer must do, as one call.
#ifndef TAPESTRY_TESTS_LAYERS_CHECK_LAYER_H_
#define TAPESTRY_TESTS_LAYERS_CHECK_LAYER_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "layers/module.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {

inline std::vector<std::string> names_of(const std::vector<Named<Tensor>>& entries) {
  std::vector<std::string> names;
  for (const Named<Tensor>& entry : entries) names.push_back(entry.name);
  return names;
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Draws the parameters and moves each off its start: γ = 1 and β = 0 would hide mistakes.
inline void draw(nn::Module& module, std::uint64_t seed) {
  module.reset_parameters(Rng(seed));
  Rng rng = Rng(seed).split("away from the start");
  for (Tensor& parameter : module.parameters()) {
    const Tensor shift = rng.uniform(parameter.shape(), Real(0.1), Real(0.6));
    for (std::size_t i = 0; i < shift.data().size(); ++i)
      parameter.mutable_data()[i] += shift.data()[i];
  }
}

struct LayerCheck {
  std::vector<std::string> names = {};     // of the state, PyTorch's and in its order
  std::vector<std::string> additive = {};  // parameters that no gradient depends on
  bool training = true;
  CheckOptions options = {};
};

/// Checks that a layer refuses to run before its parameters have values, has the wanted names, has
/// right gradients with respect to its inputs and every parameter, and computes the same in a twin
/// that loaded its state. `make()` gives a new layer, `call(layer, inputs)` runs it.
template <class Make, class Call>
CheckResult check_layer(std::string_view name, Make make, const std::vector<Input>& inputs,
                        Call call, const LayerCheck& check = {}) {
  CAPTURE(std::string(name));
  auto layer = make();
  layer.train(check.training);
  std::vector<Tensor> x;
  std::vector<Variable> variables;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    x.push_back(inputs[i].make(100 + i));
    if (!inputs[i].is_fixed()) variables.emplace_back(x.back(), inputs[i].is_additive());
  }
  CHECK(names_of(layer.state()) == check.names);
  if (!layer.parameters().empty())
    CHECK(contains(error_text([&] { call(layer, x); }), "no values yet"));
  draw(layer, 3);
  for (const Named<Tensor>& parameter : layer.named_parameters()) {
    const bool additive = std::find(check.additive.begin(), check.additive.end(), parameter.name) !=
                          check.additive.end();
    variables.emplace_back(parameter.value, additive);
  }
  const CheckResult result = check_gradients(
      name, variables, [&] { return call(layer, x); }, check.options);

  auto twin = make();
  twin.load_state(layer.state());
  layer.eval();
  twin.eval();
  const Tensor mine = call(layer, x), its = call(twin, x);
  CHECK(hash({&mine, 1}) == hash({&its, 1}));
  return result;
}

/// The same for a layer of one input.
template <class Make>
CheckResult check_layer(std::string_view name, Make make, const Input& input,
                        const LayerCheck& check = {}) {
  return check_layer(
      name, make, std::vector<Input>{input},
      [](auto& layer, const std::vector<Tensor>& x) { return layer(x[0]); }, check);
}

}  // namespace tapestry::testing

#endif  // TAPESTRY_TESTS_LAYERS_CHECK_LAYER_H_
