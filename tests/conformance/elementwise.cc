// Functions of one tensor, and of two or three with broadcasting.
#include <limits>

#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Function unary(Tensor (*op)(const Tensor&)) {
  return [op](const Call& c) { return op(c("x", 0)); };
}

Function binary(Tensor (*op)(const Tensor&, const Tensor&)) {
  return [op](const Call& c) { return op(c("a", 0), c("b", 1)); };
}

Result power(const Call& c) {
  const Json* exponent = c.attribute("exponent");
  if (exponent != nullptr && exponent->is_number()) return pow(c("x", 0), c.real("exponent", 1));
  return pow(c("x", 0), c("exponent", 1));
}

/// y = x·x + Σx·x − x[0]
Result shared_use(const Call& c) {
  const Tensor& x = c("x", 0);
  return x * x + sum(x) * x - select(x, 0, 0);
}

}  // namespace

void add_elementwise(Table& table) {
  table["abs"] = unary(abs);
  table["cos"] = unary(cos);
  table["erf"] = unary(erf);
  table["exp"] = unary(exp);
  table["hardsigmoid"] = unary(hardsigmoid);
  table["hardswish"] = unary(hardswish);
  table["log"] = unary(log);
  table["log1p"] = unary(log1p);
  table["log_sigmoid"] = unary(log_sigmoid);
  table["mish"] = unary(mish);
  table["neg"] = unary(neg);
  table["reciprocal"] = unary(reciprocal);
  table["relu"] = unary(relu);
  table["rsqrt"] = unary(rsqrt);
  table["selu"] = unary(selu);
  table["sigmoid"] = unary(sigmoid);
  table["sign"] = unary(sign);
  table["silu"] = unary(silu);
  table["sin"] = unary(sin);
  table["softsign"] = unary(softsign);
  table["sqrt"] = unary(sqrt);
  table["square"] = unary(square);
  table["tanh"] = unary(tanh);
  table["clamp"] = [](const Call& c) {
    constexpr double kAll = std::numeric_limits<double>::infinity();
    return clamp(c("x", 0), c.real("min", -kAll), c.real("max", kAll));
  };
  table["hardtanh"] = [](const Call& c) {
    return hardtanh(c("x", 0), c.real("min", -1), c.real("max", 1));
  };
  table["leaky_relu"] = [](const Call& c) {
    return leaky_relu(c("x", 0), c.real("negative_slope", 0.01));
  };
  table["elu"] = [](const Call& c) { return elu(c("x", 0), c.real("alpha", 1)); };
  table["gelu"] = [](const Call& c) {
    return gelu(c("x", 0), gelu_form(c.text("approximate", "none")));
  };
  table["softplus"] = [](const Call& c) {
    return softplus(c("x", 0), c.real("beta", 1), c.real("threshold", 20));
  };
  table["prelu"] = [](const Call& c) { return prelu(c("x", 0), c("weight", 1)); };

  table["add"] = binary(add);
  table["sub"] = binary(sub);
  table["mul"] = binary(mul);
  table["div"] = binary(div);
  table["maximum"] = binary(maximum);
  table["minimum"] = binary(minimum);
  table["pow"] = power;
  table["where"] = [](const Call& c) { return where(c("c", 0), c("a", 1), c("b", 2)); };
  table["shared_use"] = shared_use;
}

}  // namespace tapestry::conformance
