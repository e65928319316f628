#include "core/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/kernels/reduce.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/pointwise.h"
#include "core/ops/unary.h"
#include "core/tape.h"

namespace tapestry {
namespace {

using kernels::ReduceView;

// A reduction's axes, checked, with the shapes around it.
struct Plan {
  std::vector<int> axes;
  Shape kept, result;      // with and without the reduced axes
  std::int64_t count = 1;  // elements combined into one
};

Plan plan(std::string_view op, const Tensor& x, const Axes& axes, bool keepdim) {
  Plan plan{.axes = normalize_axes(op, x.shape(), axes), .kept = {}, .result = {}};
  plan.kept = reduced_shape(x.shape(), plan.axes, true);
  plan.result = reduced_shape(x.shape(), plan.axes, keepdim);
  for (const int axis : plan.axes) plan.count *= x.dim(axis);
  return plan;
}

// Neighboring axes that are all reduced, or all kept, as one.
struct Group {
  std::int64_t extent;
  bool reduced;
};

std::vector<Group> groups(const Shape& shape, const std::vector<int>& axes) {
  std::vector<Group> result;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    const bool reduced = std::find(axes.begin(), axes.end(), axis) != axes.end();
    if (!result.empty() && result.back().reduced == reduced) {
      result.back().extent *= shape[axis];
    } else {
      result.push_back({shape[axis], reduced});
    }
  }
  return result;
}

// The view that combines the last reduced group, which then has extent 1.
ReduceView last_view(std::vector<Group>& groups) {
  ReduceView view{1, 1, 1};
  std::size_t at = groups.size();
  while (at > 0 && !groups[at - 1].reduced) view.inner *= groups[--at].extent;
  if (at > 0) {
    view.reduced = groups[--at].extent;
    groups[at] = {1, false};
  }
  while (at > 0) view.outer *= groups[--at].extent;
  return view;
}

bool any_reduced(const std::vector<Group>& groups) {
  return std::any_of(groups.begin(), groups.end(),
                     [](const Group& group) { return group.reduced; });
}

// Runs `first` on x and `next` on what is left until every group is combined; calls use(result)
// with the final numbers.
template <class T, class First, class Next, class Use>
void reduce_groups(const Tensor& x, const Plan& plan, First first, Next next, Use use) {
  std::vector<Group> left = groups(x.shape(), plan.axes);
  ReduceView view = last_view(left);
  Scratch<T> a(view.outer * view.inner);
  first(x.data().data(), a.data(), view);
  if (!any_reduced(left)) return use(a.data());
  Scratch<T> b(view.outer * view.inner);
  T *from = a.data(), *to = b.data();
  while (any_reduced(left)) {
    next(from, to, last_view(left));
    std::swap(from, to);
  }
  use(from);
}

// finish(sum) of the wide sums.
template <class First, class Next, class Finish>
Tensor reduce_wide(const Tensor& x, const Plan& plan, First first, Next next, Finish finish) {
  Tensor y = Tensor::empty(plan.result);
  reduce_groups<double>(x, plan, first, next, [&](const double* sums) {
    Real* to = y.mutable_data().data();
    for (std::int64_t i = 0; i < y.size(); ++i) to[i] = static_cast<Real>(finish(sums[i]));
  });
  return y;
}

// g with the reduced axes put back.
Tensor keep(const Tensor& g, const Shape& kept) { return g.shape() == kept ? g : reshape(g, kept); }

void need_elements(std::string_view op, const Plan& plan, const Tensor& x, std::int64_t least) {
  if (plan.count >= least) return;
  throw Error(op, "each set needs at least {} element{}, it has {}", least, least == 1 ? "" : "s",
              plan.count)
      .shape("input", x);
}

Tensor scaled_sum(std::string_view op, const Tensor& x, const Plan& plan, double scale) {
  return record(
      op, {x},
      reduce_wide(x, plan, kernels::sum, kernels::sum_wide,
                  [=](double total) { return total * scale; }),
      [shape = x.shape(), kept = plan.kept, scale](const Tensor& g, const Needs&) -> Grads {
        const Tensor scaled = scale == 1 ? g : affine(g, static_cast<Real>(scale), 0);
        return {broadcast_to(keep(scaled, kept), shape)};
      });
}

}  // namespace

