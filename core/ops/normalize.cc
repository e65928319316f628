#include "core/ops/normalize.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/kernels/normalize.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/pointwise.h"
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
  Real eps, slope;
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
  explicit Moments(std::int64_t sets) : mean(sets), rstd(sets) {}
  kernels::NormMoments view() { return {mean.data(), rstd.data()}; }
  Scratch<double> mean, rstd;
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
Tensor per_set(const Norm& norm, const double* values) {
  Tensor result = Tensor::empty({norm.set.batch, 1, norm.set.kept, 1});
  std::transform(values, values + result.size(), result.mutable_data().begin(),
                 [](double value) { return static_cast<Real>(value); });
  return result;
}

// In sets this small the gradient is the difference of nearly equal numbers, often 0; the ops lose
// nothing there, the kernel rounds γ·g before it subtracts the mean.
constexpr std::int64_t kFew = 2;

using SharedMoments = std::shared_ptr<Moments>;

// x̂ and the root that x was divided by, written in ops: every dependence on x is recorded, that of
// the statistics too. Centering and the root of the mean square are ops that compute wider than
// Real. Shaped as the sets.
Axes set_axes() { return {1, 3}; }

struct Hat {
  Tensor hat, root;
};
Hat composed_hat(const Norm& norm, const Tensor& x, Moments& moments) {
  const Tensor values = reshape(x, norm.set_shape());
  if (norm.kind == NormKind::kFixed) {
    const Tensor rstd = per_set(norm, moments.rstd.data());
    return {(values - per_set(norm, moments.mean.data())) * rstd, reciprocal(rstd)};
  }
  const Tensor middle = norm.kind == NormKind::kCentered ? center(values, set_axes()) : values;
  const Tensor root = detail::root_mean_square(norm.op, middle, set_axes(), norm.eps,
                                               static_cast<double>(norm.set.count()), true);
  return {middle / root, root};
}

// h without its mean, if the norm takes means.
Tensor without_mean(const Norm& norm, const Tensor& h) {
  return norm.kind == NormKind::kCentered ? center(h, set_axes()) : h;
}
Tensor set_mean(const Tensor& x) { return mean(x, set_axes(), {.keepdim = true}); }

// The gradient in x, (h − ⟨h⟩ − x̂·⟨h·x̂⟩)/root with h = γ·g, in ops.
Tensor composed_gradient(const Norm& norm, const Tensor& h, const Hat& x) {
  if (norm.kind == NormKind::kFixed) return h / x.root;
  return (without_mean(norm, h) - x.hat * set_mean(h * x.hat)) / x.root;
}

// The same as one op, whose own gradient is a kernel as well: gradient penalties come through here.
Tensor normalize_gradient(const Norm& norm, const SharedMoments& moments, const Tensor& g,
                          const Tensor& x, const Tensor& gamma) {
  Tensor dx = Tensor::empty(x.shape());
  kernels::norm_backward(g.data().data(), x.data().data(), dx.mutable_data().data(), norm.view(),
                         norm.affine_view(gamma, {}), moments->view(), norm.kind, nullptr, nullptr);
  return record(
      "normalize_gradient", {g, x, gamma}, dx,
      [norm, moments, g = Saved(g), x = Saved(x), gamma = Saved(gamma)](
          const Tensor& v, const Needs& need) -> Grads {
        // The gradient in h is the same op of v; see kernels::norm_second for that in x.
        const Tensor h = scaled(norm, g(), gamma());
        Tensor q, dx2;
        if (!Tape::recording()) {
          q = normalize_gradient(norm, moments, v, x(), {});
          dx2 = Tensor::empty(v.shape());
          kernels::norm_second(v.data().data(), h.data().data(), x().data().data(),
                               dx2.mutable_data().data(), norm.view(), moments->view(), norm.kind);
        } else {
          const Hat at = composed_hat(norm, x(), *moments);
          const Tensor vs = reshape(v, norm.set_shape()), hs = reshape(h, norm.set_shape());
          const Tensor cv = without_mean(norm, vs), ch = without_mean(norm, hs);
          const Tensor a = set_mean(hs * at.hat), b = set_mean(vs * at.hat);
          const Tensor steep = set_mean(cv * ch) - affine(a * b, 3, 0);
          q = reshape(composed_gradient(norm, vs, at), v.shape());
          dx2 = reshape(neg((at.hat * steep + b * ch + a * cv) / square(at.root)), v.shape());
        }
        return {need[0] ? scaled(norm, q, gamma()) : Tensor(), dx2,
                gamma.defined() && need[2] ? gather(norm, g() * q, gamma.shape()) : Tensor()};
      });
}

// The upstream gradient before the slope, see Note [Gates]: z is computed anew.
Tensor through_slope(const Norm& norm, const SharedMoments& moments, const Tensor& g,
                     const Tensor& x, const Tensor& gamma, const Tensor& beta) {
  if (norm.slope == 1) return g;
  Tensor z = Tensor::empty(x.shape());
  kernels::norm_apply(x.data().data(), z.mutable_data().data(), norm.view(),
                      norm.affine_view(gamma, beta), moments->view());
  return detail::rectify_gate(g, z, norm.slope);
}

