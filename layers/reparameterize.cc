#include "layers/reparameterize.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/tape.h"

namespace tapestry::nn {

// Functions
// ------------------------------------------------------------------------------------------------

namespace {

void check_dim(std::string_view op, const Tensor& weight, int dim) {
  if (dim < 0 || dim >= weight.rank())
    throw Error(op, "there is no axis {} in a weight of {} axes", dim, weight.rank())
        .shape("weight", weight);
}

Tensor unit(const Tensor& a, Real eps) { return a / std::max(norm(a).item(), eps); }

/// The norm over all axes but one, with extents of 1 in their place.
Tensor norm_along(const Tensor& v, int dim) {
  Axes others;
  for (int axis = 0; axis < v.rank(); ++axis) {
    if (axis != dim) others.push_back(axis);
  }
  return norm(v, others, {.keepdim = true});
}

void assign(Tensor to, const Tensor& from) {
  std::copy(from.data().begin(), from.data().end(), to.mutable_data().begin());
}

}  // namespace

SpectralWeight spectral_normalize(const Tensor& weight, const Tensor& u, const Tensor& v,
                                  const SpectralOptions& options) {
  check_dim("spectral_normalize", weight, options.dim);
  const std::int64_t rows = weight.dim(options.dim), columns = weight.size() / rows;
  if (!(u.shape() == Shape{rows}) || !(v.shape() == Shape{columns})) {
    throw Error("spectral_normalize", "needs u of {} and v of {} numbers", rows, columns)
        .shape("weight", weight)
        .shape("u", u)
        .shape("v", v);
  }
  std::vector<int> order(static_cast<std::size_t>(weight.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin(), order.begin() + options.dim, order.begin() + options.dim + 1);
  const Tensor matrix = reshape(permute(weight, order), {rows, columns});
  // Copies: the caller may move its u and v before the gradient is taken.
  SpectralWeight made{{}, u.clone(), v.clone(), {}};
  {
    const PauseRecording pause;
    for (int i = 0; i < options.iterations; ++i) {
      made.v = unit(matmul(made.u, matrix), options.eps);
      made.u = unit(matmul(matrix, made.v), options.eps);
    }
  }
  made.sigma = sum(made.u * matmul(matrix, made.v));
  made.weight = weight / made.sigma;
  return made;
}

Tensor weight_norm(const Tensor& v, const Tensor& g, int dim) {
  check_dim("weight_norm", v, dim);
  const Tensor length = norm_along(v, dim);
  if (!(g.shape() == length.shape())) {
    throw Error("weight_norm", "g must have {} numbers along axis {}, and extent 1 elsewhere",
                v.dim(dim), dim)
        .shape("v", v)
        .shape("g", g);
  }
  return g * (v / length);
}

Tensor weight_standardize(const Tensor& weight, Real eps) {
  return normalize(weight, per_row(weight.shape(), weight.rank() - 1), {.eps = eps});
}

// Layers
// ---------------------------------------------------------------------------------------------------

namespace {

Tensor random_unit(std::int64_t size, std::string_view name) {
  // Any start that no weight is orthogonal to will do; a fixed one needs no seed from the caller.
  Rng rng = Rng(0).split(name);
  return unit(rng.normal({size}), Real(1e-12));
}

Start default_start(std::int64_t fan_in) {
  const Real bound = 1 / std::sqrt(static_cast<Real>(fan_in));
  return Start::uniform(-bound, bound);
}

std::string rule_name(WeightRule rule) {
  return rule == WeightRule::kSpectral ? "spectral norm"
         : rule == WeightRule::kNorm   ? "weight norm"
                                       : "weight standardization";
}

}  // namespace

ReparameterizedModule::ReparameterizedModule(WeightRule rule, int iterations)
    : rule_(rule), iterations_(iterations) {}

void ReparameterizedModule::make_weight(const Shape& shape, Start start) {
  const std::string name = "parametrizations.weight.";
  switch (rule_) {
    case WeightRule::kSpectral:
      original_ = parameter(name + "original", shape, start);
      u_ = buffer(name + "0._u", random_unit(shape[0], "u"));
      v_ = buffer(name + "0._v", random_unit(shape.size() / shape[0], "v"));
      break;
    case WeightRule::kNorm: {
      std::vector<std::int64_t> extents(static_cast<std::size_t>(shape.rank()), 1);
      extents[0] = shape[0];
      g_ = parameter(name + "original0", Shape(extents), Start::constant(1));
      original_ = parameter(name + "original1", shape, start);
      break;
    }
    case WeightRule::kStandard:
      original_ = parameter("weight", shape, start);
      break;
  }
}

void ReparameterizedModule::parameters_drawn() {
  const PauseRecording pause;
  if (rule_ == WeightRule::kNorm) assign(g_, norm_along(original_, 0));
  if (rule_ == WeightRule::kSpectral) {
    constexpr int kIterations = 15;  // as PyTorch: close enough that σ is of the right size
    const SpectralWeight made = spectral_normalize(original_, u_, v_, {.iterations = kIterations});
    assign(u_, made.u);
    assign(v_, made.v);
  }
}

Tensor ReparameterizedModule::weight() {
  if (rule_ == WeightRule::kNorm) return weight_norm(original_, g_);
  if (rule_ == WeightRule::kStandard) return weight_standardize(original_);
  const SpectralWeight made =
      spectral_normalize(original_, u_, v_, {.iterations = is_training() ? iterations_ : 0});
  if (is_training()) {
    assign(u_, made.u);
    assign(v_, made.v);
  }
  return made.weight;
}

ReparameterizedLinear::ReparameterizedLinear(std::int64_t in, std::int64_t out,
                                             const ReparameterizedLinearOptions& options)
    : ReparameterizedModule(options.rule, options.iterations), in_(in), out_(out) {
  if (in < 1 || out < 1)
    throw Error(kind(), "needs at least one input and one output, got {} and {}", in, out);
  if (options.bias) bias_ = parameter("bias", {out}, default_start(in));
  make_weight({out, in}, default_start(in));
}

std::string ReparameterizedLinear::describe() const {
  return format("Linear({}, {}{}) with {}", in_, out_, bias_.defined() ? "" : ", no bias",
                rule_name(rule()));
}

Cost ReparameterizedLinear::cost(const Shape&, const Shape& output) const {
  return {output.size() * in_, ""};
}

Tensor ReparameterizedLinear::forward(const Tensor& x) { return linear(x, weight(), bias_); }

ReparameterizedConv2d::ReparameterizedConv2d(std::int64_t in, std::int64_t out,
                                             const ReparameterizedConv2dOptions& options)
    : ReparameterizedModule(options.rule, options.iterations),
      in_(in),
      out_(out),
      options_(options.conv) {
  check_conv_sizes("Conv2d", in, out, options_.groups, options_.kernel);
  const std::int64_t fan_in = in / options_.groups * options_.kernel.h * options_.kernel.w;
  if (options_.bias) bias_ = parameter("bias", {out}, default_start(fan_in));
  make_weight({out, in / options_.groups, options_.kernel.h, options_.kernel.w},
              default_start(fan_in));
}

std::string ReparameterizedConv2d::describe() const {
  return conv2d_text(in_, out_, options_) + " with " + rule_name(rule());
}

Cost ReparameterizedConv2d::cost(const Shape&, const Shape& output) const {
  return {output.size() * (in_ / options_.groups) * options_.kernel.h * options_.kernel.w, ""};
}

Tensor ReparameterizedConv2d::forward(const Tensor& x) {
  return padded_conv2d(x, weight(), bias_, options_);
}

}  // namespace tapestry::nn
