// Norms whose scale and shift come from a label, another picture or a map, and mixtures of norms.
#include <cmath>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/unary.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Real eps(const Call& c) { return c.real("eps", 1e-5); }

/// γ and β for each sample: rows of two tables chosen by label, or mixed by weights.
Result conditional(const Call& c, const NormSet& set) {
  const Tensor &x = c("x", 0), &gamma = c("gamma", 1), &beta = c("beta", 2);
  const Tensor y = normalize(x, set, {.eps = eps(c)});
  if (c.text("select", "label") == "label") {
    const Indices label = c.indices("label", 3);
    return modulate(y, gather_rows(gamma, label), gather_rows(beta, label));
  }
  const Tensor& mix = c("mix", 3);
  return modulate(y, matmul(mix, gamma), matmul(mix, beta));
}

/// (x − mean)/√(variance + eps) of each plane; the unbiased variance is M/(M − 1) times the biased.
Tensor plane_normalized(const Call& c, const Tensor& x) {
  const NormSet planes = per_instance(x.shape());
  if (!c.flag("unbiased", false)) return normalize(x, planes, {.eps = eps(c)});
  const Real share = 1 - 1 / static_cast<Real>(planes.count());
  return normalize(x, planes, {.eps = eps(c) * share}) * std::sqrt(share);
}

Result adaptive(const Call& c) {
  const Tensor& x = c("x", 0);
  if (c.has("scale") || c.inputs().size() == 3) {  // StyleGAN's form
    return modulate(normalize(x, per_instance(x.shape()), {.eps = eps(c)}), c("scale", 1),
                    c("shift", 2));
  }
  const Tensor& style = c("style", 1);
  if (x.dim(1) != style.dim(1)) {
    throw Error("adain", "the content has {} channels, the style {}", x.dim(1), style.dim(1))
        .shape("content", x)
        .shape("style", style);
  }
  const Tensor deviation =
      sqrt(var(style, {2, 3}, {.unbiased = c.flag("unbiased", false)}) + eps(c));
  const Tensor y = modulate(plane_normalized(c, x), deviation, mean(style, {2, 3}));
  const Real alpha = c.real("alpha", 1);
  return alpha == 1 ? y : alpha * y + (1 - alpha) * x;
}

Result batch_and_instance(const Call& c) {
  const Tensor& x = c("x", 0);
  const Tensor rho = c("rho", 1);
  const Tensor batch = normalize(x, per_channel(x.shape()), {.eps = eps(c)});
  const Tensor instance = normalize(x, per_instance(x.shape()), {.eps = eps(c)});
  const Tensor mixed = modulate(batch, rho, {}) + modulate(instance, 1 - rho, {});
  return modulate(mixed, c("weight", 2), c("bias", 3));
}

Result switchable(const Call& c) {
  const Tensor& x = c("x", 0);
  const Tensor a = softmax(c("w_mean", 1)), b = softmax(c("w_var", 2));
  const Axes sets[] = {{2, 3}, {1, 2, 3}, {0, 2, 3}};  // instance, layer, batch
  Tensor center, spread;
  for (int i = 0; i < 3; ++i) {
    const Tensor m = select(a, 0, i) * mean(x, sets[i], {.keepdim = true});
    const Tensor v = select(b, 0, i) * var(x, sets[i], {.unbiased = false, .keepdim = true});
    center = i == 0 ? m : center + m;
    spread = i == 0 ? v : spread + v;
  }
  return modulate((x - center) * rsqrt(spread + eps(c)), c("weight", 3), c("bias", 4));
}

}  // namespace

void add_conditional_norms(Table& table) {
  table["cin"] = [](const Call& c) { return conditional(c, per_instance(c("x", 0).shape())); };
  table["conditional_batch_norm"] = [](const Call& c) {
    return conditional(c, per_channel(c("x", 0).shape()));
  };
  table["adain"] = adaptive;
  table["spade"] = [](const Call& c) {
    const Tensor& x = c("x", 0);
    return normalize(x, per_channel(x.shape()), {.eps = eps(c)}) * (c("gamma_map", 1) + 1) +
           c("beta_map", 2);
  };
  table["batch_instance_norm"] = batch_and_instance;
  table["switchable_norm"] = switchable;
  table["frn_tlu"] = [](const Call& c) {
    const Tensor& x = c("x", 0);
    const Tensor y = root_mean_square_normalize(x, per_instance(x.shape()), {.eps = eps(c)});
    return maximum(modulate(y, c("weight", 2), c("bias", 3)), reshape(c("tau", 1), {1, -1, 1, 1}));
  };
}

}  // namespace tapestry::conformance
