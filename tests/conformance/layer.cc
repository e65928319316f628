#include "tests/conformance/layer.h"

#include <utility>
#include <vector>

namespace tapestry::conformance {

void load_inputs(const Call& c, const std::shared_ptr<nn::Module>& layer, Result& result,
                 const Renamed& renamed) {
  const auto input_name = [&](const std::string& name) {
    const auto found = renamed.find(name);
    return found == renamed.end() ? name : found->second;
  };
  std::vector<Named<Tensor>> state;
  for (const Named<Tensor>& own : layer->state()) {
    const std::string name = input_name(own.name);
    Tensor value = c.has(name) ? c[name].detach() : own.value.clone();
    if (!c.has(name) && c.attribute(name + "_init") != nullptr) {
      value = Tensor::full(own.value.shape(), c.real(name + "_init", 0));
    }
    state.push_back({own.name, std::move(value)});
  }
  layer->load_state(state);
  for (const Named<Tensor>& own : layer->named_parameters()) {
    result.leaves[input_name(own.name)] = own.value;
  }
  result.owner = layer;
}

Result call_layer(const Call& c, const std::shared_ptr<nn::UnaryModule>& layer, const Tensor& x,
                  const Renamed& renamed) {
  Result result;
  load_inputs(c, layer, result, renamed);
  result.add("y", (*layer)(x));
  return result;
}

}  // namespace tapestry::conformance
