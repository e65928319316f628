// Gradient penalties: a critic described by a list of layers, its gradient with respect to the
// input, and the gradient of a function of that.
#include <cmath>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "layers/reparameterize.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

/// One layer of attrs.net with the inputs that belong to it: "l3_weight" is its weight.
class Layer {
 public:
  Layer(const Json& settings, std::size_t place, const std::map<std::string, Tensor>& tensors)
      : settings_(settings), prefix_(format("l{}_", place)), tensors_(tensors) {
    const Json* type = settings.find("type");
    if (type == nullptr || !type->is_string()) throw BadCase("net: a layer without a type");
    type_ = type->text();
  }

  Tensor operator()(const Tensor& x) const {
    if (type_ == "linear") return linear(x, tensor("weight"), tensor("bias"));
    if (type_ == "conv2d") return conv2d(x, tensor("weight"), tensor("bias"), geometry());
    if (type_ == "spectral_conv2d") {
      const nn::SpectralWeight w =
          nn::spectral_normalize(tensor("weight"), tensor("u"), tensor("v"),
                                 {.iterations = static_cast<int>(number("n_power_iterations", 1))});
      return conv2d(x, w.weight, tensor("bias"), geometry());
    }
    if (type_ == "flatten") return flatten(x);
    if (type_ == "leaky_relu") return leaky_relu(x, real("negative_slope", 0.01));
    if (type_ == "relu") return relu(x);
    if (type_ == "tanh") return tanh(x);
    if (type_ == "sigmoid") return sigmoid(x);
    if (type_ == "silu") return silu(x);
    if (type_ == "elu") return elu(x, real("alpha", 1));
    if (type_ == "gelu") return gelu(x);
    if (type_ == "softplus") return softplus(x);
    if (is("layer"))
      return norm(x, per_row(x.shape(), x.rank() - 1), per_position(x.shape(), x.rank() - 1));
    if (is("batch")) return norm(x, per_channel(x.shape()), per_channel(x.shape()));
    if (is("instance")) return norm(x, per_instance(x.shape()), per_channel(x.shape()));
    if (is("group")) {
      const double groups = number("num_groups", number("groups", 1));
      return norm(x, per_group(x.shape(), static_cast<std::int64_t>(groups)),
                  per_channel(x.shape()));
    }
    throw BadCase("net: unknown layer type '" + type_ + "'");
  }

 private:
  /// "batch_norm", "batch_norm2d" or "bn".
  bool is(const std::string& norm) const {
    return type_.starts_with(norm + "_norm") || type_ == norm.substr(0, 1) + "n";
  }

  Tensor norm(const Tensor& x, const NormSet& statistics, const NormSet& affine) const {
    const Tensor gamma = tensor("weight"), beta = tensor("bias");
    // LayerNorm in critics comes with a scale for each element or for each channel.
    const bool by_channel = gamma.defined() && gamma.size() == x.dim(1);
    return normalize(x, statistics,
                     {.eps = real("eps", 1e-5),
                      .affine = {gamma, beta, by_channel ? per_channel(x.shape()) : affine}});
  }

  ConvGeometry geometry() const {
    return {.stride = pair("stride", 1),
            .padding = pair("padding", 0),
            .dilation = pair("dilation", 1),
            .groups = static_cast<int>(number("groups", 1))};
  }

  Tensor tensor(const std::string& name) const {
    const auto found = tensors_.find(prefix_ + name);
    return found == tensors_.end() ? Tensor() : found->second;
  }

  double number(const std::string& key, double fallback) const {
    const Json* value = settings_.find(key);
    if (value == nullptr || value->is_null()) return fallback;
    if (!value->is_number()) throw BadCase("net: '" + key + "' must be a number");
    return value->number();
  }
  Real real(const std::string& key, double fallback) const {
    return static_cast<Real>(number(key, fallback));
  }
  Pair pair(const std::string& key, int fallback) const {
    const Json* value = settings_.find(key);
    if (value == nullptr || !value->is_array()) return static_cast<int>(number(key, fallback));
    if (value->items().size() != 2) throw BadCase("net: '" + key + "' must be one or two numbers");
    return {static_cast<int>(value->items()[0].integer()),
            static_cast<int>(value->items()[1].integer())};
  }

  const Json& settings_;
  std::string prefix_, type_;
  const std::map<std::string, Tensor>& tensors_;
};

/// The penalty's formula is given in words; these are the ones in use.
Tensor penalty(const Call& call, const Tensor& gradient) {
  const Tensor squares = sum(flatten(square(gradient)), {1});  // one for each sample
  const std::string formula = call.text("penalty", "mean((norm_i-1)^2)");
  if (formula.starts_with("0.5*mean(norm_i^2)")) return Real(0.5) * mean(squares);
  if (formula.starts_with("mean(norm_i^2)")) return mean(squares);
  const Tensor norm = sqrt(squares + call.real("eps", 1e-12));
  if (formula.starts_with("mean((norm_i-1)^2)")) return mean(square(norm - 1));
  if (formula.starts_with("mean(max(0,norm_i-1)^2)")) return mean(square(relu(norm - 1)));
  call.unknown("penalty");
}

}  // namespace

Result run_gradient_penalty(const Call& call) {
  const Json* net = call.attribute("net");
  if (net == nullptr || !net->is_array()) throw BadCase("attribute 'net': expected a list");
  Tape tape;
  std::map<std::string, Tensor> tensors;
  std::vector<Named<Tensor>> wrt;
  for (Named<Tensor>& input : call.inputs()) {
    const bool constant = !call.differentiable(input.name);
    tensors[input.name] = constant ? input.value : tape.watch(input.value);
    if (!constant) wrt.push_back({input.name, tensors[input.name]});
  }
  const Tensor& x = tensors.at("x");
  Tensor d = x;
  for (std::size_t i = 0; i < net->items().size(); ++i) d = Layer(net->items()[i], i, tensors)(d);
  const Tensor gradient = tape.gradient(sum(d), {x}, {.create_graph = true})[0];
  const Tensor gp = penalty(call, gradient);
  const Tensor total = call.real("d_weight", 1) * sum(d) + call.real("gp_weight", 10) * gp;

  std::vector<Tensor> list;
  for (const Named<Tensor>& tensor : wrt) list.push_back(tensor.value);
  const std::vector<Tensor> gradients = tape.gradient(total, list, {.allow_unused = true});
  Result result;
  result.add("out.d", d);
  result.add("out.grad_x", gradient);
  result.add("out.gp", gp);
  result.add("out.total", total);
  for (std::size_t i = 0; i < wrt.size(); ++i) result.add("grad." + wrt[i].name, gradients[i]);
  return result;
}

}  // namespace tapestry::conformance
