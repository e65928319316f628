#include "core/ops/normalize.h"

#include <cmath>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/kernels/normalize.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"

namespace tapestry {
namespace {

using kernels::NormKind;

std::int64_t rest_of(const Shape& shape) { return shape.product(2, shape.rank()); }

void need_channels(std::string_view op, const Shape& shape) {
  if (shape.rank() >= 2) return;
  throw Error(op, "the input needs a batch and a channel axis, it has {} axes", shape.rank())
      .shape("input", shape, "(N, C, …)");
}

void check_axes(std::string_view op, const Shape& shape, int axes) {
  if (axes >= 1 && axes <= shape.rank()) return;
  throw Error(op, "a row is made of 1 to {} axes, asked for {}", shape.rank(), axes)
      .shape("input", shape);
}

}  // namespace

NormSet per_channel(const Shape& shape) {
  need_channels("per_channel", shape);
  return {.outer = shape[0], .kept = shape[1], .inner = rest_of(shape)};
}

NormSet per_instance(const Shape& shape) {
  need_channels("per_instance", shape);
  return {.outer = 1, .kept = shape[0] * shape[1], .inner = rest_of(shape)};
}

NormSet per_group(const Shape& shape, std::int64_t groups) {
  need_channels("per_group", shape);
  if (groups < 1 || shape[1] % groups != 0) {
    throw Error("per_group", "{} channels cannot be divided into {} groups", shape[1], groups)
        .shape("input", shape, "(N, C, …)")
        .hint("choose a number of groups that divides the channels");
  }
  return {.outer = 1, .kept = shape[0] * groups, .inner = shape[1] / groups * rest_of(shape)};
}

NormSet per_row(const Shape& shape, int axes) {
  check_axes("per_row", shape, axes);
  const int first = shape.rank() - axes;
  return {.outer = 1, .kept = shape.product(0, first), .inner = shape.product(first, shape.rank())};
}

NormSet per_position(const Shape& shape, int axes) {
  const NormSet rows = per_row(shape, axes);
  return {.outer = rows.kept, .kept = rows.inner, .inner = 1};
}

NormSet per_pixel(const Shape& shape) {
  need_channels("per_pixel", shape);
  return {.outer = shape[1], .kept = rest_of(shape), .inner = 1, .batch = shape[0]};
}

namespace {

// One application of the family: everything the forward and backward kernels, and the composition
// of ops, need to know.
struct Norm {
  std::string_view op;
  NormSet set;
  NormSet affine;
  Real eps;
  NormKind kind;