Tensor sum(const Tensor& x, const Axes& axes, const ReduceOptions& options) {
  return scaled_sum("sum", x, plan("sum", x, axes, options.keepdim), 1);
}

Tensor mean(const Tensor& x, const Axes& axes, const ReduceOptions& options) {
  const Plan p = plan("mean", x, axes, options.keepdim);
  need_elements("mean", p, x, 1);
  return scaled_sum("mean", x, p, 1.0 / static_cast<double>(p.count));
}

Tensor center(const Tensor& x, const Axes& axes) {
  const Plan p = plan("center", x, axes, true);
  // The mean as the sum of two numbers, so that x − high − low is as exact as a subtraction in
  // double precision.
  Tensor high = Tensor::empty(p.kept), low = Tensor::empty(p.kept);
  if (p.count > 0) {
    reduce_groups<double>(x, p, kernels::sum, kernels::sum_wide, [&](const double* sums) {
      Real *h = high.mutable_data().data(), *l = low.mutable_data().data();
      for (std::int64_t i = 0; i < high.size(); ++i) {
        const double mean = sums[i] / static_cast<double>(p.count);
        h[i] = static_cast<Real>(mean);
        l[i] = static_cast<Real>(mean - static_cast<double>(h[i]));
      }
    });
  }
  const Tensor y =
      detail::zip("center", kernels::sub, detail::zip("center", kernels::sub, x, high), low);
  return record("center", {x}, y, [axes = p.axes](const Tensor& g, const Needs&) -> Grads {
    return {axes.empty() ? Tensor::zeros(g.shape()) : center(g, axes)};
  });
}

namespace {

bool has_zero(const Tensor& y) {
  const std::span<const Real> values = y.data();
  return std::find(values.begin(), values.end(), Real(0)) != values.end();
}

/// y with 1 for 0, so that what is divided by it and then left out is no NaN.
Tensor nonzero(const Tensor& y) {
  return has_zero(y) ? where(y.detach(), y, Tensor::scalar(1)) : y;
}

}  // namespace

namespace detail {

Tensor root_mean_square(std::string_view op, const Tensor& x, const Axes& axes, Real eps,
                        double divisor, bool keepdim) {
  const Plan p = plan(op, x, axes, keepdim);
  const Tensor y = reduce_wide(
      x, p, kernels::sum_of_squares, kernels::sum_wide,
      [=](double squares) { return std::sqrt(squares / divisor + static_cast<double>(eps)); });
  return record(
      op, {x}, y,
      [x = Saved(x), y = Saved(y), kept = p.kept, divisor](const Tensor& g, const Needs&) -> Grads {
        Tensor factor = g / nonzero(y());
        if (has_zero(y())) factor = where(y().detach(), factor, Tensor::scalar(0));
        return {x() * keep(affine(factor, static_cast<Real>(1 / divisor), 0), kept)};
      });
}

}  // namespace detail

Tensor var(const Tensor& x, const Axes& axes, const MomentOptions& options) {
  const Plan p = plan("var", x, axes, options.keepdim);
  need_elements("var", p, x, options.unbiased ? 2 : 1);
  const std::int64_t divisor = p.count - (options.unbiased ? 1 : 0);
  return scaled_sum("var", square(center(x, axes)), p, 1.0 / static_cast<double>(divisor));
}

Tensor stddev(const Tensor& x, const Axes& axes, const MomentOptions& options) {
  const Plan p = plan("std", x, axes, options.keepdim);
  need_elements("std", p, x, options.unbiased ? 2 : 1);
  const std::int64_t divisor = p.count - (options.unbiased ? 1 : 0);
  return detail::root_mean_square("std", center(x, axes), axes, 0, static_cast<double>(divisor),
                                  options.keepdim);
}

Tensor norm(const Tensor& x, const Axes& axes, const NormOptions& options) {
  return detail::root_mean_square("norm", x, axes, options.eps, 1, options.keepdim);
}

