// Sums, means, extremes, norms, softmax.
#include "core/ops/reduce.h"

#include "core/ops/softmax.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Function reduction(Tensor (*op)(const Tensor&, const Axes&, const ReduceOptions&)) {
  return [op](const Call& c) {
    return op(c("x", 0), c.integers("dim"), {.keepdim = c.flag("keepdim", false)});
  };
}

Function moment(Tensor (*op)(const Tensor&, const Axes&, const MomentOptions&)) {
  return [op](const Call& c) {
    return op(c("x", 0), c.integers("dim"),
              {.unbiased = c.flag("unbiased", true), .keepdim = c.flag("keepdim", false)});
  };
}

Result position_of_largest(const Call& c) {
  const Tensor& x = c("x", 0);
  const int axis = c.integer("dim", -1);
  std::vector<Real> found;
  for (const std::int32_t i : argmax(x, axis)) found.push_back(static_cast<Real>(i));
  const int reduced[] = {x.shape().axis_index(axis)};
  return Tensor::from(found, reduced_shape(x.shape(), reduced, c.flag("keepdim", false)));
}

}  // namespace

void add_reductions(Table& table) {
  table["sum"] = reduction(sum);
  table["mean"] = reduction(mean);
  table["max"] = reduction(max);
  table["min"] = reduction(min);
  table["prod"] = reduction(prod);
  table["logsumexp"] = reduction(logsumexp);
  table["var"] = moment(var);
  table["std"] = moment(stddev);
  table["norm2"] = [](const Call& c) {
    return norm(c("x", 0), c.integers("dim"),
                {.eps = c.real("eps_inside_sqrt", 0), .keepdim = c.flag("keepdim", false)});
  };
  table["argmax"] = position_of_largest;
  table["cumsum"] = [](const Call& c) { return cumsum(c("x", 0), c.integer("dim")); };
  table["softmax"] = [](const Call& c) { return softmax(c("x", 0), c.integer("dim", -1)); };
  table["log_softmax"] = [](const Call& c) { return log_softmax(c("x", 0), c.integer("dim", -1)); };
}

}  // namespace tapestry::conformance
