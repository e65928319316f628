// Norms whose scale and shift come from a label, another picture or a map, and mixtures of norms.
#include <memory>

#include "core/ops/normalize.h"
#include "layers/conditional_norm.h"
#include "tests/conformance/layer.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Real eps(const Call& c) { return c.real("eps", 1e-5); }

/// γ and β for each sample: rows of two tables chosen by label, or mixed by weights.
Result conditional(const Call& c, nn::Statistics statistics) {
  const Tensor &x = c("x", 0), &gamma = c("gamma", 1);
  const auto layer = std::make_shared<nn::ConditionalNorm>(
      gamma.dim(1), gamma.dim(0),
      nn::ConditionalNormOptions{.statistics = statistics, .eps = eps(c)});
  Result result;
  load_inputs(c, layer, result, {{"weight", "gamma"}, {"bias", "beta"}});
  if (c.text("select", "label") == "label") {
    result.add("y", (*layer)(x, c.indices("label", 3)));
  } else {
    result.add("y", (*layer)(x, c("mix", 3)));
  }
  return result;
}

Result adaptive(const Call& c) {
  const Tensor& x = c("x", 0);
  if (c.inputs().size() == 3) {  // StyleGAN's form: scale and shift are given
    return modulate(normalize(x, per_instance(x.shape()), {.eps = eps(c)}), c("scale", 1),
                    c("shift", 2));
  }
  return nn::adain(
      x, c("style", 1),
      {.eps = eps(c), .unbiased = c.flag("unbiased", false), .alpha = c.real("alpha", 1)});
}

}  // namespace

void add_conditional_norms(Table& table) {
  table["cin"] = [](const Call& c) { return conditional(c, nn::Statistics::kInstance); };
  table["conditional_batch_norm"] = [](const Call& c) {
    return conditional(c, nn::Statistics::kBatch);
  };
  table["adain"] = adaptive;
  table["spade"] = [](const Call& c) {
    return nn::spade(c("x", 0), c("gamma_map", 1), c("beta_map", 2), eps(c));
  };
  table["batch_instance_norm"] = [](const Call& c) {
    return nn::batch_instance_norm(c("x", 0), c("rho", 1), c("weight", 2), c("bias", 3), eps(c));
  };
  table["switchable_norm"] = [](const Call& c) {
    return nn::switchable_norm(c("x", 0), c("w_mean", 1), c("w_var", 2), c("weight", 3),
                               c("bias", 4), eps(c));
  };
  table["frn_tlu"] = [](const Call& c) {
    return nn::filter_response_norm(c("x", 0), c("tau", 1), c("weight", 2), c("bias", 3),
                                    c.real("eps", 1e-6));
  };
}

}  // namespace tapestry::conformance