namespace {

// 1 at the first element of each set that equals its extreme (or is NaN like it), else 0: a
// constant.
Tensor first_equal(const Tensor& x, const Tensor& extreme, const Plan& plan) {
  Tensor mask = Tensor::zeros(x.shape());
  // Runs along the last group of axes belong to one set, or to as many sets side by side.
  std::vector<Group> outer = groups(x.shape(), plan.axes);
  Group run{1, true};
  if (!outer.empty()) {
    run = outer.back();
    outer.pop_back();
  }
  std::vector<std::int64_t> step(outer.size()), position(outer.size(), 0);
  std::int64_t sets = run.reduced ? 1 : run.extent;
  for (std::size_t k = outer.size(); k-- > 0;) {
    step[k] = outer[k].reduced ? 0 : sets;
    if (!outer[k].reduced) sets *= outer[k].extent;
  }
  std::vector<char> found(static_cast<std::size_t>(sets), 0);
  const Real *from = x.data().data(), *want = extreme.data().data();
  Real* to = mask.mutable_data().data();
  for (std::int64_t at = 0, set = 0; at < x.size(); at += run.extent) {
    char* is_found = found.data() + set;
    const auto is_extreme = [&](std::int64_t i, std::int64_t k) {
      return (from[at + i] == want[set + k]) | std::isnan(from[at + i]);
    };
    if (run.reduced) {
      for (std::int64_t i = 0; i < run.extent && *is_found == 0; ++i) {
        if (is_extreme(i, 0)) *is_found = 1, to[at + i] = 1;
      }
    } else {
      for (std::int64_t i = 0; i < run.extent; ++i) {
        const bool is_first = is_extreme(i, i) & (is_found[i] == 0);
        is_found[i] |= static_cast<char>(is_first);
        to[at + i] = static_cast<Real>(is_first);
      }
    }
    for (std::size_t k = outer.size(); k-- > 0;) {
      set += step[k];
      if (++position[k] < outer[k].extent) break;
      set -= step[k] * outer[k].extent;
      position[k] = 0;
    }
  }
  return mask;
}

using ExtremeKernel = void (*)(const Real*, Real*, const ReduceView&);

Tensor extreme(std::string_view op, ExtremeKernel kernel, const Tensor& x, const Axes& axes,
               bool keepdim) {
  const Plan p = plan(op, x, axes, keepdim);
  need_elements(op, p, x, 1);
  Tensor y = Tensor::empty(p.result);
  reduce_groups<Real>(x, p, kernel, kernel, [&](const Real* values) {
    std::copy_n(values, y.size(), y.mutable_data().data());
  });
  return record(op, {x}, y,
                [x = Saved(x), y = Saved(y), p](const Tensor& g, const Needs&) -> Grads {
                  return {keep(g, p.kept) * first_equal(x(), y(), p)};
                });
}

// Π over all but each one, along the last axis of (rows, M). Neighboring halves are multiplied up
// to the whole product, and the way back down multiplies each half by the other: no division, so
// zeros do no harm.
Tensor product_of_others(const Tensor& x) {
  const std::int64_t count = x.dim(-1);
  if (count <= 1) return Tensor::ones(x.shape());
  const std::int64_t half = count / 2;
  const Tensor a = slice(x, -1, {.start = 0, .end = half}),
               b = slice(x, -1, {.start = half, .end = 2 * half});
  Tensor pairs = a * b;
  if (count % 2 != 0) pairs = concat({pairs, slice(x, -1, {.start = 2 * half, .end = count})}, -1);
  const Tensor others = product_of_others(pairs);
  const Tensor of_pairs = slice(others, -1, {.start = 0, .end = half});
  if (count % 2 == 0) return concat({of_pairs * b, of_pairs * a}, -1);
  return concat({of_pairs * b, of_pairs * a, slice(others, -1, {.start = half, .end = half + 1})},
                -1);
}

}  // namespace

Tensor max(const Tensor& x, const Axes& axes, const ReduceOptions& options) {
  return extreme("max", kernels::max, x, axes, options.keepdim);
}

Tensor min(const Tensor& x, const Axes& axes, const ReduceOptions& options) {
  return extreme("min", kernels::min, x, axes, options.keepdim);
}

