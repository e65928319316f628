// Calling a layer with parameters from a reference vector.
#ifndef TAPESTRY_TESTS_CONFORMANCE_LAYER_H_
#define TAPESTRY_TESTS_CONFORMANCE_LAYER_H_

#include <map>
#include <memory>
#include <string>

#include "layers/module.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {

/// From a name in the layer's state to the name of an input; the same name where absent.
using Renamed = std::map<std::string, std::string>;

/// Loads those of the case's inputs that are in the layer's state, and notes the parameters in
/// result.leaves. State without an input takes the attribute "<name>_init" or keeps its start.
void load_inputs(const Call& c, const std::shared_ptr<nn::Module>& layer, Result& result,
                 const Renamed& renamed = {});

/// load_inputs(), then the layer's answer to x.
Result call_layer(const Call& c, const std::shared_ptr<nn::UnaryModule>& layer, const Tensor& x,
                  const Renamed& renamed = {});

}  // namespace tapestry::conformance

#endif  // TAPESTRY_TESTS_CONFORMANCE_LAYER_H_