  kernels::NormView view() const { return {set.outer, set.kept, set.inner, set.batch}; }
  kernels::AffineView affine_view(const Tensor& gamma, const Tensor& beta) const {
    kernels::AffineView view;
    if (gamma.defined()) view.gamma = gamma.data().data();
    if (beta.defined()) view.beta = beta.data().data();
    if (gamma.defined() || beta.defined()) view.kept = affine.kept, view.inner = affine.inner;
    return view;
  }
  Shape set_shape() const { return {set.batch, set.outer, set.kept, set.inner}; }
  Shape affine_shape() const { return {affine.batch * affine.outer, affine.kept, affine.inner}; }
};

// Mean and rstd of each set, in double precision, for the backward pass.
struct Moments {
  explicit Moments(std::int64_t sets) : mean(static_cast<std::size_t>(sets)), rstd(mean.size()) {}
  kernels::NormMoments view() { return {mean.data(), rstd.data()}; }
  std::vector<double> mean, rstd;
};

// γ or β spread over a tensor viewed as affine_shape().
Tensor spread(const Norm& norm, const Tensor& parameter) {
  return reshape(parameter, Shape{1, norm.affine.kept, 1});
}

// The transpose: x's sum for each element of the parameter.
Tensor gather(const Norm& norm, const Tensor& x, const Shape& parameter) {
  return reshape(sum(reshape(x, norm.affine_shape()), {0, 2}), parameter);
}

Tensor scaled(const Norm& norm, const Tensor& x, const Tensor& gamma) {
  if (!gamma.defined()) return x;
  return reshape(reshape(x, norm.affine_shape()) * spread(norm, gamma), x.shape());
}

// Constants of each set as a tensor that broadcasts over set_shape().
Tensor per_set(const Norm& norm, const std::vector<double>& values) {
  Tensor result = Tensor::empty({norm.set.batch, 1, norm.set.kept, 1});
  Real* to = result.mutable_data().data();
  for (std::size_t i = 0; i < values.size(); ++i) to[i] = static_cast<Real>(values[i]);
  return result;
}

// The gradient written in ops: every dependence on x is recorded, that of the statistics too, so it
// can be differentiated again. Centering and the root of the mean square are ops that compute wider
// than Real.
Grads composed(const Norm& norm, const Tensor& g, const Tensor& x, const Tensor& gamma,
               const Tensor& beta, const Moments& moments, const Needs& need) {
  const Axes axes = {1, 3};
  const Tensor values = reshape(x, norm.set_shape());
  const Tensor h = reshape(scaled(norm, g, gamma), norm.set_shape());
  Grads grads(3);
  Tensor hat, dx;
  if (norm.kind == NormKind::kFixed) {
    const Tensor rstd = per_set(norm, moments.rstd);
    hat = (values - per_set(norm, moments.mean)) * rstd;
    dx = h * rstd;
  } else {
    const bool centered = norm.kind == NormKind::kCentered;
    const Tensor middle = centered ? center(values, axes) : values;
    const Tensor root = detail::root_mean_square(norm.op, middle, axes, norm.eps,
                                                 static_cast<double>(norm.set.count()), true);
    hat = middle / root;
    if (need[0])
      dx = ((centered ? center(h, axes) : h) - hat * mean(h * hat, axes, {.keepdim = true})) / root;
  }
  if (need[0]) grads[0] = reshape(dx, x.shape());
  if (gamma.defined() && need[1])
    grads[1] = gather(norm, g * reshape(hat, x.shape()), gamma.shape());
  if (beta.defined() && need[2]) grads[2] = gather(norm, g, beta.shape());
  return grads;
}

// In sets this small the gradient is the difference of nearly equal numbers, often 0; the ops lose
// nothing there, the kernel rounds γ·g before it subtracts the mean.
constexpr std::int64_t kFew = 2;

Grads fused(const Norm& norm, const Tensor& g, const Tensor& x, const Tensor& gamma,
            const Tensor& beta, Moments& moments, const Needs& need) {
  Grads grads(3);
  if (need[0]) grads[0] = Tensor::empty(x.shape());
  std::vector<double> dgamma, dbeta;
  if (gamma.defined() && need[1]) dgamma.resize(static_cast<std::size_t>(gamma.size()));
  if (beta.defined() && need[2]) dbeta.resize(static_cast<std::size_t>(beta.size()));
  kernels::norm_backward(
      g.data().data(), x.data().data(), need[0] ? grads[0].mutable_data().data() : nullptr,
      norm.view(), norm.affine_view(gamma, beta), moments.view(), norm.kind,
      dgamma.empty() ? nullptr : dgamma.data(), dbeta.empty() ? nullptr : dbeta.data());
  const auto finish = [](const std::vector<double>& sums, const Shape& shape) {
    Tensor result = Tensor::empty(shape);
    std::span<Real> to = result.mutable_data();
    for (std::size_t i = 0; i < sums.size(); ++i) to[i] = static_cast<Real>(sums[i]);
    return result;
  };
  if (!dgamma.empty()) grads[1] = finish(dgamma, gamma.shape());
  if (!dbeta.empty()) grads[2] = finish(dbeta, beta.shape());
  return grads;
}

void check(const Norm& norm, const Tensor& x, const NormalizeOptions& options) {
  if (!(options.eps >= 0)) throw Error(norm.op, "eps must be at least 0, got {}", options.eps);
  if (norm.set.size() != x.size()) {
    throw Error(norm.op, "the sets cover {} elements, the input has {}", norm.set.size(), x.size())
        .shape("input", x);
  }
  for (const auto& [name, parameter] :
       {std::pair("gamma", options.affine.gamma), std::pair("beta", options.affine.beta)}) {
    if (!parameter.defined()) continue;
    if (parameter.size() != norm.affine.kept || norm.affine.size() != x.size()) {
      throw Error(norm.op, "{} has {} elements, its sets are {} of {} elements each", name,
                  parameter.size(), norm.affine.kept, norm.affine.count())
          .shape("input", x)
          .shape(name, parameter);
    }
  }
}

Tensor run(std::string_view op, const Tensor& x, const NormSet& set,
           const NormalizeOptions& options, NormKind kind, const NormStats* fixed) {
  const Norm norm{op, set, options.affine.set, options.eps, kind};
  check(norm, x, options);
  const Tensor& gamma = options.affine.gamma;
  const Tensor& beta = options.affine.beta;
  if (!kernels::norm_fuses(norm.view(), norm.affine_view(gamma, beta))) {
    NormalizeOptions plain = options;
    plain.affine = {};
    const Tensor y = run(op, x, set, plain, kind, fixed);
    const Tensor z = scaled(norm, y, gamma);
    return beta.defined() ? reshape(reshape(z, norm.affine_shape()) + spread(norm, beta), x.shape())
                          : z;
  }

  Tensor y = Tensor::empty(x.shape());
  const auto moments = std::make_shared<Moments>(set.sets());
  const kernels::AffineView affine = norm.affine_view(gamma, beta);
  if (fixed != nullptr) {
    for (std::size_t i = 0; i < moments->mean.size(); ++i) {
      moments->mean[i] = static_cast<double>(fixed->mean.data()[i]);
      moments->rstd[i] = 1 / std::sqrt(static_cast<double>(fixed->variance.data()[i]) +
                                       static_cast<double>(norm.eps));
    }
    kernels::norm_apply(x.data().data(), y.mutable_data().data(), norm.view(), affine,
                        moments->view());
  } else {
    std::vector<double> variance(moments->mean.size());
    kernels::norm_forward(x.data().data(), y.mutable_data().data(), norm.view(), affine,
                          static_cast<double>(norm.eps), kind == NormKind::kCentered,
                          moments->view(), variance.data());
    if (options.stats != nullptr) {
      options.stats->mean = Tensor::empty({set.sets()});
      options.stats->variance = Tensor::empty({set.sets()});
      std::span<Real> mean = options.stats->mean.mutable_data(),
                      var = options.stats->variance.mutable_data();
      for (std::size_t i = 0; i < variance.size(); ++i) {
        mean[i] = static_cast<Real>(moments->mean[i]);
        var[i] = static_cast<Real>(variance[i]);
      }
    }
  }
  return record(op, {x, gamma, beta}, y,
                [norm, moments, x = Saved(x), gamma = Saved(gamma), beta = Saved(beta)](
                    const Tensor& g, const Needs& need) {
                  if (!Tape::recording() && norm.set.count() > kFew)
                    return fused(norm, g, x(), gamma(), beta(), *moments, need);
                  return composed(norm, g, x(), gamma(), beta(), *moments, need);
                });
}

}  // namespace

Tensor normalize(const Tensor& x, const NormSet& set, const NormalizeOptions& options) {
  if (set.count() < (options.allow_single ? 1 : 2)) {
    throw Error("normalize",
                "a mean over {} element{} leaves nothing: each normalized value would be 0",
                set.count(), set.count() == 1 ? "" : "s")
        .shape("input", x)
        .hint("leave this layer out where maps are 1×1, or use more than one sample per batch");
  }
  return run("normalize", x, set, options, NormKind::kCentered, nullptr);
}

Tensor normalize_with(const Tensor& x, const NormSet& set, const NormStats& stats,
                      const NormalizeOptions& options) {
  if (stats.mean.size() != set.sets() || stats.variance.size() != set.sets()) {
    throw Error("normalize_with", "there are {} sets, but {} means and {} variances", set.sets(),
                stats.mean.size(), stats.variance.size())
        .shape("input", x);
  }
  return run("normalize_with", x, set, options, NormKind::kFixed, &stats);
}

Tensor root_mean_square_normalize(const Tensor& x, const NormSet& set,
                                  const NormalizeOptions& options) {
  if (set.count() < 1)
    throw Error("root_mean_square_normalize", "the sets have no elements").shape("input", x);
  return run("root_mean_square_normalize", x, set, options, NormKind::kUncentered, nullptr);
}

namespace {

// (C) along axis 1 of y, (N, C) along the first two, else as it is.
Tensor aligned(std::string_view name, const Tensor& parameter, const Tensor& y) {
  const Shape& shape = parameter.shape();
  if (y.rank() >= 2 && shape.rank() >= 1 && shape.rank() <= 2 && shape.rank() < y.rank()) {
    const bool channels = shape.rank() == 1 && shape[0] == y.dim(1);
    const bool samples = shape.rank() == 2 && shape[0] == y.dim(0) && shape[1] == y.dim(1);
    if (!channels && !samples) {
      throw Error(
          "modulate",
          "{} must have a number for each of the {} channels, or for each sample and channel", name,
          y.dim(1))
          .shape("input", y, "(N, C, …)")
          .shape(name, parameter, "(C) or (N, C)");
    }
    std::vector<std::int64_t> extents(static_cast<std::size_t>(y.rank()), 1);
    if (samples) extents[0] = y.dim(0);
    extents[1] = y.dim(1);
    return reshape(parameter, extents);
  }
  if (!(broadcast_shapes("modulate", y.shape(), shape) == y.shape())) {
    throw Error("modulate", "{} does not broadcast over the input", name)
        .shape("input", y)
        .shape(name, parameter);
  }
  return parameter;
}

}  // namespace

Tensor modulate(const Tensor& y, const Tensor& gamma, const Tensor& beta) {
  Tensor result = y;
  if (gamma.defined()) result = result * aligned("gamma", gamma, y);
  if (beta.defined()) result = result + aligned("beta", beta, y);
  return result;
}

}  // namespace tapestry