// The gradient that can be differentiated again.
Grads recorded(const Norm& norm, const SharedMoments& moments, const Tensor& upstream,
               const Tensor& x, const Tensor& gamma, const Tensor& beta, const Needs& need) {
  const Tensor g = through_slope(norm, moments, upstream, x, gamma, beta);
  const bool as_one = norm.kind != NormKind::kFixed && norm.set.count() > kFew &&
                      kernels::norm_second_fuses(norm.view());
  const bool needs_gamma = gamma.defined() && need[1];
  Grads grads(3);
  if (need[0] && as_one) grads[0] = normalize_gradient(norm, moments, g, x, gamma);
  if ((need[0] && !as_one) || needs_gamma) {
    const Hat at = composed_hat(norm, x, *moments);
    if (needs_gamma) grads[1] = gather(norm, g * reshape(at.hat, x.shape()), gamma.shape());
    if (!grads[0].defined() && need[0]) {
      const Tensor h = reshape(scaled(norm, g, gamma), norm.set_shape());
      grads[0] = reshape(composed_gradient(norm, h, at), x.shape());
    }
  }
  if (beta.defined() && need[2]) grads[2] = gather(norm, g, beta.shape());
  return grads;
}

Grads fused(const Norm& norm, const Tensor& g, const Tensor& x, const Tensor& gamma,
            const Tensor& beta, Moments& moments, const Needs& need) {
  Grads grads(3);
  if (need[0]) grads[0] = Tensor::empty(x.shape());
  if (gamma.defined() && need[1]) grads[1] = Tensor::empty(gamma.shape());
  if (beta.defined() && need[2]) grads[2] = Tensor::empty(beta.shape());
  const auto to = [](Tensor& grad) {
    return grad.defined() ? grad.mutable_data().data() : nullptr;
  };
  kernels::AffineView affine = norm.affine_view(gamma, beta);
  affine.slope = norm.slope;
  kernels::norm_backward(g.data().data(), x.data().data(), to(grads[0]), norm.view(), affine,
                         moments.view(), norm.kind, to(grads[1]), to(grads[2]));
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

// What the gradient needs, and what y follows from.
class Applied final : public detail::Origin {
 public:
  Applied(const Norm& norm, SharedMoments moments, Saved x, Saved gamma, Saved beta)
      : norm_(norm),
        moments_(std::move(moments)),
        x_(std::move(x)),
        gamma_(std::move(gamma)),
        beta_(std::move(beta)) {}

  void compute(Real* y) const override {
    const Tensor x = x_(), gamma = gamma_(), beta = beta_();
    kernels::AffineView affine = norm_.affine_view(gamma, beta);
    affine.slope = norm_.slope;
    kernels::norm_apply(x.data().data(), y, norm_.view(), affine, moments_->view());
  }

  Grads gradient(const Tensor& g, const Needs& need) const {
    if (!Tape::recording() && norm_.set.count() > kFew)
      return fused(norm_, g, x_(), gamma_(), beta_(), *moments_, need);
    return recorded(norm_, moments_, g, x_(), gamma_(), beta_(), need);
  }

 private:
  Norm norm_;
  SharedMoments moments_;
  Saved x_, gamma_, beta_;
};

Tensor run(std::string_view op, const Tensor& x, const NormSet& set,
           const NormalizeOptions& options, NormKind kind, const NormStats* fixed) {
  const Norm norm{op, set, options.affine.set, options.eps, options.slope, kind};
  check(norm, x, options);
  const Tensor& gamma = options.affine.gamma;
  const Tensor& beta = options.affine.beta;
  if (!kernels::norm_fuses(norm.view(), norm.affine_view(gamma, beta))) {
    NormalizeOptions plain = options;
    plain.affine = {};
    plain.slope = 1;
    const Tensor y = run(op, x, set, plain, kind, fixed);
    Tensor z = scaled(norm, y, gamma);
    if (beta.defined())
      z = reshape(reshape(z, norm.affine_shape()) + spread(norm, beta), x.shape());
    return norm.slope == 1 ? z : leaky_relu(z, norm.slope);
  }

  Tensor y = Tensor::empty(x.shape());
  const auto moments = std::make_shared<Moments>(set.sets());
  kernels::AffineView affine = norm.affine_view(gamma, beta);
  affine.slope = norm.slope;
  if (fixed != nullptr) {
    for (std::int64_t k = 0; k < set.sets(); ++k) {
      const auto i = static_cast<std::size_t>(k);
      moments->mean[k] = static_cast<double>(fixed->mean.data()[i]);
      moments->rstd[k] = 1 / std::sqrt(static_cast<double>(fixed->variance.data()[i]) +
                                       static_cast<double>(norm.eps));
    }
    kernels::norm_apply(x.data().data(), y.mutable_data().data(), norm.view(), affine,
                        moments->view());
  } else {
    Scratch<double> variance(set.sets());
    kernels::norm_forward(x.data().data(), y.mutable_data().data(), norm.view(), affine,
                          static_cast<double>(norm.eps), kind == NormKind::kCentered,
                          moments->view(), variance.data());
    if (options.stats != nullptr) {
      const auto as_tensor = [&](const double* values) {
        Tensor result = Tensor::empty({set.sets()});
        std::transform(values, values + set.sets(), result.mutable_data().begin(),
                       [](double value) { return static_cast<Real>(value); });
        return result;
      };
      *options.stats = {as_tensor(moments->mean.data()), as_tensor(variance.data())};
    }
  }
  const auto applied =
      std::make_shared<const Applied>(norm, moments, Saved(x), Saved(gamma), Saved(beta));
  return computed_again(
      record(op, {x, gamma, beta}, y,
             [applied](const Tensor& g, const Needs& need) { return applied->gradient(g, need); }),
      applied);
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