Tensor prod(const Tensor& x, const Axes& axes, const ReduceOptions& options) {
  const Plan p = plan("prod", x, axes, options.keepdim);
  const Tensor y =
      reduce_wide(x, p, kernels::prod, kernels::prod_wide, [](double product) { return product; });
  return record("prod", {x}, y, [x = Saved(x), p](const Tensor& g, const Needs&) -> Grads {
    // Bring the reduced axes to the back, as one; afterwards, return.
    std::vector<int> order, back(static_cast<std::size_t>(x().rank()));
    for (int axis = 0; axis < x().rank(); ++axis) {
      if (std::find(p.axes.begin(), p.axes.end(), axis) == p.axes.end()) order.push_back(axis);
    }
    order.insert(order.end(), p.axes.begin(), p.axes.end());
    for (std::size_t i = 0; i < order.size(); ++i)
      back[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
    const Tensor moved = permute(x(), order);
    const Shape rows{p.count == 0 ? 0 : x().size() / p.count, p.count};
    const Tensor others =
        permute(reshape(product_of_others(reshape(moved, rows)), moved.shape()), back);
    return {keep(g, p.kept) * others};
  });
}

Tensor logsumexp(const Tensor& x, const Axes& axes, const ReduceOptions& options) {
  const Plan p = plan("logsumexp", x, axes, options.keepdim);
  need_elements("logsumexp", p, x, 1);
  // ln Σ e^(x − m) + m with the constant m = max x, or 0 where that is infinite, as Inf − Inf is
  // not a number.
  Tensor largest = max(x.detach(), p.axes, {.keepdim = true});
  for (Real& value : largest.mutable_data()) {
    if (!std::isfinite(value)) value = 0;
  }
  return keep(log(sum(exp(x - largest), axes, {.keepdim = true})) + largest, p.result);
}

std::vector<std::int32_t> argmax(const Tensor& x, int axis) {
  const Plan p = plan("argmax", x, {axis}, false);
  need_elements("argmax", p, x, 1);
  std::vector<std::int32_t> result(static_cast<std::size_t>(p.result.size()));
  const int at = p.axes[0];
  kernels::argmax(x.data().data(), result.data(),
                  {x.shape().product(0, at), x.dim(at), x.shape().product(at + 1, x.rank())});
  return result;
}

namespace {

Tensor running_sum(const Tensor& x, int axis, bool reverse) {
  Tensor y = Tensor::empty(x.shape());
  kernels::cumsum(x.data().data(), y.mutable_data().data(),
                  {x.shape().product(0, axis), x.dim(axis), x.shape().product(axis + 1, x.rank())},
                  reverse);
  return record("cumsum", {x}, y, [axis, reverse](const Tensor& g, const Needs&) -> Grads {
    return {running_sum(g, axis, !reverse)};
  });
}

}  // namespace

Tensor cumsum(const Tensor& x, int axis) {
  return running_sum(x, normalize_axes("cumsum", x.shape(), std::span<const int>(&axis, 1))[0],
                     false);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int extra = x.rank() - shape.rank();
  std::vector<int> axes;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const std::int64_t extent = axis < extra ? 1 : shape[axis - extra];
    if (extent != x.dim(axis) && extent != 1) {
      throw Error("sum_to", "{} cannot come from broadcasting {}", x.shape(), shape)
          .hint("each extent of the target must be 1 or that of the input");
    }
    if (axis < extra || extent != x.dim(axis)) axes.push_back(axis);
  }
  if (extra < 0) throw Error("sum_to", "{} cannot come from broadcasting {}", x.shape(), shape);
  Plan p{.axes = axes, .kept = reduced_shape(x.shape(), axes, true), .result = shape};
  return record(
      "sum_to", {x},
      reduce_wide(x, p, kernels::sum, kernels::sum_wide, [](double total) { return total; }),
      [shape = x.shape()](const Tensor& g, const Needs&) -> Grads {
        return {broadcast_to(g, shape)};
      });
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  return record(
      "broadcast_to", {x}, detail::expand(x, shape),
      [from = x.shape()](const Tensor& g, const Needs&) -> Grads { return {sum_to(g, from)}; });
}

}  // namespace tapestry
